package scenarios

import (
	"os"
	"path/filepath"
	"strings"
	"time"
)

// fences are the fenced blocks of a page in docs, of one language.
func (l *one) fences(page, language string) []string {
	l.t.Helper()
	text, err := os.ReadFile(filepath.Join(l.root, "docs", page))
	if err != nil {
		l.t.Fatal(err)
	}
	var blocks []string
	for i, part := range strings.Split(string(text), "```") {
		if name, block, ok := strings.Cut(part, "\n"); ok && i%2 == 1 && name == language {
			blocks = append(blocks, strings.TrimRight(block, " ")) // the closing fence may stand in a list
		}
	}
	if len(blocks) == 0 {
		l.t.Fatalf("docs/%s has no block of %s", page, language)
	}
	return blocks
}

// commandsOfLayers runs every command of docs/layers.md on the host and compares what it prints.
func commandsOfLayers(l *one) {
	for _, block := range l.fences("layers.md", "console") {
		for _, step := range strings.Split("\n"+block, "\n# ")[1:] {
			command, want, _ := strings.Cut(step, "\n")
			if got := l.on(command); got != strings.TrimSpace(want) {
				l.t.Errorf("docs/layers.md: %s\nprints\n%s\nand the page says\n%s", command, got, want)
			}
		}
	}
}

// commandsOf runs every command of a page whose blocks are for the operator's shell: each has to succeed. Nobody is there
// to say yes.
func commandsOf(l *one, page string) {
	for _, block := range l.fences(page, "sh") {
		for line := range strings.Lines(block) {
			words := strings.Fields(line)
			switch {
			case words[0] == "go" || strings.HasPrefix(words[0], "("):
				if r := l.at("operator", "sh", "-c", line); r.code != 0 {
					l.t.Errorf("docs/%s: %s: %s", page, strings.TrimSpace(line), r)
				}
			case words[0] == "bin/lab":
				if r := l.command("", 5*time.Minute, "sh", "-c", line); r.code != 0 {
					l.t.Errorf("docs/%s: %s: %s", page, strings.TrimSpace(line), r)
				}
			case words[0] == "pulumi" && words[1] == "up":
				l.pulumi(0, append(words[1:], "--yes")...)
			case words[0] == "pulumi":
				l.pulumi(0, words[1:]...)
			default:
				l.t.Fatalf("docs/%s: %q is no command of Pulumi's, of Go's or of bin/lab's", page, line)
			}
		}
	}
}
