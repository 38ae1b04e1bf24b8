package scenarios

import (
	"fmt"
	"os"
	"regexp"
	"slices"
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
	if len(chosen) > 1 {
		deployed.promise()
		defer deployed.give("") // where there is nothing to take over, others deploy for themselves
	}
	t.Parallel()
	results, left := &table{}, &queue{scenarios: chosen}
	defer func() { fmt.Print(results) }()
	var lanes sync.WaitGroup
	defer lanes.Wait()
	work := func(l *lane) {
		for f, ok := left.next(l.at); ok; f, ok = left.next(l.at) {
			rank := faultsSeat
			if l.first && !l.kept {
				rank = firstDeploySeat
			}
			leave := atWork.Take(rank, "Faults")
			t.Run(f.name, func(t *testing.T) { l.run(t, f, results) })
			leave()
		}
	}
	first := newLane(t, prefix+"1")
	if len(chosen) == 1 {
		work(first)
		return
	}
	second := newLane(t, prefix+"2")
	first.first, second.second = true, true
	lanes.Go(func() {
		defer deployed.give("")
		work(first)
	})
	lanes.Go(func() {
		deployed.wait()
		if deployed.lab != "" {
			second.at = open
		}
		work(second)
	})
}

// queue is what is still to be run.
type queue struct {
	mu        sync.Mutex
	scenarios []scenario
}

// next takes the scenario for which a lab has the least to do: those that leave one to go on with come first, and of these
// one that begins where the lab stands.
func (q *queue) next(at string) (scenario, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.scenarios) == 0 {
		return scenario{}, false
	}
	costs := func(f scenario) (n int) {
		if f.like == "" {
			n += 2
		}
		if f.from != at {
			n++
		}
		return n
	}
	f := slices.MinFunc(q.scenarios, func(a, b scenario) int { return costs(a) - costs(b) })
	q.scenarios = slices.DeleteFunc(q.scenarios, func(other scenario) bool { return other.name == f.name })
	return f, true
}

// run runs one scenario in the lane's lab.
func (l *lane) run(t *testing.T, f scenario, results *table) {
	outer, own := l.t, *l.one
	own.t = t
	x := &trial{one: &own, doors: "not looked at"}
	l.t = t
	defer func() {
		l.t, l.at = outer, ""
		if !t.Failed() {
			l.at, l.keys = f.like, x.keys
		}
	}()
	start := time.Now()
	// Also where the lab does not get to where the scenario begins: nobody misses a row that is not there.
	defer func() { results.add(row{f.name, !t.Failed(), x.doors, time.Since(start)}) }()
	defer func() {
		if t.Failed() {
			t.Logf("the host's journal:\n%s", x.at("vm", "journalctl", "-n", "40", "--no-pager").stdout)
		}
		x.end()
	}()
	if !l.prepared {
		l.prepare(x)
	}
	l.stand(x, f.from)
	start = time.Now() // of the scenario itself
	f.run(x)
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
