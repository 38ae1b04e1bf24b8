package lockfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Plugin is one of the plugins that a version of OpenClaw knows by name.
type Plugin struct {
	Package   string   `json:"package,omitempty"` // empty: it comes within OpenClaw
	Version   string   `json:"version,omitempty"`
	Integrity string   `json:"integrity,omitempty"` // SHA-512 of its archive, which holds all that it needs
	Channels  []string `json:"channels,omitempty"`  // that it serves
	Env       []string `json:"env,omitempty"`       // variables that are enough for OpenClaw to want the channel
	Refused   string   `json:"refused,omitempty"`   // why it cannot be had
	Limits    string   `json:"limits,omitempty"`    // what of it does not work
}

// Within tells whether the plugin comes within OpenClaw itself.
func (p Plugin) Within() bool { return p.Package == "" }

// Plugins are all plugins that a version of OpenClaw knows, by their ids.
type Plugins map[string]Plugin

// ReadPlugins reads what cmd/lock wrote of a version's plugins, and tells all faults at once: one that could be had must
// be pinned, and be of OpenClaw's own version.
func ReadPlugins(text []byte, version string) (Plugins, error) {
	var plugins Plugins
	if err := json.Unmarshal(text, &plugins); err != nil {
		return nil, fmt.Errorf("read the plugins of OpenClaw %s: %w", version, err)
	}
	var faults []error
	for _, id := range slices.Sorted(maps.Keys(plugins)) {
		p := plugins[id]
		switch {
		case p.Within() || p.Refused != "":
		case p.Version != version:
			faults = append(faults, fmt.Errorf("plugin %s: version %q, expected %q", id, p.Version, version))
		case !sha512.MatchString(p.Integrity):
			faults = append(faults, fmt.Errorf("plugin %s: integrity %q, expected a SHA-512", id, p.Integrity))
		}
	}
	return plugins, errors.Join(faults...)
}

// OfChannel is the id of the plugin that serves a channel.
func (ps Plugins) OfChannel(channel string) (id string, known bool) {
	for _, id := range slices.Sorted(maps.Keys(ps)) {
		if slices.Contains(ps[id].Channels, channel) {
			return id, true
		}
	}
	return "", false
}

// Pinned are the ids of those that a release can be given, sorted.
func (ps Plugins) Pinned() []string {
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(ps)) {
		if p := ps[id]; !p.Within() && p.Refused == "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// Channels are all that can be had, within OpenClaw or by a plugin, sorted.
func (ps Plugins) Channels() []string {
	var channels []string
	for _, p := range ps {
		if p.Refused == "" {
			channels = append(channels, p.Channels...)
		}
	}
	slices.Sort(channels)
	return channels
}

// Without are the ids of those that neither come within OpenClaw nor are named, sorted.
func (ps Plugins) Without(ids []string) []string {
	var without []string
	for _, id := range slices.Sorted(maps.Keys(ps)) {
		if !ps[id].Within() && !slices.Contains(ids, id) {
			without = append(without, id)
		}
	}
	return without
}
