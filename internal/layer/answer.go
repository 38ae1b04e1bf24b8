package layer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
)

// ParseRefusal reads the answer to Confirm: why the host does not take it. It is final where no other confirmation of
// this change will be taken either.
func ParseRefusal(stdout []byte) (reason string, final bool) {
	var answer struct{ Refused, Reason string }
	if json.Unmarshal([]byte(LastLine(string(stdout))), &answer) != nil {
		return "", false
	}
	return shown(answer.Reason), answer.Refused == "restarted" || answer.Refused == "too-late"
}

// Observation is the applier's answer to Observe.
type Observation struct {
	Layers map[string]struct {
		Token  string  `json:"token"`
		Digest string  `json:"digest"`
		Drift  []Drift `json:"drift"`
	} `json:"layers"`
	Notes    []string `json:"notes"` // worth knowing, and no drift
	Warnings []string `json:"warnings"`
	Pending  *struct {
		Layer string `json:"layer"`
		Token string `json:"token"`
	} `json:"pending"`
	LastRollback *struct {
		Layer  string `json:"layer"`
		Token  string `json:"token"`
		Reason string `json:"reason"`
	} `json:"lastRollback"`
}

// Account tells how a layer differs from what it declared, a line for each difference; empty where it does not.
func (o *Observation) Account(name string) string {
	drift := o.Layers[name].Drift
	if len(drift) == 0 {
		return ""
	}
	account := fmt.Sprintf("the host differs from what layer %q declared:", name)
	for _, d := range drift {
		account += "\n  " + d.String()
	}
	return account
}

// Left tells what earlier runs left on the host undone.
func (o *Observation) Left() (left []string) {
	if waits := o.Pending; waits != nil {
		left = append(left, fmt.Sprintf("a change of layer %q from an earlier run waits on the host for a confirmation that did not come: `pulumi up` takes it back and tries again", waits.Layer))
	}
	if undone := o.LastRollback; undone != nil {
		left = append(left, fmt.Sprintf("the host took back its last change, of layer %q: %s; `pulumi up` tries it again", undone.Layer, undone.Reason))
	}
	return left
}

// Proof is the applier's answer to Prove where all is well.
type Proof struct {
	Proven   []string       `json:"proven"`
	At       string         `json:"at"`       // the host's clock, in words
	Settings map[string]int `json:"settings"` // how many were read back of each layer
	NotShown []string       `json:"notShown"` // kernel settings that this host's kernel cannot be told
	Warnings []string       `json:"warnings"`
}

// ParseProof reads the standard output of a Prove that succeeded.
func ParseProof(stdout string) (*Proof, error) {
	var p Proof
	if err := json.Unmarshal([]byte(LastLine(stdout)), &p); err != nil {
		return nil, fmt.Errorf("read the host's proof: %w", err)
	}
	p.At = shown(p.At)
	shownAll(p.NotShown)
	shownAll(p.Warnings)
	return &p, nil
}

// LastLine is where the applier's answer stands, in its standard output, and what failed, in its standard error.
func LastLine(output string) string {
	text := strings.TrimSpace(output)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// Drift is one difference between what was declared and what is effective.
type Drift struct {
	Subject string `json:"subject"`
	Want    string `json:"want"`
	Got     string `json:"got"`
}

func (d Drift) String() string {
	one := strings.NewReplacer("\n", "; ")
	return shown(fmt.Sprintf("%s: expected %s, found %s", one.Replace(d.Subject), one.Replace(d.Want), one.Replace(d.Got)))
}

// shown is text of the host's for a terminal, which obeys some characters: the host may be somebody else's by now.
func shown(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && r != '\n' && r != '\t' {
			return '?'
		}
		return r
	}, text)
}

// ErrorLine is the last line of what a command on the host said went wrong.
func ErrorLine(stderr string) string { return shown(LastLine(stderr)) }

func shownAll(texts []string) {
	for i, text := range texts {
		texts[i] = strings.ReplaceAll(shown(text), "\n", " ")
	}
}

// ParseObservation reads the last line of the applier's standard output.
func ParseObservation(stdout []byte) (*Observation, error) {
	var o Observation
	if err := json.Unmarshal([]byte(LastLine(string(stdout))), &o); err != nil {
		return nil, fmt.Errorf("read the host's observation: %w", err)
	}
	shownAll(o.Notes)
	shownAll(o.Warnings)
	if o.LastRollback != nil {
		o.LastRollback.Reason = shown(o.LastRollback.Reason)
	}
	return &o, nil
}
