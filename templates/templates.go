// Package templates is the tree of files that the program puts on the machine: a template's path in this folder is its
// path there.
package templates

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

//go:embed all:etc all:opt all:usr
var tree embed.FS

// Read gives the template of a path on the machine, such as /etc/ufw/ufw.conf.
func Read(path string) ([]byte, error) {
	text, err := tree.ReadFile(strings.TrimPrefix(path, "/"))
	if err != nil {
		return nil, fmt.Errorf("read the template of %s: %w", path, err)
	}
	return text, nil
}

// Paths are those on the machine that have a template, sorted.
func Paths() []string {
	var paths []string
	err := fs.WalkDir(tree, ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths = append(paths, "/"+path)
		}
		return err
	})
	if err != nil {
		panic(err) // it is compiled in
	}
	slices.Sort(paths)
	return paths
}

// LockedVersions are the versions of OpenClaw that opt/openclaw pins every package of.
func LockedVersions() []string {
	entries, err := tree.ReadDir("opt/openclaw")
	if err != nil {
		panic(err) // it is compiled in
	}
	var versions []string
	for _, entry := range entries {
		versions = append(versions, entry.Name())
	}
	return versions
}
