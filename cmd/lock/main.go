// Lock makes the lock file of a version of OpenClaw, with npm:
//
//	go run ./cmd/lock VERSION
//
// It writes templates/opt/openclaw/VERSION/package.json and package-lock.json, which pin every package by SHA-512 and
// name no registry. Nothing of the packages runs. Read the difference before you commit it.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

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
	npm := exec.Command("npm", "install", "--package-lock-only", "--ignore-scripts", "--lockfile-version=3",
		"--omit-lockfile-registry-resolved", "--no-audit", "--no-fund", "--loglevel=error")
	npm.Dir = work
	var said bytes.Buffer
	npm.Stdout, npm.Stderr = &said, &said
	if err := npm.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return hint.To(err, "install npm 9 or newer")
		}
		return fmt.Errorf("npm install --package-lock-only: %w\n%s", err, bytes.TrimSpace(said.Bytes()))
	}
	text, err := os.ReadFile(filepath.Join(work, "package-lock.json"))
	if err != nil {
		return err
	}
	if err := lockfile.Verify(text, version); err != nil {
		return fmt.Errorf("what npm wrote is not used:\n%w", err)
	}
	folder := filepath.Join("templates/opt/openclaw", version)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for name, content := range map[string][]byte{"package.json": []byte(manifest), "package-lock.json": text} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil {
			return err
		}
	}
	fmt.Printf("%s: made; then: pulumi config set openclawVersion %s\n", folder, version)
	return nil
}
