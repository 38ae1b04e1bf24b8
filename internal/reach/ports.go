package reach

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"time"

	"openclaw-azure/internal/hint"
	"openclaw-azure/internal/localport"
)

// LocalPort is the same at every run of a stack, so that a command's connection does not change, and another for
// another stack.
func LocalPort(project, stack string) uint16 {
	h := fnv.New32a()
	io.WriteString(h, project+"/"+stack)
	return uint16(20000 + h.Sum32()%10000)
}

// BootstrapLocalPort is the local port that leads to the bootstrap door, by the one that leads to the tunnel's.
func BootstrapLocalPort(port uint16) uint16 { return port - 10000 }

// ErrLocalPort says that another run of this stack has the tunnel.
var ErrLocalPort = errors.New("the tunnel's local port is taken")

// Listen takes the local ports. They are also what tells two runs on one machine apart: two sessions with one WireGuard
// key would steal each other's traffic.
func (r *Doors) Listen() error {
	if err := agentAnswers(os.Getenv("SSH_AUTH_SOCK")); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	if r.listener == nil {
		if r.listener, err = takePort(r.port, ErrLocalPort); err != nil {
			return err
		}
	}
	if r.direct == nil {
		if r.direct, err = takePort(BootstrapLocalPort(r.port), errors.New("the bootstrap door's local port is taken")); err != nil {
			return err
		}
		l := r.direct
		r.work.Go(func() { r.forwardDirect(l) })
	}
	return nil
}

// agentAnswers fails where the provider's own connections will: it dials the SSH agent that the environment names, and gives up without
// it, although it has a key.
func agentAnswers(socket string) error {
	if socket == "" || runtime.GOOS == "windows" {
		return nil
	}
	c, err := net.DialTimeout("unix", socket, agentPatience)
	if err != nil {
		return hint.To(fmt.Errorf("SSH_AUTH_SOCK: value %q: no SSH agent answers there, and every layer would fail for it: %w", socket, err), "unset SSH_AUTH_SOCK")
	}
	return c.Close()
}

// agentPatience is for an agent on this machine.
const agentPatience = 3 * time.Second

// atOnce is how many connections a local port carries at a time: three times what a run takes. The provider has one for each command,
// and keeps it until it ends.
const atOnce = 40

// takePort listens for processes of the same user: the host would take another's tries for the deployer's, and its sshd turns away who
// tries too often.
func takePort(port uint16, taken error) (net.Listener, error) {
	l, err := localport.Listen(port, atOnce, func(error) {})
	if err != nil {
		return nil, hint.To(fmt.Errorf("%w: listen on %s: %w", taken, net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))), err),
			"another run of this stack may be under way on this machine: wait for it, or see who listens: ss -ltnp")
	}
	return l, nil
}
