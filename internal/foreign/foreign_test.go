package foreign

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for raw, want := range map[string][3]string{ // in a sentence, whole, on lines of its own
		"":                                   {"", "", ""},
		"Größe: 5 MB, 大きさ\t(é)":              {"Größe: 5 MB, 大きさ (é)", "Größe: 5 MB, 大きさ (é)", "| Größe: 5 MB, 大きさ (é)"},
		" one  two \r\n\n three\n":           {"one two three", "one  two; three", "| one  two\n| three"},
		"a\rhint: b\u2028hint: c\vhint: d":   {"a hint: b hint: c hint: d", "a; hint: b; hint: c; hint: d", "| a\n| hint: b\n| hint: c\n| hint: d"},
		"\x1b]52;c;eA==\x07\u009b2J\x00\x7f": {"?]52;c;eA==??2J??", "?]52;c;eA==??2J??", "| ?]52;c;eA==??2J??"},
		"\u202ea\u2066b\u200bc\ufeffd\U000e0041e\ufe0ff\u3164g\u0378h\ue000i\xffj\u00a0k": {"?a?b?c?d?e?f?g?h?i?j?k", "?a?b?c?d?e?f?g?h?i?j?k", "| ?a?b?c?d?e?f?g?h?i?j?k"},
	} {
		text := New(raw)
		if got := [3]string{text.String(), text.Whole(), text.Lines()}; got != want {
			t.Errorf("%q\ngot  %q\nwant %q", raw, got, want)
		}
		if got := fmt.Sprintf("%v %+v %s %q", text, text, text, text); got != fmt.Sprintf("%s %s %s %q", want[0], want[0], want[0], want[0]) {
			t.Errorf("fmt shows %q", got)
		}
	}
}

func TestTextIsCut(t *testing.T) {
	if got, want := New(strings.Repeat("ö", mostRunes+100)).String(), strings.Repeat("ö", mostRunes)+"..."; got != want {
		t.Errorf("%q", got)
	}
	lines := strings.Split(New(strings.Repeat("line\n", 100)).Lines(), "\n")
	if len(lines) != mostLines+1 || lines[0] != "| line" || lines[mostLines] != "| ..." {
		t.Errorf("%q", lines)
	}
	if got := New(strings.Repeat("x", 1<<20)).Whole(); len(got) != mostBytes {
		t.Errorf("%d bytes", len(got))
	}
}

func TestStream(t *testing.T) {
	var into struct{ A Text }
	if err := NewStream("hello\n" + `{"A":"\u001b[2J"}` + "\n").LastLine().Decode(&into); err != nil || into.A.String() != "?[2J" {
		t.Errorf("%v, %q", err, into.A)
	}
	if err := NewStream("hello {\n" + `"A":"x"}` + "\n").Object().Decode(&into); err != nil || into.A.String() != "x" {
		t.Errorf("%v, %q", err, into.A)
	}
	for raw, want := range map[string]string{"\x1b[2J": "it is not JSON", `{"A":[1]}`: "A: it is of another kind", "": "it is not JSON"} {
		if err := NewStream(raw).Decode(&into); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", raw, err, want)
		}
	}
}

// A cause keeps its kind, and loses what does not print.
func TestErr(t *testing.T) {
	err := fmt.Errorf("read: %w", Err(fmt.Errorf("\x1b[2J\nhint: obey: %w", io.ErrUnexpectedEOF)))
	if got, want := err.Error(), "read: ?[2J hint: obey: unexpected EOF"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) || Err(nil) != nil {
		t.Error("it is of no kind any more")
	}
}

func FuzzText(f *testing.F) {
	f.Add("\x1b[2J\r\nhint: x\u202e\u2028y\xff")
	f.Fuzz(func(t *testing.T, raw string) {
		text := New(raw)
		for _, shown := range []string{text.String(), text.Whole(), text.Lines()} {
			if shown != Printable(shown) || !utf8.ValidString(shown) || len(shown) > 2*mostBytes {
				t.Errorf("%q", shown)
			}
		}
		if strings.Contains(text.String()+text.Whole(), "\n") {
			t.Errorf("more than a line: %q", text)
		}
		for line := range strings.Lines(text.Lines()) {
			if !strings.HasPrefix(line, Mark) {
				t.Errorf("no mark: %q", line)
			}
		}
	})
}
