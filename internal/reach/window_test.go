package reach

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What a run says of the door while a change waits for its confirmation.
func TestWindow(t *testing.T) {
	start := time.Date(2026, 1, 2, 19, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	said := []string{}
	w := &window{layer: "ssh", door: "tunnel", seconds: 120, say: func(line string) { said = append(said, line) }, answered: start}
	quiet := errors.New("tunnel door 10.100.0.1:2222: WireGuard is silent\nhint: whether the command did its work is not known")

	equal := func(what string, want, got []string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	w.silent(at(3), quiet) // sshd restarts
	w.answers(at(4))
	equal("a short silence", []string{}, said)

	w.silent(at(12), quiet)
	w.silent(at(24), quiet)
	equal("a lost door, told once", []string{`layer ssh: the tunnel door was lost before its change was confirmed: tunnel door 10.100.0.1:2222: WireGuard is silent
the host takes back what nobody confirms: by 19:02:22 UTC it will have put itself back; it is tried on until then`}, said)

	w.answers(at(30))
	w.answers(at(31))
	equal("the door is back", []string{"layer ssh: the tunnel door answers again"}, said[1:])
}
