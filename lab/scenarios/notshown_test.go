package scenarios

import (
	"fmt"
	"strings"
)

// bound is what a machine's kernel may be unable to enforce on a host that shares it. Its probe runs as root and must
// fail under the property, where it succeeds without: then the kernel enforces it, and the scenarios show it.
type bound struct {
	name, property, probe string
}

// bounds is the one list of what may be NOT SHOWN.
var bounds = []bound{
	{"memory", "MemoryMax=32M", `x = bytearray(256 << 20)`},
	{"tasks", "TasksMax=8", "import threading, time\nfor i in range(30): threading.Thread(target=time.sleep, args=(1,)).start()"},
}

// enforces says whether the host's kernel enforces a bound. Where it does not, the test says so instead of passing it
// for shown.
func (l *one) enforces(name string) bool {
	l.t.Helper()
	for _, b := range bounds {
		if b.name != name {
			continue
		}
		run := func(properties ...string) result {
			argv := []string{"systemd-run", "--quiet", "--wait", "--pipe", "--property=RuntimeMaxSec=30"}
			return l.at("vm", append(append(argv, properties...), "/usr/bin/python3", "-c", b.probe)...)
		}
		if r := run(); r.code != 0 {
			l.t.Fatalf("the probe of %q fails without its bound: %s", name, r)
		}
		if r := run("--property=" + b.property); r.code != 0 {
			return true
		}
		// On a line of its own, also in the output of a run that passes.
		fmt.Printf("NOT SHOWN: %s: this machine's kernel does not enforce %s\n", l.t.Name(), strings.SplitN(b.property, "=", 2)[0])
		return false
	}
	l.t.Fatalf("no bound is named %q", name)
	return false
}
