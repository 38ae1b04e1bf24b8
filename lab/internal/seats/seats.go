// Package seats lets so many work at once and no more, the more urgent first.
package seats

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Room has a number of seats.
type Room struct {
	mu      sync.Mutex
	free    int
	waiting []claim
	taken   map[string]time.Duration
}

type claim struct {
	rank   int
	seated chan struct{}
}

// New is a room with that many seats.
func New(seats int) *Room {
	return &Room{free: seats, taken: map[string]time.Duration{}}
}

// Take waits for a seat, and has it until the function that it returns is called. Of those who wait the lowest rank is
// seated first, and of equals who came first. What for names the account that the time goes to.
func (r *Room) Take(rank int, whatFor string) (leave func()) {
	c := claim{rank, make(chan struct{})}
	r.mu.Lock()
	r.waiting = append(r.waiting, c)
	r.seat()
	r.mu.Unlock()
	<-c.seated
	start := time.Now()
	return sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.taken[whatFor] += time.Since(start)
		r.free++
		r.seat()
	})
}

// seat gives free seats to those who wait.
func (r *Room) seat() {
	slices.SortStableFunc(r.waiting, func(a, b claim) int { return cmp.Compare(a.rank, b.rank) })
	for r.free > 0 && len(r.waiting) > 0 {
		close(r.waiting[0].seated)
		r.waiting = r.waiting[1:]
		r.free--
	}
}

// Taken is how long seats were taken, by what for.
func (r *Room) Taken() map[string]time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := map[string]time.Duration{}
	for whatFor, took := range r.taken {
		taken[whatFor] = took
	}
	return taken
}
