package scenarios

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"testing"

	"openclaw-azure/lab/internal/seats"
)

// atWork lets as many labs work at once as the machine has processors, and two at least. With more, what has half a minute
// to get through a door would wait for a processor in it.
var atWork = seats.New(max(2, runtime.NumCPU()))

// Who is seated before whom: what takes longest first, what can be shared out last.
const (
	mainJobSeat = iota
	firstDeploySeat
	openClawSeat
	driftSeat
	faultsSeat
)

// takeSeat is for a test that works in one lab.
func takeSeat(t *testing.T, rank int, scenario string) {
	t.Helper()
	t.Cleanup(atWork.Take(rank, scenario))
}

// noteParts writes how long each scenario's labs were at work into the file that `make test` makes its table of.
func noteParts() error {
	path := os.Getenv("TEST_PARTS")
	if path == "" {
		return nil
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	taken := atWork.Taken()
	for _, scenario := range slices.Sorted(maps.Keys(taken)) {
		fmt.Fprintf(file, "%.0f   of these, in labs of %s\n", taken[scenario].Seconds(), scenario)
	}
	return file.Close()
}
