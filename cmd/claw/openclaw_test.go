package main

import (
	"encoding/json"
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
	argv, first, err := asRoot("openclaw", []string{"pairing", "approve", "telegram", "it's; a code"}, false, stack)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(argv, " "), `sudo -k -S -p '' openclaw pairing approve telegram 'it'\''s; a code'`; got != want {
		t.Errorf("it runs %s, want %s", got, want)
	}
	if first != "canary\n" {
		t.Errorf("sudo reads %q", first)
	}
	argv, first, err = asRoot("openclaw", []string{"tui"}, true, stack)
	if err != nil || first != "" || !slices.Equal(argv, []string{"sudo", "openclaw", "tui"}) {
		t.Errorf("on a terminal it runs %q with %q, %v", argv, first, err)
	}
	delete(said, "sudoPassword")
	text, _ = json.Marshal(said)
	if stack, err = outputs.Parse(text); err != nil {
		t.Fatal(err)
	}
	if _, _, err = asRoot("openclaw", []string{"status"}, false, stack); err == nil || !strings.Contains(err.Error(), "no sudo password") {
		t.Errorf("without a password: %v", err)
	}
}
