package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Result is how a command ended. Err is set where it did not end with status 0.
type Result struct {
	Stdout, Stderr []byte
	Code           int
	Err            error
}

// Exec runs a command at a place and waits for its end; stdin may be nil.
func (l Lab) Exec(ctx context.Context, at string, stdin io.Reader, argv ...string) Result {
	return l.run(ctx, stdin, append([]string{"exec", at, "--"}, argv...)...)
}

// Pulumi runs a Pulumi command against the lab's stack and waits for its end.
func (l Lab) Pulumi(ctx context.Context, args ...string) Result {
	return l.run(ctx, nil, append([]string{"pulumi"}, args...)...)
}

// Run runs any command of bin/lab.
func (l Lab) Run(ctx context.Context, args ...string) Result { return l.run(ctx, nil, args...) }

func (l Lab) run(ctx context.Context, stdin io.Reader, args ...string) Result {
	cmd, err := l.command(ctx, args...)
	if err != nil {
		return Result{Code: -1, Err: err}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	err = cmd.Run()
	result := Result{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Code: cmd.ProcessState.ExitCode()}
	if err != nil {
		result.Err = fmt.Errorf("bin/lab %s: %w\n%s", strings.Join(args, " "), err, bytes.TrimSpace(append(stdout.Bytes(), stderr.Bytes()...)))
	}
	return result
}

// command is bin/lab with arguments, as a process of its own.
func (l Lab) command(ctx context.Context, args ...string) (*exec.Cmd, error) {
	binary := filepath.Join(l.Root, "bin", "lab")
	if _, err := os.Stat(binary); err != nil {
		return nil, errors.New("bin/lab is not built\nmake lab builds it")
	}
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = l.Root
	cmd.Env = append(os.Environ(), "LAB="+l.Name)
	return cmd, nil
}
