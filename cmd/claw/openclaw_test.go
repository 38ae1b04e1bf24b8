package main

import (
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"

	"openclaw-azure/internal/outputs"
)

// TestOpenClawGetsThePasswordOnStandardInput: it stands in no command line, and what comes after it is OpenClaw's.
func TestOpenClawGetsThePasswordOnStandardInput(t *testing.T) {
	said := stackOutputs(t)
	said["sudoPassword"] = "canary"
	text, err := json.Marshal(said)
	if err != nil {
		t.Fatal(err)
	}
	stack, err := outputs.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	argv, input, err := asRoot(request{argv: []string{"pairing", "approve", "telegram", "it's; a code"}}, stack)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(argv, " "), `sudo -k -S -p '' openclaw pairing approve telegram 'it'\''s; a code'`; got != want {
		t.Errorf("it runs %s, want %s", got, want)
	}
	line := make([]byte, len("canary\n"))
	if _, err := io.ReadFull(input, line); err != nil || string(line) != "canary\n" {
		t.Errorf("sudo reads %q, %v", line, err)
	}
	argv, _, err = asRoot(request{terminal: true, argv: []string{"tui"}}, stack)
	if err != nil || !slices.Equal(argv, []string{"sudo", "openclaw", "tui"}) {
		t.Errorf("on a terminal it runs %q, %v", argv, err)
	}
	delete(said, "sudoPassword")
	text, _ = json.Marshal(said)
	if stack, err = outputs.Parse(text); err != nil {
		t.Fatal(err)
	}
	if _, _, err = asRoot(request{argv: []string{"status"}}, stack); err == nil || !strings.Contains(err.Error(), "no sudo password") {
		t.Errorf("without a password: %v", err)
	}
}
