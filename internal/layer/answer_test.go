package layer

import (
	"strings"
	"testing"
	"unicode"
)

func TestParseObservation(t *testing.T) {
	o, err := ParseObservation([]byte("a greeting\n" + `{"layers":{"ssh":{"token":"t","digest":"d","drift":[{"subject":"port","want":"2222","got":"22"}]}},` +
		`"pending":{"layer":"base","token":"u"},"lastRollback":null}` + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	ssh := o.Layers["ssh"]
	if ssh.Token != "t" || ssh.Digest != "d" || len(ssh.Drift) != 1 || o.Pending == nil || o.Pending.Layer != "base" || o.LastRollback != nil {
		t.Errorf("%+v", o)
	}
	if got, want := ssh.Drift[0].String(), "port: expected 2222, found 22"; got != want {
		t.Errorf("drift %q, want %q", got, want)
	}
	if _, err := ParseObservation([]byte("sudo: a password is required\n")); err == nil {
		t.Error("a text that is no observation was read")
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
	"a greeting\n" + `{"layers":{"ssh":{"token":"t","digest":"d","drift":[{"subject":"port","want":"2222","got":"22\u001b[2J"}]}},"pending":{"layer":"base","token":"u"},"lastRollback":{"layer":"base","token":"u","reason":"no\u0007 confirmation"}}`,
	`{"layers":null,"pending":null,"lastRollback":null}`,
	`{"layers":{"":{"drift":[null,{"subject":"\u009b1A\n\u0000"}]}}}`,
	`{"layers":{"ssh":{"drift":{"subject":1}}}}`,
	`{"proven":["base"],"at":"2026-11-27 10:00:00 UTC","settings":{"base":12},"notShown":["kernel.sysrq"]}`,
	`{"proven":null,"at":"\u001b]0;title\u0007","settings":{"base":-1e9},"notShown":["\u001b[31m",""]}`,
	`{"confirmed":false,"refused":"restarted","reason":"the host restarted since the change"}`,
	`{"confirmed":false,"refused":"too-late","reason":"\u001b[2J\r"}`,
	`{"refused":7,"reason":{}}`,
	strings.Repeat(`{"layers":`, 100),
}

func seed(f *testing.F) {
	for _, text := range seeds {
		f.Add(text)
	}
}

func isPlain(t *testing.T, what, text string) {
	t.Helper()
	if i := strings.IndexFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }); i >= 0 {
		t.Errorf("%s has a control character in it: %q", what, text)
	}
}

func FuzzParseObservation(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, stdout string) {
		o, err := ParseObservation([]byte(stdout))
		if (o == nil) == (err == nil) {
			t.Fatalf("%v, %v", o, err)
		}
		if err != nil {
			return
		}
		for _, on := range o.Layers {
			for _, drift := range on.Drift {
				text := drift.String()
				isPlain(t, "a drift", text)
				if strings.Contains(text, "\n") {
					t.Errorf("a drift takes more than its line: %q", text)
				}
			}
		}
		if o.LastRollback != nil {
			isPlain(t, "a reason", o.LastRollback.Reason)
		}
	})
}

func FuzzParseProof(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, stdout string) {
		p, err := ParseProof(stdout)
		if (p == nil) == (err == nil) {
			t.Fatalf("%v, %v", p, err)
		}
		if err != nil {
			return
		}
		isPlain(t, "the time", p.At)
		for _, setting := range p.NotShown {
			isPlain(t, "a setting", setting)
		}
	})
}

func FuzzParseRefusal(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, stdout string) {
		reason, final := ParseRefusal([]byte(stdout))
		isPlain(t, "a reason", reason)
		if final && !strings.Contains(stdout, "restarted") && !strings.Contains(stdout, "too-late") && !strings.Contains(stdout, `\u`) {
			t.Errorf("taken for final: %q", stdout)
		}
	})
}
