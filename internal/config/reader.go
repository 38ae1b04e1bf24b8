package config

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// reader reads one value after the other and collects what is wrong.
type reader struct {
	raw      rawConfig
	defaults map[string]string
	faults   Faults
	// variables are those that hints name, by the setting that each is for.
	variables map[string]string
}

func (r *reader) full(key string) string {
	if key == KeyLocation {
		return key
	}
	return r.raw.project + ":" + key
}

func (r *reader) secret(key string) bool { return slices.Contains(r.raw.secrets, r.full(key)) }

// value is the key's text, its default where it is not set. An empty text
// stands for "not set" only where the default is empty too.
func (r *reader) value(key string) string {
	if v, ok := r.raw.values[r.full(key)]; ok {
		return v
	}
	return r.defaults[key]
}

// fault notes that a value is wrong. root is the top key that a dotted key
// belongs to: its secrecy decides whether the value is shown.
func (r *reader) fault(key, value string, kind error, want, hint string) {
	root, _, _ := strings.Cut(key, ".")
	f := &Fault{Key: key, Value: &value, Kind: kind, Want: want, Hint: hint}
	if r.secret(root) || slices.Contains(secretObjects, root) {
		f.Value = nil
	}
	r.faults = append(r.faults, f)
}

// reveal is a text that tells a key's value, or nothing where it is a secret.
func (r *reader) reveal(key, text string) string {
	if root, _, _ := strings.Cut(key, "."); r.secret(root) {
		return ""
	}
	return text
}

// faultKey notes that a key is wrong, or has no value to show.
func (r *reader) faultKey(key string, kind error, want, hint string) {
	r.faults = append(r.faults, &Fault{Key: key, Kind: kind, Want: want, Hint: hint})
}

// plainText is the value of a key that is no list and no object.
func (r *reader) plainText(key, want string) (string, bool) {
	v := r.value(key)
	if strings.HasPrefix(v, "[") || strings.HasPrefix(v, "{") {
		r.fault(key, v, errNotPlain, want, "pulumi config set "+key+" VALUE, without --path")
		return "", false
	}
	return v, true
}

func (r *reader) boolean(key string) bool {
	return r.isTrue(key, r.value(key))
}

func (r *reader) isTrue(key, v string) bool {
	if v != "true" && v != "false" {
		r.fault(key, v, errNotBool, "expected exactly true or false", "")
	}
	return v == "true"
}

func (r *reader) oneOf(key string, known ...string) string {
	return r.isOneOf(key, r.value(key), known...)
}

func (r *reader) isOneOf(key, v string, known ...string) string {
	if !slices.Contains(known, v) {
		r.fault(key, v, errNotOneOf, "expected "+strings.Join(known[:len(known)-1], ", ")+" or "+known[len(known)-1], "")
	}
	return v
}

// number reads a whole number in its limits, both included.
func (r *reader) number(key string, least, most int) int {
	return r.isNumber(key, r.value(key), least, most)
}

func (r *reader) isNumber(key, v string, least, most int) int {
	n, err := strconv.Atoi(v)
	if !wholeNumber.MatchString(v) || err != nil || n < least || n > most {
		r.fault(key, v, errNotNumber, fmt.Sprintf("expected a whole number from %d to %d", least, most), "")
		return 0
	}
	return n
}

func (r *reader) port(key, otherKey string, other uint16) uint16 {
	n := uint16(r.number(key, 1, 65535))
	if n == 0 {
		return 0
	}
	if holder, taken := takenPorts[n]; taken {
		r.fault(key, r.value(key), errPortTaken, "expected a port that nothing else on the machine uses, this is that of "+holder, "")
	} else if n == other {
		r.fault(key, r.value(key), errPortTaken, "expected another port than that of "+otherKey, "")
	}
	return n
}

// mirror reads the URL of a mirror. Plain http will do: what comes is used only where its sum is right. The host's
// own commands carry the URL, so it must hold no password and nothing that a shell or npm would read.
func (r *reader) mirror(key string) string {
	v := r.value(key)
	if v == "" {
		return v
	}
	u, err := url.Parse(v)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || !plainURL.MatchString(v) || u.Host == "" {
		r.fault(key, v, errNotURL, "expected http or https, a host and a path, and no user, query or fragment", "")
	}
	return v
}
