package applier_test

import (
	"strings"
	"testing"

	"openclaw-azure/internal/layer"
)

// repository puts an archive with one package where the root's apt looks, and nothing else.
func repository(r *root) {
	r.T.Helper()
	r.Sh(`rm -rf /etc/apt/sources.list /etc/apt/sources.list.d /var/lib/apt/lists
		mkdir -p /srv/archive /tmp/tree/DEBIAN /tmp/tree/etc /etc/apt/sources.list.d
		printf 'Package: claw-test\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@invalid>\nDescription: test\n' >/tmp/tree/DEBIAN/control
		echo /etc/claw-test.conf >/tmp/tree/DEBIAN/conffiles
		echo theirs >/tmp/tree/etc/claw-test.conf
		dpkg-deb --root-owner-group --build /tmp/tree /srv/archive/claw-test.deb >/dev/null
		cd /srv/archive
		{ cat /tmp/tree/DEBIAN/control
		echo "Filename: ./claw-test.deb"
		echo "Size: $(stat -c %s claw-test.deb)"
		echo "SHA256: $(sha256sum claw-test.deb | cut -d' ' -f1)"; } >Packages
		echo 'deb [trusted=yes] file:/srv/archive ./' >/etc/apt/sources.list`)
}

func TestPackages(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	repository(r)
	l := layer.Layer{Name: "x", Packages: []string{"claw-test", "dpkg"}, Reload: [][]string{{"touch", "/run/reloaded"}}}
	r.apply(l, "t1").want(t, 0, "applied", "package claw-test")
	r.Has("/etc/claw-test.conf", "theirs\n")
	r.Sh("test -e /run/reloaded")
	r.apply(l, "t2").want(t, 0, "unchanged")
	r.quiet("x")

	// Removed behind our back, its configuration changed: it comes back and the changed file stays.
	r.Sh("dpkg --remove claw-test >/dev/null; echo mine >/etc/claw-test.conf")
	if drift := strings.Join(r.drift("x"), "\n"); drift != "package claw-test: expected installed, found missing" {
		t.Errorf("drift: %s", drift)
	}
	r.apply(l, "t3").want(t, 0, "applied", "package claw-test")
	r.Has("/etc/claw-test.conf", "mine\n")

	// An installation that was cut in the middle is finished first.
	r.Sh(`dpkg --remove claw-test >/dev/null; dpkg --unpack /srv/archive/claw-test.deb >/dev/null
		touch /var/lib/dpkg/updates/0001`)
	r.apply(l, "t4").want(t, 0, "applied", "package claw-test")
	r.quiet("x")
}

// Somebody's source that is broken stops nothing that another source has; it is told of until it works again.
func TestPackagesBesideABrokenSource(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	repository(r)
	const noted = "/var/lib/openclaw-deploy/package-sources"
	r.Sh("echo 'deb [trusted=yes] file:/srv/none ./' >/etc/apt/sources.list.d/somebodys.list")
	l := layer.Layer{Name: "x", Packages: []string{"claw-test"}}
	r.apply(l, "t1").want(t, 0, "applied", "package claw-test")
	if said := r.Sh("cat " + noted); !strings.Contains(said, "/srv/none") || !strings.HasSuffix(said, "; what the other sources have was installed. This is told of until the lists are read at night without a fault, or `sudo rm "+noted+"`\n") {
		t.Errorf("told of: %q", said)
	}
	l.Packages = append(l.Packages, "claw-none")
	o := r.apply(l, "t2")
	o.want(t, 1, "failed")
	for _, want := range []string{"E: Unable to locate package claw-none", "/srv/none"} {
		if !strings.Contains(o.answer.Error, want) {
			t.Errorf("the error lacks %q: %s", want, o.answer.Error)
		}
	}
	r.Sh("rm /etc/apt/sources.list.d/somebodys.list; dpkg --purge claw-test >/dev/null")
	l.Packages = []string{"claw-test"}
	r.apply(l, "t3").want(t, 0, "applied", "package claw-test")
	r.Sh("test ! -e " + noted)
}

func TestNoSuchPackage(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	repository(r)
	l := layer.Layer{Name: "x", Packages: []string{"claw-none"}, Files: []layer.File{file("/etc/x", "x\n")}}
	o := r.apply(l, "t1")
	o.want(t, 1, "failed")
	if !strings.HasPrefix(o.answer.Error, "installing claw-none failed: ") || !strings.HasSuffix(o.answer.Error, "E: Unable to locate package claw-none") {
		t.Errorf("error: %s", o.answer.Error)
	}
	r.Has("/etc/x", "")
}

// Another apt has the locks: waited for, and named when the wait ends.
func TestPackagesLocked(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	repository(r)
	hold := func(lock, gate string) {
		c := r.Command("/usr/bin/python3", "-I", "-c", `
import fcntl, os, sys, time
f = open(sys.argv[1], "w")
fcntl.lockf(f, fcntl.LOCK_EX)
open(sys.argv[2], "w").close()
while os.path.exists(sys.argv[2]):
    time.sleep(0.02)
`, lock, gate)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
		r.Await("the lock", func() bool { return r.Sh(`[ ! -e "$1" ] || echo held`, gate) == "held\n" })
	}
	r.Sh("mkdir -p /var/lib/apt/lists/partial")
	l := layer.Layer{Name: "x", Packages: []string{"claw-test"}}
	for _, lock := range []string{"/var/lib/apt/lists/lock", "/var/lib/dpkg/lock-frontend"} {
		r.Sh("dpkg --purge claw-test >/dev/null 2>&1 || :")
		hold(lock, "/run/gate")
		var request map[string]any
		remarshal(t, r.pack(l).Apply(layer.Confirmation{}), &request)
		request["lockSeconds"] = 1
		o := r.begin(request, "t1").end()
		o.want(t, 1, "failed")
		if !strings.Contains(o.answer.Error, lock) || !strings.Contains(o.answer.Error, "It is held by process") {
			t.Errorf("error: %s", o.answer.Error)
		}
		waiting := r.beginApply(l, "t2", window)
		if lock == "/var/lib/apt/lists/lock" {
			r.Await("it to say that it waits", func() bool {
				return strings.Contains(waiting.err.String(), "waiting for another apt: E: Could not get lock")
			})
		} else {
			r.Await("it to install", func() bool { return strings.Contains(waiting.err.String(), "installing claw-test") })
		}
		r.Sh("rm /run/gate")
		waiting.end().want(t, 0, "applied", "package claw-test")
	}
}
