package scenarios

import (
	"sync"
	"time"
)

// deployed is the snapshot of a lab that one scenario has deployed, and others begin with: a deploy takes two minutes, and two at
// once take the time of two.
var deployed = &gift{made: make(chan struct{})}

type gift struct {
	promised bool // set before any test waits
	once     sync.Once
	made     chan struct{}
	lab      string // whose it is; empty where nothing came of it
}

// promise says that give will be called, whatever happens. It is for a test that does not run in parallel yet.
func (g *gift) promise() { g.promised = true }

func (g *gift) give(lab string) {
	g.once.Do(func() {
		g.lab = lab
		close(g.made)
	})
}

// wait waits until there is a snapshot, or nobody who makes one.
func (g *gift) wait() {
	if g.promised {
		<-g.made
	}
}

// takeDeployed takes the shared snapshot over where there is one.
func (l *one) takeDeployed() bool {
	l.t.Helper()
	deployed.wait()
	if deployed.lab == "" {
		return false
	}
	if r := l.command("", time.Minute, "sh", "-ec", takeOver, "sh", deployed.lab, l.name); r.code != 0 {
		l.t.Fatalf("take the snapshots of %s over: %s", deployed.lab, r)
	}
	return true
}

// takeOver gives one lab's snapshots to another, under its name, which is the stack's too. Nobody writes into a snapshot: the
// disks are the same files.
const takeOver = `mkdir -p ".lab/$2"
rm -rf ".lab/$2/snapshots"
cp -al ".lab/$1/snapshots" ".lab/$2"
cd ".lab/$2/snapshots"
rm -rf */deploy.json */state/.pulumi/history */state/.pulumi/backups
for file in */state/.pulumi/stacks/*/"$1".*; do
	mv "$file" "${file%/*}/$2${file##*/$1}"
done
grep -rlwZ --exclude=disk "$1" . | xargs -0 sed -i "s/\b$1\b/$2/g"`
