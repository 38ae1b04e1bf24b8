package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Proxy is an http proxy to the machine's package archives and to nothing else. Files whose name says what is in
// them are kept in a folder and never fetched again.
type Proxy struct {
	folder  string
	schemes map[string]string // host to scheme
	client  *http.Client
	log     *log.Logger
	lent    *lent // nil where there is none
}

var _ http.Handler = (*Proxy)(nil)

// lent is what the proxy serves under names of its own: Node's release and the registry of npm packages.
type lent struct {
	registry *url.URL
	node     string // the release's file
	client   *http.Client
}

// Places of the mirror below the proxy's own address.
const (
	NPMPath  = "/npm/"
	NodeFile = "/node/" + NodeName
)

// Mirror lends the machine's registry of npm packages, archives alone, and Node's release.
func (p *Proxy) Mirror(registry *url.URL, node string) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = time.Minute
	transport.DisableCompression = true
	p.lent = &lent{registry, node, &http.Client{Transport: transport}}
}

// NewProxy keeps what it fetches in folder.
func NewProxy(machine Machine, folder string, logger *log.Logger) (*Proxy, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	p := &Proxy{folder: folder, schemes: map[string]string{}, client: machine.client(), log: logger}
	for _, source := range machine.Sources {
		p.schemes[source.Base.Host] = source.Base.Scheme
	}
	return p, nil
}

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Host == "" && p.lent != nil {
		p.serveMirror(w, r)
		return
	}
	scheme, ok := p.schemes[r.URL.Host]
	if !ok || r.URL.Scheme != "http" {
		http.Error(w, fmt.Sprintf("the lab's proxy leads to the machine's package archives only, not to %q", r.Host), http.StatusForbidden)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "the lab's proxy reads only", http.StatusMethodNotAllowed)
		return
	}
	target := *r.URL
	target.Scheme = scheme
	p.answer(w, r, p.client, &target)
}

func (p *Proxy) serveMirror(w http.ResponseWriter, r *http.Request) {
	path, npm := strings.CutPrefix(r.URL.Path, NPMPath)
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		http.Error(w, "the lab's mirror reads only", http.StatusMethodNotAllowed)
	case r.URL.Path == NodeFile:
		http.ServeFile(w, r, p.lent.node)
	case npm && strings.HasSuffix(path, ".tgz"):
		p.answer(w, r, p.lent.client, p.lent.registry.JoinPath(path))
	default:
		http.Error(w, fmt.Sprintf("the lab's mirror has Node's release and archives of npm packages, not %q", r.URL.Path), http.StatusNotFound)
	}
}

func (p *Proxy) answer(w http.ResponseWriter, r *http.Request, client *http.Client, target *url.URL) {
	if err := p.serve(w, r, client, target); err != nil {
		p.log.Printf("proxy: %s %s: %v", r.Method, target.String(), err)
	}
}

// immutable names change when their content does.
func immutable(path string) bool {
	return strings.HasSuffix(path, ".deb") || strings.HasSuffix(path, ".tgz") || strings.Contains(path, "/by-hash/")
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, client *http.Client, target *url.URL) error {
	kept := ""
	if immutable(target.Path) && target.RawQuery == "" {
		sum := sha256.Sum256([]byte(target.String()))
		kept = filepath.Join(p.folder, hex.EncodeToString(sum[:]))
		if file, err := os.Open(kept); err == nil {
			defer file.Close()
			http.ServeContent(w, r, "", time.Time{}, file)
			return nil
		}
	}
	request, err := http.NewRequestWithContext(r.Context(), r.Method, target.String(), nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return err
	}
	for _, name := range []string{"User-Agent", "Accept", "Cache-Control", "If-Modified-Since", "If-None-Match", "If-Range", "Range"} {
		if value := r.Header.Get(name); value != "" {
			request.Header.Set(name, value)
		}
	}
	response, err := client.Do(request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return err
	}
	defer response.Body.Close()
	for _, name := range []string{"Content-Type", "Content-Length", "Content-Range", "Accept-Ranges", "Last-Modified", "ETag", "Location"} {
		if value := response.Header.Get(name); value != "" {
			w.Header().Set(name, value)
		}
	}
	w.WriteHeader(response.StatusCode)
	if kept == "" || r.Method != http.MethodGet || response.StatusCode != http.StatusOK {
		_, err = io.Copy(w, response.Body)
		return err
	}
	part, err := os.CreateTemp(p.folder, "part-")
	if err != nil {
		return err
	}
	defer os.Remove(part.Name())
	defer part.Close()
	copied, err := io.Copy(io.MultiWriter(w, part), response.Body)
	if err != nil {
		return err
	}
	if response.ContentLength >= 0 && copied != response.ContentLength {
		return fmt.Errorf("got %d bytes of %d", copied, response.ContentLength)
	}
	if err := part.Close(); err != nil {
		return err
	}
	return os.Rename(part.Name(), kept)
}
