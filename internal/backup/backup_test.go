package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
)

func key(t *testing.T) *age.X25519Identity {
	t.Helper()
	made, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// sealed is a tar of files that are encrypted to somebody.
func sealed(t *testing.T, to age.Recipient, names []string, contents ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	for i, name := range names {
		var file bytes.Buffer
		w, err := age.Encrypt(&file, to)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, contents[i]); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(file.Len()), Mode: 0o600, Format: tar.FormatGNU}); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write(file.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func rewritten(t *testing.T, to age.Recipient, identity age.Identity, from []byte) (*os.File, string, error) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.Close() })
	sum, err := For(to, identity, bytes.NewReader(from), out)
	return out, sum, err
}

// TestFor: another machine's backup of the same content, and the sum of what was read.
func TestFor(t *testing.T) {
	own, machine := key(t), key(t)
	state := strings.Repeat("state ", 200_000) // some of age's pieces, and no multiple of a block
	from := sealed(t, own.Recipient(), members, "KEY=x\n", state)
	out, sum, err := rewritten(t, machine.Recipient(), own, from)
	if err != nil {
		t.Fatal(err)
	}
	if want := sha256.Sum256(from); sum != hex.EncodeToString(want[:]) {
		t.Errorf("the sum is %s", sum)
	}
	if _, err := out.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	whole, err := io.ReadAll(out)
	if err != nil || len(whole)%blockSize != 0 || bytes.Contains(whole, []byte("state state")) || bytes.Contains(whole, []byte("KEY=x")) {
		t.Errorf("%d bytes, %v", len(whole), err)
	}
	archive := tar.NewReader(bytes.NewReader(whole))
	for i, want := range []string{"KEY=x\n", state} {
		header, err := archive.Next()
		if err != nil || header.Name != members[i] || header.Mode != 0o600 {
			t.Fatalf("%+v, %v", header, err)
		}
		plain, err := age.Decrypt(archive, machine)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(plain); err != nil || string(got) != want {
			t.Errorf("%s: %d bytes, %v", header.Name, len(got), err)
		}
	}
	if _, err := archive.Next(); err != io.EOF {
		t.Errorf("after it: %v", err)
	}
}

func TestForRefuses(t *testing.T) {
	own, other := key(t), key(t)
	good := sealed(t, own.Recipient(), members, "KEY=x\n", "state")
	damaged := bytes.Clone(good)
	damaged[len(damaged)-3*blockSize+5] ^= 1
	for name, c := range map[string]struct {
		from []byte
		want string
	}{
		"empty":             {nil, "it has no openclaw.env.age"},
		"cut off":           {good[:2*blockSize], "it has no state.tar.zst.age"},
		"another order":     {sealed(t, own.Recipient(), []string{members[1], members[0]}, "", ""), `"state.tar.zst.age" stands where openclaw.env.age should be`},
		"one more":          {sealed(t, own.Recipient(), append(append([]string{}, members...), "more"), "", "", ""), "something follows the backup"},
		"another's":         {sealed(t, other.Recipient(), members, "", ""), "decrypt openclaw.env.age: "},
		"a byte is another": {damaged, "decrypt state.tar.zst.age: "},
		"no encryption":     {bytes.ReplaceAll(good, []byte("age-encryption"), []byte("xxx-encryption")), "decrypt openclaw.env.age: "},
	} {
		if _, _, err := rewritten(t, own.Recipient(), own, c.from); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
