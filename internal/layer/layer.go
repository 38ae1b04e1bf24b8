// Package layer describes one layer of the host's configuration and packs it for the applier, the Python program
// that puts it in place on the host (internal/applier).
package layer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"unicode/utf8"
)

// names are the layers', in the order in which they are put in place. A layer may count on those before it.
var names = []string{"base", "sysctl", "wireguard", "firewall", "ssh", "fail2ban", "updates", "network", "providers", "openclaw", "backup", "alerts"}

// Names are the layers' names, in their order.
func Names() []string { return slices.Clone(names) }

// Policies of a file.
const (
	Replace = "replace" // the content is ours, edits are overwritten
	Env     = "env"     // NAME=value lines: ours are the configured names, every other line is the operator's
)

// Layer is what one layer wants of the host. Its JSON form is the `declared` document of the applier, in which
// contents and secrets stand only as SHA-256.
type Layer struct {
	Name        string      `json:"layer"`
	Packages    []string    `json:"packages,omitempty"`
	Groups      []Group     `json:"groups,omitempty"`
	Users       []User      `json:"users,omitempty"`
	Directories []Directory `json:"directories,omitempty"`
	Files       []File      `json:"files,omitempty"`
	Checks      []Check     `json:"checks,omitempty"`
	Units       []Unit      `json:"units,omitempty"`
	Quick       *Quick      `json:"quick,omitempty"`
	Reload      [][]string  `json:"reload,omitempty"`
	Undo        [][]string  `json:"undo,omitempty"`
	Probes      []Probe     `json:"probes,omitempty"`
	// Notes are commands whose lines a look at the host tells: worth knowing, and no drift.
	Notes [][]string `json:"notes,omitempty"`
	// Warnings are those whose lines the proof tells, too.
	Warnings [][]string `json:"warnings,omitempty"`
	// Facts are those whose lines the proof and the look give to the program, which parses them.
	Facts [][]string `json:"facts,omitempty"`

	// CommandSeconds bounds one check, reload or undo where the applier's own limit would not do.
	CommandSeconds int `json:"commandSeconds,omitempty"`
	// Waits says what the layer takes its time for; told before it runs.
	Waits string `json:"-"`

	// Armed layers can cut off the way in: the host takes their change back unless it is confirmed over a new
	// connection.
	Armed bool `json:"-"`
}

// Quick is a way that spares a layer its Reload where no file but those of Paths changes, and nothing else, and every probe
// finds after Argv what it wants.
type Quick struct {
	Paths []string `json:"paths"`
	Argv  []string `json:"argv"`
}

// Group is a system group.
type Group struct {
	Name   string `json:"name"`
	System bool   `json:"system"`
}

// User is an account. It has no supplementary groups.
type User struct {
	Name     string `json:"name"`
	Group    string `json:"group"`
	Shell    string `json:"shell"`
	Home     string `json:"home"`
	System   bool   `json:"system"`
	Password string `json:"-"`              // crypt(3) hash; empty locks the password
	Hash     string `json:"passwordSHA256"` // of Password; filled by Pack
}

// Directory is a directory with its mode, as octal digits.
type Directory struct {
	Path  string `json:"path"`
	Mode  string `json:"mode"`
	Owner string `json:"owner"`
	Group string `json:"group"`
}

// File is a file with its mode, as octal digits.
type File struct {
	Path    string            `json:"path"`
	Mode    string            `json:"mode"`
	Owner   string            `json:"owner"`
	Group   string            `json:"group"`
	Policy  string            `json:"policy"`
	Content []byte            `json:"-"`
	SHA256  string            `json:"sha256,omitempty"` // of Content; filled by Pack
	Values  map[string]string `json:"-"`                // policy Env: the configured lines
	Env     map[string]string `json:"env,omitempty"`    // SHA-256 of Values; filled by Pack
}

// Check runs on the staged files, {stage} standing for their root, before anything is replaced.
type Check struct {
	Argv []string `json:"argv"`
}

// Unit is a systemd unit; nil leaves a state alone.
type Unit struct {
	Name    string `json:"name"`
	Enabled *bool  `json:"enabled"`
	Active  *bool  `json:"active"`
	Masked  bool   `json:"masked"`
}

// Packed is a layer ready for the wire.
type Packed struct {
	Name     string
	Armed    bool
	Waits    string
	Digest   string // SHA-256 of the declared document: two layers with one digest want the same of the host
	declared string
	contents map[string]string
	secrets  secrets
}

type secrets struct {
	Users map[string]string `json:"users,omitempty"`
	Env   map[string]string `json:"env,omitempty"`
}

// Pack fills the digests in and separates contents and secrets from what is declared.
func (l Layer) Pack() (Packed, error) {
	p := Packed{Name: l.Name, Armed: l.Armed, Waits: l.Waits, contents: map[string]string{}, secrets: secrets{Users: map[string]string{}, Env: map[string]string{}}}
	l.Users, l.Files = slices.Clone(l.Users), slices.Clone(l.Files)
	for i := range l.Users {
		u := &l.Users[i]
		if u.Password != "" {
			u.Hash = sum([]byte(u.Password))
			p.secrets.Users[u.Name] = u.Password
		}
	}
	for i := range l.Files {
		f := &l.Files[i]
		if f.Policy == Env {
			f.Env = map[string]string{}
			for name, value := range f.Values {
				f.Env[name] = sum([]byte(value))
				p.secrets.Env[name] = value
			}
		}
		// The configured lines of an Env file are in Env: Content is what the file holds when it is made.
		f.SHA256 = sum(f.Content)
		if !utf8.Valid(f.Content) {
			return Packed{}, fmt.Errorf("pack layer %s: %s: its content is not UTF-8 text", l.Name, f.Path)
		}
		p.contents[f.Path] = string(f.Content)
	}
	declared, err := json.Marshal(l)
	if err != nil {
		return Packed{}, fmt.Errorf("pack layer %s: %w", l.Name, err)
	}
	p.declared, p.Digest = string(declared), sum(declared)
	return p, nil
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}
