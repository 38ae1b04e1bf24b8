package standin

import (
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/pkg/v3/engine"
	"github.com/pulumi/pulumi/pkg/v3/resource/deploy"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
)

// Result is what one run of Pulumi did.
type Result struct {
	t        *testing.T
	Err      error
	steps    []step
	Happened []string // Azure and commands, in order; nothing in a preview but looks
	Messages []string // on the console: severity and text
	Texts    []string // everything else that an event shows in plain text
	Outputs  resource.PropertyMap
	plan     *deploy.Plan
}

// step is one of the engine's: what is done to which resource.
type step struct{ op, label string }

// Label names a resource in expectations: a command by its name alone, one of Azure's by its type too, since a rule and
// a layer may share a name.
func Label(urn resource.URN) string {
	if module, of, found := strings.Cut(string(urn.Type()), "azure-native:"); found && module == "" {
		_, kind, _ := strings.Cut(of, ":")
		return kind + " " + urn.Name()
	}
	return urn.Name()
}

// Changes are the steps that are more than reading and finding the same.
func (r *Result) Changes() []string {
	var changes []string
	for _, s := range r.steps {
		if s.op != "same" && s.op != "read" {
			changes = append(changes, s.op+" "+s.label)
		}
	}
	return changes
}

// Said are the messages of a severity.
func (r *Result) Said(severity string) []string {
	var said []string
	for _, m := range r.Messages {
		if text, ok := strings.CutPrefix(m, severity+": "); ok {
			said = append(said, text)
		}
	}
	return said
}

type Option func(*engine.UpdateOptions)

func ContinueOnError(o *engine.UpdateOptions) { o.ContinueOnError = true }

func WithRefresh(o *engine.UpdateOptions) { o.Refresh = true }

// AsPlanned is --plan of what a preview --save-plan made.
func AsPlanned(preview *Result) Option {
	return func(o *engine.UpdateOptions) { o.Plan = preview.plan }
}

// Targets are --target of URNs, or of patterns of them.
func Targets(urns ...string) Option {
	return func(o *engine.UpdateOptions) { o.Targets = deploy.NewUrnTargets(urns) }
}

// read takes what a person or a log would see of a run.
func (r *Result) read(events []engine.Event) {
	seen := func(m engine.StepEventMetadata) {
		for _, s := range []*engine.StepEventStateMetadata{m.Old, m.New, m.Res} {
			if s != nil {
				r.Texts = append(r.Texts, PlainTexts(s.Inputs)...)
				r.Texts = append(r.Texts, PlainTexts(s.Outputs)...)
			}
		}
	}
	for _, event := range events {
		switch p := event.Payload().(type) {
		case engine.DiagEventPayload:
			if text := strings.TrimSpace(p.Message); p.Severity != diag.Debug && !p.Ephemeral {
				r.Messages = append(r.Messages, string(p.Severity)+": "+colourless(text))
			} else {
				r.Texts = append(r.Texts, text)
			}
		case engine.StdoutEventPayload:
			r.Texts = append(r.Texts, p.Message)
		case engine.ResourcePreEventPayload:
			if !isProvider(p.Metadata.Type) {
				r.steps = append(r.steps, step{string(p.Metadata.Op), Label(p.Metadata.URN)})
			}
			seen(p.Metadata)
		case engine.ResourceOutputsEventPayload:
			seen(p.Metadata)
		case engine.ResourceOperationFailedPayload:
			seen(p.Metadata)
		}
	}
}

func isProvider(t tokens.Type) bool { return strings.HasPrefix(string(t), "pulumi:providers:") }

// colourless takes Pulumi's colour tags away.
func colourless(text string) string {
	for {
		start := strings.Index(text, "<{%")
		end := strings.Index(text, "%}>")
		if start < 0 || end < start {
			return text
		}
		text = text[:start] + text[end+len("%}>"):]
	}
}

// InOrder fails unless all of these happened, each after the one before.
func (r *Result) InOrder(wanted ...string) {
	r.t.Helper()
	at := -1
	for _, want := range wanted {
		i := slices.Index(r.Happened, want)
		switch {
		case i < 0:
			r.t.Errorf("%q did not happen, but\n  %s", want, strings.Join(r.Happened, "\n  "))
			return
		case i < at:
			r.t.Errorf("%q happened too early:\n  %s", want, strings.Join(r.Happened, "\n  "))
			return
		}
		at = i
	}
}

// Fired are the names under which the break-glass was fired, as they stand among what happened.
func (r *Result) Fired() []string {
	return slices.DeleteFunc(slices.Clone(r.Happened), func(s string) bool { return !strings.HasPrefix(s, "fire ") })
}

// ChangesOfUpdate are changes without the steps of a refresh that goes before.
func (r *Result) ChangesOfUpdate() []string {
	return slices.DeleteFunc(r.Changes(), func(s string) bool { return strings.HasPrefix(s, "refresh ") })
}
