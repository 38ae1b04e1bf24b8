// Package toolchain finds the Pulumi CLI, its language host for Go and Go itself, and builds the first two where the
// machine has none.
package toolchain

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Tool is a program that a tools module under lab/tools pins.
type Tool struct {
	Title  string
	Binary string
	folder string // of the module
	pkg    string
	module string // whose version is built into the program
}

var (
	cli = Tool{
		"the Pulumi CLI", "pulumi", "lab/tools/cli",
		"github.com/pulumi/pulumi/pkg/v3/cmd/pulumi", "github.com/pulumi/pulumi/pkg/v3",
	}
	languageHost = Tool{
		"Pulumi's language host for Go", "pulumi-language-go", "lab/tools/langhost",
		"github.com/pulumi/pulumi/sdk/v3/go/pulumi-language-go", "github.com/pulumi/pulumi/sdk/v3",
	}
)

// BuildTarget is the variable that names where the language host puts the program that it links.
const BuildTarget = "LAB_BUILD_TARGET"

// launcher stands before the language host, which is older than the CLI and does not understand how it is told of
// buildTarget in Pulumi.yaml: without it the program is linked anew for every command.
const launcher = `#!/bin/sh
exec "$0.real" ${` + BuildTarget + `:+-buildTarget "$` + BuildTarget + `"} "$@"
`

// Tools are those of one repository.
type Tools struct {
	Root  string
	Cache string
}

// Missing are the tools that are neither on PATH nor built yet. The CLI also finds a language host that stands beside
// it.
func (t Tools) Missing() []Tool {
	var missing []Tool
	beside := ""
	if path, err := exec.LookPath(cli.Binary); err != nil {
		missing = append(missing, cli)
	} else if resolved, err := filepath.EvalSymlinks(path); err == nil {
		beside = filepath.Join(filepath.Dir(resolved), languageHost.Binary)
	}
	if _, err := exec.LookPath(languageHost.Binary); err != nil && !exists(beside) {
		missing = append(missing, languageHost)
	}
	return missing
}

// path is where a tool stands once it is built. All stand side by side, which is where the CLI looks for a language
// host first; what they are built from is in the folder's name.
func (t Tools) path(tool Tool) (string, error) {
	sum := sha256.New()
	sum.Write([]byte(launcher))
	for _, tool := range []Tool{cli, languageHost} {
		for _, name := range []string{"go.mod", "go.sum"} {
			content, err := os.ReadFile(filepath.Join(t.Root, tool.folder, name))
			if err != nil {
				return "", err
			}
			sum.Write(content)
		}
	}
	return filepath.Join(t.Cache, "tools", hex.EncodeToString(sum.Sum(nil))[:16], tool.Binary), nil
}

// Build builds a tool. Whoever calls it sees to it that nobody else does.
func (t Tools) Build(ctx context.Context, tool Tool, output io.Writer) error {
	path, err := t.path(tool)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(t.Root, tool.folder, "go.mod"))
	if err != nil {
		return err
	}
	version := regexp.MustCompile(`(?m)^\s*(?:require\s+)?` + regexp.QuoteMeta(tool.module) + `\s+(v\S+)`).FindSubmatch(text)
	if version == nil {
		return fmt.Errorf("%s/go.mod requires no %s", tool.folder, tool.module)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// Without a version the CLI is taken for a development build and refused in places.
	flags := "-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=" + string(version[1])
	cmd := exec.CommandContext(ctx, "go", "build", "-v", "-buildvcs=false", "-ldflags", flags, "-o", path+".part", tool.pkg)
	cmd.Dir = filepath.Join(t.Root, tool.folder)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build: %w", err)
	}
	if tool == languageHost {
		if err := os.Rename(path+".part", path+".real"); err != nil {
			return err
		}
		if err := os.WriteFile(path+".part", []byte(launcher), 0o755); err != nil {
			return err
		}
	}
	return os.Rename(path+".part", path)
}

// Path is what the variable PATH should be: what the user has comes first, then the tools and the folders of root's
// programs.
func (t Tools) Path() string {
	var dirs []string
	add := func(dir string) {
		if dir != "" && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	// lab/setup.sh puts a Go there where the machine's own is too old.
	if own := filepath.Join(t.Cache, "go", "current", "bin"); exists(filepath.Join(own, "go")) {
		add(own)
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		add(dir)
	}
	if path, err := t.path(cli); err == nil {
		add(filepath.Dir(path))
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		add(dir)
	}
	return strings.Join(dirs, ":")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
