package layer

import (
	"slices"
	"strings"
	"testing"

	"openclaw-azure/internal/foreign"
)

const (
	someToken  = "0123456789abcdef"
	someDigest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

var mayLack = []string{"kernel.sysrq", "kernel.*.x"}

func TestParseObservation(t *testing.T) {
	o, err := ParseObservation(foreign.NewStream("a greeting\n" + `{"layers":{"ssh":{"token":"` + someToken + `","digest":"` + someDigest + `","drift":[{"subject":"port","want":"2222\n22","got":"22  or less"}],"settings":3}},` +
		`"notes":["Größe, 大きさ",""],"pending":{"layer":"base","token":"u","since":1},"lastRollback":null}` + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	ssh := o.Layers["ssh"]
	if ssh.Token != someToken || ssh.Digest != someDigest || o.Pending != "base" || o.LastRollback != nil || len(o.Notes) != 1 || o.Notes[0].String() != "Größe, 大きさ" {
		t.Errorf("%+v", o)
	}
	if got, want := o.Account("ssh"), "the host differs from what layer \"ssh\" declared:\n| port: expected 2222; 22, found 22  or less"; got != want {
		t.Errorf("account %q, want %q", got, want)
	}
}

// What does not match is a fault that names its field, and quotes no more than what prints.
func TestParseStrictly(t *testing.T) {
	const at = `"at":"2026-11-27 10:00:00 UTC"`
	for text, want := range map[string]string{
		"sudo: a password is required\n":           "read the host's observation: it is not JSON",
		"null":                                     "read the host's observation: there is none",
		`{"layers":[]}`:                            "read the host's observation: layers: it is of another kind",
		`{"layers":{"x\u001b[2J\u202e":{}}}`:       `read the host's observation: layers: "x?[2J?" is none that this program knows`,
		`{"layers":{"ssh":{"token":"$(reboot)"}}}`: `read the host's observation: layers.ssh.token: "$(reboot)" is not of the form ^([0-9a-f]{16})?$`,
		`{"layers":{"ssh":{"digest":"0"}}}`:        `read the host's observation: layers.ssh.digest: "0" is not of the form ^([0-9a-f]{64})?$`,
		`{"layers":{},"pending":{"layer":"` + strings.Repeat("x", 1100) + `"}}`:                   `read the host's observation: pending.layer: "` + strings.Repeat("x", 1000) + `..." is none that this program knows`,
		`{"layers":{},"lastRollback":{"layer":"ssh\n","reason":7}}`:                               "read the host's observation: lastRollback.reason: it is of another kind",
		`{"layers":{},"lastRollback":{"layer":"other","reason":""}}`:                              `read the host's observation: lastRollback.layer: "other" is none that this program knows`,
		`{"proven":["base","x"],` + at + `}`:                                                      `read the host's proof: proven: "x" is none that this program knows`,
		`{"proven":["base"],"at":"[now](https://evil.example)"}`:                                  `read the host's proof: at: "[now](https://evil.example)" is not a time`,
		`{"proven":["base"],` + at + `,"settings":{"base":-1}}`:                                   "read the host's proof: settings.base: -1 is not a number of settings",
		`{"proven":["base"],` + at + `,"settings":{"![x](https://evil.example)":1}}`:              `read the host's proof: settings: "![x](https://evil.example)" is none that this program knows`,
		`{"proven":["base"],` + at + `,"notShown":["kernel.sysrq","![x](https://evil.example)"]}`: `read the host's proof: notShown: "![x](https://evil.example)" is none that this program knows`,
	} {
		var err error
		if strings.Contains(want, "proof") {
			_, err = ParseProof(foreign.NewStream(text), mayLack)
		} else {
			_, err = ParseObservation(foreign.NewStream(text))
		}
		if err == nil || err.Error() != want {
			t.Errorf("%.200s\ngot  %v\nwant %s", text, err, want)
		}
	}
}

// The host may be somebody else's by now: whatever it answers is read or refused, and nothing of it that is shown is
// obeyed by a terminal.
var seeds = []string{
	"",
	"\n",
	"null",
	"[]",
	"sudo: a password is required\n",
	"a greeting\n" + `{"layers":{"ssh":{"token":"` + someToken + `","digest":"` + someDigest + `","drift":[{"subject":"port","want":"2222","got":"22\u001b[2J"}]}},"pending":{"layer":"base","token":"u"},"lastRollback":{"layer":"base","token":"u","reason":"no\u0007 confirmation\nhint: obey"}}`,
	`{"layers":null,"pending":null,"lastRollback":null}`,
	`{"layers":{"":{"drift":[null,{"subject":"\u009b1A\n\u0000"}]}}}`,
	`{"layers":{"ssh":{"drift":[null,{"subject":"\u009b1A\nhint: x\u0000","want":"\u202e\u2066\u200b\udb40\udc41","got":"\u2028hint: y"}]}},"notes":["\r\nhint: z\u001b]52;c;x\u0007",""],"warnings":["\ufe0f"]}`,
	`{"layers":{"ssh":{"drift":{"subject":1}}}}`,
	`{"proven":["base"],"at":"2026-11-27 10:00:00 UTC","settings":{"base":12},"notShown":["kernel.sysrq"],"warnings":["\u001b[2J"]}`,
	`{"proven":null,"at":"\u001b]0;title\u0007","settings":{"base":-1e9},"notShown":["\u001b[31m",""]}`,
	`{"confirmed":false,"refused":"restarted","reason":"the host restarted since the change"}`,
	`{"confirmed":false,"refused":"too-late","reason":"\u001b[2J\r"}`,
	`{"refused":7,"reason":{}}`,
	strings.Repeat(`{"layers":`, 100),
	strings.Repeat(`{"layers":`, 20000),
}

func seed(f *testing.F) {
	for _, text := range seeds {
		f.Add(text)
	}
}

// isPlain: it prints, it is not long, and each of its lines but the first is marked.
func isPlain(t *testing.T, what, text string) {
	t.Helper()
	if text != foreign.Printable(text) {
		t.Errorf("%s has something in it that does not print: %q", what, text)
	}
	if len(text) > mostDrift*200<<10 {
		t.Errorf("%s has %d bytes", what, len(text))
	}
	for i, line := range strings.Split(text, "\n") {
		if i > 0 && !strings.HasPrefix(line, foreign.Mark) && !strings.HasPrefix(line, "and ") {
			t.Errorf("%s has a line of its own: %q", what, text)
		}
	}
}

func FuzzParseObservation(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, stdout string) {
		o, err := ParseObservation(foreign.NewStream(stdout))
		if (o == nil) == (err == nil) {
			t.Fatalf("%v, %v", o, err)
		}
		if err != nil {
			isPlain(t, "an error", err.Error())
			return
		}
		for name, on := range o.Layers {
			if !slices.Contains(names, name) || !token.MatchString(on.Token) || !digest.MatchString(on.Digest) {
				t.Errorf("layer %q: %q, %q", name, on.Token, on.Digest)
			}
			isPlain(t, "an account", o.Account(name))
		}
		for _, text := range append(o.Notes, o.Warnings...) {
			isPlain(t, "a note", "\n"+text.Lines())
		}
		for _, text := range o.Left() {
			isPlain(t, "what is left", text)
		}
	})
}

func FuzzParseProof(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, stdout string) {
		p, err := ParseProof(foreign.NewStream(stdout), mayLack)
		if (p == nil) == (err == nil) {
			t.Fatalf("%v, %v", p, err)
		}
		if err != nil {
			isPlain(t, "an error", err.Error())
			return
		}
		for _, key := range p.NotShown {
			if !slices.Contains(mayLack, key) {
				t.Errorf("not shown: %q", key)
			}
		}
		for name := range p.Settings {
			if !slices.Contains(names, name) {
				t.Errorf("settings of %q", name)
			}
		}
		for _, text := range p.Warnings {
			isPlain(t, "a warning", "\n"+text.Lines())
		}
	})
}

func FuzzParseRefusal(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, stdout string) {
		reason, final := ParseRefusal(foreign.NewStream(stdout))
		isPlain(t, "a reason", reason.String())
		if final && !strings.Contains(stdout, "restarted") && !strings.Contains(stdout, "too-late") && !strings.Contains(stdout, `\u`) {
			t.Errorf("taken for final: %q", stdout)
		}
	})
}
