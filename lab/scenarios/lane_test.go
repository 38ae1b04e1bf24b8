package scenarios

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
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

	// Two deploys at once take the time of two: the second lane waits for the first one's snapshots, and takes them over.
	first *lane  // of the second
	share func() // of the first, where a second waits: lets it go on
}

// Where a lab may stand.
const (
	bare   = "bare"   // configured, nothing deployed; a snapshot from the start
	open   = "open"   // deployed, port 22 open
	closed = "closed" // port 22 closed
)

func newLane(t *testing.T, name string, first *lane) *lane {
	if os.Getenv("FAULTS_KEEP") == "" {
		return &lane{one: newLab(t, name), at: bare, first: first}
	}
	return &lane{one: namedLab(t, name), at: bare, first: first}
}

// prepare makes the lab, of snapshots where there are some; else nothing is deployed yet.
func (l *lane) prepare(x *trial) {
	l.t.Helper()
	kept := os.Getenv("FAULTS_KEEP") != "" && l.lab("", "restore", open).code == 0
	if !kept && l.first != nil && l.first.kept {
		if r := l.command("", time.Minute, "sh", "-ec", takeOver, "sh", l.first.name, l.name); r.code != 0 {
			l.t.Fatalf("take the snapshots of %s over: %s", l.first.name, r)
		}
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

// takeOver copies one lab's snapshots to another, and gives them its name, which is the stack's too.
const takeOver = `mkdir -p ".lab/$2"
rm -rf ".lab/$2/snapshots"
cp -a --sparse=always --reflink=auto ".lab/$1/snapshots" ".lab/$2"
cd ".lab/$2/snapshots"
rm -rf */deploy.json */state/.pulumi/history */state/.pulumi/backups
for file in */state/.pulumi/stacks/*/"$1".*; do
	mv "$file" "${file%/*}/$2${file##*/$1}"
done
grep -rlwZ --exclude=disk "$1" . | xargs -0 sed -i "s/\b$1\b/$2/g"`

func (l *lane) deploy(x *trial) {
	l.pulumi(0, "up", "--yes", "--skip-preview")
	l.opened(x)
}

// opened notes that the lab stands open, and what opens it.
func (l *lane) opened(x *trial) { l.keys, l.at = x.readKeys(), open }

// keeps notes that there is a snapshot of the lab open, also for a second lane.
func (l *lane) keeps() {
	l.kept = true
	if l.share != nil {
		l.share()
	}
}

// keep makes a snapshot of a lab that stands open.
func (l *lane) keep(x *trial) {
	l.must("snapshot", open)
	l.keeps()
	x.booted()
}

// must runs bin/lab, which has to succeed.
func (l *lane) must(args ...string) {
	l.t.Helper()
	if r := l.lab("", args...); r.code != 0 {
		l.t.Fatalf("bin/lab %s: %s", strings.Join(args, " "), r)
	}
}

// stand brings the lab to where a scenario begins.
func (l *lane) stand(x *trial, from string) {
	l.t.Helper()
	if l.at == bare && from != bare {
		l.deploy(x)
	}
	if l.at == open && !l.kept && l.share != nil {
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
