// Package outputs reads what a deployed stack says of its machine, through the
// Pulumi CLI, and makes of it the way there: a tunnel and the SSH door behind
// it. Secrets come through a pipe and stay in memory.
package outputs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/term"

	"openclaw-azure/internal/door"
	"openclaw-azure/internal/foreign"
	"openclaw-azure/internal/hint"
	"openclaw-azure/internal/machine"
	"openclaw-azure/internal/tunnel"
)

// Names of the outputs by which a machine is reached.
const (
	Peers        = "peers"        // secret: a configuration for wg-quick, by peer
	Observers    = "observers"    // secret: a private key that can only look, by peer that may
	OperatorKey  = "operatorKey"  // secret: the private key of Operator
	KnownHosts   = "knownHosts"   // lines for ssh; the first is the tunnel door's
	GatewayToken = "gatewayToken" // secret: what a browser logs in with
	SudoPassword = "sudoPassword" // secret: Operator's
	Backup       = "backup"       // the newest backup that was seen: its name, "sha256", its SHA-256
	BackupKey    = "backupKey"    // secret: what opens backups that are brought home
)

// A WireGuard key is one session's at a time: whatever runs beside the program
// or a person has a peer of its own.
const (
	PeerVariable = "CLAW_PEER" // environment variable that names the peer
	DefaultPeer  = "laptop"
)

// PeerName is the peer that was asked for, else the one of the environment
// variable CLAW_PEER, else laptop.
func PeerName(asked string) string {
	for _, name := range []string{asked, os.Getenv(PeerVariable)} {
		if name != "" {
			return name
		}
	}
	return DefaultPeer
}

// document is the outputs, or a peer's own file, as they are written.
type document struct {
	Peers        map[string]string `json:"peers"`
	Observers    map[string]string `json:"observers"`
	OperatorKey  string            `json:"operatorKey,omitempty"`
	KnownHosts   string            `json:"knownHosts"`
	GatewayToken string            `json:"gatewayToken,omitempty"`
	SudoPassword string            `json:"sudoPassword,omitempty"`
	Backup       string            `json:"backup,omitempty"`
	BackupKey    string            `json:"backupKey,omitempty"`
}

// Stack is what one stack's outputs say.
type Stack struct {
	said      document
	observers map[string]ssh.Signer
	operator  ssh.Signer     // nil in a peer's own file
	host      netip.AddrPort // of sshd in the tunnel
	hostKey   ssh.PublicKey
}

var _ interface {
	fmt.Stringer
	fmt.GoStringer
} = (*Stack)(nil)

// String shows nothing of what is in it.
func (*Stack) String() string   { return "(a stack's outputs)" }
func (*Stack) GoString() string { return "(a stack's outputs)" }

// GatewayToken is what a browser logs in to OpenClaw with.
func (s *Stack) GatewayToken() string { return s.said.GatewayToken }

// SudoPassword is what becomes root on the machine.
func (s *Stack) SudoPassword() string { return s.said.SudoPassword }

// BackupSum is the SHA-256 of the newest backup that was seen; empty where there was none.
func (s *Stack) BackupSum() string {
	_, sum, _ := strings.Cut(s.said.Backup, " sha256 ")
	return sum
}

// BackupKey opens backups that are brought home; empty where the stack has none.
func (s *Stack) BackupKey() string { return s.said.BackupKey }

// Read asks the Pulumi CLI for the outputs of a stack; empty is the stack that
// is selected in this folder or by PULUMI_STACK. It reads standard input only
// where that is a terminal: for the passphrase, where the CLI asks for one.
func Read(ctx context.Context, stack string) (*Stack, error) {
	args := []string{"stack", "output", "--json", "--show-secrets"}
	if stack != "" {
		args = append(args, "--stack", stack)
	}
	var stdout, stderr bytes.Buffer
	interactive := term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stderr.Fd()))
	if !interactive {
		args = append(args, "--non-interactive")
	}
	cmd := exec.CommandContext(ctx, "pulumi", args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if interactive {
		cmd.Stdin, cmd.Stderr = os.Stdin, os.Stderr
	}
	if err := cmd.Run(); err != nil {
		switch {
		case errors.Is(err, exec.ErrNotFound):
			return nil, hint.To(errors.New("read the stack's outputs: there is no pulumi on this machine's PATH"),
				"the keys are in the stack's state: run this where `pulumi up` runs")
		case ctx.Err() != nil:
			return nil, fmt.Errorf("read the stack's outputs: %w", ctx.Err())
		}
		said := foreign.New(stderr.Bytes()) // the backend's words are among the CLI's
		if said.Empty() {
			said = foreign.New(err.Error())
		}
		return nil, hint.To(fmt.Errorf("read the stack's outputs: pulumi stack output: %s", said),
			"run it in the repository's folder; name the stack with --stack or PULUMI_STACK")
	}
	return Parse(stdout.Bytes())
}

// Parse reads the JSON of `pulumi stack output --json --show-secrets`. No error
// contains any part of a secret.
func Parse(text []byte) (*Stack, error) {
	var found document
	if err := json.Unmarshal(text, &found); err != nil {
		return nil, errors.New("read the stack's outputs: not the JSON of this program's outputs")
	}
	if found.OperatorKey == "" && len(found.Observers) == 0 || found.KnownHosts == "" {
		return nil, hint.To(fmt.Errorf("read the stack's outputs: there is no %s or no %s: no deploy of this stack has succeeded yet", OperatorKey, KnownHosts),
			"pulumi up")
	}
	s := &Stack{said: found, observers: map[string]ssh.Signer{}}
	var err error
	if found.OperatorKey != "" {
		if s.operator, err = ssh.ParsePrivateKey([]byte(found.OperatorKey)); err != nil {
			return nil, fmt.Errorf("read the output %s: not a private key without passphrase", OperatorKey)
		}
	}
	for name, key := range found.Observers {
		if s.observers[name], err = ssh.ParsePrivateKey([]byte(key)); err != nil {
			return nil, fmt.Errorf("read the output %s: peer %q: not a private key without passphrase", Observers, name)
		}
	}
	if s.host, s.hostKey, err = parseKnownHost(found.KnownHosts); err != nil {
		return nil, fmt.Errorf("read the output %s: %w", KnownHosts, err)
	}
	return s, nil
}

// Way is how one peer reaches the machine.
type Way struct {
	Peer   string
	Tunnel tunnel.Config
	Door   door.Door // its Dial is the tunnel's, to be set once that is open
}

// Way is a peer's, as Operator.
func (s *Stack) Way(peer string) (Way, error) {
	return s.way(peer, machine.Operator, s.operator)
}

// Observer is the way of a peer that may look at the machine, with a key that can do nothing else.
func (s *Stack) Observer(peer string) (Way, error) {
	w, err := s.way(peer, machine.Deploy, s.observers[peer])
	if err == nil && w.Door.Key == nil {
		return Way{}, hint.To(fmt.Errorf("peer %q has no key to look with", peer),
			fmt.Sprintf("pulumi config set --path peers.%s.address %s", peer, w.Tunnel.Address),
			fmt.Sprintf("pulumi config set --path peers.%s.observe true && pulumi up", peer))
	}
	return w, err
}

// PeerFile is what Observer needs of a peer, and no other secret: Parse reads it.
func (s *Stack) PeerFile(peer string) ([]byte, error) {
	if _, err := s.Observer(peer); err != nil {
		return nil, err
	}
	tunnelDoor, _, _ := strings.Cut(strings.TrimSpace(s.said.KnownHosts), "\n")
	return json.MarshalIndent(document{
		Peers:      map[string]string{peer: s.said.Peers[peer]},
		Observers:  map[string]string{peer: s.said.Observers[peer]},
		KnownHosts: tunnelDoor,
	}, "", "  ")
}

// ParsePeerFile reads what PeerFile made.
func ParsePeerFile(text []byte) (Way, error) {
	s, err := Parse(text)
	if err != nil || len(s.observers) != 1 || s.operator != nil {
		return Way{}, hint.To(errors.New("it is not what claw peer-file writes"), "claw peer-file NAME")
	}
	return s.Observer(slices.Collect(maps.Keys(s.observers))[0])
}

func (s *Stack) way(peer, user string, key ssh.Signer) (Way, error) {
	text, ok := s.said.Peers[peer]
	if !ok {
		return Way{}, hint.To(fmt.Errorf("there is no peer %q in this stack", peer),
			fmt.Sprintf("%s; name one with --peer or %s", s.others(peer), PeerVariable))
	}
	w := Way{Peer: peer, Door: door.Door{Name: door.Tunnel, Address: s.host.String(), User: user, Key: key, HostKey: s.hostKey}}
	var err error
	if w.Tunnel, err = parseConfiguration(text); errors.Is(err, errNoPrivateKey) {
		return Way{}, hint.To(fmt.Errorf("peer %q brought its own WireGuard key: the private one is on its device and not in the stack", peer),
			fmt.Sprintf("use WireGuard on that device (see the README), or another peer with --peer: %s", s.others(peer)))
	} else if err != nil {
		return Way{}, fmt.Errorf("read the configuration of peer %q: %w", peer, err)
	}
	w.Tunnel.Server = s.host.Addr()
	return w, nil
}

// others are the peers whose private keys are in the stack.
func (s *Stack) others(than string) string {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(s.said.Peers)), func(name string) bool {
		_, err := parseConfiguration(s.said.Peers[name])
		return name == than || err != nil
	})
	if len(names) == 0 {
		return "the stack has no other peer"
	}
	return "there is " + strings.Join(names, ", ")
}
