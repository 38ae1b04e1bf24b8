// Package localporttest is another user of this computer, for tests of the ports that are not for them.
package localporttest

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asked makes the program of a test say something on a port, instead of testing.
const asked = "LOCALPORTTEST"

func init() {
	if address, text, ok := strings.Cut(os.Getenv(asked), "\x01"); ok {
		say(address, text)
		os.Exit(0)
	}
}

func say(address, text string) {
	conn, err := net.DialTimeout("tcp4", address, 5*time.Second)
	if err != nil {
		fmt.Print(err)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(conn, text)
	heard, _ := io.ReadAll(conn)
	fmt.Printf("%s", heard)
}

// Say dials an address from a process of a user, says something, and gives all that the process heard until the end.
func Say(t *testing.T, uid uint32, address, text string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test starts processes of other users: run it as root")
	}
	command := exec.Command("/proc/self/exe") // its path is closed to others
	command.Env = []string{asked + "=" + address + "\x01" + text}
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
