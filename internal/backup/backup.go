// Package backup opens, on the operator's computer, a backup that a machine made: with the operator's own key, for another
// machine's. What a backup looks like is said by what makes it, templates/usr/local/lib/openclaw-deploy/backup.py.
package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
)

// members are the files of a backup, in their order.
var members = []string{"openclaw.env.age", "state.tar.zst.age"}

const blockSize = 512

// For encrypts a backup anew, for one that is to read it, and gives the SHA-256 of the file that it read, in hexadecimal. Nothing
// of it is on the disk in plain text. What it has written counts only where it succeeds.
func For(to age.Recipient, identity age.Identity, from io.Reader, out io.WriteSeeker) (sum string, err error) {
	whole := sha256.New()
	read := io.TeeReader(from, whole)
	archive := tar.NewReader(read)
	for _, name := range members {
		header, err := archive.Next()
		if err != nil {
			return "", fmt.Errorf("no backup of this program: it has no %s where that should be: %w", name, err)
		}
		if header.Name != name || header.Typeflag != tar.TypeReg {
			return "", fmt.Errorf("no backup of this program: %q stands where %s should be", header.Name, name)
		}
		if err := member(to, identity, name, archive, out); err != nil {
			return "", err
		}
	}
	if _, err := archive.Next(); !errors.Is(err, io.EOF) {
		return "", errors.New("something follows the backup: it was altered, or something else made it")
	}
	if _, err := io.Copy(io.Discard, read); err != nil {
		return "", err
	}
	if _, err := out.Seek(0, io.SeekEnd); err != nil {
		return "", err
	}
	if _, err := out.Write(make([]byte, 2*blockSize)); err != nil {
		return "", err
	}
	return hex.EncodeToString(whole.Sum(nil)), nil
}

// member writes a file of the tar, whose length is known once it is written.
func member(to age.Recipient, identity age.Identity, name string, from io.Reader, out io.WriteSeeker) error {
	start, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := out.Write(make([]byte, blockSize)); err != nil {
		return err
	}
	plain, err := age.Decrypt(from, identity)
	if err != nil {
		return fmt.Errorf("decrypt %s: %w", name, err)
	}
	sealed, err := age.Encrypt(out, to)
	if err != nil {
		return fmt.Errorf("encrypt %s: %w", name, err)
	}
	if _, err := io.Copy(sealed, plain); err != nil {
		return fmt.Errorf("decrypt %s: %w", name, err)
	}
	if err := sealed.Close(); err != nil {
		return err
	}
	end, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	size := end - start - blockSize
	if _, err := out.Write(make([]byte, (blockSize-size%blockSize)%blockSize)); err != nil {
		return err
	}
	if _, err := out.Seek(start, io.SeekStart); err != nil {
		return err
	}
	var header bytes.Buffer
	if err := tar.NewWriter(&header).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, Format: tar.FormatGNU}); err != nil {
		return err
	}
	_, err = out.Write(header.Bytes())
	return err
}
