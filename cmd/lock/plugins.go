package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"openclaw-azure/internal/lockfile"
)

// What no archive tells: programs that a plugin starts, and code that its dependencies fetch by themselves.
var (
	needsMore = map[string]string{
		"facetime": "it needs a Mac",
		"imessage": "it needs a Mac",
		"signal":   "it needs signal-cli, a Java program that nothing here pins",
	}
	limits = map[string]string{
		"matrix": "rooms that are encrypted stay closed: nothing pins the native code for them",
	}
)

// atOnce bounds how many archives are fetched side by side.
const atOnce = 4

// pluginsOf makes plugins.json of a version of OpenClaw: what its own archive holds, and what its catalogs name.
func pluginsOf(work string, lock []byte, version string) ([]byte, error) {
	own, err := pack(work, lockfile.Package, version)
	if err != nil {
		return nil, err
	}
	var pinned struct {
		Packages map[string]struct{ Integrity string }
	}
	if err := json.Unmarshal(lock, &pinned); err != nil {
		return nil, err
	}
	if want := pinned.Packages["node_modules/"+lockfile.Package].Integrity; own.integrity != want {
		return nil, fmt.Errorf("%s: its SHA-512 is %s, expected %s", own.file, own.integrity, want)
	}
	plugins := lockfile.Plugins{}
	entries := map[string]catalogEntry{}
	err = own.read(func(name string, content func() ([]byte, error)) error {
		within, _ := path.Match("dist/extensions/*/openclaw.plugin.json", name)
		catalog, _ := path.Match("scripts/lib/official-external-*-catalog.json", name)
		switch {
		case within:
			m, err := readJSON[manifest](content())
			plugins[m.ID] = lockfile.Plugin{Channels: m.Channels}
			return err
		case catalog:
			c, err := readJSON[struct{ Entries []catalogEntry }](content())
			for _, entry := range c.Entries {
				entries[entry.id()] = entry
			}
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(plugins) == 0 || len(entries) == 0 {
		return nil, fmt.Errorf("%s: holds %d plugins and names %d, expected both", own.file, len(plugins), len(entries))
	}
	var faults []error
	var together sync.Mutex
	var all sync.WaitGroup
	free := make(chan struct{}, atOnce)
	for _, id := range slices.Sorted(maps.Keys(entries)) {
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			plugin, err := pluginOf(work, entries[id], version)
			together.Lock()
			defer together.Unlock()
			plugins[id], faults = plugin, append(faults, err)
			fmt.Fprintf(os.Stderr, "%s %s\n", id, plugin.Refused)
		})
	}
	all.Wait()
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(plugins, "", "  ")
	if err != nil {
		return nil, err
	}
	if _, err := lockfile.ReadPlugins(text, version); err != nil {
		return nil, fmt.Errorf("what the registry gave is not used:\n%w", err)
	}
	return append(text, '\n'), nil
}

// catalogEntry is a plugin as OpenClaw's own catalogs name it.
type catalogEntry struct {
	Name     string
	OpenClaw struct {
		Plugin  struct{ ID string }
		Channel struct {
			ID              string
			ConfiguredState struct {
				Env struct{ AnyOf, AllOf []string }
			}
		}
	}
}

func (e catalogEntry) id() string {
	if e.OpenClaw.Plugin.ID != "" {
		return e.OpenClaw.Plugin.ID
	}
	return e.OpenClaw.Channel.ID
}

// manifest is what openclaw.plugin.json says of a plugin.
type manifest struct {
	ID       string
	Channels []string
}

// pluginOf pins one plugin of the catalogs, or says why it cannot be had.
func pluginOf(work string, entry catalogEntry, version string) (lockfile.Plugin, error) {
	id := entry.id()
	plugin := lockfile.Plugin{Package: entry.Name, Limits: limits[id]}
	if channel := entry.OpenClaw.Channel; channel.ID != "" {
		plugin.Channels = []string{channel.ID}
		plugin.Env = slices.Concat(channel.ConfiguredState.Env.AnyOf, channel.ConfiguredState.Env.AllOf)
		slices.Sort(plugin.Env)
	}
	if plugin.Refused = needsMore[id]; plugin.Refused != "" {
		return plugin, nil
	}
	versions, err := readJSON[[]string](npm(work, "view", entry.Name, "versions", "--json"))
	if err != nil && strings.Contains(err.Error(), "E404") {
		plugin.Refused = "the registry had no such package"
		return plugin, nil
	}
	if err != nil {
		return plugin, err
	}
	if !slices.Contains(versions, version) {
		plugin.Refused = fmt.Sprintf("there is none of OpenClaw's version, %s", version)
		return plugin, nil
	}
	packed, err := pack(work, entry.Name, version)
	if err != nil {
		return plugin, err
	}
	defer os.Remove(packed.file)
	said, missing, err := packed.look()
	switch {
	case err != nil:
		return plugin, err
	case said.ID != id:
		return plugin, fmt.Errorf("%s: is plugin %q, expected %q", packed.file, said.ID, id)
	case len(missing) > 0:
		plugin.Refused = fmt.Sprintf("its archive lacks %d of the packages that it needs, %s the first", len(missing), missing[0])
		return plugin, nil
	}
	plugin.Version, plugin.Integrity, plugin.Channels = version, packed.integrity, said.Channels
	return plugin, nil
}

// archive is a package's archive, with its SHA-512 as npm verified it.
type archive struct{ file, integrity string }

func pack(work, name, version string) (archive, error) {
	packed, err := readJSON[[]struct{ Filename, Integrity string }](npm(work, "pack", "--json", "--ignore-scripts", name+"@"+version))
	if err != nil {
		return archive{}, err
	}
	if len(packed) != 1 {
		return archive{}, fmt.Errorf("npm pack %s@%s: told of %d archives, expected one", name, version, len(packed))
	}
	return archive{filepath.Join(work, packed[0].Filename), packed[0].Integrity}, nil
}

// read shows each file of the archive by its path in the package.
func (a archive) read(each func(name string, content func() ([]byte, error)) error) error {
	file, err := os.Open(a.file)
	if err != nil {
		return err
	}
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		return fmt.Errorf("%s: %w", a.file, err)
	}
	for files := tar.NewReader(unpacked); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", a.file, err)
		}
		_, name, _ := strings.Cut(header.Name, "/")
		if err := each(name, func() ([]byte, error) { return io.ReadAll(files) }); err != nil {
			return fmt.Errorf("%s: %s: %w", a.file, name, err)
		}
	}
}

// look reads what a plugin's archive says of itself, and which packages it needs and does not hold, whoever of those
// within it needs them.
func (a archive) look() (said manifest, missing []string, err error) {
	needs := map[string][]string{} // by the folder of the package that needs them
	err = a.read(func(name string, content func() ([]byte, error)) error {
		folder, last := path.Split(name)
		switch {
		case name == "openclaw.plugin.json":
			said, err = readJSON[manifest](content())
			return err
		case last == "package.json" && isPackage(folder):
			m, err := readJSON[struct{ Dependencies, OptionalDependencies map[string]string }](content())
			if err != nil {
				return err
			}
			needs[folder] = nil
			for dependency := range m.Dependencies {
				if _, optional := m.OptionalDependencies[dependency]; !optional {
					needs[folder] = append(needs[folder], dependency)
				}
			}
		}
		return nil
	})
	for folder, dependencies := range needs {
		for _, dependency := range dependencies {
			if dependency != lockfile.Package && !slices.Contains(missing, dependency) && !found(needs, folder, dependency) {
				missing = append(missing, dependency)
			}
		}
	}
	slices.Sort(missing)
	return said, missing, err
}

// isPackage tells whether a folder, with a slash at its end, is a package's own: the archive's, or one in node_modules.
func isPackage(folder string) bool {
	if folder == "" {
		return true
	}
	above, name := path.Split(strings.TrimSuffix(folder, "/"))
	if scope, _ := strings.CutSuffix(above, "/"); strings.HasPrefix(path.Base(scope), "@") {
		above, _ = path.Split(scope)
	}
	return name != "" && strings.HasSuffix(above, "node_modules/")
}

// found tells whether a package in a folder finds another, as Node looks: in node_modules there and in each folder above.
func found(packages map[string][]string, folder, name string) bool {
	for {
		if _, ok := packages[folder+"node_modules/"+name+"/"]; ok {
			return true
		}
		if folder == "" {
			return false
		}
		folder, _ = path.Split(strings.TrimSuffix(folder, "/"))
	}
}

// readJSON reads what a function gave, unless that failed.
func readJSON[T any](text []byte, err error) (T, error) {
	var value T
	if err != nil {
		return value, err
	}
	return value, json.Unmarshal(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), &value)
}
