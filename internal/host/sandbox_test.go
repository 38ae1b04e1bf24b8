package host

import (
	"fmt"
	"strings"
	"testing"

	"openclaw-azure/internal/keys/keystest"
	"openclaw-azure/internal/sandbox"
)

func TestSandboxIsRelaxed(t *testing.T) {
	values := `{"MemoryMax": "95%", "TasksMax": 2048, "RestrictNamespaces": "user mnt", "SystemCallFilter": "@debug"}`
	c := testConfig(t, map[string]string{"openclaw:sandbox": values})
	stack, peers := keystest.Keys(t)
	unit, err := newHostOf(c, stack, peers).render("/etc/systemd/system/openclaw.service")
	if err != nil {
		t.Fatal(err)
	}
	want := `
# Relaxed by the stack's ` + "`sandbox`" + `.
MemoryMax=95%
RestrictNamespaces=
RestrictNamespaces=user mnt
SystemCallFilter=@debug
TasksMax=2048

[Install]
`
	if !strings.Contains(string(unit), want) {
		t.Errorf("the unit lacks\n%s\nin\n%s", want, unit)
	}
	for _, d := range sandbox.Directives {
		if d.Relaxed == nil {
			continue
		}
		if !d.Relaxed.MatchString(d.Example) {
			t.Errorf("%s: its own example %q is refused", d.Name, d.Example)
		}
		if c := testConfig(t, map[string]string{"openclaw:sandbox": fmt.Sprintf(`{%q: %q}`, d.Name, d.Example)}); len(c.Sandbox) != 1 {
			t.Errorf("%s: got %q", d.Name, c.Sandbox)
		}
	}
}
