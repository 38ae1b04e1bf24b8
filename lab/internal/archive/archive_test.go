package archive

import (
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

func TestLinesForAnotherRelease(t *testing.T) {
	for _, test := range []struct {
		name, targets, codename string
		want                    []string
		err                     string
	}{
		{
			"archive, updates and security, others left out",
			"http://archive.example/debian/ bookworm main\n" +
				"http://archive.example/debian/ bookworm contrib\n" +
				"http://archive.example/debian/ bookworm-updates main\n" +
				"http://archive.example/debian/ bookworm-backports main\n" +
				"https://other.example/node_20.x/ nodistro main\n" +
				"https://security.example/debian-security/ bookworm-security main\n",
			"bookworm",
			[]string{
				"deb http://archive.example/debian trixie main",
				"deb http://archive.example/debian trixie-updates main",
				"deb http://security.example/debian-security trixie-security main",
			}, "",
		},
		{
			"the first of two mirrors", "http://one.example/d/ trixie main\nhttp://two.example/d/ trixie main\n", "trixie",
			[]string{"deb http://one.example/d trixie main"}, "",
		},
		{
			"another distribution", "http://archive.example/ubuntu/ noble main\n", "trixie", nil,
			"apt on this machine has no archive for \"trixie\" with component main\n" +
				"the lab builds its host's image from the archives that the machine itself uses",
		},
		{
			"a disc", "cdrom://disc/ trixie main\n", "trixie", nil,
			`package archive "cdrom://disc/" is reached by neither http nor https`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			machine, err := parseTargets(test.targets, test.codename)
			if fmt.Sprint(err) != test.err && (err != nil || test.err != "") {
				t.Fatalf("error\n%v\nwant\n%s", err, test.err)
			}
			if err == nil {
				err = machine.use(t.Context(), suites[0])
			}
			if lines := machine.Lines(); err == nil && !slices.Equal(lines, test.want) {
				t.Errorf("got  %q\nwant %q", lines, test.want)
			}
		})
	}
}

// Another distribution's suite comes from its own archive, which has to be there.
func TestSuiteOfAnotherDistribution(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead || r.URL.Path != "/ubuntu/dists/noble/InRelease" {
			http.NotFound(w, r)
		}
	}))
	defer upstream.Close()
	for _, test := range []struct{ archive, err string }{
		{upstream.URL + "/ubuntu", ""},
		{upstream.URL + "/gone", `reach the archive of "noble": ` + upstream.URL + `/gone/dists/noble/InRelease: 404 Not Found
LAB_SUITE=noble makes the lab's host from that archive; without it the host is Debian 13, and LAB_LIKE=ubuntu makes that behave as Azure's Ubuntu`},
	} {
		t.Setenv(SuiteVariable, "noble")
		suite, err := WantedSuite()
		if err != nil {
			t.Fatal(err)
		}
		suite.archive = test.archive
		machine := Machine{Sources: []Source{{nil, ""}}}
		err = machine.use(t.Context(), suite)
		if fmt.Sprint(err) != test.err && (err != nil || test.err != "") {
			t.Errorf("error\n%v\nwant\n%s", err, test.err)
		}
		want := []string{"deb " + test.archive + " noble main universe", "deb " + test.archive + " noble-updates main universe", "deb " + test.archive + " noble-security main universe"}
		if lines := machine.Lines(); !slices.Equal(lines, want) {
			t.Errorf("got  %q\nwant %q", lines, want)
		}
	}
	t.Setenv(SuiteVariable, "jammy")
	if _, err := WantedSuite(); fmt.Sprint(err) != `LAB_SUITE: value "jammy": a lab's host is made of "trixie", which is Debian 13, or "noble", which is Ubuntu 24.04` {
		t.Errorf("another suite: %v", err)
	}
}

// A package that is not what it was pinned as is not taken.
func TestKeyringIsPinned(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "keys") }))
	defer upstream.Close()
	base, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	machine := Machine{Sources: []Source{{base, ""}}}
	const sum = "3ffc83aef07e1d9ab2cb7d1f0b2ef61ed8a9c05e3ef2b8e0a3e1b5bd2a4dfbd2"
	if _, err := machine.Fetch(t.Context(), Package{"pool/k.deb", sum}); fmt.Sprint(err) != upstream.URL+"/pool/k.deb: its SHA-256 is "+sumOf("keys")+", expected "+sum {
		t.Errorf("another package: %v", err)
	}
	if content, err := machine.Fetch(t.Context(), Package{"pool/k.deb", sumOf("keys")}); err != nil || string(content) != "keys" {
		t.Errorf("got %q, %v", content, err)
	}
}

func sumOf(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

func TestMirrorFromAListOfThem(t *testing.T) {
	list := filepath.Join(t.TempDir(), "debian.list")
	if err := os.WriteFile(list, []byte("# ours\n\nhttps://first.example/debian priority:1\nhttps://second.example/debian\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := mirror("mirror+file:" + list + "/")
	if err != nil || got.String() != "https://first.example/debian" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestOptionsThatImagesInherit(t *testing.T) {
	var machine Machine
	err := machine.parseOptions("APT \"\";\nAcquire::Check-Valid-Until \"false\";\nAcquire::http::Proxy \"http://proxy.example:8080/\";\nAcquire::Languages \"none\";\n")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{`Acquire::Check-Valid-Until "false";`}; !slices.Equal(machine.Options, want) {
		t.Errorf("options %q, want %q", machine.Options, want)
	}
	if machine.Proxy == nil || machine.Proxy.Host != "proxy.example:8080" {
		t.Errorf("proxy %v", machine.Proxy)
	}
}

func TestProxyKeepsWhatCannotChangeAndLeadsNowhereElse(t *testing.T) {
	var fetched atomic.Int32
	upstream := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fetched.Add(1)
		if strings.Contains(r.URL.Path, "missing") {
			http.NotFound(w, r)
			return
		}
		io.WriteString(w, "content of "+r.URL.Path)
	}))
	defer upstream.Close()
	base, err := url.Parse(upstream.URL + "/debian")
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := NewProxy(Machine{Sources: []Source{{Base: base}}}, t.TempDir(), log.New(t.Output(), "", 0))
	if err != nil {
		t.Fatal(err)
	}
	proxy.client = upstream.Client()
	server := httptest.NewServer(proxy)
	defer server.Close()
	through, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(through)}}
	get := func(address string, status int, body string, upstreamCalls int32) {
		t.Helper()
		before := fetched.Load()
		response, err := client.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != status || strings.TrimSpace(string(text)) != body || fetched.Load()-before != upstreamCalls {
			t.Errorf("%s: status %d, %q, fetched %d times", address, response.StatusCode, text, fetched.Load()-before)
		}
	}
	// The guest asks by http, the archive is reached by https.
	plain := "http://" + base.Host + "/debian"
	get(plain+"/pool/a_1_all.deb", 200, "content of /debian/pool/a_1_all.deb", 1)
	get(plain+"/pool/a_1_all.deb", 200, "content of /debian/pool/a_1_all.deb", 0)
	get(plain+"/dists/trixie/by-hash/SHA256/00", 200, "content of /debian/dists/trixie/by-hash/SHA256/00", 1)
	get(plain+"/dists/trixie/by-hash/SHA256/00", 200, "content of /debian/dists/trixie/by-hash/SHA256/00", 0)
	get(plain+"/dists/trixie/InRelease", 200, "content of /debian/dists/trixie/InRelease", 1)
	get(plain+"/dists/trixie/InRelease", 200, "content of /debian/dists/trixie/InRelease", 1)
	get(plain+"/pool/missing.deb", 404, "404 page not found", 1)
	get(plain+"/pool/missing.deb", 404, "404 page not found", 1)
	get("http://elsewhere.example/", 403, `the lab's proxy leads to the machine's package archives only, not to "elsewhere.example"`, 0)
	response, err := client.Post(plain+"/pool/a_1_all.deb", "text/plain", strings.NewReader("x"))
	if err != nil || response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a POST: %v, %v", response, err)
	}
}
