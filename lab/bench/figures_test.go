package main

import (
	"testing"
	"time"
)

func TestAttribute(t *testing.T) {
	at := func(seconds int) time.Time { return time.Unix(1000, 0).Add(time.Duration(seconds) * time.Second) }
	between := func(from, to int) span { return span{at(from), at(to)} }
	got := attribute(between(0, 20),
		[]span{between(6, 8), between(7, 10)},
		[]span{between(5, 11), between(12, 13), between(19, 30)},
		[]span{between(2, 18)})
	// The program has 2 to 5, 11 to 12 and 13 to 18; what goes on past the end is nobody's but for the part within.
	want := [parties]time.Duration{4 * time.Second, 4 * time.Second, 9 * time.Second, 3 * time.Second}
	if got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestTable(t *testing.T) {
	run := func(seconds int) figure {
		total := time.Duration(seconds) * time.Second
		return figure{total: total, share: [parties]time.Duration{total / 2, total / 4, total / 8, total / 8}, connections: seconds, commands: 1}
	}
	rows := &table{}
	rows.add("a job", []figure{run(9), run(3), run(4)})
	want := "\n" +
		"                                                          SECONDS            SHARE OF THE MEDIAN RUN, %  TO THE HOST\n" +
		"                                                min median    max       host provider  program   pulumi  connections, commands\n" +
		"a job                                           3.0    4.0    9.0         50       25       12       12         4, 1\n"
	if got := rows.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
