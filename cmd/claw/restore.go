package main

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"

	"openclaw-azure/internal/backup"
	"openclaw-azure/internal/door"
	"openclaw-azure/internal/hint"
	"openclaw-azure/internal/outputs"
)

// newestThere is the backup that the machine made last, and has.
const newestThere = "latest"

// opened is a backup that is known to be the one that it is said to be, once it is read.
type opened struct {
	path, sum string
	identity  *age.X25519Identity
	file      *os.File
}

// openBackup says what is missing, and opens the file.
func openBackup(path, sum string, stack *outputs.Stack) (*opened, error) {
	if sum == "" {
		sum = stack.BackupSum()
	}
	if sum == "" {
		return nil, hint.To(fmt.Errorf("restore %s: the stack's outputs have no backup's SHA-256, and nothing says that this file is what a machine made", path),
			"--sha256 SUM, with the one that was printed when it was made: a sum of the file as it is now says nothing")
	}
	if stack.BackupKey() == "" {
		return nil, hint.To(fmt.Errorf("restore %s: the stack has no key that opens it", path),
			"pulumi config set --secret backupKey, with the key that the backup was encrypted to, and pulumi up")
	}
	identity, err := age.ParseX25519Identity(stack.BackupKey())
	if err != nil {
		return nil, errors.New("the stack's output backupKey is no key of age's")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &opened{path, strings.ToLower(sum), identity, file}, nil
}

// forMachine encrypts it to a machine's key, into a file that is gone with this process.
func (o *opened) forMachine(machine age.Recipient) (*os.File, error) {
	defer o.file.Close()
	out, err := os.CreateTemp("", "claw-restore")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(out.Name()); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	sum, err := backup.For(machine, o.identity, o.file, out)
	var other *age.NoIdentityMatchError
	switch {
	case errors.As(err, &other):
		err = hint.To(fmt.Errorf("restore %s: it is encrypted to another key than the stack's backupKey", o.path),
			"pulumi config set --secret backupKey, with the key that was set when it was made, and pulumi up")
	case err != nil:
		err = fmt.Errorf("restore %s: %w", o.path, err)
	case subtle.ConstantTimeCompare([]byte(sum), []byte(o.sum)) == 0:
		err = hint.To(fmt.Errorf("restore %s: its SHA-256 is %s and not %s: it was altered, or is another backup", o.path, sum, o.sum),
			"of another one: --sha256 SUM, with the one that was printed when it was made")
	default:
		_, err = out.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return out, nil
}

// machinesKey is what the machine's own backups are encrypted to.
func machinesKey(ctx context.Context, d door.Door) (age.Recipient, error) {
	stdout, stderr, exit, err := d.Run(ctx, "cat /backups/openclaw/recipient", nil)
	if err != nil {
		return nil, err
	}
	recipient, err := age.ParseX25519Recipient(strings.TrimSpace(stdout.LastLine().String()))
	if exit != 0 || err != nil {
		return nil, hint.To(fmt.Errorf("read the key of the machine's backups: exit status %d: %s", exit, stderr), "sudo openclaw-backup makes it, with a backup")
	}
	return recipient, nil
}

// restore puts a backup into the place of the machine's state. What is missing here is said before the tunnel is opened.
func restore(ctx context.Context, r request, signals func() <-chan os.Signal) error {
	stack, err := outputs.Read(ctx, r.stack)
	if err != nil {
		return err
	}
	var from *opened
	word := newestThere
	if r.name != newestThere {
		word = "-"
		if from, err = openBackup(r.name, r.sum, stack); err != nil {
			return err
		}
	}
	argv, password, err := asRoot("openclaw-restore", []string{word}, false, stack)
	if err != nil {
		return err
	}
	way, err := stack.Way(r.peer)
	if err != nil {
		return err
	}
	return through(ctx, way, func(way outputs.Way) error {
		input := io.Reader(strings.NewReader(password))
		if from != nil {
			key, err := machinesKey(ctx, way.Door)
			if err != nil {
				return err
			}
			file, err := from.forMachine(key)
			if err != nil {
				return err
			}
			defer file.Close()
			input = io.MultiReader(input, file)
		}
		client, err := way.Door.Connect(ctx)
		if err != nil {
			return err
		}
		defer client.Close()
		r.argv = argv
		return session(way.Door, client, r, input, signals())
	})
}
