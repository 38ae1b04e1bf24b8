package config

import (
	"errors"
	"fmt"
	"strings"
)

// kinds are all kinds of fault: the tests want a case of each.
var kinds []error

func kind(text string) error {
	err := errors.New(text)
	kinds = append(kinds, err)
	return err
}

// Every kind of fault. The text follows the value in the message.
var (
	errNotSet         = kind("is not set")
	errNotPlain       = kind("is a list or an object")
	errEmptyElement   = kind("has an empty element")
	errNotPrefix      = kind("is no IPv4 prefix")
	errIPv6           = kind("is IPv6, which the machine has not")
	errHostBits       = kind("has host bits set")
	errAnywhere       = kind("opens port 22 to anywhere")
	errTooWide        = kind("is too wide")
	errUnroutable     = kind("is no public address")
	errPlaceholder    = kind("is the example's address, not yours")
	errWithin         = kind("overlaps another of the same list")
	errNotBool        = kind("is neither true nor false")
	errNotOneOf       = kind("is unknown")
	errNotLocation    = kind("is no region's name")
	errNotGroup       = kind("is no resource group's name")
	errNotSize        = kind("is no VM size")
	errARM64          = kind("is an arm64 size")
	errNotUser        = kind("is no Linux user name")
	errUserRefused    = kind("is refused by Azure")
	errUserTaken      = kind("is taken on the machine")
	errNotPrivate     = kind("is no private range")
	errRangeSize      = kind("has the wrong size")
	errOverlap        = kind("overlaps another range")
	errNotNumber      = kind("is no such number")
	errPortTaken      = kind("is taken")
	errNotObject      = kind("is no object")
	errNotName        = kind("is not a name or place that the gate can tell")
	errNoPort         = kind("has no port")
	errNotAlone       = kind("stands in a list")
	errNotPlace       = kind("is not an IPv4 address with a port")
	errNoPeer         = kind("is an address in the VPN that no peer has")
	errOutsideBoth    = kind("lies in neither the VPN nor the VNet")
	errOwnAddress     = kind("is this machine's own")
	errNotReached     = kind("is out of the agent's reach")
	errNotPeerName    = kind("is no peer's name")
	errReservedName   = kind("is a reserved name")
	errTwice          = kind("is used twice")
	errNotAddress     = kind("is no IPv4 address")
	errOutside        = kind("lies outside the VPN")
	errAddressTaken   = kind("is not a peer's to have")
	errNotWGKey       = kind("is no WireGuard public key")
	errWeakWGKey      = kind("is a key that anybody can compute with")
	errNotSSHKey      = kind("is no SSH public key")
	errNotTag         = kind("is no name of a tag")
	errLongTag        = kind("is too long for a tag")
	errManyTags       = kind("has too many tags")
	errOwnKey         = kind("is set for a peer that brings its own key")
	errSSHKeyType     = kind("is an SSH key of a kind that sshd will not take")
	errPrivateKey     = kind("is a private key")
	errNotVersion     = kind("is no OpenClaw version")
	errOldVersion     = kind("is too old")
	errNoLock         = kind("has no lock file")
	errNotPlugin      = kind("is no plugin that OpenClaw could be given")
	errNoPlugin       = kind("cannot be had here")
	errWithinOpenClaw = kind("comes with OpenClaw")
	errNotChannel     = kind("is no channel of this OpenClaw")
	errPluginMissing  = kind("has no plugin")
	errNotYours       = kind("is not yours to set")
	errNotText        = kind("is a number")
	errNeedsDocker    = kind("needs Docker, which the machine has not")
	errNotURL         = kind("is no URL of a mirror")
	errNotSHA256      = kind("is no SHA-256")
	errAlone          = kind("is set without its other half")
	errNotEnvName     = kind("is no variable's name")
	errReservedEnv    = kind("is a variable that is not yours to set")
	errNotSecret      = kind("stands in plain text in the stack's configuration")
	errNotBackupKey   = kind("is no key of age's")
	errEmptyEnv       = kind("is empty")
	errControl        = kind("has a line break or another control character")
	errTooLong        = kind("is too long")
	errNotProvider    = kind("is not a provider's name")
	errNotProviderURL = kind("is not a provider's address")
	errNotHeader      = kind("is not a header for a key")
	errNotKey         = kind("is not a key")
	errNotReceiver    = kind("is not a receiver's name")
	errNotReceiverURL = kind("is not the address of such a receiver")
	errMailPort       = kind("is on port 25")
	errNotMail        = kind("is not an e-mail address")
	errNotDirective   = kind("is no directive of the sandbox that could be relaxed")
	errNotRelaxed     = kind("is a bound that stays")
	errNotRelaxation  = kind("is no such relaxation")
	errUnknownKey     = kind("is no key of this program")
	errAssignmentKey  = kind("is a value written into the key, so that nothing was set")
	errPathForgotten  = kind("was set without --path, so that nothing was set")
)

// Fault is one thing that is wrong with one value.
type Fault struct {
	Key   string  // as the user names it: sshPort, peers.phone.address
	Value *string // nil: there is none to show, or it is a secret
	Kind  error
	Want  string // what was expected
	Hint  string // commands and such, a line each; may be empty
}

// errors.Is finds a fault's kind, in one or among many.
var (
	_ interface{ Unwrap() error }   = (*Fault)(nil)
	_ interface{ Unwrap() []error } = Faults(nil)
)

func (f *Fault) Error() string {
	var b strings.Builder
	b.WriteString(f.Key + ": ")
	if f.Value != nil {
		fmt.Fprintf(&b, "value %q ", *f.Value)
	}
	b.WriteString(f.Kind.Error())
	if f.Want != "" {
		b.WriteString(": " + f.Want)
	}
	if f.Hint != "" {
		b.WriteString("\n    " + strings.ReplaceAll(f.Hint, "\n", "\n    "))
	}
	return b.String()
}

func (f *Fault) Unwrap() error { return f.Kind }

// Faults is everything that is wrong with a configuration, in the order of
// Config's fields.
type Faults []*Fault

func (fs Faults) Error() string {
	lines := make([]string, 0, len(fs)+1)
	if len(fs) == 1 {
		lines = append(lines, "configuration: 1 fault, nothing was changed")
	} else {
		lines = append(lines, fmt.Sprintf("configuration: %d faults, nothing was changed", len(fs)))
	}
	for _, f := range fs {
		lines = append(lines, f.Error())
	}
	return strings.Join(lines, "\n")
}

func (fs Faults) Unwrap() []error {
	errs := make([]error, len(fs))
	for i, f := range fs {
		errs[i] = f
	}
	return errs
}
