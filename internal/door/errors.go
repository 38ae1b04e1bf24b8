package door

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"openclaw-azure/internal/foreign"
	"openclaw-azure/internal/hint"
)

// What can be wrong with a door. Every error of this package that is one of
// these is an *Error that wraps it.
var (
	// ErrUnreachable: no TCP connection.
	ErrUnreachable = errors.New("unreachable")
	// ErrNoSSH: something accepts, and is not a working SSH server.
	ErrNoSSH = errors.New("no ssh")
	// ErrHostKeyDiffers: SSH, of another host than the one that was made.
	ErrHostKeyDiffers = errors.New("host key differs")
	// ErrNoCommonAlgorithm: the host and this program have no algorithm in common.
	ErrNoCommonAlgorithm = errors.New("no common algorithm")
	// ErrKeyRefused: the right host does not take the key for this user.
	ErrKeyRefused = errors.New("key refused")
	// ErrLoginClosed: the right host takes the key, and lets nobody in now, as it
	// says: /etc/nologin, a boot under way, an expired account.
	ErrLoginClosed = errors.New("login closed")
	// ErrLost: the connection ended while a command ran. Whether the command
	// did its work is not known.
	ErrLost = errors.New("connection lost")
	// ErrUnfinished: the command did not end in its time.
	ErrUnfinished = errors.New("command unfinished")
)

// Error is a door that did not open, or did not stay open.
type Error struct {
	Kind  error  // one of the values above
	Door  string // as Door.String gives it
	Fact  string // what happened, on one line
	cause error
}

// Without Unwrap nobody could tell one kind from another.
var _ interface {
	error
	Unwrap() []error
} = (*Error)(nil)

func (e *Error) Error() string { return e.Door + ": " + e.Fact }

func (e *Error) Unwrap() []error {
	if e.cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.cause}
}

// hints are by kind, then by the door's name; "" is for any other.
var hints = map[error]map[string]string{
	ErrUnreachable: {
		Bootstrap: "see that allowedSshCidr admits this machine's address on the internet and that the machine runs; pulumi up with rescue raised by one opens the door from inside",
		Tunnel:    "see that sshd runs on the host and that its firewall admits the VPN to this port; bootstrap: true opens the other door",
		"":        "see that the machine runs, and that no firewall stands between",
	},
	ErrNoSSH: {
		Bootstrap: "the machine may still be starting; else look at its console for sshd, and for a ban of this machine's address",
		Tunnel:    "sshd on the host may be restarting; else bootstrap: true opens the other door",
		"":        "sshd may be restarting; else look at its log on the host",
	},
	ErrHostKeyDiffers: {
		"": "nothing was sent to it: this is not the machine that was deployed, or its host key was changed; bootstrap: true with rescue raised by one puts the key back",
	},
	ErrNoCommonAlgorithm: {
		"": "the host's sshd_config was changed; bootstrap: true with rescue raised by one puts the door back",
	},
	ErrKeyRefused: {
		"": "it is not tried again, or sshd would shut this machine out; bootstrap: true with rescue raised by one puts the user's key back",
	},
	ErrLoginClosed: {
		"": "the machine may still be starting; else look for /etc/nologin and an expired account, or raise rescue by one under bootstrap: true",
	},
	ErrLost: {
		"": "whether the command did its work is not known; run it again",
	},
	ErrUnfinished: {
		"": "the connection was closed; the command may still run on the host",
	},
}

// fault is an error about the other side: of what that said it has no plain string, nor has its cause.
func (d Door) fault(kind error, cause error, format string, words ...foreign.Word) error {
	return d.hinted(&Error{Kind: kind, Door: d.String(), Fact: foreign.Sprintf(format, words...), cause: foreign.Err(cause)})
}

// hinted says what to do about a fault of its kind.
func (d Door) hinted(fault *Error) error {
	look, ok := hints[fault.Kind][d.Name]
	if !ok {
		look = hints[fault.Kind][""]
	}
	return hint.To(fault, look)
}

func (d Door) cancelled(cause error) error { return fmt.Errorf("%s: %w", d, cause) }

func (d Door) unreachable(cause error, after time.Duration) error {
	var timeout net.Error
	switch {
	case silence(cause) != "":
		return d.fault(ErrUnreachable, cause, "%s", silence(cause))
	case errors.Is(cause, context.DeadlineExceeded), errors.As(cause, &timeout) && timeout.Timeout():
		return d.fault(ErrUnreachable, cause, "no answer to TCP in %s", round(after))
	}
	return d.fault(ErrUnreachable, cause, "no TCP connection: %s", foreign.New(bare(cause).Error()))
}

// silence is the account that a tunnel gives of itself.
func silence(err error) foreign.Own {
	var silent interface {
		error
		Fact() string
	}
	if errors.As(err, &silent) {
		return foreign.Own(silent.Fact())
	}
	return ""
}

// bare is the reason alone, without the addresses that the message has anyway.
func bare(err error) error {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err
	}
	return err
}

// refused tells the causes of a failed handshake apart.
func (d Door) refused(cause error, met *meeting, heard *listener, timeUp bool, after time.Duration) error {
	words, isSSH := heard.said()
	met.mu.Lock()
	defer met.mu.Unlock()
	var algorithms *ssh.AlgorithmNegotiationError
	switch {
	case met.otherKey != nil:
		return d.fault(ErrHostKeyDiffers, cause, "the host key is %s, not %s",
			fingerprint(met.otherKey), fingerprint(d.HostKey))
	case errors.As(cause, &algorithms) && algorithms.What == "host key":
		return d.fault(ErrHostKeyDiffers, cause, "the host has no %s key, so not %s; it offers %s",
			foreign.Own(d.HostKey.Type()), fingerprint(d.HostKey), list(algorithms.RequestedAlgorithms))
	case errors.As(cause, &algorithms):
		return d.fault(ErrNoCommonAlgorithm, cause, "the host offers no %s that this program speaks: %s",
			foreign.Own(algorithms.What), list(algorithms.RequestedAlgorithms))
	case met.hostKeyMatched && strings.Contains(cause.Error(), "unable to authenticate"):
		return d.fault(ErrKeyRefused, cause, "the host refuses the key %s for user %q",
			fingerprint(d.Key.PublicKey()), foreign.Own(d.User))
	case met.loggingIn && strings.Contains(cause.Error(), "ssh: disconnect, reason"):
		return d.fault(ErrKeyRefused, cause, "the host ends the login of user %q: %s", foreign.Own(d.User), reason(cause))
	case met.loggingIn && !timeUp && silence(cause) == "":
		// So sshd ends what PAM does not let in, mostly after a word about it.
		if !met.banner.Empty() {
			return d.fault(ErrLoginClosed, cause, "the host lets %q not in: %q", foreign.Own(d.User), met.banner)
		}
		return d.fault(ErrLoginClosed, cause, "the host lets %q not in: it ends the connection", foreign.Own(d.User))
	case silence(cause) != "":
		return d.fault(ErrUnreachable, cause, "%s", silence(cause))
	case timeUp && isSSH:
		return d.fault(ErrNoSSH, cause, "the SSH server (%q) fell silent: not connected in %s", words, round(after))
	case timeUp && words.Empty():
		return d.fault(ErrNoSSH, cause, "something accepts connections and said nothing in %s", round(after))
	case words.Empty():
		return d.fault(ErrNoSSH, cause, "something accepts connections and closes them without a word")
	case !isSSH:
		return d.fault(ErrNoSSH, cause, "something accepts connections and says %q in place of an SSH banner", words)
	}
	return d.fault(ErrNoSSH, cause, "the SSH server (%q) ended the connection: %s", words, reason(cause))
}

// lost tells how a connection ended: cause is what the command met, why what
// the connection did.
func (d Door) lost(cause, why error, after time.Duration) error {
	const fact = "the connection ended after %s, before the command did"
	if silence(why) != "" {
		return d.fault(ErrLost, why, fact+": %s", round(after), silence(why))
	}
	var missing *ssh.ExitMissingError
	if errors.As(cause, &missing) || errors.Is(cause, io.EOF) {
		return d.fault(ErrLost, cause, fact, round(after))
	}
	return d.fault(ErrLost, cause, fact+": %s", round(after), reason(cause))
}

func (d Door) unfinished(cause error, after time.Duration) error {
	if !errors.Is(cause, context.DeadlineExceeded) {
		return d.cancelled(cause)
	}
	return d.fault(ErrUnfinished, cause, "the command did not end in %s", round(after))
}

// reason is an SSH error without the library's own prefixes; the rest may be the other side's words.
func reason(err error) foreign.Text {
	if errors.Is(err, io.EOF) {
		return foreign.New("closed")
	}
	text := bare(err).Error()
	for {
		short := strings.TrimPrefix(strings.TrimPrefix(text, "ssh: "), "handshake failed: ")
		if short == text {
			return foreign.New(text)
		}
		text = short
	}
}

func fingerprint(key ssh.PublicKey) foreign.Own { return foreign.Own(ssh.FingerprintSHA256(key)) }

// list is the algorithms that the other side named, without the extensions that
// travel among them.
func list(names []string) foreign.Text {
	var real []string
	for _, n := range names {
		if !strings.HasPrefix(n, "kex-strict-") && !strings.HasPrefix(n, "ext-info-") {
			real = append(real, n)
		}
	}
	if len(real) == 0 {
		return foreign.New("none")
	}
	return foreign.New(strings.Join(real, ", "))
}

// round keeps messages readable: 10.00312s is 10s.
func round(d time.Duration) foreign.Own {
	if d < time.Second {
		return foreign.Own(d.Round(10 * time.Millisecond).String())
	}
	return foreign.Own(d.Round(100 * time.Millisecond).String())
}
