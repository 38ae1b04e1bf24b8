package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"openclaw-azure/lab/internal/place"
)

func TestSnapshotNames(t *testing.T) {
	l := scratch(t)
	for _, name := range []string{"", ".", "..", "a/b", "../state", "A", "-a", strings.Repeat("a", 32)} {
		if path, err := l.snapshot(name); err == nil {
			t.Errorf("%q is taken, and stands in %s", name, path)
		}
	}
	path, err := l.snapshot("closed-2")
	if want := filepath.Join(l.Folder(), "snapshots", "closed-2"); err != nil || path != want {
		t.Errorf("got %q, %v, want %q", path, err, want)
	}
}

// TestSnapshotThatFails leaves the one before as it was, and nothing half done.
func TestSnapshotThatFails(t *testing.T) {
	l := scratch(t)
	folder, err := l.snapshot("closed")
	if err != nil {
		t.Fatal(err)
	}
	record := func(text string) {
		t.Helper()
		if err := os.WriteFile(l.path("azure.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(path, want string) {
		t.Helper()
		if text, err := os.ReadFile(path); err != nil || string(text) != want {
			t.Errorf("%s holds %q, %v, want %q", path, text, err, want)
		}
	}
	record("before")
	if err := l.keep(t.Context(), folder); err != nil {
		t.Fatal(err)
	}
	record("after")
	interrupted, interrupt := context.WithCancel(t.Context())
	interrupt()
	if err := l.keep(interrupted, folder); err == nil {
		t.Error("an interrupted copy is taken for a snapshot")
	}
	holds(filepath.Join(folder, "azure.json"), "before")
	if entries, err := os.ReadDir(filepath.Dir(folder)); err != nil || len(entries) != 1 {
		t.Errorf("beside the snapshot: %v, %v", entries, err)
	}
	if err := l.putBack(interrupted, folder); err == nil {
		t.Error("an interrupted copy is taken for a restored lab")
	}
	if err := l.putBack(t.Context(), folder); err != nil {
		t.Fatal(err)
	}
	holds(l.path("azure.json"), "before")
}

func scratch(t *testing.T) Lab {
	t.Helper()
	l := Lab{Name: "unit", Root: t.TempDir(), Cache: t.TempDir()}
	if err := os.MkdirAll(l.Folder(), 0o700); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestNames(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "Pulumi.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", os.Getenv("PATH"))
	for name, want := range map[string]string{
		"": "lab", "a": "a", "two-labs": "two-labs",
		"Lab": "", "2nd": "", "a b": "", "../x": "", "a_b": "", strings.Repeat("a", 32): "",
	} {
		l, err := Open(root, name)
		switch {
		case want == "" && err == nil:
			t.Errorf("LAB=%q is taken", name)
		case want != "" && (err != nil || l.Name != want):
			t.Errorf("LAB=%q: %q, %v", name, l.Name, err)
		}
	}
	if _, err := Open(t.TempDir(), "a"); err == nil {
		t.Error("a folder without a program is taken")
	}
	t.Setenv("LAB_LIKE", "debian")
	if _, err := Open(root, "a"); err == nil || !strings.HasPrefix(err.Error(), `LAB_LIKE: value "debian": `) {
		t.Errorf("a variable that means nothing: %v", err)
	}
}

// TestLastDeploy notes a deploy in a process of its own, as bin/lab pulumi does, and reads how it ended.
func TestLastDeploy(t *testing.T) {
	if folder := os.Getenv("NOTE_DEPLOY_IN"); folder != "" {
		l := Lab{Name: "unit", Root: folder}
		if err := l.noteDeploy(strings.Fields(os.Getenv("NOTE_DEPLOY_ARGS"))); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, test := range []struct {
		name, args, entry, told, err string
	}{
		{"none", "preview", "", "none yet", "nothing was deployed yet\nbin/lab pulumi up"},
		{"help", "up --help", "", "none yet", "nothing was deployed yet\nbin/lab pulumi up"},
		{"a value that is no verb", "config set note -- up", "", "none yet", "nothing was deployed yet\nbin/lab pulumi up"},
		{"good", "up --yes", `{"kind":"update","result":"succeeded"}`, "update succeeded", ""},
		{"bad", "--color never update", `{"kind":"update","result":"failed"}`, "update failed", "the last pulumi up did not succeed"},
		{"refused before it began", "up", "", "up failed before it changed anything, or was killed", "the last pulumi up did not succeed"},
		{"gone", "down -y", `{"kind":"destroy","result":"succeeded"}`, "destroy succeeded", "nothing is deployed any more\nbin/lab pulumi up"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := scratch(t)
			history := filepath.Join(l.path("state"), ".pulumi/history/openclaw/unit")
			if err := os.MkdirAll(history, 0o700); err != nil {
				t.Fatal(err)
			}
			write := func(name, text string) {
				t.Helper()
				if err := os.WriteFile(filepath.Join(history, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write("unit-1000.history.json", `{"kind":"update","result":"succeeded"}`)
			note := exec.Command(os.Args[0], "-test.run=^TestLastDeploy$")
			note.Env = append(os.Environ(), "NOTE_DEPLOY_IN="+l.Root, "NOTE_DEPLOY_ARGS="+test.args)
			if out, err := note.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if test.entry != "" {
				write("unit-2000.history.json", test.entry)
			}
			told, err := l.lastDeploy()
			got := ""
			if err != nil {
				got = err.Error()
			}
			if told != test.told || got != test.err {
				t.Errorf("told %q, error %q\nwant %q, %q", told, got, test.told, test.err)
			}
		})
	}
	t.Run("under way", func(t *testing.T) {
		l := scratch(t)
		if err := l.noteDeploy([]string{"up"}); err != nil {
			t.Fatal(err)
		}
		if told, err := l.lastDeploy(); told != "up is under way" || err == nil {
			t.Errorf("told %q, %v", told, err)
		}
	})
}

func TestLockIsHeldByOneAndSurvivesItsFolder(t *testing.T) {
	l := scratch(t)
	silent := func() { t.Error("the first has to wait") }
	unlock, err := lock(t.Context(), l.path("lock"), silent)
	if err != nil {
		t.Fatal(err)
	}
	waits := false
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := lock(short, l.path("lock"), func() { waits = true }); err == nil || !waits {
		t.Errorf("the second gets it: %v, waits %v", err, waits)
	}
	// What down does: it removes the folder with the lock in it while the next one waits.
	waiting, got := make(chan struct{}), make(chan error, 1)
	go func() {
		again, err := lock(t.Context(), l.path("lock"), func() { close(waiting) })
		if err == nil {
			again()
		}
		got <- err
	}()
	<-waiting
	if err := os.RemoveAll(l.Folder()); err != nil {
		t.Fatal(err)
	}
	unlock()
	if err := <-got; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(l.path("lock")); err != nil {
		t.Errorf("the one that waited holds no file: %v", err)
	}
}

// TestPlacesShareNoSockets: what a real wg-quick client of one lab makes, another lab's never meets, and a second command
// at the same place does.
func TestPlacesShareNoSockets(t *testing.T) {
	at := func(l Lab, script string) string {
		t.Helper()
		said := make(chan string)
		go func() {
			// Never unlocked: the thread ends with this goroutine, and no other one runs among its mounts.
			runtime.LockOSThread()
			if err := l.ownSockets(place.Operator); err != nil {
				said <- err.Error()
				return
			}
			out, err := exec.Command("sh", "-ec", script).CombinedOutput()
			said <- fmt.Sprintf("%s%v", out, err)
		}()
		return <-said
	}
	one, other := scratch(t), scratch(t)
	name := filepath.Join(wireGuardSockets, "of-a-test")
	for _, step := range []struct {
		lab          Lab
		script, want string
	}{
		{one, "echo one >" + name, "<nil>"},
		{other, "test ! -e " + name + " && echo other >" + name, "<nil>"},
		{one, "cat " + name, "one\n<nil>"},
		{other, "cat " + name, "other\n<nil>"},
	} {
		if got := at(step.lab, step.script); got != step.want {
			t.Errorf("%s: %q, want %q", step.script, got, step.want)
		}
	}
	if _, err := os.Stat(name); err == nil {
		t.Errorf("%s stands outside the places", name)
	}
}

func TestCommandProviderIsTheRealOneWhereThereIsOne(t *testing.T) {
	l := scratch(t)
	home := t.TempDir()
	program := func(path string) string {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("HOME", home)
	t.Setenv("PULUMI_HOME", "")
	t.Setenv("LAB_COMMAND_PROVIDER", "")
	t.Setenv("PATH", t.TempDir())
	finds := func(want string) {
		t.Helper()
		if got, err := l.findCommandProvider(); err != nil || got != want {
			t.Errorf("got %q, %v\nwant %q", got, err, want)
		}
	}
	finds(filepath.Join(l.Root, "bin", commandProvider))
	program(filepath.Join(home, ".pulumi/plugins/resource-command-v1.2.1", commandProvider))
	finds(program(filepath.Join(home, ".pulumi/plugins/resource-command-v1.10.0", commandProvider)))
	finds(program(filepath.Join(os.Getenv("PATH"), commandProvider)))
	named := program(filepath.Join(t.TempDir(), "mine"))
	t.Setenv("LAB_COMMAND_PROVIDER", named)
	finds(named)
	t.Setenv("LAB_COMMAND_PROVIDER", named+"-not")
	if _, err := l.findCommandProvider(); err == nil {
		t.Error("a provider that is not there is found")
	}
}
