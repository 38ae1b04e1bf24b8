package config

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"openclaw-azure/internal/lockfile"
	"openclaw-azure/internal/shell"
	"openclaw-azure/templates"
)

// Plugin is one that the release gets, by the name that OpenClaw knows it by.
type Plugin struct {
	ID string
	lockfile.Plugin
}

// knownPlugins are those that the locked version of OpenClaw knows; none where no lock file is.
func knownPlugins(version string) lockfile.Plugins {
	if !slices.Contains(templates.LockedVersions(), version) {
		return nil
	}
	text, err := templates.Read("/opt/openclaw/" + version + "/plugins.json")
	if err != nil {
		panic(err) // it is compiled in, and a test reads them all
	}
	plugins, err := lockfile.ReadPlugins(text, version)
	if err != nil {
		panic(err)
	}
	return plugins
}

// openclawPlugins reads which plugins the release gets. Each is pinned by a hash, or refused with the reason.
func (r *reader) openclawPlugins(known lockfile.Plugins) []Plugin {
	const want = "expected names with commas between, such as discord,slack"
	v, ok := r.plainText(KeyOpenClawPlugins, want)
	if !ok || v == "" || known == nil {
		return nil
	}
	var out []Plugin
	for name := range strings.SplitSeq(v, ",") {
		name = strings.TrimSpace(name)
		p, found := known[name]
		without := r.withoutPlugin(v, name)
		switch {
		case name == "":
			r.fault(KeyOpenClawPlugins, v, errEmptyElement, want, "")
		case !found:
			r.fault(KeyOpenClawPlugins, name, errNotPlugin, "expected one of "+strings.Join(known.Pinned(), ", "), "")
		case p.Refused != "":
			r.fault(KeyOpenClawPlugins, name, errNoPlugin, p.Refused, without)
		case p.Within():
			r.fault(KeyOpenClawPlugins, name, errWithinOpenClaw, "expected those alone that do not", without)
		case slices.ContainsFunc(out, func(p Plugin) bool { return p.ID == name }):
			r.fault(KeyOpenClawPlugins, name, errTwice, "expected it once", "")
		default:
			out = append(out, Plugin{name, p})
		}
	}
	slices.SortFunc(out, func(a, b Plugin) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// withoutPlugin is the command that takes a plugin out of the list.
func (r *reader) withoutPlugin(list, name string) string {
	var left []string
	for each := range strings.SplitSeq(list, ",") {
		if each = strings.TrimSpace(each); each != name {
			left = append(left, each)
		}
	}
	if len(left) == 0 {
		return "pulumi config rm " + KeyOpenClawPlugins
	}
	return r.reveal(KeyOpenClawPlugins, "pulumi config set "+KeyOpenClawPlugins+" "+shell.Quote(strings.Join(left, ",")))
}

// noChannels are the members of `channels` that are none.
var noChannels = []string{"defaults", "modelByChannel"}

// wantedPlugins refuses channels in openclawConfig, and variables in openclawEnv that are enough for OpenClaw to want one,
// that have no plugin: the gateway would look for it at each start, and end.
func (r *reader) wantedPlugins(config map[string]any, env map[string]string, known lockfile.Plugins, plugins []Plugin) {
	if known == nil {
		return
	}
	type fault struct{ key, want string }
	var faults []fault
	there := ids(plugins)
	missing := slices.Clone(there)
	wants := func(key, id, want string) {
		faults = append(faults, fault{key, want})
		if !slices.Contains(missing, id) {
			missing = append(missing, id)
		}
	}
	channels, _ := config["channels"].(map[string]any)
	for _, channel := range slices.Sorted(maps.Keys(channels)) {
		if slices.Contains(noChannels, channel) || off(channels[channel]) {
			continue
		}
		key := shell.ConfigPath(KeyOpenClawConfig, "channels", channel)
		id, found := known.OfChannel(channel)
		p := known[id]
		switch {
		case !found:
			r.faultKey(key, errNotChannel, "expected one of "+strings.Join(known.Channels(), ", "), r.configRemove("channels", channel))
		case p.Refused != "":
			r.faultKey(key, errNoPlugin, p.Refused, r.configRemove("channels", channel))
		case !p.Within() && !slices.Contains(there, id):
			wants(key, id, "expected plugin "+id+", which serves it")
		}
	}
	for _, id := range known.Without(there) {
		for _, name := range known[id].Env {
			if _, set := env[name]; !set {
				continue
			}
			key, want := KeyOpenClawEnv+"."+name, "OpenClaw would want plugin "+id+" for it"
			if refused := known[id].Refused; refused != "" {
				r.faultKey(key, errPluginMissing, want+", which cannot be had here: "+refused,
					"pulumi config rm --path "+key+"    # another name will do where it is for something else")
			} else {
				wants(key, id, want)
			}
		}
	}
	slices.Sort(missing)
	for _, f := range faults {
		r.faultKey(f.key, errPluginMissing, f.want, r.reveal(KeyOpenClawPlugins, "pulumi config set "+KeyOpenClawPlugins+" "+shell.Quote(strings.Join(missing, ","))))
	}
}

// ForeignVariables are those that the service is kept from seeing, whoever sets them on the host: each would have OpenClaw
// want a channel that it has no plugin for, and end.
func (c *Config) ForeignVariables() []string {
	known := knownPlugins(c.OpenClawVersion)
	var names []string
	for _, id := range known.Without(ids(c.Plugins)) {
		names = append(names, known[id].Env...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func ids(plugins []Plugin) []string {
	var out []string
	for _, p := range plugins {
		out = append(out, p.ID)
	}
	return out
}

// off tells whether a channel's settings say that it is not to run.
func off(channel any) bool {
	settings, _ := channel.(map[string]any)
	return settings["enabled"] == false
}
