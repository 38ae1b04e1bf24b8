package localport

import (
	"errors"
	"testing"
)

// Under Windows, what comes as root's or as nobody's may be Windows' own; another user of the Linux is one all the same.
func TestWSL(t *testing.T) {
	const linux, wsl = "6.12.48+deb13-amd64\n", "6.6.87.2-microsoft-standard-WSL2\n"
	for _, c := range []struct {
		what, release string
		uid           int
		err           error
		told          bool
		want          error
	}{
		{"a user's, on Linux", linux, 1000, nil, true, nil},
		{"root's, on Linux", linux, 0, nil, true, nil},
		{"nobody's, on Linux", linux, 0, errNobody, false, errNobody},
		{"a user's, on WSL", wsl, 1000, nil, true, nil},
		{"root's, on WSL", wsl, 0, nil, false, nil},
		{"nobody's, on WSL", wsl, 0, errNobody, false, nil},
	} {
		uid, told, err := tell(c.release, c.uid, c.err)
		if told != c.told || !errors.Is(err, c.want) || told && uid != c.uid {
			t.Errorf("%s: %d, %v, %v", c.what, uid, told, err)
		}
	}
}
