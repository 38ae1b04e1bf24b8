package layer

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"openclaw-azure/internal/foreign"
)

// What the host answers is read strictly: of its words those that are no more than words are of type foreign.Text, and all
// others are ones that this program knows.

// ParseRefusal reads the answer to Confirm: why the host does not take it. It is final where no other confirmation of
// this change will be taken either.
func ParseRefusal(stdout foreign.Stream) (reason foreign.Text, final bool) {
	var answer struct{ Refused, Reason foreign.Text }
	if stdout.LastLine().Decode(&answer) != nil {
		return foreign.Text{}, false
	}
	code := answer.Refused.String()
	return answer.Reason, code == "restarted" || code == "too-late"
}

// Observation is the applier's answer to Observe.
type Observation struct {
	Layers       map[string]Observed
	Notes        []foreign.Text // worth knowing, and no drift
	Warnings     []foreign.Text
	Facts        []foreign.Text
	Pending      string    // the layer of a change that waits for its confirmation; empty if there is none
	LastRollback *Rollback // nil: the host took nothing back
}

// Observed is what the host says of one layer. Token and Digest are empty where its record cannot be read.
type Observed struct {
	Token, Digest string
	Drift         []Drift
}

// Rollback is a change that the host took back.
type Rollback struct {
	Layer  string
	Reason foreign.Text
}

// Drift is one difference between what was declared and what is effective.
type Drift struct {
	Subject foreign.Text `json:"subject"`
	Want    foreign.Text `json:"want"`
	Got     foreign.Text `json:"got"`
}

func (d Drift) String() string {
	return fmt.Sprintf("%s: expected %s, found %s", d.Subject.Whole(), d.Want.Whole(), d.Got.Whole())
}

// mostDrift is how many differences an account of one layer tells.
const mostDrift = 200

// Account tells how a layer differs from what it declared, a line for each difference; empty where it does not.
func (o *Observation) Account(name string) string {
	drift := o.Layers[name].Drift
	if len(drift) == 0 {
		return ""
	}
	account := fmt.Sprintf("the host differs from what layer %q declared:", name)
	for _, d := range drift[:min(mostDrift, len(drift))] {
		account += "\n" + foreign.Mark + d.String()
	}
	if more := len(drift) - mostDrift; more > 0 {
		account += fmt.Sprintf("\nand %d more", more)
	}
	return account
}

// Left tells what earlier runs left on the host undone.
func (o *Observation) Left() (left []string) {
	if o.Pending != "" {
		left = append(left, fmt.Sprintf("a change of layer %q from an earlier run waits on the host for a confirmation that did not come: `pulumi up` takes it back and tries again", o.Pending))
	}
	if undone := o.LastRollback; undone != nil {
		left = append(left, fmt.Sprintf("the host took back its last change, of layer %q: %s; `pulumi up` tries it again", undone.Layer, undone.Reason.Whole()))
	}
	return left
}

// mostWords is how many notes, or warnings, a host may have: more is no account for people.
const mostWords = 100

// ParseObservation reads the answer to Observe, the last line of the applier's standard output.
func ParseObservation(stdout foreign.Stream) (*Observation, error) {
	o, err := parseObservation(stdout)
	if err != nil {
		return nil, fmt.Errorf("read the host's observation: %w", err)
	}
	return o, nil
}

func parseObservation(stdout foreign.Stream) (*Observation, error) {
	var wire *struct {
		Layers map[foreign.Text]struct {
			Token  foreign.Text `json:"token"`
			Digest foreign.Text `json:"digest"`
			Drift  []Drift      `json:"drift"`
		} `json:"layers"`
		Notes    []foreign.Text `json:"notes"`
		Warnings []foreign.Text `json:"warnings"`
		Facts    []foreign.Text `json:"facts"`
		Pending  *struct {
			Layer foreign.Text `json:"layer"`
		} `json:"pending"`
		LastRollback *struct {
			Layer  foreign.Text `json:"layer"`
			Reason foreign.Text `json:"reason"`
		} `json:"lastRollback"`
	}
	if err := stdout.LastLine().Decode(&wire); err != nil {
		return nil, err
	}
	if wire == nil {
		return nil, errors.New("there is none")
	}
	o := &Observation{Layers: map[string]Observed{}, Notes: some(wire.Notes), Warnings: some(wire.Warnings), Facts: some(wire.Facts)}
	for said, on := range wire.Layers {
		name, err := oneOf(said, names)
		if err != nil {
			return nil, fmt.Errorf("layers: %w", err)
		}
		layer := Observed{Drift: on.Drift}
		if layer.Token, err = word(on.Token, token); err != nil {
			return nil, fmt.Errorf("layers.%s.token: %w", name, err)
		}
		if layer.Digest, err = word(on.Digest, digest); err != nil {
			return nil, fmt.Errorf("layers.%s.digest: %w", name, err)
		}
		o.Layers[name] = layer
	}
	var err error
	if waits := wire.Pending; waits != nil {
		if o.Pending, err = oneOf(waits.Layer, names); err != nil {
			return nil, fmt.Errorf("pending.layer: %w", err)
		}
	}
	if undone := wire.LastRollback; undone != nil {
		o.LastRollback = &Rollback{Reason: undone.Reason}
		if o.LastRollback.Layer, err = oneOf(undone.Layer, names); err != nil {
			return nil, fmt.Errorf("lastRollback.layer: %w", err)
		}
	}
	return o, nil
}

// Proof is the applier's answer to Prove where all is well.
type Proof struct {
	At       time.Time      // by the host's clock
	Settings map[string]int // how many were read back of each layer
	NotShown []string       // kernel settings that this host's kernel cannot be told
	Warnings []foreign.Text
	Facts    []foreign.Text
}

// proofClock is how the host writes a proof's time.
const proofClock = "2006-01-02 15:04:05 UTC"

// mostSettings is more than a layer has.
const mostSettings = 100_000

// ParseProof reads the standard output of a Prove that succeeded. mayLack are the kernel settings that were declared and that
// a kernel need not have.
func ParseProof(stdout foreign.Stream, mayLack []string) (*Proof, error) {
	p, err := parseProof(stdout, mayLack)
	if err != nil {
		return nil, fmt.Errorf("read the host's proof: %w", err)
	}
	return p, nil
}

func parseProof(stdout foreign.Stream, mayLack []string) (*Proof, error) {
	var wire *struct {
		Proven   []foreign.Text       `json:"proven"`
		At       foreign.Text         `json:"at"`
		Settings map[foreign.Text]int `json:"settings"`
		NotShown []foreign.Text       `json:"notShown"`
		Warnings []foreign.Text       `json:"warnings"`
		Facts    []foreign.Text       `json:"facts"`
	}
	if err := stdout.LastLine().Decode(&wire); err != nil {
		return nil, err
	}
	if wire == nil {
		return nil, errors.New("there is none")
	}
	p := &Proof{Settings: map[string]int{}, Warnings: some(wire.Warnings), Facts: some(wire.Facts)}
	for _, said := range wire.Proven {
		if _, err := oneOf(said, names); err != nil {
			return nil, fmt.Errorf("proven: %w", err)
		}
	}
	var err error
	if p.At, err = time.Parse(proofClock, wire.At.String()); err != nil {
		return nil, fmt.Errorf("at: %q is not a time", wire.At)
	}
	for said, count := range wire.Settings {
		name, err := oneOf(said, names)
		if err != nil {
			return nil, fmt.Errorf("settings: %w", err)
		}
		if count < 0 || count > mostSettings {
			return nil, fmt.Errorf("settings.%s: %d is not a number of settings", name, count)
		}
		p.Settings[name] = count
	}
	for _, said := range wire.NotShown {
		key, err := oneOf(said, mayLack)
		if err != nil {
			return nil, fmt.Errorf("notShown: %w", err)
		}
		p.NotShown = append(p.NotShown, key)
	}
	return p, nil
}

var (
	token  = regexp.MustCompile(`^([0-9a-f]{16})?$`)
	digest = regexp.MustCompile(`^([0-9a-f]{64})?$`)
)

func word(said foreign.Text, wanted *regexp.Regexp) (string, error) {
	if text := said.String(); wanted.MatchString(text) {
		return text, nil
	}
	return "", fmt.Errorf("%q is not of the form %s", said, wanted)
}

func oneOf(said foreign.Text, known []string) (string, error) {
	if i := slices.Index(known, said.String()); i >= 0 {
		return known[i], nil
	}
	return "", fmt.Errorf("%q is none that this program knows", said)
}

// some are the texts that say anything, and not too many.
func some(all []foreign.Text) []foreign.Text {
	all = slices.DeleteFunc(all, foreign.Text.Empty)
	return all[:min(mostWords, len(all))]
}
