package archive

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"
)

// SuiteVariable says of what a lab's hosts are made: trixie, which is Debian 13 and the default, or noble, which is Ubuntu
// 24.04.
const SuiteVariable = "LAB_SUITE"

// Suite is a release that a host can be made of.
type Suite struct {
	Name string
	// Image is what the program's configuration has to say for it; empty where nothing.
	Image string
	// Components of the archive.
	Components string
	// Keyring is the package with the archive's keys, where this machine has none of them.
	Keyring *Package
	// archive is the suite's own, where it is not of the machine's distribution.
	archive string
}

// Package is one of an archive's, pinned by what is in it.
type Package struct{ Path, SHA256 string }

var suites = []Suite{
	{Name: "trixie", Components: "main"},
	{
		Name: "noble", Image: "ubuntu-24.04", Components: "main universe",
		Keyring: &Package{"pool/main/u/ubuntu-keyring/ubuntu-keyring_2023.11.28.1_all.deb", "36de43b15853ccae0028e9a767613770c704833f82586f28eb262f0311adb8a8"},
		archive: "http://archive.ubuntu.com/ubuntu",
	},
}

// WantedSuite is the one that the environment asks for.
func WantedSuite() (Suite, error) {
	wanted := os.Getenv(SuiteVariable)
	if wanted == "" {
		return suites[0], nil
	}
	for _, suite := range suites {
		if suite.Name == wanted {
			return suite, nil
		}
	}
	return Suite{}, fmt.Errorf("%s: value %q: a lab's host is made of %q, which is Debian 13, or %q, which is Ubuntu 24.04",
		SuiteVariable, wanted, suites[0].Name, suites[1].Name)
}

// use takes the suite's own archive in place of the machine's. It has to answer.
func (m *Machine) use(ctx context.Context, suite Suite) error {
	m.Suite = suite
	if suite.archive == "" {
		return nil
	}
	base, err := url.Parse(suite.archive)
	if err != nil {
		return err
	}
	m.Sources = nil
	for _, suffix := range []string{"", "-updates", "-security"} {
		m.Sources = append(m.Sources, Source{base, suffix})
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	address := base.JoinPath("dists", suite.Name, "InRelease").String()
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, address, nil)
	if err != nil {
		return err
	}
	response, err := m.client().Do(request)
	if err == nil {
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			err = errors.New(address + ": " + response.Status)
		}
	}
	if err != nil {
		return fmt.Errorf("reach the archive of %q: %w\n%s=%s makes the lab's host from that archive; without it the host is Debian 13, and LAB_LIKE=ubuntu makes that behave as Azure's Ubuntu",
			suite.Name, err, SuiteVariable, suite.Name)
	}
	return nil
}

// client goes the way to the archives that apt goes.
func (m *Machine) client() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if m.Proxy != nil {
		transport.Proxy = http.ProxyURL(m.Proxy)
	}
	transport.ResponseHeaderTimeout = time.Minute
	// The archive's own encoding is what apt has checksums for.
	transport.DisableCompression = true
	return &http.Client{Transport: transport}
}

// Fetch gives a package of the archive, once its sum is right.
func (m *Machine) Fetch(ctx context.Context, p Package) ([]byte, error) {
	address := m.Sources[0].Base.JoinPath(p.Path).String()
	content, err := fetch(ctx, m.client(), address)
	if err != nil {
		return nil, err
	}
	if got := fmt.Sprintf("%x", sha256.Sum256(content)); got != p.SHA256 {
		return nil, fmt.Errorf("%s: its SHA-256 is %s, expected %s", address, got, p.SHA256)
	}
	return content, nil
}
