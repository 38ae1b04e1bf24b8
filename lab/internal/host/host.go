// Package host runs the lab's virtual machines: it boots a real operating system from the image, in namespaces of
// its own, and does for it what Azure's platform and its agent would.
package host

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"openclaw-azure/lab/internal/fabric"
	"openclaw-azure/lab/internal/place"
)

// Host is the lab's machines, and behind Azure's control plane the fabric.
type Host struct {
	folder   string // state.json and a folder for each machine
	image    string
	networks place.Networks
	log      func(format string, args ...any)

	// loading keeps one set of rules from overtaking another on the way to the kernel.
	loading sync.Mutex
	mu      sync.Mutex
	record  record
	guests  map[string]*guest
}

var _ fabric.Fabric = (*Host)(nil)

// record is what outlives the daemon.
type record struct {
	Machines map[string]machine       `json:"machines"`
	Rules    map[string][]fabric.Rule `json:"rules"`
	// Public is the last address that was given out, Held those in use.
	Public netip.Addr   `json:"public"`
	Held   []netip.Addr `json:"held"`
}

type machine struct {
	fabric.Machine
	Place string
	// Scripts counts the scripts that the agent was given.
	Scripts int
}

// Open takes up what an earlier daemon left in folder: machines that it had boot again.
func Open(folder, image string, networks place.Networks, log func(format string, args ...any)) (*Host, error) {
	h := &Host{folder: folder, image: image, networks: networks, log: log, guests: map[string]*guest{}}
	h.record = record{Machines: map[string]machine{}, Rules: map[string][]fabric.Rule{}}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(h.recordPath())
	switch {
	case errors.Is(err, os.ErrNotExist):
		return h, nil
	case err != nil:
		return nil, err
	}
	if err := json.Unmarshal(text, &h.record); err != nil {
		return nil, fmt.Errorf("%s: %w", h.recordPath(), err)
	}
	for id, m := range h.record.Machines {
		if _, err := os.Stat(filepath.Join(h.machineFolder(id), "disk")); err != nil {
			// Its creation was cut off; the control plane never heard of it.
			if err := os.RemoveAll(h.machineFolder(id)); err != nil {
				return nil, err
			}
			delete(h.record.Machines, id)
			continue
		}
		guest, err := h.newGuest(m)
		if err != nil {
			return nil, err
		}
		h.guests[id] = guest
		guest.start()
	}
	return h, nil
}

func (h *Host) recordPath() string             { return filepath.Join(h.folder, "state.json") }
func (h *Host) machineFolder(id string) string { return filepath.Join(h.folder, id) }
func (h *Host) groupName(place string) string  { return "openclaw-" + h.networks.Namespace(place) }

// save writes the record. The caller holds mu.
func (h *Host) save() error {
	text, err := json.MarshalIndent(h.record, "", "\t")
	if err != nil {
		return err
	}
	part := h.recordPath() + ".part"
	if err := os.WriteFile(part, text, 0o600); err != nil {
		return err
	}
	return os.Rename(part, h.recordPath())
}

// note changes what the record says of a machine. One that was deleted meanwhile stays so.
func (h *Host) note(vmID string, change func(*machine)) (machine, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m, ok := h.record.Machines[vmID]
	if !ok {
		return machine{}, noMachine(vmID)
	}
	change(&m)
	h.record.Machines[vmID] = m
	return m, h.save()
}

func noMachine(vmID string) error { return fmt.Errorf("there is no virtual machine %s", vmID) }

func (h *Host) newGuest(m machine) (*guest, error) {
	groups, err := groupPaths(h.groupName(m.Place))
	if err != nil {
		return nil, err
	}
	return &guest{
		id: m.VMID, folder: h.machineFolder(m.VMID), place: h.networks.Namespace(m.Place), name: m.ComputerName,
		groups: groups, log: h.log, changed: make(chan struct{}), stopped: true,
		link: func(ctx context.Context) error {
			if err := h.networks.Attach(ctx, m.Place, m.PrivateAddress, m.Subnet); err != nil {
				return err
			}
			return h.loadRules(ctx)
		},
	}, nil
}

// loadRules puts the rules of all machines in force.
func (h *Host) loadRules(ctx context.Context) error {
	h.loading.Lock()
	defer h.loading.Unlock()
	h.mu.Lock()
	var machines []place.Machine
	for id, m := range h.record.Machines {
		machines = append(machines, place.Machine{
			Place: m.Place, Private: m.PrivateAddress, Public: m.PublicAddress, VNet: m.VNet, Rules: h.record.Rules[id],
		})
	}
	h.mu.Unlock()
	slices.SortFunc(machines, func(a, b place.Machine) int { return cmp.Compare(a.Place, b.Place) })
	return h.networks.Load(ctx, machines)
}

// CreateVM boots a new machine.
func (h *Host) CreateVM(ctx context.Context, m fabric.Machine) error {
	guest, err := h.admit(m)
	if err != nil {
		return err
	}
	err = h.install(ctx, guest, m)
	if err == nil {
		guest.start()
		err = h.awaitCloudInit(ctx, guest)
	}
	if err != nil {
		// Nothing is left of a machine that could not be made, or its address and place stay taken.
		return errors.Join(fmt.Errorf("create virtual machine %q: %w", m.Name, err), h.DeleteVM(context.WithoutCancel(ctx), m.VMID))
	}
	return nil
}

// admit enters a machine into the record, at a place that is free.
func (h *Host) admit(m fabric.Machine) (*guest, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.record.Machines[m.VMID]; ok {
		return nil, fmt.Errorf("virtual machine %s exists already", m.VMID)
	}
	taken := map[string]bool{}
	for _, other := range h.record.Machines {
		taken[other.Place] = true
	}
	name := place.VM
	for n := 2; taken[name]; n++ {
		name = fmt.Sprintf("%s%d", place.VM, n)
	}
	entry := machine{Machine: m, Place: name}
	guest, err := h.newGuest(entry)
	if err != nil {
		return nil, err
	}
	h.record.Machines[m.VMID] = entry
	h.guests[m.VMID] = guest
	return guest, h.save()
}

func (h *Host) install(ctx context.Context, g *guest, m fabric.Machine) error {
	if err := os.MkdirAll(g.folder, 0o700); err != nil {
		return err
	}
	if err := provision(g.folder, m); err != nil {
		return err
	}
	part := filepath.Join(g.folder, "disk.part")
	out, err := exec.CommandContext(ctx, "cp", "--sparse=always", "--reflink=auto", h.image, part).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy the image: %w\n%s", err, out)
	}
	return os.Rename(part, filepath.Join(g.folder, "disk"))
}

// DeleteVM ends a machine and takes everything of it away. One that does not exist is no error.
func (h *Host) DeleteVM(ctx context.Context, vmID string) error {
	h.mu.Lock()
	guest, m := h.guests[vmID], h.record.Machines[vmID]
	h.mu.Unlock()
	if guest == nil {
		return nil
	}
	if err := guest.halt(ctx); err != nil {
		return err
	}
	if err := h.networks.Detach(ctx, m.Place); err != nil {
		return err
	}
	if err := removeGroups(guest.groups); err != nil {
		return err
	}
	if err := os.RemoveAll(guest.folder); err != nil {
		return err
	}
	h.mu.Lock()
	delete(h.guests, vmID)
	delete(h.record.Machines, vmID)
	delete(h.record.Rules, vmID)
	err := h.save()
	h.mu.Unlock()
	return errors.Join(err, h.loadRules(ctx))
}

// rebootPatience is how long a machine may take to shut down by itself.
const rebootPatience = 60 * time.Second

// RestartVM reboots a machine; one that is stopped is started.
func (h *Host) RestartVM(ctx context.Context, vmID string) error {
	guest, err := h.guest(vmID)
	if err != nil {
		return err
	}
	guest.mu.Lock()
	stopped := !guest.active
	guest.mu.Unlock()
	if stopped {
		guest.start()
	} else if err := guest.cycle(ctx, rebootPatience); err != nil {
		return err
	}
	_, err = guest.answering(ctx)
	return err
}

// VMExists tells whether a machine was made and not deleted.
func (h *Host) VMExists(_ context.Context, vmID string) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.record.Machines[vmID]
	return ok, nil
}

// SetRules puts security rules in force. They are kept for a machine that does not exist yet.
func (h *Host) SetRules(ctx context.Context, vmID string, rules []fabric.Rule) error {
	h.mu.Lock()
	before, had := h.record.Rules[vmID]
	h.record.Rules[vmID] = rules
	err := h.save()
	h.mu.Unlock()
	if err != nil {
		return err
	}
	if err := h.loadRules(ctx); err != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		// Rules that the filter refuses must not stay and block every later change.
		if had {
			h.record.Rules[vmID] = before
		} else {
			delete(h.record.Rules, vmID)
		}
		return errors.Join(err, h.save())
	}
	return nil
}

// AllocatePublicAddress gives the next address of the pool.
func (h *Host) AllocatePublicAddress(context.Context) (netip.Addr, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	held := map[netip.Addr]bool{}
	for _, address := range h.record.Held {
		held[address] = true
	}
	next := h.record.Public
	for range 1 << (32 - place.PublicPool.Bits()) {
		if next = next.Next(); !place.PublicPool.Contains(next) {
			next = place.PublicPool.Addr().Next()
		}
		if !held[next] {
			h.record.Public = next
			h.record.Held = append(h.record.Held, next)
			return next, h.save()
		}
	}
	return netip.Addr{}, fmt.Errorf("all public addresses of %s are taken", place.PublicPool)
}

// ReleasePublicAddress gives an address back.
func (h *Host) ReleasePublicAddress(_ context.Context, address netip.Addr) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, held := range h.record.Held {
		if held == address {
			h.record.Held = append(h.record.Held[:i], h.record.Held[i+1:]...)
			return h.save()
		}
	}
	return nil
}

func (h *Host) guest(vmID string) (*guest, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	guest := h.guests[vmID]
	if guest == nil {
		return nil, noMachine(vmID)
	}
	return guest, nil
}

// State is what can be told of a machine.
type State struct {
	VMID    string
	Name    string
	Place   string
	Public  netip.Addr
	Private netip.Addr
	Boots   int
	Init    int // its init process, 0 while there is none
	Group   string
	Console string
	Stopped string // why it does not run; empty while it does or is about to
}

// States tells of all machines.
func (h *Host) States() []State {
	h.mu.Lock()
	defer h.mu.Unlock()
	var states []State
	for id, m := range h.record.Machines {
		g := h.guests[id]
		g.mu.Lock()
		state := State{
			VMID: id, Name: m.ComputerName, Place: m.Place, Public: m.PublicAddress, Private: m.PrivateAddress,
			Boots: g.boots, Init: g.init, Group: g.payload(), Console: filepath.Join(g.folder, "console.log"),
		}
		if g.stopped {
			state.Stopped = g.whyStopped().Error()
		}
		g.mu.Unlock()
		states = append(states, state)
	}
	return states
}

// Running waits for a machine whose init answers, for example over a reboot, and tells of it.
func (h *Host) Running(ctx context.Context, vmID string) (State, error) {
	guest, err := h.guest(vmID)
	if err != nil {
		return State{}, err
	}
	if _, err := guest.answering(ctx); err != nil {
		return State{}, err
	}
	for _, state := range h.States() {
		if state.VMID == vmID {
			return state, nil
		}
	}
	return State{}, noMachine(vmID)
}

// Close ends all machines as a power cut would; their disks stay.
func (h *Host) Close(ctx context.Context) error {
	h.mu.Lock()
	var guests []*guest
	for _, g := range h.guests {
		guests = append(guests, g)
	}
	h.mu.Unlock()
	var errs []error
	for _, g := range guests {
		errs = append(errs, g.halt(ctx), removeGroups(g.groups))
	}
	return errors.Join(errs...)
}

// RemoveGroups removes the control groups that machines of a lab left when their daemon was killed.
func RemoveGroups(networks place.Networks) error {
	paths, err := groupPaths("openclaw-" + networks.Namespace(place.VM))
	if err != nil {
		return err
	}
	var left []string
	for _, path := range paths {
		left = append(left, path)
		numbered, err := filepath.Glob(path + "[0-9]*")
		if err != nil {
			return err
		}
		left = append(left, numbered...)
	}
	return removeGroups(left)
}
