// Package applier is the program that puts a layer in place on the host. It is Python, in modules; what travels with every
// request, and stands on the host as apply.py, is one text of them all.
package applier

import (
	"embed"
	"strings"
	"sync"
)

//go:embed *.py
var files embed.FS

// modules are all of them but the loader, each after those that it imports.
var modules = []string{
	"words", "clock", "files", "commands", "envfile", "findings", "request", "accounts", "units", "records", "packages", "timer", "boot",
	"lock", "undeclared", "routes", "sockets", "probes", "repairs", "journal", "rollback", "plan", "change", "apply", "confirm", "observe", "main",
}

// The loader in internal/layer calls main; the host's timer runs the file.
const end = `
from applier.main import from_disk, main

if __name__ == "__main__":
    sys.exit(from_disk(sys.argv[1:]))
`

// quotes are around a module's text, which has none of its own.
const quotes = "'''"

// Source is the whole program.
func Source() []byte { return []byte(source()) }

var source = sync.OnceValue(func() string {
	var text strings.Builder
	text.WriteString(read("loader"))
	for _, name := range modules {
		text.WriteString("\n\nload(\"" + name + "\", r" + quotes + read(name) + quotes + ")\n")
	}
	text.WriteString(end)
	return text.String()
})

func read(module string) string {
	text, err := files.ReadFile(module + ".py")
	if err != nil {
		panic(err) // it is compiled in
	}
	return string(text)
}
