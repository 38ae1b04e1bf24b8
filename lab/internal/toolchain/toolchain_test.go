package toolchain

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// install makes a program that is only found, never run.
func install(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyWhatTheMachineLacksIsBuilt(t *testing.T) {
	for _, test := range []struct {
		name string
		has  []string // under the test's folder; bin is on PATH
		link string   // what bin/pulumi leads to
		want string
	}{
		{"nothing", nil, "", "pulumi pulumi-language-go"},
		{"the CLI", []string{"bin/pulumi"}, "", "pulumi-language-go"},
		{"both", []string{"bin/pulumi", "bin/pulumi-language-go"}, "", ""},
		{"the language host beside the CLI that a link leads to", []string{"opt/pulumi", "opt/pulumi-language-go"}, "opt/pulumi", ""},
		{"the language host alone", []string{"bin/pulumi-language-go"}, "", "pulumi"},
	} {
		t.Run(test.name, func(t *testing.T) {
			folder := t.TempDir()
			if err := os.Mkdir(filepath.Join(folder, "bin"), 0o755); err != nil {
				t.Fatal(err)
			}
			for _, name := range test.has {
				install(t, filepath.Join(folder, name))
			}
			if test.link != "" {
				if err := os.Symlink(filepath.Join(folder, test.link), filepath.Join(folder, "bin/pulumi")); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", filepath.Join(folder, "bin"))
			var names []string
			for _, tool := range (Tools{}).Missing() {
				names = append(names, tool.Binary)
			}
			if got := strings.Join(names, " "); got != test.want {
				t.Errorf("missing %q, want %q", got, test.want)
			}
		})
	}
}

func TestPathKeepsTheUsersOrder(t *testing.T) {
	root, cache := t.TempDir(), t.TempDir()
	for _, tool := range []Tool{cli, languageHost} {
		for _, name := range []string{"go.mod", "go.sum"} {
			install(t, filepath.Join(root, tool.folder, name))
		}
	}
	tools := Tools{root, cache}
	built, err := tools.path(cli)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", "/opt/mine::/usr/bin:/opt/mine")
	want := "/opt/mine:/usr/bin:" + filepath.Dir(built) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin:/bin"
	if got := tools.Path(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// A Go that the lab had to fetch goes before one that is too old.
	own := filepath.Join(cache, "go/current/bin")
	install(t, filepath.Join(own, "go"))
	if got := tools.Path(); got != own+":"+want {
		t.Errorf("with a Go of its own\ngot  %s\nwant %s:%s", got, own, want)
	}
	// What a tool is built from names its folder.
	if err := os.WriteFile(filepath.Join(root, cli.folder, "go.sum"), []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	if again, err := tools.path(cli); err != nil || again == built {
		t.Errorf("another go.sum leads to %s, %v", again, err)
	}
}
