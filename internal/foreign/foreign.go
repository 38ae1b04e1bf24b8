// Package foreign is text that came over a wire or from a host, whose writer may be an attacker: a banner, an error of the other
// side's, the output of a command. It enters the program as one of these types, and of it is shown what prints, cut, and on
// every line of its own marked as foreign.
package foreign

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Mark begins each line of a foreign text that has lines of its own in a message: none of them passes for the program's words.
const Mark = "| "

const (
	mostBytes = 16 << 10 // of one text; the rest is dropped where it enters
	mostRunes = 1000     // of a text in a sentence
	mostLines = 40       // of a text on lines of its own
)

// Text is a foreign text. It holds what prints of it and line breaks; what it was made of is nowhere.
type Text struct{ printable string }

// Without these fmt would show the field, and JSON would fill nothing.
var (
	_ fmt.Stringer             = Text{}
	_ encoding.TextUnmarshaler = (*Text)(nil)
)

// New is a text as it enters.
func New[T string | []byte](raw T) Text {
	if len(raw) > mostBytes {
		raw = raw[:mostBytes]
	}
	return Text{Printable(breaks.Replace(strings.ToValidUTF8(string(raw), "?")))}
}

// breaks are what ends a line, on one terminal or another.
var breaks = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\v", "\n", "\f", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n", "\t", " ")

// UnmarshalText is New for JSON: for a value, and for a key.
func (t *Text) UnmarshalText(raw []byte) error {
	*t = New(raw)
	return nil
}

// Empty tells whether there is nothing to show.
func (t Text) Empty() bool { return strings.TrimSpace(t.printable) == "" }

// String is the text in a sentence of the program's: on one line, and not long.
func (t Text) String() string { return cut(strings.Join(strings.Fields(t.printable), " "), mostRunes) }

// Whole is the text in a sentence where all of it counts: on one line.
func (t Text) Whole() string { return strings.Join(t.lines(), "; ") }

// Lines is the text on lines of its own, each marked. It is empty where the text is.
func (t Text) Lines() string {
	lines := t.lines()
	for i, line := range lines {
		if i == mostLines {
			return strings.Join(append(lines[:i], Mark+"..."), "\n")
		}
		lines[i] = Mark + cut(line, mostRunes)
	}
	return strings.Join(lines, "\n")
}

func (t Text) lines() (lines []string) {
	for line := range strings.Lines(t.printable) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

func cut(line string, most int) string {
	n := 0
	for i := range line {
		if n++; n > most {
			return line[:i] + "..."
		}
	}
	return line
}

// Printable maps what does not print to question marks: what a terminal obeys, what turns the direction of writing, what has no
// width or no meaning. Line breaks stay.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && (!unicode.IsPrint(r) || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)) {
			return '?'
		}
		return r
	}, text)
}

// Word is what a message about the other side is made of: its Text, or the program's Own. A plain string is neither.
type Word interface{ word() }

// Own is a word of the program's: from its configuration, its constants and its clock.
type Own string

func (Own) word()  {}
func (Text) word() {}

// Sprintf is fmt's for such messages.
func Sprintf(format string, words ...Word) string {
	args := make([]any, len(words))
	for i, w := range words {
		args[i] = w
	}
	return fmt.Sprintf(format, args...)
}

// Stream is what a command on the host printed on one of its outputs.
type Stream struct{ raw []byte }

var _ fmt.Stringer = Stream{}

// NewStream is an output as it enters.
func NewStream[T string | []byte](raw T) Stream { return Stream{[]byte(raw)} }

// Text is the output for people.
func (s Stream) Text() Text { return New(s.raw) }

func (s Stream) String() string { return s.Text().String() }

// Is tells whether the output is this one.
func (s Stream) Is(text string) bool { return string(s.raw) == text }

// Has tells whether a text is in the output.
func (s Stream) Has(text string) bool { return bytes.Contains(s.raw, []byte(text)) }

// LastLine is where an answer stands behind what others print before it.
func (s Stream) LastLine() Stream {
	text := bytes.TrimSpace(s.raw)
	return Stream{text[bytes.LastIndexByte(text, '\n')+1:]}
}

// Object is the output from its first brace on.
func (s Stream) Object() Stream {
	if i := bytes.IndexByte(s.raw, '{'); i >= 0 {
		return Stream{s.raw[i:]}
	}
	return Stream{}
}

// Decode reads the output as JSON, of whose texts those that are shown are of type Text. Its error quotes none of it.
func (s Stream) Decode(into any) error {
	err := json.Unmarshal(s.raw, into)
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax):
		return errors.New("it is not JSON")
	case errors.As(err, &kind):
		return fmt.Errorf("%s: it is of another kind", New(kind.Field))
	}
	return Err(err)
}

// Err is an error in whose words foreign text may be. It is what it was to errors.Is and errors.As.
func Err(err error) error {
	if err == nil {
		return nil
	}
	return &shown{err}
}

type shown struct{ cause error }

// A kind is found behind the words.
var _ interface {
	error
	Unwrap() error
} = (*shown)(nil)

func (e *shown) Error() string { return New(e.cause.Error()).String() }

func (e *shown) Unwrap() error { return e.cause }
