package localport

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// Owner is the user whose process holds the other end of a connection from remote, as proc_pid_net(5) tells it.
func Owner(local, remote netip.AddrPort) (uid int, told bool, err error) {
	uid, err = look(local, remote)
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return tell(string(release), uid, err)
}

// tell is what a look says on a kernel of that release. In WSL, Windows' own programs are among the dialers, and its browser first of all:
// they come as root's, or as nobody's.
func tell(release string, uid int, err error) (int, bool, error) {
	if strings.Contains(strings.ToLower(release), "microsoft") && (errors.Is(err, errNobody) || err == nil && uid == 0) {
		return 0, false, nil
	}
	return uid, err == nil, err
}

func look(local, remote netip.AddrPort) (int, error) {
	// A table is read in pieces, and a socket may be missed while others come and go.
	for range 5 {
		for _, table := range []struct {
			path    string
			address func(netip.AddrPort) string
		}{{"/proc/net/tcp", four}, {"/proc/net/tcp6", six}} {
			uid, found, err := ownerIn(table.path, table.address(remote), table.address(local))
			if err != nil || found {
				return uid, err
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	return 0, errNobody
}

func ownerIn(path, from, to string) (uid int, found bool, err error) {
	file, err := os.Open(path)
	if os.IsNotExist(err) && strings.HasSuffix(path, "6") { // without IPv6
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		// sl local_address rem_address st queues timer retransmits uid timeout inode. A socket that nobody holds any more is root's, and has no inode.
		f := strings.Fields(lines.Text())
		if len(f) < 10 || f[1] != from || f[2] != to || f[9] == "0" {
			continue
		}
		uid, err := strconv.Atoi(f[7])
		if err != nil {
			return 0, false, fmt.Errorf("%s: value %q is no user", path, f[7])
		}
		return uid, true, nil
	}
	return 0, false, lines.Err()
}

// four is an address as /proc/net/tcp has it: words in the machine's own order.
func four(a netip.AddrPort) string {
	bytes := a.Addr().Unmap().As4()
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(bytes[:]), a.Port())
}

// six is the same address as a socket of IPv6 has it.
func six(a netip.AddrPort) string {
	return fmt.Sprintf("%016X%08X%s", 0, binary.NativeEndian.Uint32([]byte{0, 0, 0xff, 0xff}), four(a))
}
