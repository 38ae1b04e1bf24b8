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
			blocks = append(blocks, block)
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

// commandsOfLab runs every command of docs/lab.md: each has to succeed.
func commandsOfLab(l *one) {
	for _, block := range l.fences("lab.md", "sh") {
		for line := range strings.Lines(block) {
			if r := l.command("", 5*time.Minute, "sh", "-c", line); r.code != 0 {
				l.t.Errorf("docs/lab.md: %s: %s", strings.TrimSpace(line), r)
			}
		}
	}
}

// commandsOfUpgrading runs those of docs/upgrading.md; nobody is there to say yes.
func commandsOfUpgrading(l *one) {
	for _, block := range l.fences("upgrading.md", "sh") {
		for line := range strings.Lines(block) {
			words := strings.Fields(line)
			if words[0] != "pulumi" {
				l.t.Fatalf("docs/upgrading.md: %q is no command of Pulumi's", line)
			}
			if words[1] == "up" {
				words = append(words, "--yes")
			}
			l.pulumi(0, words[1:]...)
		}
	}
}
