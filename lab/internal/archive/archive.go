// Package archive knows where this machine gets its Debian packages from, and lends that way to virtual machines:
// as a proxy that keeps what it has fetched.
package archive

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
)

// Source is one package archive: where it is, and which suffix its suites bear.
type Source struct {
	Base   *url.URL
	Suffix string // "", "-updates" or "-security"
}

// Machine is what the machine's own configuration of apt says.
type Machine struct {
	Sources []Source
	// Options of apt that follow from how the machine's archives are kept, for example a mirror that stands still
	// and whose dates have run out.
	Options []string
	// Proxy is the way to the archives where there is no direct one.
	Proxy *url.URL
	// Suite is what hosts are made of.
	Suite Suite
}

var inherited = []string{"Acquire::Check-Valid-Until", "Acquire::Check-Date"}

// Read finds the Debian archives that this machine uses, or those of another suite that the environment asks for.
func Read(ctx context.Context) (Machine, error) {
	suite, err := WantedSuite()
	if err != nil {
		return Machine{}, err
	}
	codename, err := codename()
	if err != nil {
		return Machine{}, err
	}
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages").Output()
	if err != nil {
		return Machine{}, fmt.Errorf("apt-get indextargets: %w", err)
	}
	machine, err := parseTargets(string(out), codename)
	if err != nil {
		return Machine{}, err
	}
	dump, err := exec.CommandContext(ctx, "apt-config", "dump").Output()
	if err != nil {
		return Machine{}, fmt.Errorf("apt-config dump: %w", err)
	}
	if err := machine.parseOptions(string(dump)); err != nil {
		return Machine{}, err
	}
	return machine, machine.use(ctx, suite)
}

func codename() (string, error) {
	file, err := os.Open("/etc/os-release")
	if err != nil {
		return "", err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "VERSION_CODENAME="); ok {
			return strings.Trim(value, `"`), nil
		}
	}
	return "", errors.New("/etc/os-release names no VERSION_CODENAME\nthe lab needs Debian 12 or 13")
}

func parseTargets(targets, codename string) (Machine, error) {
	var machine Machine
	seen := map[string]bool{}
	for line := range strings.Lines(targets) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[2] != "main" {
			continue
		}
		suffix, ok := strings.CutPrefix(fields[1], codename)
		if !ok || (suffix != "" && suffix != "-updates" && suffix != "-security") || seen[suffix] {
			continue
		}
		base, err := mirror(fields[0])
		if err != nil {
			return Machine{}, err
		}
		seen[suffix] = true
		machine.Sources = append(machine.Sources, Source{base, suffix})
	}
	if !seen[""] {
		return Machine{}, fmt.Errorf("apt on this machine has no archive for %q with component main\nthe lab builds its host's image from the archives that the machine itself uses", codename)
	}
	return machine, nil
}

// mirror reads the address of an archive; one that is a file with a list of mirrors stands for the first of them.
func mirror(text string) (*url.URL, error) {
	if path, ok := strings.CutPrefix(text, "mirror+file:"); ok {
		list, err := os.ReadFile(strings.TrimSuffix(path, "/"))
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(list)) {
			if fields := strings.Fields(line); len(fields) > 0 && !strings.HasPrefix(fields[0], "#") {
				text = fields[0]
				break
			}
		}
	}
	base, err := url.Parse(strings.TrimSuffix(text, "/"))
	if err != nil {
		return nil, err
	}
	if base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("package archive %q is reached by neither http nor https", text)
	}
	return base, nil
}

func (m *Machine) parseOptions(dump string) error {
	for line := range strings.Lines(dump) {
		line = strings.TrimSpace(line)
		key, value, ok := strings.Cut(strings.TrimSuffix(line, ";"), " ")
		if !ok {
			continue
		}
		value = strings.Trim(value, `"`)
		for _, name := range inherited {
			if strings.EqualFold(key, name) {
				m.Options = append(m.Options, fmt.Sprintf("%s %q;", name, value))
			}
		}
		if strings.EqualFold(key, "Acquire::http::Proxy") && value != "" && value != "DIRECT" {
			proxy, err := url.Parse(value)
			if err != nil {
				return fmt.Errorf("apt's Acquire::http::Proxy: %w", err)
			}
			m.Proxy = proxy
		}
	}
	return nil
}

// Lines are the sources of apt for the suite, by plain http: the proxy knows which scheme the archive wants.
func (m Machine) Lines() []string {
	var lines []string
	for _, source := range m.Sources {
		plain := *source.Base
		plain.Scheme = "http"
		lines = append(lines, fmt.Sprintf("deb %s %s%s %s", plain.String(), m.Suite.Name, source.Suffix, m.Suite.Components))
	}
	return lines
}
