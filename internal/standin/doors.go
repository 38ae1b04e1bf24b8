package standin

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"openclaw-azure/internal/foreign"
	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/reach"
)

// otherDoors stand in for the program's own way to the host, which the engine's tests have not: no packet flows. What
// opens and what not is decided by the guest, the rules and the keys.
type Doors struct{ world *World }

func (d Doors) Listen() error {
	d.world.mu.Lock()
	defer d.world.mu.Unlock()
	if d.world.PortTaken {
		return fmt.Errorf("%w: listen on 127.0.0.1:%d", reach.ErrLocalPort, reach.LocalPort(d.world.project, d.world.Stack))
	}
	d.world.listening = true
	return nil
}

func (d Doors) Observe(a reach.Access, bootstrap bool) (*layer.Observation, error) {
	d.world.mu.Lock()
	defer d.world.mu.Unlock()
	d.world.note("look through " + doorName(bootstrap))
	if err := d.world.opens(a, bootstrap); err != nil {
		return nil, err
	}
	answer := map[string]any{}
	for name, on := range d.world.Guest.Layers {
		answer[name] = map[string]any{"token": on.Token, "digest": on.digest, "drift": d.world.Guest.Drift[name]}
	}
	whole := map[string]any{"layers": answer, "notes": d.world.Guest.Notes, "warnings": d.world.Guest.Warnings, "pending": nil, "lastRollback": nil}
	if p := d.world.Guest.Pending; p != "" {
		whole["pending"] = map[string]any{"layer": p, "token": "0"}
	}
	if p := d.world.Guest.LastRollback; p != "" {
		whole["lastRollback"] = map[string]any{"layer": p, "token": "0", "reason": "no confirmation in 120 s"}
	}
	text, err := json.Marshal(whole)
	if err != nil {
		return nil, err
	}
	return layer.ParseObservation(foreign.NewStream(text))
}

func (d Doors) Ready(a reach.Access, bootstrap bool, _ func(string)) error {
	d.world.mu.Lock()
	defer d.world.mu.Unlock()
	d.world.tried[doorName(bootstrap)] = true
	return d.world.opens(a, bootstrap)
}

func (d Doors) Closed(a reach.Access) func() error {
	d.world.mu.Lock()
	defer d.world.mu.Unlock()
	d.world.note("dial port 22")
	var err error
	if d.world.reach("bootstrap", a.AdminUsername) == nil {
		err = errors.New("port 22 is to be closed, and sshd answers")
	}
	return func() error { return err }
}

func (d Doors) Both(a reach.Access, say func(string)) error {
	if err := d.Ready(a, false, say); err != nil {
		return err
	}
	d.world.mu.Lock()
	defer d.world.mu.Unlock()
	return d.world.handshake("claw", a.Keys.Operator.Public, a.Keys.HostKey.Public)
}

func (d Doors) Confirm(_ reach.Access, bootstrap bool, p layer.Packed, _ int, _ func(string)) func() {
	port := uint16(2222)
	if bootstrap {
		port = 22
	}
	d.world.mu.Lock()
	defer d.world.mu.Unlock()
	d.world.confirming[p.Name] = port
	return func() {
		d.world.mu.Lock()
		defer d.world.mu.Unlock()
		delete(d.world.confirming, p.Name)
	}
}

func (d Doors) Close() {
	d.world.mu.Lock()
	defer d.world.mu.Unlock()
	d.world.listening = false
}

func doorName(bootstrap bool) string {
	if bootstrap {
		return "bootstrap"
	}
	return "tunnel"
}

// opens tells whether a door opens to the program's keys.
func (w *World) opens(a reach.Access, bootstrap bool) error {
	user, own := "openclaw-deploy", a.Keys.Deployer.SSH.Public
	if a.Named != nil {
		own = string(ssh.MarshalAuthorizedKey(a.Named.Door.Key.PublicKey()))
	}
	if bootstrap {
		user, own = a.AdminUsername, a.Keys.Bootstrap.Public
	}
	if err := w.reach(doorName(bootstrap), user); err != nil {
		return err
	}
	if a.Public.String() != w.Guest.address {
		return fmt.Errorf("nobody has the address %v", a.Public)
	}
	if !bootstrap {
		public, preshared := a.Keys.Deployer.Public, a.Keys.Deployer.Preshared
		if a.Named != nil {
			public, preshared = a.Named.Tunnel.PrivateKey.PublicKey(), a.Named.Tunnel.PresharedKey
			w.note("as the peer at " + a.Named.Tunnel.Address.String())
		}
		for _, part := range []string{
			"PrivateKey = " + a.Keys.WireGuardServer.Private.String(),
			"PublicKey = " + public.String() + "\nPresharedKey = " + preshared.String(),
		} {
			if !strings.Contains(w.Guest.Wireguard, part) {
				return errors.New("WireGuard does not answer: other keys")
			}
		}
	}
	return w.handshake(user, own, a.Keys.HostKey.Public)
}
