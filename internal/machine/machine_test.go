package machine

import (
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Where a fact stands in words of another language. Whatever a template can take from Go it does; what is left here are
// programs that also run, or are checked, as they stand.
const (
	units       = "templates/etc/systemd/system/"
	service     = units + "openclaw.service"
	archive     = units + "openclaw-backup-archive.service"
	unpack      = units + "openclaw-restore@.service"
	installer   = "templates/usr/local/sbin/openclaw-install"
	commandLine = "templates/usr/local/sbin/openclaw"
	sessions    = "templates/usr/local/sbin/openclaw-sessions"
	backup      = "templates/usr/local/lib/openclaw-deploy/backup.py"
	openDoor    = "internal/breakglass/open-door.sh"
	applier     = "internal/applier/"
)

// place is a pattern with one group, which catches what a file says of a fact. All that it finds has to be the fact.
type place struct{ file, pattern string }

var facts = []struct {
	name, value string
	// alone: the value means nothing else in these files, so that it stands nowhere but at these places.
	alone  bool
	places []place
}{
	{"operator", Operator, false, []place{
		{backup, `^READERS = "(.*)"$`},
		{sessions, `Accepted publickey for (\S+) from`},
		{sessions, `getpwnam\("(.*)"\)`},
		{sessions, `^KEYS = "/etc/ssh/authorized_keys/(.*)"$`},
		{sessions, `"/var/lib/systemd/linger/(.*?)"`},
		{sessions, `"/var/spool/cron/crontabs/(.*?)"`},
		{openDoor, `AllowUsers \$admin (\S+)$`},
		{"templates/etc/sudoers.d/10-openclaw", `; (\S+) stands in no other`},
	}},
	{"service's user", Service, false, []place{
		{backup, `^SERVICE_USER = "(.*)"$`},
		{service, `^User=(.*)$`},
		{service, `^Group=(.*)$`},
		{archive, `^User=(.*)$`},
		{archive, `^Group=(.*)$`},
		{unpack, `^User=(.*)$`},
		{unpack, `^Group=(.*)$`},
	}},
	{"gate's user", Gate, false, []place{{openDoor, `for user in openclaw (\S+) unbound; do$`}}},
	{"resolver's user", Resolver, false, []place{{openDoor, `for user in openclaw haproxy (\S+); do$`}}},
	{"bootstrap port", strconv.Itoa(BootstrapPort), false, []place{
		{openDoor, `^port=\$\{BOOTSTRAP_PORT:-(\d+)\}$`},
		{openDoor, `^#   BOOTSTRAP_PORT  (\d+)$`},
	}},
	{"gateway port", strconv.Itoa(GatewayPort), true, []place{
		{installer, `^READY = "http://127\.0\.0\.1:(\d+)/`},
		{commandLine, `^GATEWAY = "ws://127\.0\.0\.1:(\d+)"$`},
	}},
	// wg0.conf takes it from Go.
	{"MTU", strconv.Itoa(MTU), true, nil},
	{"applier", ApplierPath, true, []place{
		{applier + "timer.py", `^SELF = "(.*)"$`},
		{openDoor, `^applier=(.*)$`},
	}},
	{"backup program", BackupPath, true, []place{
		{"templates/usr/local/sbin/openclaw-backup", `-I (\S+) backup`},
		{"templates/usr/local/sbin/openclaw-restore", `-I (\S+) restore`},
		{archive, `-I (\S+) archive `},
		{unpack, `-I (\S+) %i$`},
	}},
	{"applier's records", StateFolder, true, []place{
		{applier + "records.py", `^STATE = "(.*)"$`},
		{"templates/usr/local/sbin/openclaw-egress", `^RECORDS = "(.*)/layers"$`},
		{sessions, `^STATE = "(.*)"$`},
		{openDoor, `^state=(.*)$`},
	}},
	// The break-glass must not work beside the applier, nor be undone by its timer. Go needs to know neither.
	{"lock", "/run/openclaw-deploy.lock", true, []place{
		{applier + "lock.py", `^LOCK = "(.*)"$`},
		{openDoor, `exec 9>>(.*)$`},
	}},
	{"rollback timer", "openclaw-deploy-rollback", true, []place{
		{applier + "timer.py", `^TIMER = "(.*)\.timer"$`},
		{applier + "timer.py", `^SERVICE = "(.*)\.service"$`},
		{openDoor, `^timer=(.*)$`},
	}},
	{"host key", HostKeyPath, true, []place{{openDoor, `^key_file=(.*)$`}}},
	{"sshd's drop-in", SSHDropIn, true, []place{{openDoor, `^drop_in=(.*)$`}}},
	{"installer", InstallerPath, true, []place{
		{backup, `^INSTALLER = "(.*)"$`},
		{"templates" + AlertPath, `^INSTALLER = "(.*)"$`},
		{service, `^ExecStartPre=-(\S+) unlock$`},
		{service, `^ExecStartPost=(\S+) await$`},
	}},
	{"OpenClaw's configuration", ConfigPath, true, []place{
		{installer, `^CONFIG = "(.*)"$`},
		{service, `OPENCLAW_CONFIG_PATH=(\S+)`},
	}},
	{"exit status of a failure", strconv.Itoa(ExitFailed), false, []place{{applier + "words.py", `^EXIT_FAILED = (\d+)$`}}},
	{"exit status of a rollback", strconv.Itoa(ExitRolledBack), false, []place{{applier + "words.py", `^EXIT_ROLLED_BACK = (\d+)$`}}},
	{"exit status of no change", strconv.Itoa(ExitNotPending), false, []place{{applier + "words.py", `^EXIT_NOT_PENDING = (\d+)$`}}},
	{"exit status of a refusal", strconv.Itoa(ExitRefused), false, []place{{applier + "words.py", `^EXIT_REFUSED = (\d+)$`}}},
	{"exit status of a full disk", strconv.Itoa(ExitNoSpace), false, []place{{openDoor, `status=(\d+) ;; # ENOSPC`}}},
	{"exit status of a network that is down", strconv.Itoa(ExitNetDown), false, []place{{openDoor, `status=(\d+) && fail .*# ENETDOWN`}}},
	{"agent's network", Namespace, true, []place{
		{service, `^NetworkNamespacePath=(.*)$`},
		{units + "openclaw-gate.socket", `^NetworkNamespacePath=(.*)$`},
		{units + "openclaw-keys.socket", `^NetworkNamespacePath=(.*)$`},
		{units + "openclaw-dns.socket", `^NetworkNamespacePath=(.*)$`},
		{units + "openclaw-entry.service", `^NetworkNamespacePath=(.*)$`},
	}},
	// before.rules takes it from Go.
	{"platform address", PlatformAddress.Addr().String(), true, []place{{applier + "undeclared.py", `^PLATFORM = "(.*)"$`}}},
}

// TestFactsAreTheSameEverywhere: templates, the programs that run on the host and the break-glass say what Go says.
func TestFactsAreTheSameEverywhere(t *testing.T) {
	texts := readTexts(t)
	for _, fact := range facts {
		t.Run(fact.name, func(t *testing.T) {
			found := map[string]int{}
			for _, p := range fact.places {
				matches := regexp.MustCompile("(?m)"+p.pattern).FindAllStringSubmatch(texts[p.file], -1)
				if len(matches) == 0 {
					t.Errorf("%s: %s finds nothing: where does the fact stand now?", p.file, p.pattern)
				}
				for _, match := range matches {
					found[p.file]++
					if match[1] != fact.value {
						t.Errorf("%s says %q, internal/machine %q", p.file, match[1], fact.value)
					}
				}
			}
			if !fact.alone {
				return
			}
			whole := regexp.MustCompile(regexp.QuoteMeta(fact.value) + `\b`)
			for file, text := range texts {
				if all := len(whole.FindAllString(text, -1)); all != found[file] {
					t.Errorf("%s has %q %d times, of which this test looks at %d: take it from Go, or list the place", file, fact.value, all, found[file])
				}
			}
		})
	}
}

// readTexts reads all that says facts, by path in the repository.
func readTexts(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	root := filepath.Join("..", "..")
	read := func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		// What npm wrote says nothing of the machine.
		if err == nil && !strings.HasPrefix(name, "templates/opt/") && !strings.HasSuffix(name, ".go") {
			texts[name] = string(text)
		}
		return err
	}
	modules, err := filepath.Glob(filepath.Join(root, applier, "*.py"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(modules, filepath.Join(root, "templates"), filepath.Join(root, openDoor)) {
		if err := filepath.WalkDir(path, read); err != nil {
			t.Fatal(err)
		}
	}
	return texts
}

func TestCarriersDiffer(t *testing.T) {
	inForce := Carrier{KeyGeneration: 1, SSHPort: 2222, WireGuardPort: 51820, VPN: netip.MustParsePrefix("10.100.0.0/24"), AdminUsername: "azureuser", Rescue: 7}
	for _, c := range []struct {
		key    string
		change func(*Carrier)
		want   []Difference
	}{
		{"nothing", func(*Carrier) {}, nil},
		{"keyGeneration", func(c *Carrier) { c.KeyGeneration = 2 }, []Difference{{"keyGeneration", "2", "1"}}},
		{"sshPort", func(c *Carrier) { c.SSHPort = 2223 }, []Difference{{"sshPort", "2223", "2222"}}},
		{"wireguardPort", func(c *Carrier) { c.WireGuardPort = 51821 }, []Difference{{"wireguardPort", "51821", "51820"}}},
		{"vpnCidr", func(c *Carrier) { c.VPN = netip.MustParsePrefix("10.100.0.0/25") }, []Difference{{"vpnCidr", "10.100.0.0/25", "10.100.0.0/24"}}},
		{"adminUsername", func(c *Carrier) { c.AdminUsername = "root" }, []Difference{{"adminUsername", "root", "azureuser"}}},
		{"rescue", func(c *Carrier) { c.Rescue = 0 }, []Difference{{"rescue", "0", "7"}}},
		{"all", func(c *Carrier) { *c = Carrier{} }, []Difference{{"keyGeneration", "0", "1"}, {"sshPort", "0", "2222"},
			{"wireguardPort", "0", "51820"}, {"vpnCidr", "invalid Prefix", "10.100.0.0/24"}, {"adminUsername", "", "azureuser"}, {"rescue", "0", "7"}}},
	} {
		t.Run(c.key, func(t *testing.T) {
			now := inForce
			c.change(&now)
			if diff := cmp.Diff(c.want, now.Differences(inForce)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	// The ends of the VPN are the machine and the program's own peer.
	if got := fmt.Sprint(inForce.ServerAddress(), inForce.DeployerAddress(), inForce.SSH()); got != "10.100.0.1 10.100.0.254 10.100.0.1:2222" {
		t.Errorf("addresses: %s", got)
	}
}
