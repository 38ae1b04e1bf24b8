package applier_test

import (
	"strings"
	"testing"

	"openclaw-azure/internal/layer"
)

// What a process can connect to is tried with its own sight: the same sockets are within reach of one that sees the host's
// files and network, and out of reach of one that has its own.
func TestSockets(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	r.Sh(`useradd --system agent
python3 - <<'END' >/dev/null 2>&1 &
import os, socket, time
held = []
for name, mode, kind in (("/run/open.sock", 0o666, socket.SOCK_STREAM), ("/run/datagrams.sock", 0o666, socket.SOCK_DGRAM),
                         ("/run/roots.sock", 0o600, socket.SOCK_STREAM), ("\0abstract", 0, socket.SOCK_STREAM)):
    link = socket.socket(socket.AF_UNIX, kind)
    link.bind(name)
    if kind == socket.SOCK_STREAM:
        link.listen()
    if mode:
        os.chmod(name, mode)
    held.append(link)
open("/run/made", "w").close()
time.sleep(600)
END
sleep 600 >/dev/null 2>&1 & echo $! >/run/units/plain.service.pid
unshare --mount --net sh -c 'mount -t tmpfs none /run && exec sleep 600' >/dev/null 2>&1 & echo $! >/run/units/apart.service.pid`)
	r.Await("the sockets", func() bool { return r.Sh(`[ -e /run/made ] && echo made || true`) == "made\n" })
	r.Await("the process apart", func() bool {
		return r.Sh(`nsenter --mount --target $(cat /run/units/apart.service.pid) sh -c '[ -e /run/units ] && echo sees || true'`) == ""
	})
	r.apply(layer.Layer{Name: "plain", Probes: []layer.Probe{layer.Sockets("plain.service", "agent")}}, "t1")
	r.apply(layer.Layer{Name: "wanted", Probes: []layer.Probe{layer.Sockets("plain.service", "agent", "/run/open.sock", "/run/datagrams.sock", "@abstract")}}, "t1")
	r.apply(layer.Layer{Name: "apart", Probes: []layer.Probe{layer.Sockets("apart.service", "agent")}}, "t1")
	r.apply(layer.Layer{Name: "stopped", Probes: []layer.Probe{layer.Sockets("stopped.service", "agent")}}, "t1")
	reached := func(name string) string {
		return "socket " + name + ": expected out of reach of plain.service, found within its reach"
	}
	for name, want := range map[string][]string{
		"plain":  {reached("/run/datagrams.sock"), reached("/run/open.sock"), reached("@abstract")},
		"wanted": nil, "apart": nil, "stopped": nil,
	} {
		if got := strings.Join(r.drift(name), "\n"); got != strings.Join(want, "\n") {
			t.Errorf("%s: drift\n%s\nwant\n%s", name, got, strings.Join(want, "\n"))
		}
	}
}

// A service that a package brings is masked before the package is there: it never starts.
func TestMaskedBeforeInstalled(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	r.Sh(`touch /run/units/brought.service.absent
printf '#!/bin/sh\necho "apt-get $*" >>/run/systemctl.log\n' >/usr/local/sbin/apt-get && chmod 755 /usr/local/sbin/apt-get
printf '#!/bin/sh\n' >/usr/local/sbin/dpkg-query && chmod 755 /usr/local/sbin/dpkg-query`)
	r.apply(layer.Layer{Name: "x", Packages: []string{"brought"}, Units: []layer.Unit{{Name: "brought.service", Masked: true}}}, "t1")
	calls := r.Read("/run/systemctl.log")
	mask, install := strings.Index(calls, "mask brought.service"), strings.Index(calls, "apt-get -y")
	if mask < 0 || install < mask {
		t.Errorf("masked at %d, installed at %d:\n%s", mask, install, calls)
	}
}

// What is worth knowing is told by a look, and is no drift.
func TestNotes(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	r.apply(layer.Layer{Name: "x", Notes: [][]string{{"sh", "-c", "printf 'one\\033[31m\\ntwo\\n'"}, {"true"}}}, "t1")
	if got := strings.Join(r.observe().Notes, "|"); got != "one?[31m|two" || len(r.drift("x")) > 0 {
		t.Errorf("notes %q, drift %q", got, r.drift("x"))
	}
	r.apply(layer.Layer{Name: "x", Warnings: [][]string{{"echo", "three"}}}, "t2")
	if got := strings.Join(r.observe().Warnings, "|"); got != "three" || len(r.drift("x")) > 0 {
		t.Errorf("warnings %q, drift %q", got, r.drift("x"))
	}
}
