package archive

import (
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
)

// npmPackage is a package of a registry, pinned by what is in it.
type npmPackage struct {
	name, version string
	sha512        string // base64
}

// path is where registries have it.
func (p npmPackage) path() string { return fmt.Sprintf("%s/-/%s-%s.tgz", p.name, p.name, p.version) }

// largestPackage is more than any that the lab takes itself.
const largestPackage = 256 << 20

// Registry is the registry of npm packages that this machine uses.
func Registry(ctx context.Context) (*url.URL, error) {
	cmd := exec.CommandContext(ctx, "npm", "config", "get", "registry")
	cmd.Dir = "/" // no project's own settings
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("npm config get registry: %w", err)
	}
	text := strings.TrimRight(strings.TrimSpace(string(out)), "/")
	registry, err := url.Parse(text)
	if err != nil || (registry.Scheme != "http" && registry.Scheme != "https") || registry.Host == "" {
		return nil, fmt.Errorf("npm's registry %q is reached by neither http nor https", text)
	}
	return registry, nil
}

// fetch gives the archive of a package, once its sum is right.
func (p npmPackage) fetch(ctx context.Context, registry *url.URL) ([]byte, error) {
	address := registry.JoinPath(p.path()).String()
	content, err := fetch(ctx, http.DefaultClient, address)
	if err != nil {
		return nil, err
	}
	sum := sha512.Sum512(content)
	if got := base64.StdEncoding.EncodeToString(sum[:]); got != p.sha512 {
		return nil, fmt.Errorf("%s: its SHA-512 is %s, expected %s", address, got, p.sha512)
	}
	return content, nil
}

// fetch gives what is at an address.
func fetch(ctx context.Context, client *http.Client, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", address, response.Status)
	}
	content, err := io.ReadAll(io.LimitReader(response.Body, largestPackage+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	if len(content) > largestPackage {
		return nil, errors.New(address + ": too large")
	}
	return content, nil
}
