// Package lockfile knows what a lock file of OpenClaw must say so that nothing unpinned is ever downloaded.
package lockfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Package is the package that a lock file is made for.
const Package = "openclaw"

var sha512 = regexp.MustCompile(`^sha512-[A-Za-z0-9+/]{86}==$`)

// Verify tells whether a package-lock.json pins one version of OpenClaw and every package that it pulls by a SHA-512,
// and names no registry: a host takes packages from the one that its stack configures. All faults are told at once.
func Verify(lock []byte, version string) error {
	var parsed struct {
		Version  int `json:"lockfileVersion"`
		Packages map[string]struct {
			Version      string
			Resolved     string
			Integrity    string
			Link         bool
			InBundle     bool
			Dependencies map[string]string
		}
	}
	if err := json.Unmarshal(lock, &parsed); err != nil {
		return fmt.Errorf("read a lock file: %w", err)
	}
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if parsed.Version != 3 {
		fault("lockfileVersion %d, expected 3", parsed.Version)
	}
	root := parsed.Packages[""]
	if len(root.Dependencies) != 1 || root.Dependencies[Package] != version {
		fault("asks for %v, expected %s %s alone", root.Dependencies, Package, version)
	}
	if got := parsed.Packages["node_modules/"+Package].Version; got != version {
		fault("holds %s %q, expected %q", Package, got, version)
	}
	var paths []string
	for path := range parsed.Packages {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for _, path := range paths {
		p := parsed.Packages[path]
		if path == "" {
			continue
		}
		switch outer, _, nested := cutLast(path, "/node_modules/"); {
		case p.Link:
			fault("%s: is a link to another folder", path)
		case p.Resolved != "":
			fault("%s: names where it comes from, %q", path, p.Resolved)
		// What comes within another package's archive is pinned by the sum of that.
		case p.InBundle && (!nested || parsed.Packages[outer].Integrity == ""):
			fault("%s: comes within a package that no sum pins", path)
		case !p.InBundle && !sha512.MatchString(p.Integrity):
			fault("%s: integrity %q, expected a SHA-512", path, p.Integrity)
		}
	}
	return errors.Join(faults...)
}

func cutLast(text, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(text, separator); i >= 0 {
		return text[:i], text[i+len(separator):], true
	}
	return text, "", false
}
