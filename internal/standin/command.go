package standin

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pulumi/pulumi/pkg/v3/resource/deploy/deploytest"
	"github.com/pulumi/pulumi/pkg/v3/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"golang.org/x/crypto/ssh"

	"openclaw-azure/internal/applier"
	"openclaw-azure/internal/door"
	"openclaw-azure/internal/keys"
	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/reach"
	"openclaw-azure/internal/tunnel"
)

// commands answers as the provider command does: any input that changed runs `create` again, a changed trigger makes
// the resource anew, an output stands in the state as plain text unless the program says otherwise, nothing is read
// back. A local command makes keys as cmd/keys does; a remote one reaches the guest if the doors, the keys and the rules
// let it.
//
// It cannot show how SSH itself behaves (dials, retries, hangs, streams), and it runs no shell: of a remote command's
// text it reads the words, of its standard input the request.
type commands struct {
	world *World
	Made  int // pairs of a whole stack
}

const (
	localCommand  = "command:local:Command"
	remoteCommand = "command:remote:Command"
)

func (c *commands) provider() plugin.Provider {
	return &deploytest.Provider{DiffF: c.diff, CreateF: c.create, UpdateF: c.update, DeleteF: c.delete}
}

func (c *commands) diff(_ context.Context, req plugin.DiffRequest) (plugin.DiffResult, error) {
	result := plugin.DiffResult{Changes: plugin.DiffNone, ChangedKeys: changed(taken(req.OldInputs), taken(req.NewInputs))}
	if len(result.ChangedKeys) > 0 {
		result.Changes = plugin.DiffSome
	}
	if slices.Contains(result.ChangedKeys, "triggers") {
		result.ReplaceKeys = []resource.PropertyKey{"triggers"}
	}
	return result, nil
}

func (c *commands) create(_ context.Context, req plugin.CreateRequest) (plugin.CreateResponse, error) {
	out, err := c.execute("create", req.URN.Name(), string(req.URN.Type()), taken(req.Properties), req.Preview)
	if err != nil {
		return plugin.CreateResponse{}, err
	}
	id := resource.ID(req.URN.Name() + "-" + rand.Text())
	if req.Preview {
		id = ""
	}
	return plugin.CreateResponse{ID: id, Properties: given(out), Status: resource.StatusOK}, nil
}

func (c *commands) update(_ context.Context, req plugin.UpdateRequest) (plugin.UpdateResponse, error) {
	out, err := c.execute("update", req.URN.Name(), string(req.URN.Type()), taken(req.NewInputs), req.Preview)
	return plugin.UpdateResponse{Properties: given(out), Status: resource.StatusOK}, err
}

func (c *commands) delete(_ context.Context, req plugin.DeleteRequest) (plugin.DeleteResponse, error) {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	c.world.note("delete " + req.URN.Name())
	if _, has := req.Inputs.GetOk("delete"); has {
		c.world.T.Errorf("%s has a `delete`: destroying it would need the host", req.URN.Name())
	}
	return plugin.DeleteResponse{Status: resource.StatusOK}, nil
}

func (c *commands) execute(verb, name, kind string, inputs resource.PropertyMap, preview bool) (resource.PropertyMap, error) {
	out := inputs.Copy()
	out["stdout"], out["stderr"] = resource.MakeComputed(resource.NewProperty("")), resource.MakeComputed(resource.NewProperty(""))
	if preview {
		return out, nil
	}
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	var stdout string
	var err error
	if kind == localCommand {
		c.world.note(verb + " " + name)
		if c.world.Fails[name] {
			return nil, errors.New("exit status 1")
		}
		stdout, err = c.generate(Plain(inputs))
	} else {
		stdout, err = c.remote(verb, name, Plain(inputs))
	}
	if err != nil {
		// The real one prints the whole command.
		return nil, fmt.Errorf("%w: running %q", err, Plain(inputs)["create"].StringValue())
	}
	out["stdout"], out["stderr"] = resource.NewProperty(stdout), resource.NewProperty("")
	return out, nil
}

// generate does what cmd/keys does.
func (c *commands) generate(in resource.PropertyMap) (string, error) {
	switch command := in["create"].StringValue(); command {
	case "go run ./cmd/keys stack":
		c.Made++
		text := GeneratedKeys(c.Made)
		c.world.remember(text)
		return text, nil
	case "go run ./cmd/keys peer":
		peer, err := keys.NewPeer()
		if err != nil {
			return "", err
		}
		text, err := json.Marshal(peer)
		c.world.remember(string(text))
		return string(text), err
	default:
		return "", fmt.Errorf("%q: command not found", command)
	}
}

// made are stacks' keys, the same first, second and so on ones for every test: an RSA pair takes a second or more.
var made struct {
	sync.Mutex
	texts []string
}

func GeneratedKeys(n int) string {
	made.Lock()
	defer made.Unlock()
	for len(made.texts) < n {
		stack, err := keys.NewStack()
		if err != nil {
			panic(err)
		}
		text, err := json.Marshal(stack)
		if err != nil {
			panic(err)
		}
		made.texts = append(made.texts, string(text))
	}
	return made.texts[n-1]
}

// request is what the applier reads, all of its kinds in one.
type request struct {
	Op, Layer, Digest, Declared string
	Contents                    map[string]string
	Secrets                     struct{ Users, Env map[string]string }
	Confirm                     *layer.Confirmation
	Digests                     map[string]string
}

// remote takes a command to the guest.
func (c *commands) remote(verb, name string, in resource.PropertyMap) (string, error) {
	w := c.world
	connection := in["connection"].ObjectValue()
	through := "bootstrap"
	if connection["port"].NumberValue() == float64(reach.LocalPort(w.project, w.Stack)) {
		through = "tunnel"
	}
	w.note(fmt.Sprintf("%s %s through %s", verb, name, through))
	if !w.tried[through] {
		w.T.Errorf("%s: the %s door was not tried before, but %v", name, through, w.tried)
	}
	clear(w.tried)
	if err := w.dial(through, connection); err != nil {
		return "", fmt.Errorf("dial: %w", err)
	}
	if w.Fails[name] {
		//lint:ignore ST1005 these are the provider's own words
		return "", errors.New("Process exited with status 1")
	}
	words := strings.Fields(in["create"].StringValue())
	token, vm := words[len(words)-3], words[len(words)-2]
	if vm != w.Guest.ID {
		return "", fmt.Errorf("made for the machine %q, and this is %q", vm, w.Guest.ID)
	}
	req, err := w.readRequest(through, in["create"].StringValue(), in["stdin"].StringValue())
	if err != nil {
		return "", err
	}
	switch req.Op {
	case "apply":
		return w.apply(name, token, req)
	case "prove":
		for layer, digest := range req.Digests {
			if on := w.Guest.Layers[layer]; on == nil || on.digest != digest || len(w.Guest.Drift[layer]) > 0 {
				return "", fmt.Errorf("layer %s is not as declared", layer)
			}
		}
		if len(req.Digests) != len(layer.Names()) {
			return "", fmt.Errorf("proof of %d layers, not of %d", len(req.Digests), len(layer.Names()))
		}
		settings := map[string]int{}
		for name := range req.Digests {
			settings[name] = 7
		}
		text, err := json.Marshal(map[string]any{"proven": layer.Names(), "at": "2026-01-02 03:04:05 UTC", "settings": settings, "notShown": w.Guest.NotShown, "warnings": slices.Concat(w.Guest.Warnings, w.Guest.Later)})
		return string(text), err
	default:
		return "", fmt.Errorf("operation %q", req.Op)
	}
}

// readRequest reads standard input as sudo and the loader do.
func (w *World) readRequest(through, command, stdin string) (*request, error) {
	if through == "bootstrap" && !strings.HasPrefix(command, "sudo -n ") {
		return nil, fmt.Errorf("sh: 1: %s: not found", command)
	}
	rest, marked := strings.CutPrefix(stdin, "#openclaw-deploy 1\n")
	length, rest, cut := strings.Cut(rest, "\n")
	n, err := strconv.Atoi(length)
	if !marked || !cut || err != nil || n > len(rest) {
		return nil, errors.New("openclaw-deploy: no payload came")
	}
	source, body, cut := strings.Cut(rest[n:], "\n")
	if !cut {
		return nil, errors.New("the payload was cut")
	}
	if got, err := unpack(source); err != nil || !bytes.Equal(got, applier.Source()) {
		return nil, fmt.Errorf("another applier than the program's: %w", err)
	}
	text, err := unpack(body)
	if err != nil {
		return nil, err
	}
	req := &request{}
	if err := json.Unmarshal(text, req); err != nil {
		return nil, fmt.Errorf("the request: %w", err)
	}
	return req, nil
}

// unpack reads one part of a payload.
func unpack(packed string) ([]byte, error) {
	unpacked, err := zlib.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(packed)))
	if err != nil {
		return nil, fmt.Errorf("the payload: %w", err)
	}
	return io.ReadAll(unpacked)
}

// apply puts a layer in place as the applier does, and keeps it only where a confirmation is under way.
func (w *World) apply(name, token string, req *request) (string, error) {
	g := w.Guest
	if req.Layer != name {
		return "", fmt.Errorf("layer %q came in the command of %q", req.Layer, name)
	}
	by, confirming := w.confirming[name]
	if armed := req.Confirm != nil; armed != confirming || armed && by != req.Confirm.Port {
		g.LastRollback = name
		return "", fmt.Errorf("layer %q was taken back: it has to be confirmed by %v, and is by %v", name, req.Confirm, by)
	}
	g.Pending = "" // whoever applies next settles it
	g.Layers[name] = &record{token, req.Digest}
	delete(g.Drift, name)
	switch name {
	case "base":
		g.ClawKeys, g.deployKeys = req.Contents["/etc/ssh/authorized_keys/claw"], req.Contents["/etc/ssh/authorized_keys/openclaw-deploy"]
	case "wireguard":
		g.Wireguard = req.Contents["/etc/wireguard/wg0.conf"]
	case "firewall":
		g.Firewall22 = strings.Contains(req.Contents["/etc/ufw/user.rules"], "--dport 22 ")
	case "ssh":
		g.sshd = req.Contents["/etc/ssh/sshd_config.d/00-openclaw.conf"]
		g.Sshd22 = strings.Contains(g.sshd, "\nPort 22\n")
	}
	if g.LastRollback == name {
		g.LastRollback = ""
	}
	return "", nil
}

// dial is what SSH does with a connection's inputs.
func (w *World) dial(through string, connection resource.PropertyMap) error {
	if err := w.reach(through, connection["user"].StringValue()); err != nil {
		return err
	}
	ports := []float64{float64(reach.LocalPort(w.project, w.Stack)), float64(reach.BootstrapLocalPort(reach.LocalPort(w.project, w.Stack)))}
	if !w.listening || connection["host"].StringValue() != "127.0.0.1" || !slices.Contains(ports, connection["port"].NumberValue()) {
		return fmt.Errorf("nothing listens on %v:%v", connection["host"].StringValue(), connection["port"].NumberValue())
	}
	offered, err := publicHalf(connection["privateKey"].StringValue())
	if err != nil {
		return err
	}
	return w.handshake(connection["user"].StringValue(), offered, connection["hostKey"].StringValue())
}

// reach tells whether packets reach an sshd that listens to that user.
func (w *World) reach(through, user string) error {
	g := w.Guest
	switch {
	case g == nil:
		return errors.New("no route to host")
	case w.Silent || w.Azure.Stopped:
		return errors.New("the host is silent")
	case through == "bootstrap" && !(w.Azure.Admits(w.Home, "Tcp", 22) && (g.Firewall22 && g.Sshd22 || g.Stubborn22)):
		return errors.New("port 22 does not answer")
	case through == "bootstrap" && user != g.Admin:
		return fmt.Errorf("user %q is refused on port 22", user)
	case through == "tunnel" && w.Azure.Denies(w.Home, "Udp", 51820):
		return &tunnel.SilentError{Endpoint: netip.AddrPortFrom(netip.MustParseAddr(g.address), 51820)}
	case through == "tunnel" && !w.Azure.Admits(w.Home, "Udp", 51820):
		return errors.New("WireGuard does not answer")
	case through == "tunnel" && g.sshd == "":
		return errors.New("sshd does not answer in the tunnel")
	case through == "tunnel" && user != "claw" && user != "openclaw-deploy":
		return fmt.Errorf("user %q is refused on port 2222", user)
	}
	return nil
}

// handshake tells whether the keys of both sides are those that the other expects.
func (w *World) handshake(user, offered, pinned string) error {
	if !SameKey(pinned, w.Guest.HostKey) {
		return errors.New("the host key differs")
	}
	authorized := map[string]string{w.Guest.Admin: w.Guest.AdminKey, "claw": w.Guest.ClawKeys, "openclaw-deploy": w.Guest.deployKeys}[user]
	for line := range strings.Lines(authorized) {
		if _, key, restricted := strings.Cut(line, `" ssh-`); restricted {
			line = "ssh-" + key // what stands before it, the lab's sshd obeys
		}
		if SameKey(line, offered) {
			return nil
		}
	}
	return door.ErrKeyRefused
}

func SameKey(a, b string) bool {
	left, err := keys.ParseAuthorizedKey(strings.TrimSpace(a))
	if err != nil {
		return false
	}
	right, err := keys.ParseAuthorizedKey(strings.TrimSpace(b))
	return err == nil && bytes.Equal(left.Marshal(), right.Marshal())
}

// publicHalves are private keys' public halves: to read one of RSA takes its time.
var publicHalves sync.Map

func publicHalf(private string) (string, error) {
	if public, ok := publicHalves.Load(private); ok {
		return public.(string), nil
	}
	signer, err := ssh.ParsePrivateKey([]byte(private))
	if err != nil {
		return "", err
	}
	public := string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
	publicHalves.Store(private, public)
	return public, nil
}
