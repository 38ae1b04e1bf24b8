// Package control is how a lab's commands talk to its daemon: over a socket in the lab's folder.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"openclaw-azure/lab/internal/host"
)

// Status is what a daemon tells of itself.
type Status struct {
	PID       int
	Started   time.Time
	AzurePort int // of the azure-native provider, on the operator's loopback
	Machines  []host.State
}

// ManagerCertificate is the file in the lab's folder that has Resource Manager's certificate.
const ManagerCertificate = "resource-manager.pem"

const socketName = "control.sock"

// short names the socket by a path that always fits into a socket's address, however deep the lab's folder lies.
func short(folder string) (path string, done func(), err error) {
	dir, err := os.Open(folder)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), socketName), func() { dir.Close() }, nil
}

// Listen opens the daemon's socket. The folder's mode is what keeps others out.
func Listen(folder string) (net.Listener, error) {
	if err := os.Remove(filepath.Join(folder, socketName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	path, done, err := short(folder)
	if err != nil {
		return nil, err
	}
	defer done()
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	return listener, nil
}

// Client asks a daemon.
type Client struct{ folder string }

// NewClient asks the daemon whose socket is in folder.
func NewClient(folder string) Client { return Client{folder} }

// ErrNotRunning is what every question meets where no daemon answers.
var ErrNotRunning = errors.New("the lab does not run\nmake lab starts it")

// call puts a question and decodes the answer, unless into is nil.
func (c Client) call(ctx context.Context, method, question string, values url.Values, body io.Reader, into any) error {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		path, done, err := short(c.folder)
		if err != nil {
			return nil, err
		}
		defer done()
		var dialer net.Dialer
		return dialer.DialContext(ctx, "unix", path)
	}}
	defer transport.CloseIdleConnections()
	address := url.URL{Scheme: "http", Host: "lab", Path: "/" + question, RawQuery: values.Encode()}
	request, err := http.NewRequestWithContext(ctx, method, address.String(), body)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist) {
		return ErrNotRunning
	}
	if err != nil {
		return fmt.Errorf("ask the lab's daemon: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("ask the lab's daemon: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(answer)))
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}

// Status asks for it.
func (c Client) Status(ctx context.Context) (Status, error) {
	var status Status
	err := c.call(ctx, http.MethodGet, "status", nil, nil, &status)
	return status, err
}

// Machine asks for the machine at a place and waits while it boots.
func (c Client) Machine(ctx context.Context, place string) (host.State, error) {
	var state host.State
	err := c.call(ctx, http.MethodGet, "machine", url.Values{"place": {place}}, nil, &state)
	return state, err
}

// Reboot reboots the machine at a place, and returns when it boots again.
func (c Client) Reboot(ctx context.Context, place string) error {
	return c.call(ctx, http.MethodPost, "reboot", url.Values{"place": {place}}, nil, nil)
}

// Az does a command of the Azure CLI, past Pulumi, and gives what it says.
func (c Client) Az(ctx context.Context, args []string) (string, error) {
	var said string
	err := c.call(ctx, http.MethodPost, "az", url.Values{"arg": args}, nil, &said)
	return said, err
}

// Type sends keys to the console of the machine at a place, until they end.
func (c Client) Type(ctx context.Context, place string, keys io.Reader) error {
	return c.call(ctx, http.MethodPost, "keys", url.Values{"place": {place}}, keys, nil)
}

// Faults tells of the faults of the control plane that were injected and not cleared, as JSON.
func (c Client) Faults(ctx context.Context) (json.RawMessage, error) {
	var faults json.RawMessage
	err := c.call(ctx, http.MethodGet, "faults", nil, nil, &faults)
	return faults, err
}

// InjectFault makes the control plane's next requests meet a fault, which is JSON: see the package azure.
func (c Client) InjectFault(ctx context.Context, fault string) error {
	return c.call(ctx, http.MethodPost, "faults", nil, strings.NewReader(fault), nil)
}

// ClearFaults ends all faults; requests that were held go on.
func (c Client) ClearFaults(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "faults", nil, nil, nil)
}

// Shutdown ends the daemon, its machines and networks; it returns when they are gone.
func (c Client) Shutdown(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "shutdown", nil, nil, nil)
}

// claimName is in the kernel's abstract space: it exists for as long as a process holds it.
func claimName(lab string) string { return "@openclaw-lab/" + lab }

// Claim makes the caller the one daemon of a lab on this machine: namespaces bear the lab's name machine-wide. Who
// connects is told the folder of the one that holds the name.
func Claim(lab, root string) (io.Closer, error) {
	listener, err := net.Listen("unix", claimName(lab))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("a lab named %q runs on this machine already", lab)
	}
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(time.Second))
			_, _ = io.WriteString(conn, root)
			conn.Close()
		}
	}()
	return listener, nil
}

// Holder finds the process that holds a lab's name, and the folder that it works for. pid is 0 where none does.
func Holder(lab string) (pid int, root string, err error) {
	conn, err := net.Dial("unix", claimName(lab))
	if errors.Is(err, syscall.ECONNREFUSED) {
		return 0, "", nil
	}
	if err != nil {
		return 0, "", err
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, "", err
	}
	var peer *unix.Ucred
	var peerErr error
	if err := raw.Control(func(fd uintptr) {
		peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, "", err
	}
	if peerErr != nil {
		return 0, "", peerErr
	}
	if peer.Uid != 0 {
		return 0, "", fmt.Errorf("the name of lab %q is held by process %d, which is not root's", lab, peer.Pid)
	}
	// A daemon that hangs does not say its folder; its process is known all the same.
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	text, _ := io.ReadAll(conn)
	return int(peer.Pid), string(text), nil
}
