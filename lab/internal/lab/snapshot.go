package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"openclaw-azure/lab/internal/control"
	"openclaw-azure/lab/internal/internet"
	"openclaw-azure/lab/internal/progress"
)

// A lab is what its folder holds: a daemon that is started on it takes up the machines, their rules and the control
// plane's record where another left them. So a snapshot is a copy of that, and restoring one is a power cut, the copy
// put back, and a boot. What ran in memory is not kept. The lab's Internet is in it: a host that trusts its authority goes on doing so.
var kept = []string{"azure.json", "configured", "deploy.json", internet.Folder, "machines", "passphrase", "state"}

// stackCopy is the stack's configuration within a snapshot; it stands outside of the lab's folder.
const stackCopy = "stack.yaml"

var validSnapshot = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,30}$`)

func (l Lab) snapshot(name string) (string, error) {
	if !validSnapshot.MatchString(name) {
		return "", fmt.Errorf("%q is no name for a snapshot\nlower-case letters, digits and dashes, at most 31 of them", name)
	}
	return l.path(filepath.Join("snapshots", name)), nil
}

// Snapshot keeps the lab as it is now; the machine is cut off and boots again. A snapshot of that name is replaced.
func (l Lab) Snapshot(ctx context.Context, report *progress.Reporter, name string) error {
	folder, err := l.snapshot(name)
	if err != nil {
		return err
	}
	runs, err := l.runs()
	if err != nil {
		return err
	}
	if !runs {
		return control.ErrNotRunning
	}
	unlock, err := l.cutOff(ctx, report)
	if err != nil {
		return err
	}
	defer unlock()
	err = l.keep(ctx, folder)
	// The lab is as it was whatever became of the copy: it starts again, after a Ctrl-C too.
	return errors.Join(err, l.startDaemon(context.WithoutCancel(ctx), report))
}

// keep copies the lab, which is cut off, into folder. What was there stays where that fails.
func (l Lab) keep(ctx context.Context, folder string) error {
	if err := l.disksFree(ctx); err != nil {
		return err
	}
	part := folder + ".part"
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	defer os.RemoveAll(part) // where it did not become the snapshot
	if err := os.MkdirAll(part, 0o700); err != nil {
		return err
	}
	for _, name := range kept {
		if err := copyTree(ctx, l.path(name), filepath.Join(part, name)); err != nil {
			return err
		}
	}
	if err := copyTree(ctx, l.stackFile(), filepath.Join(part, stackCopy)); err != nil {
		return err
	}
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	return os.Rename(part, folder)
}

// Restore makes the lab what it was when the snapshot was made; what it became since then is lost. It need not run: a
// restore that failed is repeated.
func (l Lab) Restore(ctx context.Context, report *progress.Reporter, name string) error {
	folder, err := l.snapshot(name)
	if err != nil {
		return err
	}
	if _, err := os.Stat(folder); err != nil {
		return fmt.Errorf("lab %q has no snapshot %q\nbin/lab snapshot %s makes one", l.Name, name, name)
	}
	if _, err := l.runs(); err != nil {
		return err
	}
	unlock, err := l.cutOff(ctx, report)
	if err != nil {
		return err
	}
	defer unlock()
	if err := l.putBack(ctx, folder); err != nil {
		return fmt.Errorf("%w\nlab %q is neither what it was nor what the snapshot holds, and does not run: bin/lab restore %s", err, l.Name, name)
	}
	return l.startDaemon(ctx, report)
}

// putBack replaces the lab, which is cut off, by what folder holds.
func (l Lab) putBack(ctx context.Context, folder string) error {
	if err := l.disksFree(ctx); err != nil {
		return err
	}
	for _, name := range kept {
		if err := os.RemoveAll(l.path(name)); err != nil {
			return err
		}
		if err := copyTree(ctx, filepath.Join(folder, name), l.path(name)); err != nil {
			return err
		}
	}
	if err := os.Remove(l.stackFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return copyTree(ctx, filepath.Join(folder, stackCopy), l.stackFile())
}

// runs says whether the lab runs. One of its name that belongs to another folder is not to be touched.
func (l Lab) runs() (bool, error) {
	pid, root, err := control.Holder(l.Name)
	if pid != 0 && root != l.Root {
		return false, fmt.Errorf("a lab named %q runs on this machine already, for %q", l.Name, root)
	}
	return pid != 0, err
}

// cutOff ends the lab's daemon where there is one, as a power cut would, and keeps other commands out.
func (l Lab) cutOff(ctx context.Context, report *progress.Reporter) (unlock func(), err error) {
	if unlock, err = l.lock(ctx, report); err != nil {
		return nil, err
	}
	if err := l.endDaemon(ctx); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// disksFree waits until the kernel has let go of the machines' disks: what they wrote is in their files then.
func (l Lab) disksFree(ctx context.Context) error {
	disks, err := filepath.Glob(l.path("machines/*/disk"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, disk := range disks {
		for {
			used, err := exec.CommandContext(ctx, "losetup", "--associated", disk).Output()
			if err != nil {
				return fmt.Errorf("losetup --associated %s: %w", disk, err)
			}
			if len(used) == 0 {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("wait for the kernel to let go of %s: %w", disk, ctx.Err())
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

// copyTree copies a file or folder, holes as holes; one that is not there is none in the copy either.
func copyTree(ctx context.Context, from, to string) error {
	if _, err := os.Stat(from); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	out, err := exec.CommandContext(ctx, "cp", "-a", "--sparse=always", "--reflink=auto", "--no-target-directory", from, to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy %s: %w\n%s", from, err, out)
	}
	return nil
}
