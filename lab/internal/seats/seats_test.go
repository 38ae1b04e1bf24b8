package seats

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestUrgentFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(2)
		first, second := r.Take(9, "first"), r.Take(9, "first")
		var order []int
		var all sync.WaitGroup
		for _, rank := range []int{5, 1, 5, 3} {
			all.Go(func() {
				leave := r.Take(rank, "others")
				order = append(order, rank)
				time.Sleep(time.Second)
				leave()
			})
			synctest.Wait()
		}
		if len(order) > 0 {
			t.Errorf("%v are seated in a full room", order)
		}
		time.Sleep(time.Minute)
		first()
		first() // it has left: the second's seat is not free
		all.Wait()
		if want := []int{1, 3, 5, 5}; !slices.Equal(order, want) {
			t.Errorf("seated in the order %v, want %v", order, want)
		}
		second()
		taken := r.Taken()
		if taken["first"] != 2*time.Minute+4*time.Second || taken["others"] != 4*time.Second {
			t.Errorf("taken: %v", taken)
		}
	})
}
