package layer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func example() Layer {
	return Layer{
		Name:  "example",
		Armed: true,
		Users: []User{{Name: "claw", Group: "claw", Shell: "/bin/bash", Home: "/home/claw", Password: "$6$canary-hash"}, {Name: "locked"}},
		Files: []File{
			{Path: "/etc/a", Mode: "0600", Owner: "root", Group: "root", Policy: Replace, Content: []byte("canary-content")},
			{Path: "/etc/env", Mode: "0640", Owner: "root", Group: "openclaw", Policy: Env, Content: []byte("# made\n"),
				Values: map[string]string{"B": "canary-b", "A": "canary-a", "C": "canary-c"}},
		},
		Probes: []Probe{Sysctl("net.ipv4.ip_forward", "0"), Jail("sshd", map[string]string{"maxretry": "3", "bantime": "3600", "findtime": "600"})},
	}
}

func pack(t *testing.T, l Layer) Packed {
	t.Helper()
	p, err := l.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A digest that differed from run to run would apply every layer again.
func TestDigestIsStable(t *testing.T) {
	first := pack(t, example())
	for range 50 {
		if again := pack(t, example()); again.Digest != first.Digest || again.declared != first.declared {
			t.Fatalf("digest %s, then %s", first.Digest, again.Digest)
		}
	}
	if got := sum([]byte(first.declared)); got != first.Digest {
		t.Errorf("the digest %s is not that of the declared document, %s", first.Digest, got)
	}
}

// Whatever the host should have otherwise shows in the digest, secrets and contents too.
func TestDigestShowsEveryChange(t *testing.T) {
	seen := map[string]string{pack(t, example()).Digest: "nothing"}
	for what, change := range map[string]func(*Layer){
		"a content":         func(l *Layer) { l.Files[0].Content = []byte("other") },
		"a mode":            func(l *Layer) { l.Files[0].Mode = "0644" },
		"a value":           func(l *Layer) { l.Files[1].Values["A"] = "other" },
		"a value that goes": func(l *Layer) { delete(l.Files[1].Values, "C") },
		"a password":        func(l *Layer) { l.Users[0].Password = "$6$other" },
		"a probe":           func(l *Layer) { l.Probes[0].Want = "1" },
		"a file that goes":  func(l *Layer) { l.Files = l.Files[:1] },
	} {
		l := example()
		change(&l)
		digest := pack(t, l).Digest
		if other, taken := seen[digest]; taken {
			t.Errorf("changing %s gives the digest of changing %s", what, other)
		}
		seen[digest] = what
	}
}

// Pack leaves the layer alone: the same one is packed more than once.
func TestPackKeepsTheLayer(t *testing.T) {
	l := example()
	pack(t, l)
	if diff := cmp.Diff(example(), l); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}
}

func TestSecretsAreNotDeclared(t *testing.T) {
	p := pack(t, example())
	if i := strings.Index(p.declared, "canary"); i >= 0 {
		t.Errorf("the declared document has a content or a secret: %.60s", p.declared[i:])
	}
	var declared struct {
		Users []struct{ Name, PasswordSHA256 string }
		Files []struct {
			Path, SHA256 string
			Env          map[string]string
		}
	}
	if err := json.Unmarshal([]byte(p.declared), &declared); err != nil {
		t.Fatal(err)
	}
	if got, want := declared.Users[0].PasswordSHA256, sum([]byte("$6$canary-hash")); got != want {
		t.Errorf("password: %q, want %q", got, want)
	}
	if got := declared.Users[1].PasswordSHA256; got != "" {
		t.Errorf("a locked user has a password: %q", got)
	}
	if got, want := declared.Files[0].SHA256, sum([]byte("canary-content")); got != want {
		t.Errorf("content: %q, want %q", got, want)
	}
	want := map[string]string{"A": sum([]byte("canary-a")), "B": sum([]byte("canary-b")), "C": sum([]byte("canary-c"))}
	if diff := cmp.Diff(want, declared.Files[1].Env); diff != "" {
		t.Errorf("values (-want +got)\n%s", diff)
	}
}

func TestApplyRequest(t *testing.T) {
	p := pack(t, example())
	var got struct {
		Op, Layer, Digest, Declared string
		Contents                    map[string]string
		Secrets                     secrets
		Confirm                     *Confirmation
		LockSeconds                 int
	}
	read := func(request any) {
		t.Helper()
		text, err := json.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&got); err != nil {
			t.Fatal(err)
		}
	}
	read(p.Apply(Confirmation{Port: 2222, Seconds: 120}))
	if got.Op != "apply" || got.Layer != "example" || got.Digest != p.Digest || got.Declared != p.declared || got.LockSeconds != 300 {
		t.Errorf("the request: %q %q %q, lock %d", got.Op, got.Layer, got.Digest, got.LockSeconds)
	}
	if diff := cmp.Diff(map[string]string{"/etc/a": "canary-content", "/etc/env": "# made\n"}, got.Contents); diff != "" {
		t.Errorf("contents (-want +got)\n%s", diff)
	}
	wantSecrets := secrets{Users: map[string]string{"claw": "$6$canary-hash"}, Env: map[string]string{"A": "canary-a", "B": "canary-b", "C": "canary-c"}}
	if diff := cmp.Diff(wantSecrets, got.Secrets); diff != "" {
		t.Errorf("secrets (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(&Confirmation{Port: 2222, Seconds: 120}, got.Confirm); diff != "" {
		t.Errorf("confirm (-want +got)\n%s", diff)
	}

	l := example()
	l.Armed = false
	got.Confirm = nil
	read(pack(t, l).Apply(Confirmation{Port: 2222, Seconds: 120}))
	if got.Confirm != nil {
		t.Error("a layer that is not armed waits for a confirmation")
	}
}

func TestStdin(t *testing.T) {
	got, err := NewApplier([]byte("print(1)\n")).Stdin(Observe())
	if err != nil {
		t.Fatal(err)
	}
	packed, found := strings.CutPrefix(got, "#openclaw-deploy 1\n"+fmt.Sprint(len(unpacker))+"\n"+unpacker)
	if !found {
		t.Errorf("got %q", got)
	}
	// To the byte, whatever the release of Go: another text would be a change of every layer.
	if want := "eNoqKMrMK9Ew1OQCDAAQzwK6\neNqqVsovULJSyk8qTi0qS1WqBQwALWYFkA=="; packed != want {
		t.Errorf("packed %q, want %q", packed, want)
	}
}

func TestCommandBySudo(t *testing.T) {
	command := RemoteCommand("token", "vm", "0")
	if !strings.HasPrefix(command, "sudo -n /usr/bin/timeout --kill-after=30 1800 /usr/bin/python3 -I -c '") || !strings.HasSuffix(command, "' token vm 0") {
		t.Errorf("%q", command)
	}
	if strings.Contains(Loader, "'") {
		t.Error("the loader has a quote in it, and stands between quotes")
	}
}

// fakeApplier tells what reached it.
const fakeApplier = `import json
def main(request, source, words):
    print(json.dumps({"request": request.decode(), "source": len(source), "words": words, "name": __name__}))
    return 7
`

// runLoader runs a command as the host's shell would, with sudo and timeout passing on what stands behind their options.
func runLoader(t *testing.T, command, stdin string) (stdout, stderr string, status int) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatalf("the loader is Python, as is the host's applier: %v", err)
	}
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "sudo"), []byte("#!/bin/sh\nwhile [ \"$1\" != /usr/bin/timeout ]; do shift; done\nexec \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	shell := exec.Command("sh", "-c", strings.Replace(command, "/usr/bin/python3", python, 1))
	shell.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH")}
	shell.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	shell.Stdout, shell.Stderr = &out, &errs
	if err := shell.Run(); err != nil && shell.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), shell.ProcessState.ExitCode()
}

// The applier gets the request to the last byte, its own source and the words, and its result is the command's.
func TestLoader(t *testing.T) {
	request := map[string]string{"op": "observe", "note": "späte Zeile\n#openclaw-deploy 1\n"}
	stdin, err := NewApplier([]byte(fakeApplier)).Stdin(request)
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr, status := runLoader(t, RemoteCommand("token1", "vm1", "3"), stdin)
	if stderr != "" || status != 7 {
		t.Errorf("status %d, standard error %q", status, stderr)
	}
	var got struct {
		Request, Name string
		Source        int
		Words         []string
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatalf("%v: %q", err, stdout)
	}
	body, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	if got.Request != string(body) || got.Source != len(fakeApplier) || got.Name != "openclaw_apply" {
		t.Errorf("%+v", got)
	}
	if diff := cmp.Diff([]string{"token1", "vm1", "3"}, got.Words); diff != "" {
		t.Errorf("words (-want +got)\n%s", diff)
	}
}

func TestLoaderWithADamagedPayload(t *testing.T) {
	whole, err := NewApplier([]byte(fakeApplier)).Stdin(Observe())
	if err != nil {
		t.Fatal(err)
	}
	for _, stdin := range []string{whole[:len(whole)-20], whole[:len(whole)-3], whole[:len(whole)-30] + "AAAA" + whole[len(whole)-26:]} {
		stdout, stderr, status := runLoader(t, RemoteCommand("token"), stdin)
		if stdout != "" || stderr != "openclaw-deploy: the payload was cut or damaged on the way\n" || status != 1 {
			t.Errorf("status %d, %q, %q", status, stdout, stderr)
		}
	}
}

func TestLoaderWithoutPayload(t *testing.T) {
	for _, stdin := range []string{"", "canary\n", "canary\n#openclaw-deploy 1\n", "#openclaw-deploy 2\n"} {
		stdout, stderr, status := runLoader(t, RemoteCommand("token"), stdin)
		if stdout != "" || stderr != "openclaw-deploy: no payload came\n" || status != 1 {
			t.Errorf("%q: status %d, %q, %q", stdin, status, stdout, stderr)
		}
	}
}
