package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// deploy is the last command that was to change what is deployed. It is noted before Pulumi takes over the process;
// how it ended is read from Pulumi's own history.
type deploy struct {
	Verb   string
	PID    int
	Start  string // of the process, as the kernel counts: a number may come back for another process
	Before string // the newest entry of the history at that time
}

// noteDeploy notes a command that deploys or destroys.
func (l Lab) noteDeploy(args []string) error {
	verb := ""
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end] // the rest is not for the CLI to act on
	}
	for _, arg := range args {
		switch arg {
		case "up", "update", "destroy", "down", "dn":
			if verb == "" {
				verb = arg
			}
		case "--help", "-h", "--preview-only":
			return nil
		}
	}
	switch verb {
	case "":
		return nil
	case "update":
		verb = "up"
	case "down", "dn":
		verb = "destroy"
	}
	start, err := processStart(os.Getpid())
	if err != nil {
		return err
	}
	before, err := l.lastEntry()
	if err != nil {
		return err
	}
	text, err := json.Marshal(deploy{verb, os.Getpid(), start, before})
	if err != nil {
		return err
	}
	return os.WriteFile(l.path("deploy.json"), text, 0o600)
}

// lastDeploy says how the last one ended: nil only where it put up what the program declares.
func (l Lab) lastDeploy() (string, error) {
	text, err := os.ReadFile(l.path("deploy.json"))
	if errors.Is(err, os.ErrNotExist) {
		return "none yet", errors.New("nothing was deployed yet\nbin/lab pulumi up")
	}
	if err != nil {
		return "", err
	}
	var noted deploy
	if err := json.Unmarshal(text, &noted); err != nil {
		return "", fmt.Errorf("%s: %w", l.path("deploy.json"), err)
	}
	if start, err := processStart(noted.PID); err == nil && start == noted.Start {
		return noted.Verb + " is under way", fmt.Errorf("pulumi %s is under way, process %d", noted.Verb, noted.PID)
	}
	entry, err := l.lastEntry()
	if err != nil {
		return "", err
	}
	failed := fmt.Errorf("the last pulumi %s did not succeed", noted.Verb)
	if entry == noted.Before {
		return noted.Verb + " failed before it changed anything, or was killed", failed
	}
	content, err := os.ReadFile(entry)
	if err != nil {
		return "", err
	}
	var outcome struct{ Kind, Result string }
	if err := json.Unmarshal(content, &outcome); err != nil {
		return "", fmt.Errorf("%s: %w", entry, err)
	}
	told := outcome.Kind + " " + outcome.Result
	switch {
	case outcome.Result != "succeeded":
		return told, failed
	case noted.Verb == "destroy":
		return told, errors.New("nothing is deployed any more\nbin/lab pulumi up")
	}
	return told, nil
}

// lastEntry is the newest file of the stack's history, which Pulumi names by the time.
func (l Lab) lastEntry() (string, error) {
	entries, err := filepath.Glob(filepath.Join(l.path("state"), ".pulumi", "history", "*", l.Name, l.Name+"-*.history.json"))
	if err != nil || len(entries) == 0 {
		return "", err
	}
	return slices.Max(entries), nil
}

func processStart(pid int) (string, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", err
	}
	// The name in brackets may hold spaces and brackets; the 22nd field is the start.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat has %d fields after the name", pid, len(fields))
	}
	return fields[19], nil
}
