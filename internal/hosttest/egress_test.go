package hosttest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestRecentRefusals: what the alerts ask: how many, and of what most, in words that are cut.
func TestRecentRefusals(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../templates/usr/local/sbin/openclaw-egress")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program := strings.NewReplacer("{{.VPN}}", "10.100.0.0/24", "{{.VNet}}", "10.0.0.0/16").Replace(string(text))
	line := func(message string) string {
		return `{"MESSAGE":"` + message + `","__REALTIME_TIMESTAMP":"'"$(date +%s)"'000000"}\n`
	}
	gate := func(why, to, name string) string {
		return line(why + " tcp dialled=" + to + " to=" + to + " up=0 down=0 ms=1 end=-- name=" + name)
	}
	for name, content := range map[string]string{
		"openclaw-egress": program,
		"journalctl": "#!/bin/sh\nprintf '" + gate("ok", "1.2.3.4:443", "good.example") + strings.Repeat(gate("unlisted", "1.2.3.5:443", "evil.example"), 2) +
			gate("private", "10.0.0.9:80", "-") + line("info: x. always_nxdomain 127.0.0.1@1 "+strings.Repeat("y", 100)+".example. A IN") + "'\n",
	} {
		if err := os.WriteFile(dir+"/"+name, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run := func(arguments ...string) string {
		command := exec.Command("/usr/bin/python3", append([]string{"-I", dir + "/openclaw-egress"}, arguments...)...)
		command.Env = []string{"PATH=" + dir + ":/usr/bin:/bin"}
		out, _ := command.CombinedOutput()
		return string(out)
	}
	want := `{"count": 4, "most": [{"name": "evil.example", "port": "443", "times": 2}, {"name": "10.0.0.9", "port": "80", "times": 1}, {"name": "` + strings.Repeat("y", 57) + `...", "port": "", "times": 1}]}` + "\n"
	if got := run("recent", "600"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := run("recent", "0"); !strings.HasPrefix(got, "usage: ") {
		t.Errorf("got %s", got)
	}
}
