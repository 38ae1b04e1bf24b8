// Package azure stands in for Azure's control plane as the Pulumi provider azure-native v2.90.0 shows it: the names
// that it gives, what it answers, what it refuses and in which words. Machines, addresses and security rules behind
// it are real and belong to a fabric.
//
// Two things are less than they seem. Each known image boots whatever image the lab has built, and a size gives a
// machine neither more nor fewer processors. What the lab cannot do although Azure can is refused with an error that
// begins with "the lab".
//
// Texts of errors are those that public sources quote. Where none quotes them, the code that makes the error says so.
package azure

import (
	"context"
	"fmt"
	"github.com/google/uuid"
	"io"
	"log"
	"net"
	"sync"
	"time"

	"openclaw-azure/lab/internal/attached"
	"openclaw-azure/lab/internal/fabric"
)

// Version is the provider's release whose answers are given.
const Version = "2.90.0"

// Provider is one subscription: its record of what exists, and what stands behind it.
type Provider struct {
	// Log gets a line for each request that changes something: its method, resource and outcome, never a property.
	Log *log.Logger
	// LimitsFile is where the limits of the subscription stand.
	LimitsFile string

	// ManagerURL is where Manager is served: the token that the provider gives out is for it, as the token says itself.
	ManagerURL string

	login  string // what the token is made unforgeable with
	fabric fabric.Fabric
	// retries are the waits before a request is sent again that was throttled or met a broken service.
	retries []time.Duration

	// ctx is that of Serve: what Azure has begun goes on when the client goes away.
	ctx context.Context
	// work is what goes on by itself.
	work sync.WaitGroup

	mu     sync.Mutex
	record *record
	// enforced are the rules last given to the fabric, by vmId.
	enforced map[string]string
	// running are the scripts under way, by the id of their run command; its deletion ends them.
	running map[string]context.CancelCauseFunc
	faults  []*Fault
	// settling are the security groups that are at work, by their ids.
	settling map[string]bool
}

// New reads the record in recordFile, which need not exist, and keeps it up to date from then on.
func New(f fabric.Fabric, recordFile string) (*Provider, error) {
	record, err := openRecord(recordFile)
	if err != nil {
		return nil, err
	}
	return &Provider{
		Log:      log.New(io.Discard, "", 0),
		fabric:   f,
		retries:  []time.Duration{20 * time.Second, 60 * time.Second, 120 * time.Second},
		ctx:      context.Background(),
		record:   record,
		enforced: map[string]string{},
		running:  map[string]context.CancelCauseFunc{},
		settling: map[string]bool{},
		login:    uuid.NewString(),
	}, nil
}

// Serve puts the recorded machines' rules in force and answers engines on l until ctx ends.
func (p *Provider) Serve(ctx context.Context, l net.Listener) error {
	p.ctx = ctx
	if err := p.resume(ctx); err != nil {
		return err
	}
	err := attached.Serve(ctx, l, "", func(e *attached.Engine) attached.Run {
		return &run{Plugin: attached.Plugin{Engine: e, Name: "azure-native", Version: Version}, p: p}
	})
	// What goes on by itself ends with ctx, and puts that into the record.
	ended := make(chan struct{})
	go func() {
		p.work.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(lastWork):
	}
	return err
}

// lastWork is how long the end of the server waits for what goes on by itself.
const lastWork = 10 * time.Second

// resume forgets machines that are gone and puts the others' rules in force: a fabric that was started anew knows none.
func (p *Provider) resume(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, r := range p.record.Resources {
		if r.Kind != "" && busy(r) { // its operation ended with the server that ran it
			r = r.clone()
			r.ProvisioningState = "Failed"
			p.record.Resources[k] = r
		}
	}
	for _, r := range p.record.ofKind(virtualMachine) {
		if err := p.forgetIfGone(ctx, r); err != nil {
			return err
		}
	}
	return p.enforce(ctx, p.record.Resources)
}

// labCannot is for what Azure does and the lab does not.
func labCannot(format string, args ...any) error {
	return fmt.Errorf("the lab "+format, args...)
}
