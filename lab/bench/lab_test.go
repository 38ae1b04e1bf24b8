package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The program is found when it starts, also after many looks at other processes, and missed when it ends.
func TestWatcher(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, text, 0o755); err != nil {
		t.Fatal(err)
	}
	w := watcher{path: path}
	for range settled + 1 {
		if w.running() {
			t.Fatal("the program does not run yet")
		}
	}
	for range 2 {
		program := exec.Command(path, "60")
		if err := program.Start(); err != nil {
			t.Fatal(err)
		}
		found := false
		for deadline := time.Now().Add(10 * time.Second); !found && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			found = w.running()
		}
		if err := program.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = program.Wait() // killed
		if !found {
			t.Fatal("the program is not found")
		}
		if w.running() {
			t.Fatal("the program has ended")
		}
	}
}
