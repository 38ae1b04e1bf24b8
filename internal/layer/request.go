package layer

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	// The standard library's may pack otherwise in another release of Go, which would show as a change.
	"github.com/klauspost/compress/zlib"
)

const marker = "#openclaw-deploy 1"

// Loader is what the remote command runs: it takes the applier itself from standard input, so that a broken or
// missing copy on the host never matters.
const Loader = `import sys
i=sys.stdin.buffer
if i.readline()!=b"` + marker + `\n":sys.exit("openclaw-deploy: no payload came")
s=i.read(int(i.readline()))
g={"__name__":"openclaw_apply"}
exec(compile(s,"apply.py","exec"),g)
sys.exit(g["main"](i.read(),s,sys.argv[1:]))`

// unpacker is the applier that the loader is given: it unpacks the real one and the request. Pulumi keeps all of it in
// its state, twice for each command, and reads and writes it in every run.
const unpacker = `import base64,sys,zlib
def main(packed,_,words):
 try:s,b=(zlib.decompress(base64.b64decode(p))for p in packed.split(b"\n"))
 except(ValueError,zlib.error):sys.exit("openclaw-deploy: the payload was cut or damaged on the way")
 g={"__name__":"openclaw_apply"}
 exec(compile(s,"apply.py","exec"),g)
 return g["main"](b,s,words)
`

// Limit bounds a request on the host, in seconds: packages take minutes on a slow line.
const Limit = "1800"

// RemoteCommand returns the shell command that reads a request made by Stdin, for a user whose sudo asks for no password. Words
// follow the command: the first is the token of the layer, which the applier records; all of them make one run's command
// differ from another's.
func RemoteCommand(words ...string) string {
	return strings.Join(append([]string{"sudo -n /usr/bin/timeout --kill-after=30", Limit, "/usr/bin/python3 -I -c '" + Loader + "'"}, words...), " ")
}

// DeployCommand is what the program's own account, whose key runs the loader and nothing else, is given as a command: a name,
// for people, and RemoteCommand's words.
func DeployCommand(name string, words ...string) string {
	return strings.Join(append([]string{name}, words...), " ")
}

// Confirmation is how a change has to be confirmed.
type Confirmation struct {
	Port    uint16 `json:"port"`    // sshd's, on the host
	Seconds int    `json:"seconds"` // how long the host waits before it takes the change back
}

// Apply is the request that puts a layer in place. An armed layer waits to be confirmed. Its token
// stands in the command and not in here: a host that is not looked at keeps the command that it had.
func (p Packed) Apply(confirmation Confirmation) any {
	var confirm *Confirmation
	if p.Armed {
		confirm = &confirmation
	}
	return struct {
		Op          string            `json:"op"`
		Layer       string            `json:"layer"`
		Digest      string            `json:"digest"`
		Declared    string            `json:"declared"`
		Contents    map[string]string `json:"contents"`
		Secrets     secrets           `json:"secrets"`
		Confirm     *Confirmation     `json:"confirm"`
		LockSeconds int               `json:"lockSeconds"`
	}{"apply", p.Name, p.Digest, p.declared, p.contents, p.secrets, confirm, 300}
}

// confirmWait is how long the host holds a request to confirm that came before the change, in seconds.
const confirmWait = 5

// Confirm is the request that keeps an armed change. Where there is none yet the host answers only when there is, or
// after some seconds; it takes a confirmation only over a connection that is newer than the change.
func (p Packed) Confirm(port uint16) any { return p.confirm(port, true) }

// AskArmed asks the same, over whatever connection, and keeps nothing.
func (p Packed) AskArmed(port uint16) any { return p.confirm(port, false) }

func (p Packed) confirm(port uint16, keep bool) any {
	return struct {
		Op     string `json:"op"`
		Layer  string `json:"layer"`
		Digest string `json:"digest"`
		Port   uint16 `json:"port"`
		Waits  int    `json:"waits"`
		Keep   bool   `json:"keep"`
	}{"confirm", p.Name, p.Digest, port, confirmWait, keep}
}

// Observe is the request that reads what is effective, for every layer on the host.
func Observe() any {
	return struct {
		Op string `json:"op"`
	}{"observe"}
}

// Prove is the request that fails with a table unless every layer is in place as declared: layer name to digest.
func Prove(digests map[string]string) any {
	return struct {
		Op      string            `json:"op"`
		Digests map[string]string `json:"digests"`
	}{"prove", digests}
}

// Applier is the program that every request brings along, packed once for all of them.
type Applier struct{ packed string }

// NewApplier packs the applier's source.
func NewApplier(source []byte) Applier { return Applier{packed(source)} }

// Stdin is what the remote command reads: the applier and the request, packed.
func (a Applier) Stdin(request any) (string, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return "", fmt.Errorf("pack a request: %w", err)
	}
	return marker + "\n" + strconv.Itoa(len(unpacker)) + "\n" + unpacker + a.packed + "\n" + packed(body), nil
}

// packed is one line. Into memory nothing fails to be written.
func packed(b []byte) string {
	var to bytes.Buffer
	w, err := zlib.NewWriterLevel(&to, zlib.BestCompression)
	if err != nil {
		panic(err)
	}
	_, err = w.Write(b)
	if err = errors.Join(err, w.Close()); err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(to.Bytes())
}
