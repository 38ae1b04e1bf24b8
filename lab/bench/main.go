// Bench measures the main job in a lab of its own and prints the figures: each as minimum, median and maximum of
// several runs, with where the time of the median run went and how often the host was connected to.
//
//	make bench [BENCH=regexp of names] [BENCH_RUNS=3]
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Snapshots of the lab.
const (
	bare     = "bare"     // configured, nothing deployed
	machine  = "machine"  // a machine that has booted, nothing configured on it
	packaged = "packaged" // and the packages are there
	open     = "open"     // deployed, port 22 open
	closed   = "closed"   // port 22 closed
)

// job is one thing that is measured.
type job struct {
	name  string
	from  string   // the snapshot that it begins with
	given []string // the configuration, key and value
	// Settled jobs have that put in place first, once, and each run goes on from where the one before ended.
	settled bool
	run     func(*lab) (figure, error)
	after   func(*lab) error
}

func up(l *lab) (figure, error) { return l.measure("up", "--yes", "--skip-preview") }

func preview(l *lab) (figure, error) { return l.measure("preview", "--non-interactive") }

var jobs = []job{
	{name: "first deploy: network, machine, layers", from: bare, run: up},
	{name: "first configuration, packages to install", from: machine, run: up},
	{name: "first configuration, packages present", from: packaged, run: up},
	{name: "cutover", from: open, given: []string{"bootstrap", "false"}, run: up},
	{name: "reopening by break-glass", from: closed, given: []string{"bootstrap", "true"}, run: up},
	{name: "rebuild: destroy, then up", from: closed, run: func(l *lab) (figure, error) {
		gone, err := l.measure("destroy", "--yes", "--skip-preview")
		if err != nil {
			return gone, err
		}
		if err := l.configure("bootstrap", "true"); err != nil {
			return gone, err
		}
		made, err := up(l)
		return gone.then(made), err
	}},
	{name: "no-op up", from: closed, settled: true, run: up},
	{name: "no-op up, driftCheck off", from: closed, given: []string{"driftCheck", "off"}, settled: true, run: up},
	{name: "preview", from: closed, settled: true, run: preview},
	{name: "one more peer, beside 2", from: closed, given: []string{"peers", peers(2)}, settled: true, run: onePeerMore(2), after: onePeerLess(2)},
	{name: "one more peer, beside 250", from: closed, given: []string{"peers", peers(250)}, settled: true, run: onePeerMore(250), after: onePeerLess(250)},
}

// peers is the configuration of that many.
func peers(n int) string {
	list := []string{`"laptop":{"address":"10.100.0.2"}`}
	for i := 1; i < n; i++ {
		list = append(list, fmt.Sprintf(`"p%d":{"address":"10.100.0.%d"}`, i, i+2))
	}
	return "{" + strings.Join(list, ",") + "}"
}

func onePeerMore(than int) func(*lab) (figure, error) {
	return func(l *lab) (figure, error) {
		if err := l.configure("peers", peers(than+1)); err != nil {
			return figure{}, err
		}
		return up(l)
	}
}

func onePeerLess(n int) func(*lab) error {
	return func(l *lab) error {
		if err := l.configure("peers", peers(n)); err != nil {
			return err
		}
		return l.pulumi("up", "--yes", "--skip-preview")
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context) (err error) {
	wanted, err := regexp.Compile(os.Getenv("BENCH"))
	if err != nil {
		return fmt.Errorf("BENCH: %w", err)
	}
	runs := 3
	if text := os.Getenv("BENCH_RUNS"); text != "" {
		if runs, err = strconv.Atoi(text); err != nil || runs < 1 {
			return fmt.Errorf("BENCH_RUNS: value %q: a number from 1 on is wanted", text)
		}
	}
	root, err := filepath.Abs("..")
	if err != nil {
		return err
	}
	l := &lab{ctx: ctx, root: root, name: "bench"}
	if _, err := l.lab("down"); err != nil { // what an interrupted run left
		return err
	}
	defer func() {
		// Also after a Ctrl-C.
		l.ctx = context.WithoutCancel(ctx)
		if _, down := l.lab("down"); err == nil {
			err = down
		}
	}()
	fmt.Printf("%d processors, load %s; every run below is on this machine, lab and all\n", runtime.NumCPU(), load())
	chosen := slices.DeleteFunc(slices.Clone(jobs), func(j job) bool { return !wanted.MatchString(j.name) })
	unconfigured := slices.ContainsFunc(chosen, func(j job) bool { return j.from == machine || j.from == packaged })
	if err := l.prepare(unconfigured); err != nil {
		return fmt.Errorf("prepare the snapshots: %w", err)
	}
	rows := &table{}
	// What was measured is printed whatever comes after it.
	defer func() { fmt.Print(rows) }()
	for _, j := range chosen {
		if err := j.measure(l, rows, runs); err != nil {
			return fmt.Errorf("%s: %w", j.name, err)
		}
	}
	connection, err := l.connections(2 * runs)
	if err != nil {
		return err
	}
	fmt.Printf("one tunnel connection (WireGuard, SSH, a command, all closed): %s s\n", spread(connection))
	if wanted.MatchString(networkName) {
		if err := l.network(); err != nil {
			return fmt.Errorf("%s: %w", networkName, err)
		}
	}
	fmt.Printf("load at the end %s\n", load())
	return nil
}

func (j job) measure(l *lab, rows *table, runs int) error {
	var figures []figure
	for i := range runs {
		if i == 0 || !j.settled {
			if err := j.begin(l); err != nil {
				return err
			}
		}
		f, err := j.run(l)
		if err != nil {
			return err
		}
		fmt.Printf("%-44s %6.1f s  (run %d of %d)\n", j.name, f.total.Seconds(), i+1, runs)
		figures = append(figures, f)
		if j.after != nil {
			if err := j.after(l); err != nil {
				return err
			}
		}
	}
	rows.add(j.name, figures)
	return nil
}

// begin brings the lab to where a run begins.
func (j job) begin(l *lab) error {
	if err := l.restore(j.from); err != nil {
		return err
	}
	if err := l.configure(j.given...); err != nil || !j.settled {
		return err
	}
	return l.pulumi("up", "--yes", "--skip-preview")
}

// load is the machine's, over the last minute.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(text))[0]
}
