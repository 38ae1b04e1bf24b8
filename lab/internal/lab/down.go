package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"openclaw-azure/lab/internal/control"
	"openclaw-azure/lab/internal/host"
	"openclaw-azure/lab/internal/progress"
)

// Down takes the lab away, whatever state it is in: processes, namespaces, mounts, stack. Caches stay.
func (l Lab) Down(ctx context.Context, report *progress.Reporter) error {
	pid, root, err := control.Holder(l.Name)
	if err != nil {
		return err
	}
	if _, err := os.Stat(l.Folder()); errors.Is(err, os.ErrNotExist) && pid == 0 && len(l.networks().Left()) == 0 {
		report.Say("there is no lab %q", l.Name)
		return nil
	}
	if pid != 0 && root != "" && root != l.Root {
		return fmt.Errorf("lab %q on this machine belongs to %s\nbin/lab down there takes it away", l.Name, root)
	}
	if err := os.MkdirAll(l.Folder(), 0o700); err != nil {
		return err
	}
	unlock, err := l.lock(ctx, report)
	if err != nil {
		return err
	}
	defer unlock()
	if err := l.endDaemon(ctx); err != nil {
		return err
	}
	// What a killed daemon leaves, and what a killed bin/lab pulumi does.
	if err := errors.Join(l.networks().Remove(ctx), host.RemoveGroups(l.networks())); err != nil {
		return err
	}
	if err := os.Remove(l.stackFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.RemoveAll(l.Folder()); err != nil {
		return err
	}
	// The folder of all labs goes with the last one.
	if err := os.Remove(filepath.Dir(l.Folder())); err != nil && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	report.Say("lab %q is gone", l.Name)
	return nil
}

// endDaemon asks the daemon to go, and ends one that does not.
func (l Lab) endDaemon(ctx context.Context) error {
	pid, _, err := control.Holder(l.Name)
	if err != nil || pid == 0 {
		return err
	}
	// A descriptor stands for this process, a number for whichever has it.
	process, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(process)
	asked, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	askErr := l.control().Shutdown(asked)
	patience := 5 * time.Second
	if askErr != nil {
		patience = 0
	}
	if ended(process, patience) {
		return nil
	}
	if err := unix.PidfdSendSignal(process, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	if !ended(process, 10*time.Second) {
		return fmt.Errorf("process %d of lab %q does not end", pid, l.Name)
	}
	return nil
}

// ended waits for a process to end.
func ended(process int, patience time.Duration) bool {
	deadline := time.Now().Add(patience)
	for {
		left := max(0, time.Until(deadline))
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}, int(left.Milliseconds()))
		if !errors.Is(err, syscall.EINTR) {
			return n > 0
		}
	}
}
