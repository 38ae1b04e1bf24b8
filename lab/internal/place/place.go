// Package place makes the lab's networks: an outside with an operator's and an attacker's place on it, virtual
// machines behind it, and between them what Azure would put there, address translation and security rules.
// All of it stands in network namespaces; the machine's own network is never touched.
package place

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Places inside a lab. Further virtual machines are vm2, vm3 and so on.
const (
	Internet = "internet"
	Operator = "operator"
	Attacker = "attacker"
	VM       = "vm"
)

// Addresses: 198.18.0.0/15 is set aside for tests of networks (RFC 2544), so that no real host is ever meant.
const (
	OperatorAddress = "198.18.1.10"
	AttackerAddress = "198.18.2.10"
	// ProxyAddress is where the package proxy listens, for virtual machines alone.
	ProxyAddress = "198.18.0.1"
	ProxyPort    = 3142
	// PlatformAddress is where Azure's name service is, and the lab's. Nothing else answers there: Azure's agent has none
	// of its services in the lab, and the refusal comes at once.
	PlatformAddress = "168.63.129.16"
	NamePort        = 53
	// OriginAddress and ElsewhereAddress are the lab's Internet, for virtual machines alone. There are two, so that a
	// test can tell where a connection went from where it was to go.
	OriginAddress    = "198.18.10.10"
	ElsewhereAddress = "198.18.10.20"
)

// PublicPool holds the public addresses that virtual machines get.
var PublicPool = netip.MustParsePrefix("198.18.100.0/22")

const (
	operatorGateway = "198.18.1.1"
	attackerGateway = "198.18.2.1"
	netnsDir        = "/run/netns"
)

// Networks are the networks of one lab.
type Networks struct{ Lab string }

// Namespace is the name of a place as `ip netns` knows it.
func (n Networks) Namespace(place string) string { return n.Lab + "-" + place }

// Path is the file that stands for the namespace of a place.
func (n Networks) Path(place string) string { return filepath.Join(netnsDir, n.Namespace(place)) }

// Create makes the outside: the router, the operator's place and the attacker's, with nothing let through to any
// virtual machine yet.
func (n Networks) Create(ctx context.Context) error {
	for _, place := range []string{Internet, Operator, Attacker} {
		if err := n.add(ctx, place); err != nil {
			return err
		}
	}
	for _, address := range []string{ProxyAddress, PlatformAddress, OriginAddress, ElsewhereAddress} {
		if err := ip(ctx, "-n", n.Namespace(Internet), "address", "add", address+"/32", "dev", "lo"); err != nil {
			return err
		}
	}
	for _, route := range [][]string{
		// An address of the pool that no machine holds swallows packets, as an address nobody has does outside.
		{"blackhole", PublicPool.String()},
		// Whatever is elsewhere gets as far as the packet filter, which refuses it faster than a missing route.
		{"default", "dev", "lo"},
	} {
		if err := ip(ctx, append([]string{"-n", n.Namespace(Internet), "route", "add"}, route...)...); err != nil {
			return err
		}
	}
	for _, side := range []struct{ place, address, gateway string }{
		{Operator, OperatorAddress, operatorGateway},
		{Attacker, AttackerAddress, attackerGateway},
	} {
		if err := n.connect(ctx, side.place, side.address+"/24", side.gateway, ""); err != nil {
			return err
		}
	}
	if err := n.Load(ctx, nil); err != nil {
		return err
	}
	return n.sysctl(ctx, Internet, "net/ipv4/ip_forward", "1")
}

// Gateway is Azure's: the first address of the subnet.
func Gateway(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next() }

// Attach makes a fresh namespace for a virtual machine and connects it to the outside. A used namespace keeps the
// packet filter and the kernel settings of the system that ran in it, so each boot gets a new one.
func (n Networks) Attach(ctx context.Context, place string, private netip.Addr, subnet netip.Prefix) error {
	if !subnet.Contains(private) {
		return fmt.Errorf("address %s of %s is outside its subnet %s", private, n.Namespace(place), subnet)
	}
	if err := n.Detach(ctx, place); err != nil {
		return err
	}
	if err := n.add(ctx, place); err != nil {
		return err
	}
	gateway := Gateway(subnet)
	address := netip.PrefixFrom(private, subnet.Bits()).String()
	sum := sha256.Sum256([]byte(n.Namespace(place)))
	mac := net.HardwareAddr{0x00, 0x0d, 0x3a, sum[0], sum[1], sum[2]} // a prefix of Microsoft's
	return n.connect(ctx, place, address, gateway.String(), mac.String())
}

// Detach takes a virtual machine's namespace away, with all that still runs in it.
func (n Networks) Detach(ctx context.Context, place string) error {
	// The link goes at once; without this it would vanish some time after the namespace, and block its own name.
	if n.exists(Internet) {
		if _, err := os.Stat(n.Path(place)); err == nil {
			_ = ip(ctx, "-n", n.Namespace(Internet), "link", "delete", place)
		}
	}
	return n.remove(ctx, n.Namespace(place))
}

// Load puts the rules for all virtual machines in force, in one step.
func (n Networks) Load(ctx context.Context, machines []Machine) error {
	text, err := Ruleset(machines)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "nsenter", "--net="+n.Path(Internet), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft in %s: %w\n%s", n.Namespace(Internet), err, bytes.TrimSpace(out))
	}
	return nil
}

// Remove takes all namespaces of the lab away, with all that runs in them.
func (n Networks) Remove(ctx context.Context) error {
	entries, err := os.ReadDir(netnsDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		if n.owns(entry.Name()) {
			errs = append(errs, n.remove(ctx, entry.Name()))
		}
	}
	// `ip netns` mounts its folder onto itself and leaves that behind.
	errs = append(errs, alone(func() error {
		if rest, err := os.ReadDir(netnsDir); err == nil && len(rest) == 0 {
			_ = syscall.Unmount(netnsDir, syscall.MNT_DETACH)
			_ = os.Remove(netnsDir)
		}
		return nil
	}))
	return errors.Join(errs...)
}

// alone runs f while no other lab on this machine makes a namespace, or takes away the folder in which it would stand.
func alone(f func() error) error {
	const path = "/run/openclaw-lab-netns.lock"
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	for err = syscall.EINTR; errors.Is(err, syscall.EINTR); {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", path, err)
	}
	return f()
}

// Left names the namespaces of the lab that exist.
func (n Networks) Left() []string {
	entries, _ := os.ReadDir(netnsDir)
	var names []string
	for _, entry := range entries {
		if n.owns(entry.Name()) {
			names = append(names, entry.Name())
		}
	}
	return names
}

// owns tells the namespaces of this lab from those of one whose name begins alike.
func (n Networks) owns(namespace string) bool {
	place, ok := strings.CutPrefix(namespace, n.Lab+"-")
	if !ok {
		return false
	}
	switch place {
	case Internet, Operator, Attacker, VM:
		return true
	}
	number, ok := strings.CutPrefix(place, VM)
	if !ok {
		return false
	}
	_, err := strconv.Atoi(number)
	return err == nil
}

// Listen opens a TCP listener inside a place. The listener works from outside of it as any other.
func (n Networks) Listen(place, address string) (listener net.Listener, err error) {
	err = n.inside(place, func() (err error) {
		listener, err = net.Listen("tcp4", address)
		return err
	})
	return listener, err
}

// ListenPacket is Listen for UDP.
func (n Networks) ListenPacket(place, address string) (conn net.PacketConn, err error) {
	err = n.inside(place, func() (err error) {
		conn, err = net.ListenPacket("udp4", address)
		return err
	})
	return conn, err
}

// inside calls f on a thread that is in the network of a place: a socket stays where it was opened.
func (n Networks) inside(place string, f func() error) (err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread stands for the whole process and stays where it is. While this holds it, the next
			// try gets another one.
			defer runtime.UnlockOSThread()
			err = n.inside(place, f)
			return
		}
		// The thread is never unlocked: it ends with this goroutine, and no other one runs in the namespace.
		var file *os.File
		if file, err = os.Open(n.Path(place)); err != nil {
			return
		}
		defer file.Close()
		if err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("enter %s: %w", n.Namespace(place), err)
			return
		}
		err = f()
	}()
	<-done
	return err
}

func (n Networks) exists(place string) bool {
	_, err := os.Stat(n.Path(place))
	return err == nil
}

func (n Networks) add(ctx context.Context, place string) error {
	if err := alone(func() error { return ip(ctx, "netns", "add", n.Namespace(place)) }); err != nil {
		return err
	}
	return ip(ctx, "-n", n.Namespace(place), "link", "set", "lo", "up")
}

// connect gives a place one interface, eth0, whose other end is on the router and bears the place's name.
func (n Networks) connect(ctx context.Context, place, address, gateway, mac string) error {
	bits := address[strings.Index(address, "/"):]
	router, inside := n.Namespace(Internet), n.Namespace(place)
	steps := [][]string{
		{"-n", router, "link", "add", place, "type", "veth", "peer", "name", "eth0", "netns", inside},
		{"-n", router, "address", "add", gateway + bits, "dev", place},
		{"-n", router, "link", "set", place, "up"},
		{"-n", inside, "address", "add", address, "dev", "eth0"},
		{"-n", inside, "link", "set", "eth0", "up"},
		// As a system's own network manager makes it: one that finds another kind of it there leaves both.
		{"-n", inside, "route", "add", "default", "via", gateway, "proto", "static"},
	}
	if mac != "" {
		steps = append(steps[:1:1], append([][]string{{"-n", inside, "link", "set", "eth0", "address", mac}}, steps[1:]...)...)
	}
	for _, step := range steps {
		if err := ip(ctx, step...); err != nil {
			return err
		}
	}
	return nil
}

func (n Networks) sysctl(ctx context.Context, place, key, value string) error {
	cmd := exec.CommandContext(ctx, "nsenter", "--net="+n.Path(place), "sh", "-c", `echo "$1" > "/proc/sys/$2"`, "sh", value, key)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("set %s to %q in %s: %w\n%s", key, value, n.Namespace(place), err, bytes.TrimSpace(out))
	}
	return nil
}

// remove ends all processes in a namespace and deletes it.
func (n Networks) remove(ctx context.Context, namespace string) error {
	path := filepath.Join(netnsDir, namespace)
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		pids, err := processesIn(path)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v in namespace %s do not end", pids, namespace)
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return ip(ctx, "netns", "delete", namespace)
}

// processesIn lists the processes whose network namespace is the one that a file stands for.
func processesIn(path string) ([]int, error) {
	var want syscall.Stat_t
	if err := syscall.Stat(path, &want); err != nil {
		return nil, err
	}
	dirs, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, link := range dirs {
		var got syscall.Stat_t
		if syscall.Stat(link, &got) != nil || got.Ino != want.Ino || got.Dev != want.Dev {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(link, "/")[2])
		if err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func ip(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w\n%s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
