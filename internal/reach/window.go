package reach

import (
	"fmt"
	"sync"
	"time"

	"openclaw-azure/internal/hint"
)

const (
	// lostAfter is how long a door answers nothing before it counts as lost: sshd and the firewall restart within it.
	lostAfter = 8 * time.Second
	// putBackTime is what the host may take, after its window, until the old state is in force again.
	putBackTime = 10 * time.Second
)

// window tells what becomes of the door while an armed change waits to be confirmed through it.
type window struct {
	layer, door string
	seconds     int
	say         func(string)

	mu       sync.Mutex
	answered time.Time // when the door answered last, or the waiting began
	told     bool      // that the door is lost
}

// answers notes that the door answered.
func (w *window) answers(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.told {
		w.say(fmt.Sprintf("layer %s: the %s door answers again", w.layer, w.door))
	}
	w.answered, w.told = now, false
}

// silent notes that it did not, and tells once that it is lost.
func (w *window) silent(now time.Time, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Sub(w.answered) >= lostAfter {
		w.tell(now, err)
	}
}

// lost tells once that the door is lost.
func (w *window) lost(now time.Time, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tell(now, err)
}

// tell: the host counts from the end of its change, which this side has not heard of: it was at work already, so that
// the time said is the latest.
func (w *window) tell(now time.Time, err error) {
	if w.told {
		return
	}
	w.told = true
	fact := hint.Fact(err) // a hint is about a door that does not open, and this is another matter
	until := now.Add(time.Duration(w.seconds)*time.Second + putBackTime)
	w.say(fmt.Sprintf("layer %s: the %s door was lost before its change was confirmed: %s"+
		"\nthe host takes back what nobody confirms: by %s it will have put itself back; it is tried on until then",
		w.layer, w.door, fact, until.UTC().Format("15:04:05 UTC")))
}
