package sandbox

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"openclaw-azure/internal/shell"
)

// sandboxTable is the sandbox as docs/sandbox.md shows it.
func sandboxTable() string {
	var b strings.Builder
	b.WriteString("| directive | value | what it costs the agent | relaxed by |\n|---|---|---|---|\n")
	for _, d := range Directives {
		strict, relaxed := "`"+d.Strict+"`", "stays"
		if d.Strict == "" {
			strict = "empty"
		}
		if d.Relaxed != nil {
			relaxed = fmt.Sprintf("`pulumi config set --path sandbox.%s %s`", d.Name, shell.Quote(d.Example))
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.Name, strict, d.Cost, relaxed)
	}
	return b.String()
}

func TestSandboxIsDocumented(t *testing.T) {
	const begin, end = "<!-- sandbox:begin -->\n", "<!-- sandbox:end -->"
	page, err := os.ReadFile("../../docs/sandbox.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), begin)
	if table, _, ended := strings.Cut(rest, end); !ended || table != sandboxTable() {
		t.Errorf("../../docs/sandbox.md lacks this, or has it otherwise:\n%s%s%s", begin, sandboxTable(), end)
	}
}

// The unit says what the table says: neither has a directive that the other lacks.
func TestSandboxIsTheUnits(t *testing.T) {
	unit, err := os.ReadFile("../../templates/etc/systemd/system/openclaw.service")
	if err != nil {
		t.Fatal(err)
	}
	_, bounds, found := strings.Cut(string(unit), "\nNoNewPrivileges=")
	if !found {
		t.Fatal("the unit has no NoNewPrivileges")
	}
	bounds, _, _ = strings.Cut("NoNewPrivileges="+bounds, "\n{{if .Sandbox}}")
	has := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(bounds), "\n") {
		name, value, _ := strings.Cut(line, "=")
		if strings.HasPrefix(line, "#") {
			continue
		}
		has[name] = strings.TrimSpace(has[name] + " " + value)
	}
	for _, d := range Directives {
		value, there := has[d.Name]
		// What only a relaxation says has no line.
		if (!there && (d.Strict != "" || d.Relaxed == nil)) || value != d.Strict {
			t.Errorf("the unit has %s=%s, the table %q", d.Name, value, d.Strict)
		}
		delete(has, d.Name)
	}
	for name := range has {
		t.Errorf("the table lacks %s", name)
	}
}

// TestOthersAreBoundedAlike: what else runs as the service's user has its bounds, but where its work is another.
func TestOthersAreBoundedAlike(t *testing.T) {
	const folder = "../../templates/etc/systemd/system/"
	// Their own: a network that leads nowhere, other folders, other amounts.
	own := []string{"NetworkNamespacePath", "ReadWritePaths", "InaccessiblePaths", "BindPaths", "BindReadOnlyPaths", "NoExecPaths", "RestrictAddressFamilies",
		"LimitNOFILE", "TasksMax", "MemoryMax"}
	units, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, unit := range units {
		text, err := os.ReadFile(folder + unit.Name())
		if err != nil {
			t.Fatal(err)
		}
		if unit.Name() == "openclaw.service" || !strings.Contains(string(text), "\nUser=openclaw\n") {
			continue
		}
		found++
		has := map[string]string{}
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			has[name] = strings.TrimSpace(has[name] + " " + value)
		}
		for _, d := range Directives {
			if value, there := has[d.Name]; !slices.Contains(own, d.Name) && (value != d.Strict || !there && d.Strict != "") {
				t.Errorf("%s: %s=%s, want %s", unit.Name(), d.Name, value, d.Strict)
			}
		}
		if !strings.Contains(has["NoExecPaths"], "/dev/shm /tmp /var/tmp "+has["ReadWritePaths"]) {
			t.Errorf("%s: it may run what it writes: NoExecPaths=%s ReadWritePaths=%s", unit.Name(), has["NoExecPaths"], has["ReadWritePaths"])
		}
	}
	if found != 2 {
		t.Errorf("%d other units run as the service's user, want 2", found)
	}
}
