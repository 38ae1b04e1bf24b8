// Package tail shows the end of what a program has written, where it went wrong.
package tail

import (
	"os"
	"strings"
)

// Lines are the last ones of a file, without a line break at the end; or why it cannot be read.
func Lines(path string, count int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\r\n"), "\n")
	return strings.Join(all[max(0, len(all)-count):], "\n")
}
