package scenarios

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"openclaw-azure/lab/internal/azure"
)

// trial is one scenario under way.
type trial struct {
	*one
	said   result // of the run that met the fault
	doors  string // that were open after it
	ending []func()
	keys   *stackKeys
	env    []string // of what is started in the background
}

// restore begins with a snapshot; the host has booted.
func (x *trial) restore(snapshot string) {
	x.t.Helper()
	if r := x.lab("", "restore", snapshot); r.code != 0 {
		x.t.Fatalf("restore: %s", r)
	}
	if snapshot != bare {
		x.booted()
	}
}

// later is done when the scenario ends, whatever becomes of it.
func (x *trial) later(f func()) { x.ending = append(x.ending, f) }

func (x *trial) end() {
	for i := len(x.ending) - 1; i >= 0; i-- {
		x.ending[i]()
	}
	x.ending = nil
}

// background is a command under way.
type background struct {
	name string
	cmd  *exec.Cmd
	out  screen
	in   *os.File // its standard input
	done chan struct{}
}

// start runs bin/lab in the background; it is killed at the scenario's end.
func (x *trial) start(args ...string) *background {
	x.t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		x.t.Fatal(err)
	}
	b := &background{name: "bin/lab " + strings.Join(args, " "), in: write, done: make(chan struct{})}
	goOn()
	b.cmd = exec.Command(filepath.Join(x.root, "bin", "lab"), args...)
	b.cmd.Dir, b.cmd.Env = x.root, append(append(os.Environ(), "LAB="+x.name), x.env...)
	b.cmd.Stdin, b.cmd.Stdout, b.cmd.Stderr = read, &b.out, &b.out
	// What it starts keeps the output open although it was killed.
	b.cmd.WaitDelay = 5 * time.Second
	if err := b.cmd.Start(); err != nil {
		x.t.Fatal(err)
	}
	read.Close()
	go func() {
		_ = b.cmd.Wait()
		close(b.done)
	}()
	x.later(func() {
		write.Close()
		_ = b.cmd.Process.Kill()
		<-b.done
	})
	return b
}

func (b *background) ended() bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}

// up begins `pulumi up`.
func (x *trial) up(options ...string) *background {
	x.t.Helper()
	return x.start(append([]string{"pulumi", "up", "--yes", "--skip-preview", "--non-interactive", "--color", "never"}, options...)...)
}

// runLimit is for a run that nothing holds any more.
const runLimit = 8 * time.Minute

// wait gives what a run said.
func (x *trial) wait(b *background) result {
	x.t.Helper()
	select {
	case <-b.done:
	case <-time.After(runLimit):
		x.t.Fatalf("%s does not end within %s:\n%s", b.name, runLimit, b.out.String())
	}
	r := result{stdout: b.out.String(), code: b.cmd.ProcessState.ExitCode()}
	x.t.Logf("%s: exit status %d\n%s", b.name, r.code, diagnostics(r.stdout))
	return r
}

// diagnostics are the part of what a run said that is about what went wrong, without the text of the commands.
func diagnostics(out string) string {
	_, out, _ = strings.Cut(out, "Diagnostics:\n")
	out, _, _ = strings.Cut(out, "\nOutputs:\n")
	return loaderText.ReplaceAllString(out, "[the command]")
}

var loaderText = regexp.MustCompile(`(?s)sudo -n /usr/bin/timeout.*?sys\.argv\[1:\]\)\)' [0-9a-f]+[^"]*`)

// step is a point of a run at which a fault strikes.
type step struct{ phase, layer string }

func (s step) String() string {
	if s.layer == "" || s.phase == "proof" {
		return s.phase
	}
	return s.layer + " " + s.phase
}

// configuration is the stack's: its path and its text.
func (x *trial) configuration() (path, text string) {
	x.t.Helper()
	path = x.stackFile(x.root)
	content, err := os.ReadFile(path)
	if err != nil {
		x.t.Fatal(err)
	}
	return path, string(content)
}

// higher is one more than a key of the configuration has now; 1 where it is not set.
func (x *trial) higher(key string) string {
	x.t.Helper()
	_, text := x.configuration()
	n := 0
	if found := regexp.MustCompile(`(?m)^  openclaw:` + key + `: "([0-9]+)"$`).FindStringSubmatch(text); found != nil {
		n, _ = strconv.Atoi(found[1]) // they are digits
	}
	return strconv.Itoa(n + 1)
}

// configure is `pulumi config set` for each pair of key and value, without what the CLI takes to start.
func (x *trial) configure(pairs ...string) {
	if len(pairs) == 0 {
		return
	}
	x.t.Helper()
	path, text := x.configuration()
	var lines []string
	for i := 0; i < len(pairs); i += 2 {
		value := pairs[i+1]
		if !strings.HasPrefix(value, "{") { // JSON is YAML as it is
			value = fmt.Sprintf("%q", value)
		}
		lines = append(lines, fmt.Sprintf("  openclaw:%s: %s", pairs[i], value))
	}
	kept := regexp.MustCompile(`(?m)^  openclaw:(`+strings.Join(keysOf(pairs), "|")+`):.*\n`).ReplaceAllString(text, "")
	before, after, found := strings.Cut(kept, "config:\n")
	if !found {
		x.t.Fatalf("%s has no configuration", path)
	}
	if err := os.WriteFile(path, []byte(before+"config:\n"+strings.Join(lines, "\n")+"\n"+after), 0o600); err != nil {
		x.t.Fatal(err)
	}
}

func keysOf(pairs []string) []string {
	var keys []string
	for i := 0; i < len(pairs); i += 2 {
		keys = append(keys, regexp.QuoteMeta(pairs[i]))
	}
	return keys
}

// hold stops a run at a step: reached blocks until it is there, release lets it go on.
func (x *trial) hold(at step) (reached func(run *background), release func()) {
	x.t.Helper()
	if fault, ok := requests[at.phase]; ok {
		fault.Hold = true
		x.azureFault(fault)
		return func(run *background) {
				x.t.Helper()
				x.until(run, at, func() bool {
					var faults []azure.Fault
					if err := json.Unmarshal([]byte(x.lab("", "fault").stdout), &faults); err != nil {
						x.t.Fatal(err)
					}
					return len(faults) > 0 && faults[0].Met > 0
				})
			}, func() {
				if r := x.lab("", "fault", "none"); r.code != 0 {
					x.t.Fatalf("release the request: %s", r)
				}
			}
	}
	var stop *background
	watch := func() {
		stop = x.start("exec", "vm", "--", "python3", "-c", program(x.t, "stopper.py"), at.phase, at.layer)
	}
	watch()
	return func(run *background) {
			x.t.Helper()
			x.until(run, at, func() bool {
				if stop.ended() && !strings.Contains(stop.out.String(), "reached") {
					watch() // on a first deploy there is no host yet
				}
				return strings.Contains(stop.out.String(), "reached")
			})
		}, func() {
			x.t.Helper()
			stop.in.Close()
			<-stop.done
		}
}

// requests are the steps that are requests to the control plane.
var requests = map[string]azure.Fault{
	"vm": {Method: "PUT", Token: "azure-native:compute:VirtualMachine"},
}

func (x *trial) azureFault(f azure.Fault) {
	x.t.Helper()
	text, err := json.Marshal(f)
	if err != nil {
		x.t.Fatal(err)
	}
	if r := x.lab("", "fault", string(text)); r.code != 0 {
		x.t.Fatalf("inject a fault: %s", r)
	}
}

func (x *trial) until(run *background, at step, there func() bool) {
	x.t.Helper()
	deadline := time.Now().Add(runLimit)
	for !there() {
		if run.ended() {
			x.t.Fatalf("the run ended before it got to %s:\n%s", at, run.out.String())
		}
		if time.Now().After(deadline) {
			x.t.Fatalf("the run does not get to %s within %s:\n%s", at, runLimit, run.out.String())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// stackKeys are what opens the doors, as the stack's state has it.
type stackKeys struct {
	Bootstrap, Operator, HostKey struct{ Private, Public string }
	WireGuardServer              struct{ Public string }
	SudoPassword                 struct{ Plain string }
	laptop                       struct{ Private, Preshared string }
}

// readKeys reads them; nil where they were not made yet.
func (x *trial) readKeys() *stackKeys {
	x.t.Helper()
	var export struct {
		Deployment struct {
			Resources []struct {
				URN     string
				Outputs struct{ Stdout json.RawMessage }
			}
		}
	}
	if err := json.Unmarshal([]byte(x.pulumi(0, "stack", "export", "--show-secrets").stdout), &export); err != nil {
		x.t.Fatal(err)
	}
	keys, found := &stackKeys{}, 0
	for _, r := range export.Deployment.Resources {
		name := r.URN[strings.LastIndex(r.URN, "::")+2:]
		var into any
		switch name {
		case "keys":
			into = keys
		case "peer-laptop":
			into = &keys.laptop
		default:
			continue
		}
		var secret struct{ Plaintext string }
		var text string
		if err := json.Unmarshal(r.Outputs.Stdout, &secret); err != nil {
			continue // being made
		}
		if err := json.Unmarshal([]byte(secret.Plaintext), &text); err != nil {
			x.t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(text), into); err != nil {
			x.t.Fatal(err)
		}
		found++
	}
	if found < 2 {
		return nil
	}
	return keys
}

// address is the machine's in the outside world; none where there is no machine.
func (x *trial) address() netip.Addr {
	x.t.Helper()
	found := regexp.MustCompile(`(?m)^vm .* outside ([0-9.]+)`).FindStringSubmatch(x.lab("", "status").stdout)
	if found == nil {
		return netip.Addr{}
	}
	return netip.MustParseAddr(found[1])
}

// boot tells the host's boots apart; it is empty while the host is not up.
func (x *trial) boot() string {
	x.t.Helper()
	found := regexp.MustCompile(`(?m)^vm .*, up, boot ([0-9]+)$`).FindStringSubmatch(x.lab("", "status").stdout)
	if found == nil {
		return ""
	}
	return found[1]
}

const (
	bothDoors  = "bootstrap tunnel"
	tunnelDoor = "tunnel"
	noHost     = "no host yet"
)

// login goes through both doors at once, with real clients, as far as root.
const login = `
cd "$1"
options="-o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=known_hosts -o ConnectTimeout=7 -o ServerAliveInterval=3 -o LogLevel=ERROR"
ssh -n -i id_rsa $options "azureuser@$2" sudo -n true && echo bootstrap >bootstrap &
wg-quick up ./claw0.conf >wg 2>&1 || { cat wg >&2; exit 1; }
ssh -i claw_ed25519 $options -p 2222 claw@10.100.0.1 "sudo -k -S -p '' true" <password && echo tunnel >tunnel
wg-quick down ./claw0.conf >wg 2>&1 || { cat wg >&2; exit 1; }
wait
cat bootstrap tunnel 2>/dev/null
exit 0
`

// openDoors are the doors that a person with the stack's keys gets in by.
func (x *trial) openDoors() string {
	x.t.Helper()
	address := x.address()
	if !address.IsValid() {
		return noHost
	}
	if x.keys == nil {
		if x.keys = x.readKeys(); x.keys == nil {
			return noHost
		}
	}
	return x.doorsWith(x.keys, address)
}

func (x *trial) doorsWith(keys *stackKeys, address netip.Addr) string {
	x.t.Helper()
	dir := x.tempDir()
	hostKey := strings.Join(strings.Fields(keys.HostKey.Public)[:2], " ")
	for name, content := range map[string]string{
		"id_rsa": keys.Bootstrap.Private, "claw_ed25519": keys.Operator.Private, "password": keys.SudoPassword.Plain + "\n",
		"known_hosts": fmt.Sprintf("%s %s\n[10.100.0.1]:2222 %s\n", address, hostKey, hostKey),
		"claw0.conf": fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = 10.100.0.2/32\nMTU = 1280\n\n[Peer]\nPublicKey = %s\nPresharedKey = %s\nEndpoint = %s:51820\nAllowedIPs = 10.100.0.1/32\n",
			keys.laptop.Private, keys.WireGuardServer.Public, keys.laptop.Preshared, address),
	} {
		x.secretFile(dir, name, strings.TrimRight(content, "\n")+"\n")
	}
	r := x.at("operator", "sh", "-c", login, "sh", dir, address.String())
	if r.code != 0 {
		x.t.Fatalf("look at the doors: %s", r)
	}
	return strings.Join(strings.Fields(r.stdout), " ")
}

// anyDoor waits until a door is open: in the window there need be none, after it there must.
func (x *trial) anyDoor() {
	x.t.Helper()
	deadline := time.Now().Add((window + 30) * time.Second)
	for {
		x.doors = x.openDoors()
		if x.doors != "" {
			return
		}
		if time.Now().After(deadline) {
			x.t.Fatalf("both doors are closed, %d s after the run", window+30)
		}
	}
}

// program is the process of the Pulumi program under way.
func (x *trial) program() int {
	x.t.Helper()
	pid := 0
	x.eventually("the program runs", 20*time.Second, func() error {
		links, err := filepath.Glob("/proc/[0-9]*/exe")
		if err != nil {
			return err
		}
		for _, link := range links {
			if exe, err := os.Readlink(link); err == nil && strings.TrimSuffix(exe, " (deleted)") == filepath.Join(x.root, ".lab", x.name, "program") {
				_, err := fmt.Sscanf(link, "/proc/%d/exe", &pid)
				return err
			}
		}
		return fmt.Errorf("no process of it")
	})
	return pid
}

// killProgram ends the Pulumi program under way.
func (x *trial) killProgram() {
	x.t.Helper()
	if err := syscall.Kill(x.program(), syscall.SIGKILL); err != nil {
		x.t.Fatal(err)
	}
}

// disturb puts a rule between the operator and everything else, until the function that it returns is called.
func (x *trial) disturb(rules ...string) (lift func()) {
	x.t.Helper()
	// A table of its own: the NSG's is loaded anew whenever a rule changes.
	text := "table inet disturbed {\nchain forward {\ntype filter hook forward priority -10\n" + strings.Join(rules, "\n") + "\n}\n}"
	if r := x.outside("nft '" + text + "'"); r.code != 0 {
		x.t.Fatalf("disturb the network: %s", r)
	}
	done := false
	lift = func() {
		if !done {
			x.outside("nft delete table inet disturbed")
		}
		done = true
	}
	x.later(lift)
	return lift
}

func (x *trial) signal(b *background, s syscall.Signal) {
	x.t.Helper()
	if err := b.cmd.Process.Signal(s); err != nil {
		x.t.Fatalf("%s: %v", b.name, err)
	}
}

// holding runs a command on the host that says "held" and holds something until the function that it returns is called.
func (x *trial) holding(python string) (lift func()) {
	x.t.Helper()
	b := x.start("exec", "vm", "--", "python3", "-c", python+"\nprint('held', flush=True)\nimport sys; sys.stdin.readline()")
	x.eventually("it is held", time.Minute, func() error {
		if !strings.Contains(b.out.String(), "held") {
			return fmt.Errorf("%q", b.out.String())
		}
		return nil
	})
	return func() {
		b.in.Close()
		<-b.done
	}
}
