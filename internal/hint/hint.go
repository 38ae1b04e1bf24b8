// Package hint is how every error and warning says what to do: last, a line for each command or place to look.
package hint

import "strings"

// Error is what failed, and what to do about it.
type Error struct {
	Err   error
	Hints []string
}

// A kind is found behind its hints.
var _ interface{ Unwrap() error } = (*Error)(nil)

// To adds hints to an error. Those that it has already come first.
func To(err error, hints ...string) error { return &Error{err, hints} }

func (e *Error) Error() string { return Text(e.Err.Error(), e.Hints...) }

func (e *Error) Unwrap() error { return e.Err }

// Text is a fact and its hints, for a warning.
func Text(fact string, hints ...string) string {
	for _, h := range hints {
		fact += lead + h
	}
	return fact
}

// Fact is an error's text without its hints.
func Fact(err error) string {
	fact, _, _ := strings.Cut(err.Error(), lead)
	return fact
}

const lead = "\nhint: "
