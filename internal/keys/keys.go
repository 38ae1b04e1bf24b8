// Package keys makes and reads every key of a stack. They are made once, by the
// command cmd/keys, which prints them as one JSON object; from then on they live
// in the stack's state, as secrets.
package keys

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"regexp"
	"strings"

	"github.com/go-crypt/crypt/algorithm/shacrypt"
	"golang.org/x/crypto/ssh"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

const (
	// RSABits is the size of the bootstrap key: RSA is the one type that every
	// Azure image and tool takes.
	RSABits = 4096
	// rsaLeast is what the host's sshd accepts (RequiredRSASize).
	rsaLeast = 3072

	// The token of OpenClaw's gateway: 256 bits.
	tokenBytes = 32
	tokenLeast = 43

	// A password that a person may have to type: no two characters in it look
	// alike. 24 of 47 are 133 bits.
	passwordAlphabet = "abcdefghjkmnpqrstuvwxyACDEFGHJKLMNPQRTUVWXY3479"
	passwordGroups   = 4
	passwordGroup    = 6
	// HashRounds costs sudo about 30 ms; such a password needs no more.
	HashRounds = 50_000
)

// SSHKey is a pair of SSH keys.
type SSHKey struct {
	Private string `json:"private"` // PEM, in OpenSSH's own form
	Public  string `json:"public"`  // an authorized_keys line without a line end

	Signer    ssh.Signer    `json:"-"`
	PublicKey ssh.PublicKey `json:"-"`
}

// WireGuardKey is a pair of WireGuard keys.
type WireGuardKey struct {
	Private wgtypes.Key
	Public  wgtypes.Key
}

// Peer is a WireGuard peer's pair, the key that it shares with the server, and the one with which it logs in as the program's own
// user: the deployer to do what the program does, another to look, if it may.
type Peer struct {
	Private   wgtypes.Key
	Public    wgtypes.Key
	Preshared wgtypes.Key
	SSH       SSHKey
}

// Password is a password and its crypt(3) hash.
type Password struct {
	Plain string `json:"plain"`
	Hash  string `json:"hash"`
}

// Stack is everything that a stack's keys are.
type Stack struct {
	Bootstrap       SSHKey       `json:"bootstrap"`       // id_rsa
	Operator        SSHKey       `json:"operator"`        // claw_ed25519
	HostKey         SSHKey       `json:"hostKey"`         // the VM's
	WireGuardServer WireGuardKey `json:"wireguardServer"` // the VM's
	Deployer        Peer         `json:"deployer"`        // the program's own peer
	GatewayToken    string       `json:"gatewayToken"`
	SudoPassword    Password     `json:"sudoPassword"` // claw's
}

// Printing one of these by mistake shows nothing.

func (SSHKey) String() string         { return "(ssh key)" }
func (SSHKey) GoString() string       { return "(ssh key)" }
func (WireGuardKey) String() string   { return "(wireguard key)" }
func (WireGuardKey) GoString() string { return "(wireguard key)" }
func (Peer) String() string           { return "(wireguard peer's keys)" }
func (Peer) GoString() string         { return "(wireguard peer's keys)" }
func (Password) String() string       { return "(password)" }
func (Password) GoString() string     { return "(password)" }
func (Stack) String() string          { return "(stack's keys)" }
func (Stack) GoString() string        { return "(stack's keys)" }

// shy is what every type with a secret in it is to fmt.
type shy interface {
	fmt.Stringer
	fmt.GoStringer
}

// Of the values themselves: a method of the pointer would leave a copy bare.
var _, _, _, _, _ shy = SSHKey{}, WireGuardKey{}, Peer{}, Password{}, Stack{}

// NewStack makes all keys of a stack.
func NewStack() (*Stack, error) {
	s := &Stack{}
	rsaKey, err := rsa.GenerateKey(rand.Reader, RSABits)
	if err != nil {
		return nil, fmt.Errorf("make the bootstrap key: %w", err)
	}
	if s.Bootstrap, err = sshKey(rsaKey, "id_rsa"); err != nil {
		return nil, fmt.Errorf("make the bootstrap key: %w", err)
	}
	if s.Operator, err = newEd25519("claw_ed25519"); err != nil {
		return nil, fmt.Errorf("make the operator's key: %w", err)
	}
	if s.HostKey, err = newEd25519("openclaw"); err != nil {
		return nil, fmt.Errorf("make the host key: %w", err)
	}
	if s.WireGuardServer, err = newWireGuardKey(); err != nil {
		return nil, fmt.Errorf("make the server's WireGuard key: %w", err)
	}
	deployer, err := NewPeer()
	if err != nil {
		return nil, fmt.Errorf("make the deployer's keys: %w", err)
	}
	s.Deployer = *deployer
	token := make([]byte, tokenBytes)
	rand.Read(token)
	s.GatewayToken = base64.RawURLEncoding.EncodeToString(token)
	if s.SudoPassword, err = newPassword(); err != nil {
		return nil, fmt.Errorf("make the sudo password: %w", err)
	}
	return s, nil
}

// NewPeer makes the keys of one peer.
func NewPeer() (*Peer, error) {
	pair, err := newWireGuardKey()
	if err != nil {
		return nil, err
	}
	shared, err := wgtypes.GenerateKey()
	if err != nil {
		return nil, err
	}
	own, err := newEd25519("openclaw-deploy")
	if err != nil {
		return nil, err
	}
	return &Peer{Private: pair.Private, Public: pair.Public, Preshared: shared, SSH: own}, nil
}

func newWireGuardKey() (WireGuardKey, error) {
	private, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		return WireGuardKey{}, err
	}
	return WireGuardKey{Private: private, Public: private.PublicKey()}, nil
}

func newEd25519(comment string) (SSHKey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return SSHKey{}, err
	}
	return sshKey(private, comment)
}

func sshKey(private crypto.Signer, comment string) (SSHKey, error) {
	signer, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		return SSHKey{}, err
	}
	block, err := ssh.MarshalPrivateKey(private, comment)
	if err != nil {
		return SSHKey{}, err
	}
	public := signer.PublicKey()
	return SSHKey{
		Private:   string(pem.EncodeToMemory(block)),
		Public:    strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public))) + " " + comment,
		Signer:    signer,
		PublicKey: public,
	}, nil
}

func newPassword() (Password, error) {
	size := big.NewInt(int64(len(passwordAlphabet)))
	var plain strings.Builder
	for i := range passwordGroups * passwordGroup {
		if i > 0 && i%passwordGroup == 0 {
			plain.WriteByte('-')
		}
		n, err := rand.Int(rand.Reader, size)
		if err != nil {
			return Password{}, err
		}
		plain.WriteByte(passwordAlphabet[n.Int64()])
	}
	// The longest salt that the form holds.
	salt := rand.Text()[:shacrypt.SaltLengthMax]
	hasher, err := shacrypt.New(shacrypt.WithVariant(shacrypt.VariantSHA512), shacrypt.WithIterations(HashRounds))
	if err != nil {
		return Password{}, err
	}
	hash, err := hasher.HashWithSalt(plain.String(), []byte(salt))
	if err != nil {
		return Password{}, err
	}
	return Password{Plain: plain.String(), Hash: hash.Encode()}, nil
}

// ParseStack reads what NewStack's keys are printed as, and checks all of it. No
// error contains any part of the text.
func ParseStack(text string) (*Stack, error) {
	s := &Stack{}
	if err := decode(text, s); err != nil {
		return nil, fmt.Errorf("the stack's keys: %w", err)
	}
	var faults []error
	check := func(what string, err error) {
		if err != nil {
			faults = append(faults, fmt.Errorf("the stack's keys: %s: %w", what, err))
		}
	}
	check("bootstrap", s.Bootstrap.parse(ssh.KeyAlgoRSA))
	check("operator", s.Operator.parse(ssh.KeyAlgoED25519))
	check("hostKey", s.HostKey.parse(ssh.KeyAlgoED25519))
	check("wireguardServer", checkPair(s.WireGuardServer.Private, s.WireGuardServer.Public))
	check("deployer", s.Deployer.check())
	if len(s.GatewayToken) < tokenLeast || !urlSafe.MatchString(s.GatewayToken) {
		check("gatewayToken", fmt.Errorf("not %d or more characters of A-Z a-z 0-9 _ -", tokenLeast))
	}
	check("sudoPassword", s.SudoPassword.check())
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return s, nil
}

// ParsePeer reads what NewPeer's keys are printed as, and checks them.
func ParsePeer(text string) (*Peer, error) {
	p := &Peer{}
	if err := decode(text, p); err != nil {
		return nil, fmt.Errorf("the peer's keys: %w", err)
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("the peer's keys: %w", err)
	}
	return p, nil
}

// decode reads one JSON object with known names only. encoding/json's own
// errors quote what they could not read, so they are not passed on.
func decode(text string, into any) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		var ours *keyError
		if errors.As(err, &ours) {
			return ours
		}
		return errors.New("not the JSON object that cmd/keys prints")
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the JSON object that cmd/keys prints")
	}
	return nil
}

// keyError is about a key and contains none.
type keyError struct{ text string }

func (e *keyError) Error() string { return e.text }

func (k *SSHKey) parse(algorithm string) error {
	signer, err := ssh.ParsePrivateKey([]byte(k.Private))
	if err != nil {
		return errors.New("the private key is not a PEM without passphrase that OpenSSH reads")
	}
	public, err := ParseAuthorizedKey(k.Public)
	if err != nil {
		return err
	}
	if !bytes.Equal(signer.PublicKey().Marshal(), public.Marshal()) {
		return errors.New("the public key is not the private key's")
	}
	if public.Type() != algorithm {
		return fmt.Errorf("a key of type %s, not %s", public.Type(), algorithm)
	}
	k.Signer, k.PublicKey = signer, public
	return nil
}

// ParseAuthorizedKey reads one line of authorized_keys that has no options.
func ParseAuthorizedKey(line string) (ssh.PublicKey, error) {
	public, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	switch {
	case err != nil:
		return nil, errors.New("the public key is not a line of authorized_keys: a type, the key and a comment")
	case len(options) > 0:
		return nil, errors.New("the public key has options before it")
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("more than one public key")
	}
	if c, ok := public.(ssh.CryptoPublicKey); ok {
		if r, ok := c.CryptoPublicKey().(*rsa.PublicKey); ok && r.N.BitLen() < rsaLeast {
			return nil, fmt.Errorf("an RSA key of %d bits, fewer than the %d that the host accepts", r.N.BitLen(), rsaLeast)
		}
	}
	return public, nil
}

// ParseWireGuardKey reads one key in base64, as wg prints it.
func ParseWireGuardKey(text string) (wgtypes.Key, error) {
	k, err := wgtypes.ParseKey(text)
	if err != nil || k.String() != text {
		return wgtypes.Key{}, &keyError{"not a WireGuard key: 44 characters of base64 that stand for 32 bytes"}
	}
	if k == (wgtypes.Key{}) {
		return wgtypes.Key{}, &keyError{"an empty WireGuard key: all of it is zero"}
	}
	return k, nil
}

func checkPair(private, public wgtypes.Key) error {
	none := wgtypes.Key{}
	switch {
	case private == none:
		return errors.New("no private key")
	case private.PublicKey() != public:
		return errors.New("the public key is not the private key's")
	}
	return nil
}

func (p *Peer) check() error {
	if p.Preshared == (wgtypes.Key{}) {
		return errors.New("no preshared key")
	}
	if err := checkPair(p.Private, p.Public); err != nil {
		return err
	}
	if err := p.SSH.parse(ssh.KeyAlgoED25519); err != nil {
		return fmt.Errorf("ssh: %w", err)
	}
	return nil
}

var (
	urlSafe = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	// A hash of more rounds takes seconds, or an hour, whenever it is compared.
	sha512 = regexp.MustCompile(`^\$6\$(rounds=[0-9]{1,6}\$)?[./0-9A-Za-z]{1,16}\$[./0-9A-Za-z]{86}$`)
)

func (p Password) check() error {
	switch {
	case p.Plain == "":
		return errors.New("no password")
	case strings.ContainsAny(p.Plain, "\n\r\x00"):
		return errors.New("a password that is more than a line")
	case !sha512.MatchString(p.Hash):
		return errors.New("the hash is not one of SHA-512 crypt")
	case !hashes(p.Hash, p.Plain):
		return errors.New("the hash is not the password's")
	}
	return nil
}

// hashes tells whether the hash is the password's.
func hashes(hash, password string) bool {
	digest, err := shacrypt.DecodeVariant(shacrypt.VariantSHA512)(hash)
	return err == nil && digest.Match(password)
}

// wireGuardText is how WireGuard's keys look in JSON.
type wireGuardText struct {
	Private string `json:"private"`
	Public  string `json:"public"`
}

// peerText is how a peer's keys look in JSON.
type peerText struct {
	wireGuardText
	Preshared string `json:"preshared"`
	SSH       SSHKey `json:"ssh"`
}

// A method with a slip in its name would leave encoding/json to its own ways, which read keys unchecked.
var (
	_, _ json.Marshaler   = WireGuardKey{}, Peer{}
	_, _ json.Unmarshaler = (*WireGuardKey)(nil), (*Peer)(nil)
)

// MarshalJSON makes {"private","public"}.
func (k WireGuardKey) MarshalJSON() ([]byte, error) {
	return json.Marshal(wireGuardText{Private: k.Private.String(), Public: k.Public.String()})
}

// UnmarshalJSON reads {"private","public"}.
func (k *WireGuardKey) UnmarshalJSON(text []byte) error {
	var t wireGuardText
	err := decode(string(text), &t)
	if err != nil {
		return &keyError{"a WireGuard pair is not private and public"}
	}
	if k.Private, err = ParseWireGuardKey(t.Private); err != nil {
		return err
	}
	k.Public, err = ParseWireGuardKey(t.Public)
	return err
}

// MarshalJSON makes {"private","public","preshared","ssh"}.
func (p Peer) MarshalJSON() ([]byte, error) {
	return json.Marshal(peerText{wireGuardText{Private: p.Private.String(), Public: p.Public.String()}, p.Preshared.String(), p.SSH})
}

// UnmarshalJSON reads {"private","public","preshared","ssh"}.
func (p *Peer) UnmarshalJSON(text []byte) error {
	var t peerText
	err := decode(string(text), &t)
	if err != nil {
		return &keyError{"a peer is not private, public, preshared and ssh"}
	}
	p.SSH = t.SSH
	if p.Private, err = ParseWireGuardKey(t.Private); err != nil {
		return err
	}
	if p.Public, err = ParseWireGuardKey(t.Public); err != nil {
		return err
	}
	p.Preshared, err = ParseWireGuardKey(t.Preshared)
	return err
}
