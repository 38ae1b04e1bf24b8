// Package lab is a lab as its user has it: made, driven, looked at and taken down. The commands of bin/lab are its
// methods.
package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"syscall"

	"openclaw-azure/lab/internal/control"
	"openclaw-azure/lab/internal/host"
	"openclaw-azure/lab/internal/place"
	"openclaw-azure/lab/internal/progress"
	"openclaw-azure/lab/internal/toolchain"
)

// Lab is one lab of a repository. Its name is also that of its stack and the first part of its namespaces.
type Lab struct {
	Name  string
	Root  string // the repository
	Cache string // what every lab on the machine can use again
}

// DefaultName is the lab's where the variable LAB says none.
const DefaultName = "lab"

var validName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

// Open gives the lab of that name, which need not exist yet.
func Open(root, name string) (Lab, error) {
	if name == "" {
		name = DefaultName
	}
	if !validName.MatchString(name) {
		return Lab{}, fmt.Errorf("LAB: %q is no name for a lab\nlower-case letters, digits and dashes, a letter first, at most 31 of them", name)
	}
	if os.Geteuid() != 0 {
		return Lab{}, errors.New("the lab makes namespaces and mounts, and needs root")
	}
	if err := host.CheckVariables(); err != nil {
		return Lab{}, err
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return Lab{}, err
	}
	if _, err := os.Stat(filepath.Join(root, "Pulumi.yaml")); err != nil {
		return Lab{}, fmt.Errorf("%s holds no Pulumi program: %w", root, err)
	}
	if os.Getenv("HOME") == "" {
		// Go and Pulumi both want one.
		if err := os.Setenv("HOME", "/root"); err != nil {
			return Lab{}, err
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return Lab{}, err
	}
	l := Lab{Name: name, Root: root, Cache: filepath.Join(cache, "openclaw-lab")}
	return l, os.Setenv("PATH", l.tools().Path())
}

// Folder holds all that belongs to this lab alone; taking the lab down removes it.
func (l Lab) Folder() string { return filepath.Join(l.Root, ".lab", l.Name) }

func (l Lab) path(name string) string { return filepath.Join(l.Folder(), name) }

// stackFile is where Pulumi keeps the stack's configuration.
func (l Lab) stackFile() string { return filepath.Join(l.Root, "Pulumi."+l.Name+".yaml") }

func (l Lab) networks() place.Networks { return place.Networks{Lab: l.Name} }

func (l Lab) control() control.Client { return control.NewClient(l.Folder()) }

func (l Lab) tools() toolchain.Tools { return toolchain.Tools{Root: l.Root, Cache: l.Cache} }

// lock keeps a second command that makes or removes this lab out.
func (l Lab) lock(ctx context.Context, report *progress.Reporter) (unlock func(), err error) {
	return lock(ctx, l.path("lock"), func() {
		report.Say("another command makes or removes lab %q; waiting for it", l.Name)
	})
}

// lock keeps a second command that makes or removes the same thing out. waiting is called when it has to wait.
func lock(ctx context.Context, path string, waiting func()) (unlock func(), err error) {
	for {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			waiting()
			err = flock(ctx, file)
		}
		if err != nil {
			file.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		// The one before may have removed the file together with its folder.
		held, heldErr := file.Stat()
		there, thereErr := os.Stat(path)
		if heldErr == nil && thereErr == nil && os.SameFile(held, there) {
			return func() { file.Close() }, nil
		}
		file.Close()
		if errors.Is(thereErr, os.ErrNotExist) {
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				return nil, err
			}
		}
	}
}

// flock waits for the lock of a file, which the caller closes where that fails.
func flock(ctx context.Context, file *os.File) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	locked := make(chan error, 1)
	go func() {
		for {
			var err error
			// Nobody may wait any more, and the file be closed: its number is not another's before this has ended.
			if closed := conn.Control(func(fd uintptr) { err = syscall.Flock(int(fd), syscall.LOCK_EX) }); closed != nil {
				err = closed
			}
			if !errors.Is(err, syscall.EINTR) {
				locked <- err
				return
			}
		}
	}()
	select {
	case err := <-locked:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
