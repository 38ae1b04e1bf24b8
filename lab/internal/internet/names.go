package internet

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// names are what the name service knows, each in lower case and with its final dot.
type names map[string]*records

// records are those of one name. A name with an alias has nothing else.
type records struct {
	a, aaaa []netip.Addr
	alias   string
}

//go:embed names.default
var defaultNames []byte

// makeNames writes the default names where there are none yet. Those that there are have to be right.
func makeNames(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	switch {
	case errors.Is(err, os.ErrExist):
		_, err = readNames(path)
		return err
	case err != nil:
		return err
	}
	_, err = file.Write(defaultNames)
	return errors.Join(err, file.Close())
}

func readNames(path string) (names, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseNames(path, text)
}

// parseNames reads lines of a name, a type and what it stands for.
func parseNames(path string, text []byte) (names, error) {
	known := names{}
	number := 0
	for line := range bytes.Lines(text) {
		number++
		content, _, _ := strings.Cut(string(line), "#")
		fields := strings.Fields(content)
		if len(fields) == 0 {
			continue
		}
		if err := known.add(fields); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, number, err)
		}
	}
	return known, nil
}

func (n names) add(fields []string) error {
	if len(fields) < 3 {
		return fmt.Errorf("%q: expected NAME A ADDRESS..., NAME AAAA ADDRESS... or NAME CNAME TARGET", strings.Join(fields, " "))
	}
	name, err := canonical(fields[0])
	if err != nil {
		return err
	}
	r := n[name]
	if r == nil {
		r = &records{}
	}
	switch kind, values := fields[1], fields[2:]; kind {
	case "A", "AAAA":
		if r.alias != "" {
			return fmt.Errorf("%q has a CNAME: expected nothing else of that name", fields[0])
		}
		for _, value := range values {
			address, err := netip.ParseAddr(value)
			if err != nil || address.Is4() != (kind == "A") || address.Zone() != "" {
				return fmt.Errorf("address %q of %q: expected one of IPv%s", value, fields[0], map[string]string{"A": "4", "AAAA": "6"}[kind])
			}
			if kind == "A" {
				r.a = append(r.a, address)
			} else {
				r.aaaa = append(r.aaaa, address)
			}
		}
	case "CNAME":
		if n[name] != nil || len(values) != 1 {
			return fmt.Errorf("%q has a CNAME: expected one target, and nothing else of that name", fields[0])
		}
		if r.alias, err = canonical(values[0]); err != nil {
			return err
		}
	default:
		return fmt.Errorf("type %q of %q: expected A, AAAA or CNAME", kind, fields[0])
	}
	n[name] = r
	return nil
}

// canonical gives a name in the form in which two are compared.
func canonical(name string) (string, error) {
	full := lower(strings.TrimSuffix(name, ".")) + "."
	labels := strings.Split(strings.TrimSuffix(full, "."), ".")
	bad := func(label string) bool { return label == "" || len(label) > 63 }
	if _, err := dnsmessage.NewName(full); err != nil || len(full) > 254 || slices.ContainsFunc(labels, bad) {
		return "", fmt.Errorf("name %q: expected labels of 1 to 63 characters with dots between, at most 253 in all", name)
	}
	return full, nil
}

// lower is strings.ToLower for names, in which any byte may be and only ASCII's letters have two cases (RFC 4343).
func lower(name string) string {
	b := []byte(name)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
