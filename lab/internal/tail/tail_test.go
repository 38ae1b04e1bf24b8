package tail

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for _, test := range []struct{ text, want string }{
		{"", ""},
		{"one", "one"},
		{"one\ntwo\n", "one\ntwo"},
		{"one\ntwo\nthree\n", "two\nthree"},
		{"one\n\nthree\r\n\n", "\nthree"},
	} {
		if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := Lines(path, 2); got != test.want {
			t.Errorf("of %q: %q, want %q", test.text, got, test.want)
		}
	}
	if got, want := Lines(path+"-not", 2), "open "+path+"-not: no such file or directory"; got != want {
		t.Errorf("of no file: %q, want %q", got, want)
	}
}
