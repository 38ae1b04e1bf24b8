package scenarios

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestFaults is the fault suite: each scenario breaks something in the middle of a run, and then looks at what the run
// said, which doors are open, and that the next run brings everything to where it was to be. The variable FAULTS
// says which: nothing for those that `make test` runs, all, or a regular expression of names. With FAULTS_KEEP the labs
// stay, and the next run takes their snapshots up: to work on a scenario.
func TestFaults(t *testing.T) {
	chosen := choose(t, os.Getenv("FAULTS"))
	prefix := os.Getenv("FAULTS_LAB")
	if prefix == "" {
		prefix = "faults"
	}
	lanes := make(chan *lane, 2)
	for i := range cap(lanes) {
		lanes <- newLane(t, fmt.Sprintf("%s%d", prefix, i+1))
	}
	results := &table{}
	t.Cleanup(func() { fmt.Print(results) })
	for _, f := range chosen {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			l := <-lanes
			defer func() { lanes <- l }()
			if !l.ready {
				l.prepare(t)
			}
			own := *l.one
			own.t = t
			x := &trial{one: &own}
			if f.from != bare {
				x.keys = l.keys
			}
			start := time.Now()
			defer func() {
				if t.Failed() {
					t.Logf("the host's journal:\n%s", x.at("vm", "journalctl", "-n", "40", "--no-pager").stdout)
				}
				x.end()
				results.add(row{f.name, !t.Failed(), x.doors, time.Since(start)})
			}()
			x.restore(f.from)
			f.run(x)
		})
	}
}

// choose gives the scenarios that were asked for.
func choose(t *testing.T, wanted string) []scenario {
	var chosen []scenario
	pattern, err := regexp.Compile(wanted)
	if err != nil {
		t.Fatalf("FAULTS: %v", err)
	}
	for _, f := range scenarios() {
		switch wanted {
		case "":
			if !f.gate {
				continue
			}
		case "all":
		default:
			if !pattern.MatchString(f.name) {
				continue
			}
		}
		chosen = append(chosen, f)
	}
	if len(chosen) == 0 {
		t.Fatalf("FAULTS: no scenario is named like %q", wanted)
	}
	return chosen
}

// row is one line of the table.
type row struct {
	name   string
	passed bool
	doors  string // open after the fault
	took   time.Duration
}

type table struct {
	mu   sync.Mutex
	rows []row
}

func (r row) String() string {
	verdict, doors := "FAIL", r.doors
	if r.passed {
		verdict = "PASS"
	}
	if doors == "" {
		doors = "none"
	}
	return fmt.Sprintf("%-58s %s  %-17s %5.0f\n", r.name, verdict, strings.ReplaceAll(doors, " ", "+"), r.took.Seconds())
}

func (s *table) add(r row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows = append(s.rows, r)
	fmt.Print(r)
}

func (s *table) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	failed := 0
	fmt.Fprintf(&b, "\n%-58s %s  %-17s %s\n", "FAULT", "    ", "DOORS OPEN", "SECONDS")
	for _, r := range s.rows {
		b.WriteString(r.String())
		if !r.passed {
			failed++
		}
	}
	fmt.Fprintf(&b, "%d faults, %d of them FAIL\n", len(s.rows), failed)
	return b.String()
}
