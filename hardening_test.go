package main

import "testing"

func TestJudge(t *testing.T) {
	// asDeclared is a host that was looked at and is as this run declares it.
	asDeclared := func(change func(*past)) past {
		p := past{declared: "d", lastRun: "d", observed: true, token: "t", digest: "d", sameVM: true, sameMachine: true}
		change(&p)
		return p
	}
	// unanswered is the same host, which does not answer now.
	unanswered := func(change func(*past)) past {
		p := past{declared: "d", lastRun: "d", sameVM: true, sameMachine: true, silent: true}
		change(&p)
		return p
	}
	for _, c := range []struct {
		situation string
		past      past
		token     string
		keeps     bool
	}{
		{"a first run", past{declared: "d"}, "", false},
		{"all as declared", asDeclared(func(*past) {}), "t", true},
		{"the last run put the layer on the host and was killed", asDeclared(func(p *past) { p.lastRun = "before" }), "t", true},
		{"a layer that this release adds", asDeclared(func(p *past) { p.lastRun, p.token, p.digest = "", "", "" }), "", false},
		{"declared otherwise than it is on the host", asDeclared(func(p *past) { p.declared = "new" }), "", false},
		{"the host says that it has another", asDeclared(func(p *past) { p.digest = "other" }), "", false},
		{"drift", asDeclared(func(p *past) { p.drifted = true }), "", false},
		{"the host took the layer's change back", asDeclared(func(p *past) { p.undone = true }), "", false},
		{"a change of another layer waits for a confirmation", asDeclared(func(p *past) { p.pending = true }), "", false},
		{"the machine was made anew, of a disk that says the same", asDeclared(func(p *past) { p.sameVM, p.sameMachine = false, false }), "", false},
		// The text of the command has the number of the rescue: it runs, under the token that the host knows.
		{"a rescue", asDeclared(func(p *past) { p.sameMachine = false }), "t", false},
		{"a rescue that opens the door from inside", asDeclared(func(p *past) { p.sameMachine, p.reopening = false, true }), "", false},
		{"the door is opened again from inside", asDeclared(func(p *past) { p.reopening = true }), "", false},
		{"not looked at, and the door is another", unanswered(func(p *past) { p.silent = false }), "", false},
		{"silent, nothing declared otherwise", unanswered(func(*past) {}), "", true},
		{"silent, declared otherwise", unanswered(func(p *past) { p.declared = "new" }), "", false},
		{"silent, a layer that this release adds", unanswered(func(p *past) { p.lastRun = "" }), "", false},
	} {
		t.Run(c.situation, func(t *testing.T) {
			if token, keeps := judge(c.past); token != c.token || keeps != c.keeps {
				t.Errorf("token %q, keeps %t; want %q, %t", token, keeps, c.token, c.keeps)
			}
		})
	}
}
