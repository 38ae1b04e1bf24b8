package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/pkg/v3/engine"
	"github.com/pulumi/pulumi/pkg/v3/engine/lifecycletest/framework"
	"github.com/pulumi/pulumi/pkg/v3/resource/deploy"
	"github.com/pulumi/pulumi/pkg/v3/resource/deploy/deploytest"
	"github.com/pulumi/pulumi/pkg/v3/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"openclaw-azure/internal/keys"
	"openclaw-azure/internal/reach"
)

// world is all that is not the program: Pulumi's engine, which is the real one, the stack's configuration and state,
// Azure, the guest behind it, and the place that Pulumi runs at.
type world struct {
	t              *testing.T
	project, stack string
	config         map[string]string // by full key
	secrets        map[string]string // by full key: an object whose members are all secret
	state          *deploy.Snapshot
	home           netip.Addr

	mu       sync.Mutex // of everything below: the engine calls from many sides
	azure    *cloud
	commands *commands
	guest    *guest // nil while there is no machine

	silent    bool            // the guest answers nobody
	portTaken bool            // another process has the tunnel's local port
	peer      string          // the environment variable CLAW_PEER
	fails     map[string]bool // commands that fail

	listening  bool              // this run has the local port
	tried      string            // the door that was tried last
	confirming map[string]uint16 // layers that the program is confirming, and by which port

	happened []string // what Azure and the commands did in this run, in order
	canaries []string // what must stand nowhere in plain text
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, project: "openclaw", stack: "dev", home: netip.MustParseAddr("198.18.1.10"),
		config:  map[string]string{"azure-native:location": "westeurope", "openclaw:allowedSshCidr": "198.18.1.10/32"},
		secrets: map[string]string{}, fails: map[string]bool{}, confirming: map[string]uint16{}}
	w.azure = &cloud{world: w, exists: map[resource.ID]resource.PropertyMap{}, fails: map[string]string{}}
	w.commands = &commands{world: w}
	return w
}

// deployed is a world after a first `pulumi up`, closed one whose port 22 was closed then. Each is made once and copied.
func deployed(t *testing.T) *world {
	return once(t, &firstDeployed, func() *world { return newWorld(t) })
}

func closed(t *testing.T) *world {
	return once(t, &firstClosed, func() *world {
		w := deployed(t)
		w.set("bootstrap", "false")
		return w
	})
}

var firstDeployed, firstClosed struct {
	sync.Mutex
	world *world
}

func once(t *testing.T, first *struct {
	sync.Mutex
	world *world
}, begin func() *world) *world {
	first.Lock()
	defer first.Unlock()
	if first.world == nil {
		w := begin()
		w.mustUp()
		first.world = w
	}
	return first.world.copy(t)
}

// set is `pulumi config set`.
func (w *world) set(key, value string) { w.config["openclaw:"+key] = value }

// note writes down what happens; mu is held.
func (w *world) note(what string) { w.happened = append(w.happened, what) }

// result is what one run of Pulumi did.
type result struct {
	t        *testing.T
	err      error
	steps    []step
	happened []string // Azure and commands, in order; nothing in a preview but looks
	messages []string // on the console: severity and text
	texts    []string // everything else that an event shows in plain text
	outputs  resource.PropertyMap
}

// step is one of the engine's: what is done to which resource.
type step struct{ op, label string }

// label names a resource in expectations: a command by its name alone, one of Azure's by its type too, since a rule and
// a layer may share a name.
func label(urn resource.URN) string {
	if module, of, found := strings.Cut(string(urn.Type()), "azure-native:"); found && module == "" {
		_, kind, _ := strings.Cut(of, ":")
		return kind + " " + urn.Name()
	}
	return urn.Name()
}

// changes are the steps that are more than reading and finding the same.
func (r *result) changes() []string {
	var changes []string
	for _, s := range r.steps {
		if s.op != "same" && s.op != "read" {
			changes = append(changes, s.op+" "+s.label)
		}
	}
	return changes
}

// said are the messages of a severity.
func (r *result) said(severity string) []string {
	var said []string
	for _, m := range r.messages {
		if text, ok := strings.CutPrefix(m, severity+": "); ok {
			said = append(said, text)
		}
	}
	return said
}

type option func(*engine.UpdateOptions)

func (w *world) up(options ...option) *result      { return w.run(engine.Update, false, options...) }
func (w *world) preview(options ...option) *result { return w.run(engine.Update, true, options...) }
func (w *world) refresh() *result                  { return w.run(engine.Refresh, false) }
func (w *world) destroy() *result                  { return w.run(engine.Destroy, false) }

func continueOnError(o *engine.UpdateOptions) { o.ContinueOnError = true }
func withRefresh(o *engine.UpdateOptions)     { o.Refresh = true }

// target is --target of the resource with that label.
func (w *world) target(wanted string) option {
	return targets(string(w.resources()[wanted].URN))
}

// targets are --target of URNs, or of patterns of them.
func targets(urns ...string) option {
	return func(o *engine.UpdateOptions) { o.Targets = deploy.NewUrnTargets(urns) }
}

// mustUp is `pulumi up` that succeeds, and after which `pulumi preview --expect-no-changes` does.
func (w *world) mustUp(options ...option) *result {
	w.t.Helper()
	r := w.up(options...)
	if r.err != nil {
		w.t.Fatalf("up: %v\n%s", r.err, strings.Join(r.messages, "\n"))
	}
	w.quiet()
	return r
}

// quiet fails unless a preview finds nothing to change and nothing to say.
func (w *world) quiet() {
	w.t.Helper()
	r := w.preview()
	if r.err != nil || len(r.changes()) > 0 || len(r.messages) > 0 {
		w.t.Errorf("preview --expect-no-changes: %v, changes %q, messages %q", r.err, r.changes(), r.messages)
	}
}

func (w *world) run(op framework.TestOp, dryRun bool, options ...option) *result {
	w.t.Helper()
	w.happened, w.tried = nil, ""
	r := &result{t: w.t}
	opts := framework.TestUpdateOptions{T: w.t, SkipDisplayTests: true}
	for _, o := range options {
		o(&opts.UpdateOptions)
	}
	var host plugin.Host
	opts.HostFactory = func(_ context.Context, d, status diag.Sink, _ plugin.DebugContext) (plugin.Host, error) {
		language := &languageHost{LanguageRuntime: deploytest.NewLanguageRuntime(nil), world: w}
		host = deploytest.NewPluginHost(d, status, language,
			deploytest.NewProviderLoader("azure-native", semver.MustParse("2.90.0"), func() (plugin.Provider, error) { return w.azure.provider(), nil }),
			deploytest.NewProviderLoader("command", semver.MustParse("1.2.1"), func() (plugin.Provider, error) { return w.commands.provider(), nil }))
		language.engine = host.ServerAddr()
		return host, nil
	}
	plan := framework.TestPlan{Project: w.project, Stack: w.stack, Config: w.configMap(), Decrypter: config.Base64Crypter}
	state, err := op.Run(plan.GetProject(), plan.GetTarget(w.t, w.state), opts, dryRun, w.backend(),
		func(_ workspace.Project, _ deploy.Target, _ engine.JournalEntries, events []engine.Event, err error) error {
			r.read(events)
			return err
		})
	if host != nil {
		if err := host.Close(); err != nil {
			w.t.Errorf("close the plugin host: %v", err)
		}
	}
	r.err, r.happened = err, w.happened
	if !dryRun {
		if state == nil {
			w.t.Fatalf("no state is left: %v", err)
		}
		w.state = state
	}
	r.outputs = w.outputs()
	if places := w.leaks(r); len(places) > 0 {
		w.t.Errorf("secrets in plain text: %q", places)
	}
	return r
}

func (w *world) configMap() config.Map {
	m := config.Map{}
	for key, value := range w.config {
		m[config.MustParseKey(key)] = config.NewValue(value)
	}
	for key, object := range w.secrets {
		var members map[string]string
		if err := json.Unmarshal([]byte(object), &members); err != nil {
			w.t.Fatal(err)
		}
		sealed := map[string]any{}
		for name, value := range members {
			sealed[name] = map[string]string{"secure": base64.StdEncoding.EncodeToString([]byte(value))}
			w.canaries = append(w.canaries, value)
		}
		text, err := json.Marshal(sealed)
		if err != nil {
			w.t.Fatal(err)
		}
		m[config.MustParseKey(key)] = config.NewSecureObjectValue(string(text))
	}
	return m
}

// backend answers the program's reference to its own stack from the state.
func (w *world) backend() deploy.BackendClient {
	own := func(name string) error {
		if want := "organization/" + w.project + "/" + w.stack; name != want {
			return fmt.Errorf("stack %q, want %q", name, want)
		}
		return nil
	}
	return &deploytest.BackendClient{
		GetStackOutputsF: func(_ context.Context, name string, _ func(error) error) (property.Map, error) {
			return resource.FromResourcePropertyMap(w.outputs()), own(name)
		},
		GetStackResourceOutputsF: func(_ context.Context, name string) (property.Map, error) {
			of := map[string]property.Value{}
			if w.state != nil {
				for _, r := range w.state.Resources {
					of[string(r.URN)] = property.New(map[string]property.Value{
						"type": property.New(string(r.Type)), "outputs": property.New(resource.FromResourcePropertyMap(r.Outputs))})
				}
			}
			return property.NewMap(of), own(name)
		},
	}
}

// outputs are the stack's.
func (w *world) outputs() resource.PropertyMap {
	if w.state != nil {
		for _, r := range w.state.Resources {
			if r.Type == resource.RootStackType {
				return r.Outputs
			}
		}
	}
	return resource.PropertyMap{}
}

// resources are those in the state that a provider made, by label.
func (w *world) resources() map[string]*resource.State {
	found := map[string]*resource.State{}
	for _, r := range w.state.Resources {
		if r.Custom && !strings.HasPrefix(string(r.Type), "pulumi:") {
			found[label(r.URN)] = r
		}
	}
	return found
}

// inputs are a resource's, as a person would write them.
func (w *world) inputs(label string) map[string]any {
	w.t.Helper()
	r, ok := w.resources()[label]
	if !ok {
		w.t.Fatalf("no resource %q", label)
	}
	return plain(r.Inputs).Mappable()
}

// languageHost runs the program as Pulumi's language host for Go does, with main's part in this process.
type languageHost struct {
	plugin.LanguageRuntime
	world  *world
	engine string
}

func (l *languageHost) Run(_ context.Context, info plugin.RunInfo) (string, bool, error) {
	values := map[string]string{}
	for key, value := range info.Config {
		values[key.String()] = value
	}
	var secret []string
	for _, key := range info.ConfigSecretKeys {
		secret = append(secret, key.String())
	}
	r := &run{peer: l.world.peer}
	err := pulumi.RunErr(r.program, func(i *pulumi.RunInfo) {
		i.Project, i.Stack, i.Organization = info.Project, info.Stack, info.Organization
		i.Config, i.ConfigSecretKeys = values, secret
		i.RootDirectory = l.world.t.TempDir() // another one for each run
		i.DryRun, i.Parallel = info.DryRun, info.Parallel
		i.MonitorAddr, i.EngineAddr = info.MonitorAddress, l.engine
		r.info, r.doors = *i, otherDoors{l.world}
	})
	r.doors.Close()
	return "", err != nil, nil // exit status 32: it has been reported
}

// read takes what a person or a log would see of a run.
func (r *result) read(events []engine.Event) {
	seen := func(m engine.StepEventMetadata) {
		for _, s := range []*engine.StepEventStateMetadata{m.Old, m.New, m.Res} {
			if s != nil {
				r.texts = append(r.texts, plainTexts(s.Inputs)...)
				r.texts = append(r.texts, plainTexts(s.Outputs)...)
			}
		}
	}
	for _, event := range events {
		switch p := event.Payload().(type) {
		case engine.DiagEventPayload:
			if text := strings.TrimSpace(p.Message); p.Severity != diag.Debug && !p.Ephemeral {
				r.messages = append(r.messages, string(p.Severity)+": "+colourless(text))
			} else {
				r.texts = append(r.texts, text)
			}
		case engine.StdoutEventPayload:
			r.texts = append(r.texts, p.Message)
		case engine.ResourcePreEventPayload:
			if !isProvider(p.Metadata.Type) {
				r.steps = append(r.steps, step{string(p.Metadata.Op), label(p.Metadata.URN)})
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

// remember makes canaries of every secret in made keys.
func (w *world) remember(text string) {
	var tree any
	if err := json.Unmarshal([]byte(text), &tree); err != nil {
		w.t.Errorf("made keys: %v", err)
		return
	}
	secret := []string{"private", "preshared", "plain", "hash", "gatewayToken"}
	var walk func(name string, node any)
	walk = func(name string, node any) {
		switch v := node.(type) {
		case map[string]any:
			for key, child := range v {
				walk(key, child)
			}
		case string:
			if !slices.Contains(secret, name) {
				return
			}
			if lines := strings.Split(strings.TrimSpace(v), "\n"); len(lines) > 2 {
				v = lines[len(lines)-2] // a PEM in any wrapping; its first lines are every key's
			}
			w.canaries = append(w.canaries, v)
		}
	}
	walk("", tree)
	if stack, err := keys.ParseStack(text); err == nil {
		w.canaries = append(w.canaries, stack.BackupKey())
	}
}

// leaks are the places where a secret stands in plain text: in the state, in an event or a message of the run, in its
// error.
func (w *world) leaks(r *result) []string {
	where := map[string][]string{"messages": r.messages, "events": r.texts, "error": {fmt.Sprint(r.err)}, "log of what happened": r.happened}
	if w.state != nil {
		for _, s := range w.state.Resources {
			where["inputs of "+label(s.URN)] = plainTexts(s.Inputs)
			where["outputs of "+label(s.URN)] = plainTexts(s.Outputs)
			where["id of "+label(s.URN)] = append([]string{string(s.ID)}, s.InitErrors...)
		}
	}
	var places []string
	for place, texts := range where {
		leaks := func(text string) bool {
			decoded, err := base64.StdEncoding.DecodeString(text)
			return slices.ContainsFunc(w.canaries, func(canary string) bool {
				return strings.Contains(text, canary) || err == nil && strings.Contains(string(decoded), canary)
			})
		}
		if slices.ContainsFunc(texts, leaks) {
			places = append(places, place)
		}
	}
	return sorted(places)
}

// plainTexts are all texts in a map of properties that no secret encloses.
func plainTexts(m resource.PropertyMap) []string {
	var texts []string
	var walk func(v resource.PropertyValue)
	walk = func(v resource.PropertyValue) {
		switch {
		case v.IsSecret(), v.IsOutput() && v.OutputValue().Secret:
		case v.IsOutput():
			walk(v.OutputValue().Element)
		case v.IsString():
			texts = append(texts, v.StringValue())
		case v.IsArray():
			for _, item := range v.ArrayValue() {
				walk(item)
			}
		case v.IsObject():
			for key, item := range v.ObjectValue() {
				texts = append(texts, string(key))
				walk(item)
			}
		}
	}
	walk(resource.NewProperty(m))
	return texts
}

// inOrder fails unless all of these happened, each after the one before.
func (r *result) inOrder(wanted ...string) {
	r.t.Helper()
	at := -1
	for _, want := range wanted {
		i := slices.Index(r.happened, want)
		switch {
		case i < 0:
			r.t.Errorf("%q did not happen, but\n  %s", want, strings.Join(r.happened, "\n  "))
			return
		case i < at:
			r.t.Errorf("%q happened too early:\n  %s", want, strings.Join(r.happened, "\n  "))
			return
		}
		at = i
	}
}

// each puts a word before and behind every layer.
func each(before string, names []string, behind string) []string {
	var all []string
	for _, name := range names {
		all = append(all, before+name+behind)
	}
	return all
}

// fired are the names under which the break-glass was fired, as they stand among what happened.
func (r *result) fired() []string {
	return slices.DeleteFunc(slices.Clone(r.happened), func(s string) bool { return !strings.HasPrefix(s, "fire ") })
}

// changesOfUpdate are changes without the steps of a refresh that goes before.
func (r *result) changesOfUpdate() []string {
	return slices.DeleteFunc(r.changes(), func(s string) bool { return strings.HasPrefix(s, "refresh ") })
}

// made are the stack's keys that were made first, second and so on.
func (w *world) made(n int) *keys.Stack {
	w.t.Helper()
	if w.commands.made < n {
		w.t.Fatalf("%d stacks' keys were made, not %d", w.commands.made, n)
	}
	stack := &keys.Stack{} // not parsed: to check a password's hash takes a tenth of a second
	if err := json.Unmarshal([]byte(generatedKeys(n)), stack); err != nil {
		w.t.Fatal(err)
	}
	return stack
}

func (w *world) localPort() string { return fmt.Sprint(reach.LocalPort(w.project, w.stack)) }

// copy is the same world for another test.
func (w *world) copy(t *testing.T) *world {
	c := newWorld(t)
	c.config, c.secrets, c.home = maps.Clone(w.config), maps.Clone(w.secrets), w.home
	c.state, c.canaries = framework.CloneSnapshot(t, w.state), slices.Clone(w.canaries)
	c.azure.exists, c.azure.machine, c.azure.address = maps.Clone(w.azure.exists), w.azure.machine, w.azure.address
	c.commands.made = w.commands.made
	if w.guest != nil {
		g := *w.guest
		g.layers = map[string]*record{}
		for name, on := range w.guest.layers {
			g.layers[name] = &record{on.token, on.digest}
		}
		c.guest = &g
	}
	return c
}
