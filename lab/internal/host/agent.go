package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"openclaw-azure/lab/internal/fabric"
)

// Azure's agent: it needs neither a network nor any tool of the machine but its bash.
const (
	agentFolder = "var/lib/waagent"
	// What the agent's stand-in in the machine makes in each boot, once it would take orders.
	agentUp = "run/waagent-is-up"
	// agentPatience is shorter than Azure's, so that somebody hears of what the agent lacks.
	agentPatience = 2 * time.Minute
	outputLimit   = 1 << 20
)

// Environment is what a process gets that is put into a machine from outside.
var Environment = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/bash", "LANG=C.UTF-8",
}

// Enter are the arguments of nsenter that lead into the system whose init is pid.
func Enter(pid int) []string {
	return []string{
		"--target=" + strconv.Itoa(pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--",
	}
}

// payload is the group in which the machine's systemd has its own, and in it those who come from outside.
func (g *guest) payload() string { return filepath.Join(g.groups[0], "payload", "outside") }

// AwaitAgent waits for a machine's agent.
func (h *Host) AwaitAgent(ctx context.Context, vmID string) error {
	guest, err := h.guest(vmID)
	if err == nil {
		_, err = h.awaitAgent(ctx, guest)
	}
	return err
}

// RunScript runs a script in a machine through its agent.
func (h *Host) RunScript(ctx context.Context, vmID string, script []byte, params []fabric.Param, timeout time.Duration) (fabric.Result, error) {
	guest, err := h.guest(vmID)
	if err != nil {
		return fabric.Result{}, err
	}
	pid, err := h.awaitAgent(ctx, guest)
	if err != nil {
		return fabric.Result{}, err
	}
	m, err := h.note(vmID, func(m *machine) { m.Scripts++ })
	if err != nil {
		return fabric.Result{}, err
	}
	root, err := os.OpenRoot(fmt.Sprintf("/proc/%d/root", pid))
	if err != nil {
		return fabric.Result{}, err
	}
	defer root.Close()
	folder := path.Join(agentFolder, "run-command-handler/download/script", strconv.Itoa(m.Scripts))
	stdout, stderr, err := deposit(root, folder, script)
	if err != nil {
		return fabric.Result{}, fmt.Errorf("hand the script to the agent: %w", err)
	}
	defer stdout.Close()
	defer stderr.Close()
	group, err := makeGroup(guest.payload())
	if err != nil {
		return fabric.Result{}, err
	}
	defer group.Close()

	// A shell of the machine's own waits for it, as the agent does: a machine does not go down while somebody outside is stopped
	// who is to take note of an end in it, and nsenter stops together with what it has started.
	cmd := exec.Command("nsenter", append(Enter(pid), "/bin/bash", "-c", "/"+path.Join(folder, "script.sh")+"; exit $?")...)
	cmd.Env = append([]string(nil), Environment...)
	for _, param := range params {
		// The agent leaves out parameters that are empty.
		if param.Value != "" {
			cmd.Env = append(cmd.Env, param.Name+"="+param.Value)
		}
	}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(group.Fd())}
	if err := cmd.Start(); err != nil {
		return fabric.Result{}, fmt.Errorf("start the script: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if timeout <= 0 {
		timeout = 90 * time.Minute // Azure's own
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	expired := false
	select {
	case err = <-ended:
	case <-timer.C:
		expired = true
	case <-ctx.Done():
		expired = true
	}
	if expired {
		// Only the shell is ended; what it has started goes on, as it does on Azure.
		for _, waiting := range children(cmd.Process.Pid) {
			for _, shell := range children(waiting) {
				_ = syscall.Kill(shell, syscall.SIGKILL)
			}
		}
		_ = cmd.Process.Kill()
		<-ended
	}
	result := fabric.Result{Stdout: read(stdout), Stderr: read(stderr)}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return result, ctx.Err()
	case expired:
		result.ExitCode = -1
	case errors.As(err, &exit):
		result.ExitCode = exit.ExitCode()
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			result.ExitCode = 128 + int(status.Signal())
		}
	case err != nil:
		return result, err
	}
	return result, nil
}

// awaitAgent waits for a machine whose agent would answer.
func (h *Host) awaitAgent(ctx context.Context, g *guest) (int, error) {
	wanted, err := readVariables()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, agentPatience+wanted.agent)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		pid, err := g.running(ctx)
		if err != nil {
			return 0, fmt.Errorf("the agent does not answer: %w", err)
		}
		if exists(pid, agentUp) {
			return g.answering(ctx)
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("the agent does not answer: %w\nwalinuxagent.service takes no orders in this boot; at the first it waits for "+
				"/etc/ssh/ssh_host_rsa_key.pub and /%s/ovf-env.xml, up to half an hour on Azure", ctx.Err(), agentFolder)
		case <-tick.C:
		}
	}
}

func exists(pid int, name string) bool {
	root, err := os.OpenRoot(fmt.Sprintf("/proc/%d/root", pid))
	if err != nil {
		return false
	}
	defer root.Close()
	_, err = root.Lstat(name)
	return err == nil
}

// deposit saves a script where the agent does, and opens the files that take its output.
func deposit(root *os.Root, folder string, script []byte) (stdout, stderr *os.File, err error) {
	if err := root.MkdirAll(folder, 0o700); err != nil {
		return nil, nil, err
	}
	name := path.Join(folder, "script.sh")
	if err := root.WriteFile(name, script, 0o500); err != nil {
		return nil, nil, err
	}
	open := func(name string) (*os.File, error) {
		return root.OpenFile(path.Join(folder, name), os.O_CREATE|os.O_RDWR|os.O_TRUNC|os.O_APPEND, 0o600)
	}
	if stdout, err = open("stdout"); err != nil {
		return nil, nil, err
	}
	if stderr, err = open("stderr"); err != nil {
		stdout.Close()
		return nil, nil, err
	}
	return stdout, stderr, nil
}

// read gives the end of what a script wrote.
func read(file *os.File) []byte {
	info, err := file.Stat()
	if err != nil {
		return nil
	}
	offset := max(0, info.Size()-outputLimit)
	text, err := io.ReadAll(io.NewSectionReader(file, offset, info.Size()-offset))
	if err != nil {
		return []byte(strings.TrimSpace(err.Error()))
	}
	return text
}
