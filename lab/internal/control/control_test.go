package control

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestADaemonAnswersHoweverDeepItsFolderLies(t *testing.T) {
	folder := filepath.Join(t.TempDir(), strings.Repeat("deep/", 40))
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	client := NewClient(folder)
	if _, err := client.Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("with no daemon: %v", err)
	}
	listener, err := Listen(folder)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(Status{PID: 7})
	})
	mux.HandleFunc("POST /reboot", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no host at "+r.FormValue("place"), http.StatusInternalServerError)
	})
	server := &http.Server{Handler: mux}
	go server.Serve(listener)
	if status, err := client.Status(t.Context()); err != nil || status.PID != 7 {
		t.Errorf("status %+v, %v", status, err)
	}
	if err := client.Reboot(t.Context(), "vm"); err == nil || err.Error() != "no host at vm" {
		t.Errorf("reboot: %v", err)
	}
	if err := server.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	// The socket of a daemon that is gone is no daemon, and does not keep the next one from starting.
	if _, err := client.Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("with a dead daemon: %v", err)
	}
	if listener, err = Listen(folder); err != nil {
		t.Fatal(err)
	}
	listener.Close()
}

func TestOneDaemonHoldsANameAndIsKnownByIt(t *testing.T) {
	const name = "control-test"
	if pid, _, err := Holder(name); pid != 0 || err != nil {
		t.Fatalf("held by %d, %v", pid, err)
	}
	claim, err := Claim(name, "/somewhere")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Claim(name, "/elsewhere"); err == nil {
		t.Error("a second one gets the name")
	}
	if pid, root, err := Holder(name); pid != os.Getpid() || root != "/somewhere" || err != nil {
		t.Errorf("held by %d for %q, %v", pid, root, err)
	}
	if err := claim.Close(); err != nil {
		t.Fatal(err)
	}
	if pid, _, err := Holder(name); pid != 0 || err != nil {
		t.Errorf("still held by %d, %v", pid, err)
	}
}
