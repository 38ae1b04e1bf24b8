package progress

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestStepsTellHowTheyEnd(t *testing.T) {
	logFile := filepath.Join(t.TempDir(), "step.log")
	for _, test := range []struct {
		name string
		run  func(io.Writer) error
		want string
	}{
		{"done", func(out io.Writer) error {
			fmt.Fprintln(out, "not shown")
			return nil
		}, "bake ...\nbake: done in 0 s\n"},
		{"failed", func(out io.Writer) error {
			for i := range 30 {
				fmt.Fprintf(out, "line %d\n", i)
			}
			return errors.New("no flour")
		}, "bake ...\nbake: failed after 0 s; the end of " + logFile + ":\n" + lines(10, 30)},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			err := New(&out).Step("bake", logFile, test.run)
			if out.String() != test.want {
				t.Errorf("said\n%s\nwant\n%s", out.String(), test.want)
			}
			if test.name == "failed" && (err == nil || err.Error() != "bake: no flour") {
				t.Errorf("error %v", err)
			}
			if text, err := os.ReadFile(logFile); err != nil || len(text) == 0 {
				t.Errorf("the log holds %q, %v", text, err)
			}
		})
	}
}

func lines(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "  line %d\n", i)
	}
	return b.String()
}

func TestLastLineIsTheNewestAndShort(t *testing.T) {
	last := &lastLine{}
	for _, test := range []struct{ write, want string }{
		{"", ``},
		{"one\ntwo\n", `^ \(two\)$`},
		{"10%\r20%\r", `^ \(20%\)$`},
		{strings.Repeat("x", 5000), `^ \(x{100}\)$`},
	} {
		fmt.Fprint(last, test.write)
		if got := last.suffix(); !regexp.MustCompile(test.want).MatchString(got) {
			t.Errorf("after %.20q: %q", test.write, got)
		}
	}
}
