package command

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

func (r *run) local(ctx context.Context, urn string, in localInputs, text string, previous output) (output, error) {
	argv := in.Interpreter
	if len(argv) == 0 {
		argv = []string{"/bin/sh", "-c"}
	}
	argv = append(append([]string(nil), argv...), text)
	dir, err := workingDirectory(in.Dir)
	if err != nil {
		return output{}, err
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = os.Environ()
	for name, value := range in.Environment {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	if in.addsPrevious() {
		if previous.stdout != "" {
			cmd.Env = append(cmd.Env, stdoutVariable+"="+previous.stdout)
		}
		if previous.stderr != "" {
			cmd.Env = append(cmd.Env, stderrVariable+"="+previous.stderr)
		}
	}
	if in.Stdin != nil && *in.Stdin != "" {
		cmd.Stdin = strings.NewReader(*in.Stdin)
	}
	// A group of its own, so that the end of this run takes what the command left behind, and nothing else.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out := r.capture(urn)
	cmd.Stdout = out.stream(&out.stdout, in.logs("stdout"))
	cmd.Stderr = out.stream(&out.stderr, in.logs("stderr"))
	// Package os says so itself only where no process group is asked for; else it blames the interpreter.
	if _, err := os.Stat(dir); err != nil {
		var missing *os.PathError
		if errors.As(err, &missing) {
			missing.Op = "chdir"
		}
		return out.finish(err, text)
	}
	if err := cmd.Start(); err != nil {
		return out.finish(err, text)
	}
	err = cmd.Wait()
	r.keepGroup(cmd.Process.Pid)
	return out.finish(err, text)
}

// keepGroup remembers a process group that the command left behind.
func (r *run) keepGroup(group int) {
	if syscall.Kill(-group, 0) != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.groups = append(r.groups, group)
}
