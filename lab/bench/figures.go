package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// span is a stretch of time.
type span struct{ start, end time.Time }

func (s span) duration() time.Duration { return s.end.Sub(s.start) }

// Whose time it is: at each moment the first of these that is at work.
const (
	ofHost     = iota // a command of ours runs on it
	ofProvider        // a call to a provider is under way: the lab's control plane, a dial, a boot
	ofProgram         // the program runs
	ofPulumi          // the CLI, its engine, the compiler
	parties
)

// figure is one run.
type figure struct {
	total                 time.Duration
	share                 [parties]time.Duration
	connections, commands int // to the host, on it
}

// then is one run and another after it.
func (f figure) then(g figure) figure {
	f.total += g.total
	for i := range f.share {
		f.share[i] += g.share[i]
	}
	f.connections += g.connections
	f.commands += g.commands
	return f
}

// attribute says how much of a time is whose. The first of those who are at work at a moment has it.
func attribute(whole span, host, provider, program []span) (share [parties]time.Duration) {
	work := [...][]span{host, provider, program}
	moments := []time.Time{whole.start, whole.end}
	for _, spans := range work {
		for _, s := range spans {
			moments = append(moments, s.start, s.end)
		}
	}
	slices.SortFunc(moments, time.Time.Compare)
	for i := 1; i < len(moments); i++ {
		piece := span{moments[i-1], moments[i]}
		if piece.start.Before(whole.start) || piece.end.After(whole.end) {
			continue
		}
		whose := ofPulumi
		for party, spans := range work {
			if slices.ContainsFunc(spans, func(s span) bool { return !s.start.After(piece.start) && !s.end.Before(piece.end) }) {
				whose = party
				break
			}
		}
		share[whose] += piece.duration()
	}
	return share
}

// table is what is printed at the end.
type table struct{ strings.Builder }

func (t *table) add(name string, figures []figure) {
	if t.Len() == 0 {
		fmt.Fprintf(t, "\n%-44s %20s  %36s  %s\n", "", "SECONDS", "SHARE OF THE MEDIAN RUN, %", "TO THE HOST")
		fmt.Fprintf(t, "%-44s %6s %6s %6s  %9s%9s%9s%9s  %s\n", "", "min", "median", "max", "host", "provider", "program", "pulumi", "connections, commands")
	}
	slices.SortFunc(figures, func(a, b figure) int { return int(a.total - b.total) })
	median := figures[len(figures)/2]
	fmt.Fprintf(t, "%-44s %6.1f %6.1f %6.1f  ", name, figures[0].total.Seconds(), median.total.Seconds(), figures[len(figures)-1].total.Seconds())
	for _, part := range median.share {
		fmt.Fprintf(t, "%9.0f", 100*float64(part)/float64(median.total))
	}
	fmt.Fprintf(t, "  %8d, %d\n", median.connections, median.commands)
}

// spread is minimum, median and maximum, in seconds.
func spread(took []time.Duration) string {
	slices.Sort(took)
	return fmt.Sprintf("%.2f, median %.2f, at most %.2f", took[0].Seconds(), took[len(took)/2].Seconds(), took[len(took)-1].Seconds())
}
