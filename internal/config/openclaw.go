package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"openclaw-azure/templates"
)

// The first version without CVE-2026-25253.
var oldestOpenClaw = [3]int{2026, 1, 29}

// ReservedEnv are variables that would change where the service runs its code from, where it
// keeps its state or who may talk to it: the unit sets these, or nobody does.
var ReservedEnv = strings.Fields(`BASH_ENV CACHE_DIRECTORY CREDENTIALS_DIRECTORY ENV HOME IFS INVOCATION_ID
	LISTEN_FDS LISTEN_FDNAMES LISTEN_PID LOGNAME MAINPID NODE_CHANNEL_FD NODE_EXTRA_CA_CERTS NODE_OPTIONS
	NODE_PATH NODE_TLS_REJECT_UNAUTHORIZED NOTIFY_SOCKET
	OPENCLAW_CONFIG_PATH OPENCLAW_CONFIG_READONLY OPENCLAW_DISABLE_BONJOUR OPENCLAW_GATEWAY_TOKEN
	OPENCLAW_NO_AUTO_UPDATE OPENCLAW_SERVICE_REPAIR_POLICY OPENCLAW_STATE_DIR
	PATH PERL5LIB PERL5OPT PYTHONHOME PYTHONPATH PYTHONSTARTUP RUBYLIB RUBYOPT RUNTIME_DIRECTORY
	SHELL STATE_DIRECTORY TMPDIR USER WATCHDOG_PID WATCHDOG_USEC
	XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_HOME XDG_RUNTIME_DIR XDG_STATE_HOME`)

// ReservedEnvPrefixes are how the names of others like them begin.
var ReservedEnvPrefixes = []string{"LD_", "SYSTEMD_", "NPM_CONFIG_"}

func (r *reader) openclawVersion() string {
	v := r.value(KeyOpenClawVersion)
	m := openclawSemver.FindStringSubmatch(v)
	if m == nil {
		r.fault(KeyOpenClawVersion, v, errNotVersion, "expected an exact one, such as "+r.defaults[KeyOpenClawVersion], "")
		return v
	}
	var version [3]int
	for i := range version {
		version[i], _ = strconv.Atoi(m[i+1])
	}
	if slices.Compare(version[:], oldestOpenClaw[:]) < 0 {
		r.fault(KeyOpenClawVersion, v, errOldVersion, "expected 2026.1.29 or newer, where CVE-2026-25253 is mended",
			"pulumi config set openclawVersion "+r.defaults[KeyOpenClawVersion])
		return v
	}
	if locked := templates.LockedVersions(); !slices.Contains(locked, v) {
		r.fault(KeyOpenClawVersion, v, errNoLock, "expected one of "+strings.Join(locked, ", ")+", whose packages are pinned",
			"go run ./cmd/lock "+v+"    # pins them, with npm: read what it wrote")
	}
	return v
}

// Node's release. Its SHASUMS256.txt has the sum.
const nodeVersion = "24.16.0"

var NodeRelease = Download{"https://nodejs.org/dist/v" + nodeVersion + "/node-v" + nodeVersion + "-linux-x64.tar.xz",
	"d804845d34eddc21dc1092b519d643ef40b1f58ec5dec5c22b1f4bd8fabde6c9"}

func (r *reader) node() Download {
	d := Download{r.mirror(KeyNodeURL), r.value(KeyNodeSHA256)}
	if d.SHA256 != "" && !sha256Digits.MatchString(d.SHA256) {
		r.fault(KeyNodeSHA256, d.SHA256, errNotSHA256, "expected 64 digits, 0 to 9 and a to f", "sha256sum FILE    # prints it")
	}
	switch {
	case d == Download{}:
		return NodeRelease
	case r.value(KeyNodeURL) == "":
		r.faultKey(KeyNodeSHA256, errAlone, "expected nodeUrl beside it", "pulumi config rm nodeSha256\nor: pulumi config set nodeUrl URL")
	case d.SHA256 == "":
		r.faultKey(KeyNodeURL, errAlone, "expected nodeSha256 beside it: nothing unpinned is ever downloaded",
			"pulumi config set nodeSha256 SHA256\nor: pulumi config rm nodeUrl")
	}
	return d
}

func (r *reader) npmRegistry() string { return strings.TrimRight(r.mirror(KeyNPMRegistry), "/") }

func (r *reader) openclawEnv() map[string]string {
	return r.secretMembers(KeyOpenClawEnv, "variables", func(name, value string) *Fault {
		key := KeyOpenClawEnv + "." + name
		switch {
		case !envName.MatchString(name):
			return &Fault{Kind: errNotEnvName, Want: "expected letters, digits and _, no digit first", Hint: "pulumi config rm --path " + pathQuote(KeyOpenClawEnv, name)}
		case reserved(name):
			return &Fault{Kind: errReservedEnv, Want: "expected none that decides what the service runs, where it keeps its state or who may talk to it",
				Hint: "pulumi config rm --path " + key}
		case len(name)+1+len(value) >= longestEnv:
			return &Fault{Kind: errTooLong, Want: fmt.Sprintf("expected less than %d KiB", longestEnv>>10)}
		}
		return nil
	})
}

// again sets a secret, for which the CLI asks.
const again = "pulumi config set --secret --path "

// secretObjects have members that are secrets.
var secretObjects = []string{KeyOpenClawEnv, KeyOpenClawKeys, KeyAlerts}

// secretMember tells whether a dotted key is a secret.
func secretMember(root, rest string) bool {
	return slices.Contains(secretObjects, root) && (root != KeyAlerts || rest != azureEmail && !strings.HasSuffix(rest, ".kind"))
}

// secretMembers reads an object of secrets by name. refuse says what is wrong with a name and its value, which may be empty; no message
// shows a value.
func (r *reader) secretMembers(root, what string, refuse func(name, value string) *Fault) map[string]string {
	out := map[string]string{}
	v := r.value(root)
	if v == "" {
		return out
	}
	entries, err := members(v)
	if err != nil {
		r.fault(root, v, errNotObject, "expected an object of "+what+" by name",
			"pulumi config rm "+root+"\n"+r.setCommand(root, ""))
		return out
	}
	slices.SortStableFunc(entries, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	secret := r.secret(root)
	for i, entry := range entries {
		name, _, assigned := strings.Cut(entry.name, "=")
		key := root + "." + name
		if assigned {
			// The value is in the name: show neither it nor a command with it.
			r.faultKey(key+"=…", errAssignmentKey, "expected the name alone, and a space before the value", r.exposedHint(key))
			continue
		}
		value, ok := scalar(entry.value)
		if f := refuse(name, value); f != nil {
			f.Key = key
			r.faults = append(r.faults, f)
			continue
		}
		switch {
		case i > 0 && entries[i-1].name == entry.name:
			r.faultKey(key, errTwice, "expected each once", "")
		case !secret || slices.Contains(r.raw.plain, key):
			r.faultKey(key, errNotSecret, "expected a secret", again+key+"    # asks for the value\nthe old value was readable: renew it where it came from")
		case !ok:
			r.fault(key, "", errNotPlain, "expected a text", again+key+"    # asks for the value")
		case value == "":
			r.fault(key, "", errEmptyEnv, "expected a value", again+key+"    # asks for the value\nor: pulumi config rm --path "+key)
		case strings.ContainsFunc(value, func(r rune) bool { return r != '\t' && unicode.IsControl(r) }) || !utf8.ValidString(value):
			r.fault(key, "", errControl, "expected one line of text", again+key+"    # asks for the value")
		default:
			out[name] = value
		}
	}
	return out
}

// reserved tells whether a variable would change the service's sandbox.
func reserved(name string) bool {
	upper := strings.ToUpper(name)
	return slices.Contains(ReservedEnv, upper) ||
		slices.ContainsFunc(ReservedEnvPrefixes, func(prefix string) bool { return strings.HasPrefix(upper, prefix) })
}

func (r *reader) exposedHint(key string) string {
	return outOfFile + "\n" +
		"pulumi config set --secret --path " + key + "    # asks for the value\n" +
		"the old value was readable: renew it where it came from"
}
