package scenarios

import (
	"fmt"
	"os"
	"testing"
)

// window is what the suite's stacks have as confirmSeconds: the least there is.
const window = 30

// lane is a lab in which one scenario after the other runs: from where the one before ended, where that left things as it
// was to; else from a snapshot.
type lane struct {
	*one
	prepared bool
	keys     *stackKeys // of what is deployed now
	at       string     // where the lab stands now; empty: nowhere that a scenario could begin
	kept     bool       // whether there is a snapshot of it open: made when it is wanted

	// What the first of two lanes has deployed is the second's too, and other scenarios'.
	first, second bool
}

// Where a lab may stand.
const (
	bare   = "bare"   // configured, nothing deployed; a snapshot from the start
	open   = "open"   // deployed, port 22 open
	closed = "closed" // port 22 closed
)

func newLane(t *testing.T, name string) *lane {
	if os.Getenv("FAULTS_KEEP") == "" {
		return &lane{one: newLab(t, name), at: bare}
	}
	return &lane{one: namedLab(t, name), at: bare}
}

// prepare makes the lab, of snapshots where there are some; else nothing is deployed yet.
func (l *lane) prepare(x *trial) {
	l.t.Helper()
	kept := os.Getenv("FAULTS_KEEP") != "" && l.lab("", "restore", open).code == 0
	if !kept && l.second && l.takeDeployed() {
		l.must("restore", open)
		kept = true
	}
	if kept {
		x.booted()
		l.opened(x)
		l.keeps()
	} else {
		l.must("start")
		l.pulumi(0, "config", "set", "confirmSeconds", fmt.Sprint(window))
		l.must("snapshot", bare)
		l.at = bare
	}
	l.prepared = true
}

func (l *lane) deploy(x *trial) {
	l.pulumi(0, "up", "--yes", "--skip-preview")
	l.opened(x)
}

// opened notes that the lab stands open, and what opens it.
func (l *lane) opened(x *trial) { l.keys, l.at = x.readKeys(), open }

// keeps notes that there is a snapshot of the lab open, also for others.
func (l *lane) keeps() {
	l.kept = true
	if l.first {
		deployed.give(l.name)
	}
}

// keep makes a snapshot of a lab that stands open.
func (l *lane) keep(x *trial) {
	l.must("snapshot", open)
	l.keeps()
	x.booted()
}

// stand brings the lab to where a scenario begins.
func (l *lane) stand(x *trial, from string) {
	l.t.Helper()
	if l.at == bare && from != bare {
		l.deploy(x)
	}
	if l.at == open && !l.kept && l.first {
		l.keep(x)
	}
	switch {
	case from == bare:
		if l.at != bare {
			x.restore(bare)
		}
		return
	case l.at == "" && l.kept:
		x.restore(open)
		l.opened(x)
	case l.at == "":
		x.restore(bare)
		l.deploy(x)
		l.keep(x)
	}
	if l.at != from {
		// Through the doors themselves: that takes less time than a boot.
		x.configure("bootstrap", fmt.Sprint(from == open))
		l.pulumi(0, "up", "--yes", "--skip-preview")
	}
	x.keys = l.keys
}
