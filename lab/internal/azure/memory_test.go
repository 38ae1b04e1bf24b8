package azure

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"openclaw-azure/lab/internal/fabric"
)

// memory is a fabric that remembers what it was asked for.
type memory struct {
	mu        sync.Mutex
	machines  map[string]fabric.Machine
	restarts  int
	rules     map[string][]fabric.Rule
	scripts   []scriptRun
	next      byte
	released  []netip.Addr
	createErr error
	boot      chan struct{} // where there is one, a machine boots once it is closed
	rulesErr  error
	agentErr  error // AwaitAgent's
	// run answers for scripts; nil succeeds.
	run func(ctx context.Context, s scriptRun) (fabric.Result, error)
}

var _ fabric.Fabric = (*memory)(nil)

type scriptRun struct {
	vmID    string
	text    string
	params  []fabric.Param
	timeout time.Duration
}

func newMemory() *memory {
	return &memory{machines: map[string]fabric.Machine{}, rules: map[string][]fabric.Rule{}}
}

func (m *memory) CreateVM(_ context.Context, machine fabric.Machine) error {
	if m.boot != nil {
		<-m.boot
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.createErr != nil {
		return m.createErr
	}
	if m.rules[machine.VMID] == nil {
		return errors.New("no rules in force before the machine boots")
	}
	m.machines[machine.VMID] = machine
	return nil
}

func (m *memory) DeleteVM(_ context.Context, vmID string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.machines, vmID)
	delete(m.rules, vmID)
	return nil
}

func (m *memory) RestartVM(_ context.Context, vmID string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.restarts++
	return nil
}

func (m *memory) VMExists(_ context.Context, vmID string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.machines[vmID]
	return ok, nil
}

func (m *memory) SetRules(_ context.Context, vmID string, rules []fabric.Rule) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rulesErr != nil {
		return m.rulesErr
	}
	m.rules[vmID] = rules
	return nil
}

func (m *memory) AwaitAgent(context.Context, string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.agentErr
}

func (m *memory) RunScript(ctx context.Context, vmID string, text []byte, params []fabric.Param, timeout time.Duration) (fabric.Result, error) {
	s := scriptRun{vmID, string(text), params, timeout}
	m.mu.Lock()
	m.scripts = append(m.scripts, s)
	run := m.run
	m.mu.Unlock()
	if run == nil {
		return fabric.Result{}, nil
	}
	return run(ctx, s)
}

func (m *memory) AllocatePublicAddress(context.Context) (netip.Addr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next++
	return netip.ParseAddr(fmt.Sprintf("198.18.100.%d", m.next))
}

func (m *memory) ReleasePublicAddress(_ context.Context, address netip.Addr) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.released = append(m.released, address)
	return nil
}
