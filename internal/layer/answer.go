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
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return '?'
		}
		return r
	}, text)
}

func shownAll(texts []string) {
	for i, text := range texts {
		texts[i] = shown(text)
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
