package scenarios

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// claw is the operator's command as one types it at the operator's place. `go tool` passes its exit status on, which
// `go run` does not.
func (l *one) claw(stdin string, args ...string) result {
	l.t.Helper()
	return l.command(stdin, 10*time.Minute, l.root+"/bin/lab", append([]string{"exec", "operator", "--", "go", "tool", "claw"}, args...)...)
}

// reachSSH: a pipe, an exit status, signals and a terminal, through the tunnel of a process that has no WireGuard.
func reachSSH(l *one) {
	password := l.output("sudoPassword")
	for _, c := range []struct {
		what, stdin, script, stdout string
		code                        int
	}{
		{"the command's exit status", "", "exit 7", "", 7},
		{"a signal that ends the command", "", "kill -TERM $$", "", 128 + 15},
		{"standard input, byte for byte", "a\x00\xff\r\n\x03\x04b", "od -An -tx1", " 61 00 ff 0d 0a 03 04 62\n", 0},
		{"sudo, its password by standard input", password + "\n", "sudo -S -p '' id -un", "root\n", 0},
	} {
		if r := l.claw(c.stdin, "ssh", "--", c.script); r.stdout != c.stdout || r.code != c.code {
			l.t.Errorf("%s: want exit status %d and %q: %s", c.what, c.code, c.stdout, r)
		}
	}
	const size = 4 << 20
	big := strings.Repeat("\x00\x01\r\n\xfe\xff~.", size/8)
	if r := l.claw(big, "ssh", "--", "cat"); r.stdout != big || r.code != 0 {
		l.t.Errorf("%d bytes there and back: %d came, exit status %d: %s", size, len(r.stdout), r.code, r.stderr)
	}
	// As the issue and the README have it.
	if r := l.at("operator", "go", "run", "./cmd/claw", "ssh", "--", "id -un"); r.stdout != "claw\n" || r.code != 0 {
		l.t.Errorf("go run ./cmd/claw ssh: %s", r)
	}

	// Ctrl-C is the command's; an end that is asked for ends both.
	const own = `trap "echo interrupted; exit 9" INT; echo ready; while :; do sleep 0.1; done`
	if out, code := l.clawSignalled(own, syscall.SIGINT); out != "ready\ninterrupted\n" || code != 9 {
		l.t.Errorf("SIGINT: %q, exit status %d", out, code)
	}
	if out, code := l.clawSignalled(`echo ready; exec sleep 7654`, syscall.SIGTERM); out != "ready\n" || code != 128+15 {
		l.t.Errorf("SIGTERM: %q, exit status %d", out, code)
	}
	l.eventually("the command on the host has ended too", 20*time.Second, func() error {
		if r := l.at("vm", "pgrep", "-fx", "sleep 7654"); r.code != 1 {
			return fmt.Errorf("%s", r)
		}
		return nil
	})
	reachTerminal(l, password)
	l.eventually("no session of claw is left on the host", 20*time.Second, func() error {
		if left := l.on(`pgrep -u claw -a || true`); left != "" {
			return fmt.Errorf("%s", left)
		}
		return nil
	})
}

// clawProgram is the program itself, for signals: those at a terminal reach it, and not those for `go tool` alone.
func (l *one) clawProgram() string {
	l.t.Helper()
	path := strings.TrimSpace(l.at("operator", "go", "tool", "-n", "claw").stdout)
	if _, err := os.Stat(path); err != nil {
		l.t.Fatalf("go tool -n claw: %v", err)
	}
	return path
}

// clawSignalled runs a command that says ready, and sends claw a signal then.
func (l *one) clawSignalled(script string, signal syscall.Signal) (stdout string, code int) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, l.root+"/bin/lab", "exec", "operator", "--", l.clawProgram(), "ssh", "--", script)
	cmd.Dir, cmd.Env = l.root, append(os.Environ(), "LAB="+l.name)
	out := &screen{}
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &stderr
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	for !strings.Contains(out.String(), "ready\n") && ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
	}
	if err := cmd.Process.Signal(signal); err != nil {
		l.t.Fatal(err)
	}
	_ = cmd.Wait()
	if stderr.Len() > 0 {
		l.t.Errorf("claw said %q", stderr.String())
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// reachTerminal types at a login shell: its size and its changes, Ctrl-C, sudo's own prompt, the shell's exit status.
func reachTerminal(l *one, password string) {
	keyboard, terminal := openTerminal(l)
	defer keyboard.Close()
	size := func(rows, columns uint16) {
		if err := unix.IoctlSetWinsize(int(keyboard.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
			l.t.Fatal(err)
		}
	}
	size(33, 101)
	cmd := exec.Command(l.root+"/bin/lab", "exec", "operator", "--", l.clawProgram(), "ssh")
	cmd.Dir, cmd.Env = l.root, append(os.Environ(), "LAB="+l.name, "TERM=dumb")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	terminal.Close()
	shown := &screen{}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := keyboard.Read(buf)
			_, _ = shown.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	stop := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer stop.Stop()
	expect := func(keys, want string) {
		l.t.Helper()
		from := len(shown.String())
		if _, err := keyboard.WriteString(keys); err != nil {
			l.t.Fatal(err)
		}
		l.eventually(fmt.Sprintf("%q after typing %q", want, keys), 30*time.Second, func() error {
			if text := shown.String()[from:]; !strings.Contains(text, want) {
				return fmt.Errorf("shown: %q", text)
			}
			return nil
		})
	}
	expect("", "claw@openclaw:~$ ")
	expect("stty size\n", "33 101\r\n")
	size(44, 120)
	expect("for i in $(seq 50); do [ \"$(stty size)\" = '44 120' ] && break; sleep 0.1; done; echo size $(stty size)\n", "size 44 120\r\n")
	expect("echo begun; sleep 300; echo status $?\n", "begun\r\n")
	expect("\x03", "^C")
	expect("sudo -k; sudo id -un\n", "password for claw:")
	expect(password+"\n", "root\r\n")
	if _, err := keyboard.WriteString("exit 6\n"); err != nil {
		l.t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 6 {
		l.t.Errorf("the login shell: exit status %d, want 6: %q", code, shown.String())
	}
	if strings.Contains(shown.String(), password) {
		l.t.Error("the password for sudo was shown while it was typed")
	}
}

func openTerminal(l *one) (keyboard, terminal *os.File) {
	l.t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		l.t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPTN)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		l.t.Fatal(err)
	}
	if terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		l.t.Fatal(err)
	}
	return keyboard, terminal
}

// reachGateway opens OpenClaw's control UI in a real browser at the operator's place, by the link that claw forward
// prints. Over SSH that is the one place which the host forwards to.
func reachGateway(l *one) {
	refused, admitted := l.forwards("127.0.0.1:2222", "127.0.0.1:18789")
	if refused.code == 0 || strings.Contains(refused.stdout, "SSH-2.0") || !strings.Contains(refused.stderr, "administratively prohibited") {
		l.t.Errorf("sshd forwards to itself: %s", refused)
	}
	if !strings.HasPrefix(admitted.stdout, "HTTP/1.1 200") {
		l.t.Errorf("sshd does not forward to the gateway: %s", admitted)
	}

	const port = "18790"
	f := l.startForward("--port", port)
	if r := l.claw("", "forward", "--port", port); r.code != 255 || !strings.HasPrefix(r.stderr, "claw: port "+port+" of this computer is taken\nhint: ") {
		l.t.Errorf("a second forward on the port: %s", r)
	}

	// The link logs a browser in, and it stays logged in; one without it is told where to find it. The gateway's token is nowhere in it.
	known := l.openBrowser()
	known.listen()
	known.shows(f.link, "Gateway Connected")
	known.shows(f.ui, "Gateway Connected")
	known.knowsNot(l.output("gatewayToken"))
	if path := os.Getenv("SCREENSHOT"); path != "" {
		if err := os.WriteFile(path, known.picture(), 0o644); err != nil {
			l.t.Error(err)
		}
	}
	known.close()
	stranger := l.openBrowser()
	stranger.shows(f.ui, "open the link that claw forward prints")
	stranger.shows("http://127.0.0.1:"+port+"/", "nothing is served at this address")
	stranger.close()

	if code := f.stop(); code != 128+2 {
		l.t.Errorf("claw forward after Ctrl-C: exit status %d: %q", code, f.shown.String())
	}
	if strings.Contains(f.shown.String(), l.output("gatewayToken")) {
		l.t.Error("claw forward printed the gateway's token")
	}
}

// forward is a claw forward that runs at the operator's place.
type forward struct {
	l     *one
	cmd   *exec.Cmd
	shown *screen
	link  string // what it printed: opens the control UI once
	ui    string // the control UI's address
	port  string
}

// startForward waits for its link. It ends with stop, or with the test.
func (l *one) startForward(options ...string) *forward {
	l.t.Helper()
	f := &forward{l: l, shown: &screen{}, cmd: exec.Command(l.root+"/bin/lab", append([]string{"exec", "operator", "--", l.clawProgram(), "forward"}, options...)...)}
	f.cmd.Dir, f.cmd.Env = l.root, append(os.Environ(), "LAB="+l.name)
	f.cmd.Stdout, f.cmd.Stderr = f.shown, f.shown
	if err := f.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		if f.cmd.ProcessState == nil {
			f.stop()
		}
	})
	link := regexp.MustCompile(`(?m)^    ((http://[a-z2-7]{26}\.localhost:(\d+)/)claw-login/\S+)$`)
	l.eventually("claw forward prints a link", time.Minute, func() error {
		found := link.FindStringSubmatch(f.shown.String())
		if found == nil {
			return fmt.Errorf("it said %q", f.shown.String())
		}
		f.link, f.ui, f.port = found[1], found[2], found[3]
		return nil
	})
	return f
}

// stop is Ctrl-C, and gives the exit status.
func (f *forward) stop() int {
	f.l.t.Helper()
	if err := f.cmd.Process.Signal(os.Interrupt); err != nil {
		f.l.t.Fatal(err)
	}
	_ = f.cmd.Wait()
	return f.cmd.ProcessState.ExitCode()
}

// forwards asks the host's sshd, on its own loopback, to forward to two addresses, and sends a request to each.
func (l *one) forwards(one, other string) (result, result) {
	l.t.Helper()
	dir := l.on(`mktemp -d`)
	defer l.on(`rm -rf ` + dir)
	if r := l.command(l.output("operatorKey")+"\n", time.Minute, l.root+"/bin/lab", "exec", "vm", "--", "sh", "-c", "umask 077; cat >"+dir+"/key"); r.code != 0 {
		l.t.Fatal(r)
	}
	try := func(address string) result {
		// Whoever ends its half of the connection first gets no answer by systemd-socket-proxyd.
		return l.at("vm", "sh", "-c", `{ printf 'GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n'; sleep 3; } | timeout 60 ssh -i `+dir+`/key -o IdentitiesOnly=yes -o BatchMode=yes `+
			`-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=INFO -p 2222 -W `+address+` claw@127.0.0.1`)
	}
	return try(one), try(other)
}
