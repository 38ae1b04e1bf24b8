// Command keys makes keys and prints them as one JSON object: all of a stack's
// with "stack", one peer's with "peer". The Pulumi program runs it and
// keeps what it prints as a secret. With "backup" it makes the operator's own
// key of the backups, which outlives a stack's.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"

	"filippo.io/age"
	"golang.org/x/term"

	"openclaw-azure/internal/hint"
	"openclaw-azure/internal/keys"
)

const usage = `usage: keys stack | peer | backup

Makes keys and prints them as one JSON object: all keys of a stack, or those of
one peer. The Pulumi program runs it. With backup, it prints your own key of the
backups, for: keys backup | pulumi config set --secret backupKey
Nothing is printed to a terminal.
`

// The statuses that it exits with.
const (
	statusFailed = 1
	statusUsage  = 2
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout *os.File, stderr io.Writer) int {
	if len(args) != 1 || !slices.Contains([]string{"stack", "peer", "backup"}, args[0]) {
		fmt.Fprint(stderr, usage)
		return statusUsage
	}
	// Before any work: keys on a screen stay in its scrollback.
	if term.IsTerminal(int(stdout.Fd())) {
		fmt.Fprintln(stderr, hint.Text("keys: standard output is a terminal: keys are not printed there", "send it to another program, or to a file that only you can read"))
		return statusUsage
	}
	var made any
	var err error
	switch args[0] {
	case "stack":
		made, err = keys.NewStack()
	case "peer":
		made, err = keys.NewPeer()
	case "backup":
		var identity *age.X25519Identity
		if identity, err = age.GenerateX25519Identity(); err == nil {
			_, err = fmt.Fprintln(stdout, identity)
		}
	}
	if err == nil && made != nil {
		err = json.NewEncoder(stdout).Encode(made)
	}
	if err != nil {
		fmt.Fprintf(stderr, "keys: %v\n", err)
		return statusFailed
	}
	return 0
}
