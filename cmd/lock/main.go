// Lock makes the lock files of a version of OpenClaw, with npm:
//
//	go run ./cmd/lock VERSION
//
// It writes templates/opt/openclaw/VERSION/package.json and package-lock.json, which pin every package by SHA-512 and
// name no registry, and plugins.json, which does so for each plugin that this version knows and says why another cannot
// be had. Nothing of the packages runs. Read the difference before you commit it.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"openclaw-azure/internal/hint"
	"openclaw-azure/internal/lockfile"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run ./cmd/lock VERSION")
		os.Exit(2)
	}
	if err := lock(os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "lock: %v\n", err)
		os.Exit(1)
	}
}

func lock(version string) error {
	if _, err := os.Stat("templates"); err != nil {
		return hint.To(err, "run this in the repository's own folder")
	}
	work, err := os.MkdirTemp("", "lock-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	manifest := fmt.Sprintf("{\n  \"name\": \"openclaw-release\",\n  \"private\": true,\n  \"dependencies\": {\n    %q: %q\n  }\n}\n", lockfile.Package, version)
	if err := os.WriteFile(filepath.Join(work, "package.json"), []byte(manifest), 0o644); err != nil {
		return err
	}
	if _, err := npm(work, "install", "--package-lock-only", "--ignore-scripts", "--lockfile-version=3", "--omit-lockfile-registry-resolved"); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(work, "package-lock.json"))
	if err != nil {
		return err
	}
	if err := lockfile.Verify(text, version); err != nil {
		return fmt.Errorf("what npm wrote is not used:\n%w", err)
	}
	plugins, err := pluginsOf(work, text, version)
	if err != nil {
		return err
	}
	folder := filepath.Join("templates/opt/openclaw", version)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for name, content := range map[string][]byte{"package.json": []byte(manifest), "package-lock.json": text, "plugins.json": plugins} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil {
			return err
		}
	}
	fmt.Printf("%s: made; then: pulumi config set openclawVersion %s\n", folder, version)
	return nil
}

// npm runs a command of npm's in a folder and gives what it prints.
func npm(folder string, arguments ...string) ([]byte, error) {
	cmd := exec.Command("npm", append(arguments, "--no-audit", "--no-fund", "--loglevel=error")...)
	cmd.Dir = folder
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, hint.To(err, "install npm 9 or newer")
	}
	if err != nil {
		return out, fmt.Errorf("npm %s: %w\n%s", strings.Join(arguments, " "), err, bytes.TrimSpace(said.Bytes()))
	}
	return out, nil
}
