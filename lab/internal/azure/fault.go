package azure

import (
	"context"
	"time"
)

// Fault makes requests fail, or take their time, as they do in Azure now and then. The zero value of Method and Token
// fits every request.
type Fault struct {
	Method string // PUT, GET or DELETE
	Token  string // azure-native:MODULE:TYPE
	Times  int    // how many requests it meets
	Delay  time.Duration
	Hold   bool // a request waits until the faults are cleared, and goes on then

	// Status is the answer's; with 0 the request goes on after Delay.
	Status     int
	Code       string
	Message    string
	RetryAfter time.Duration

	// Met counts the requests that have met it.
	Met int

	cleared chan struct{}
}

// Inject makes the next requests that fit f meet it.
func (p *Provider) Inject(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f.Met, f.Times, f.cleared = 0, max(1, f.Times), make(chan struct{})
	p.faults = append(p.faults, &f)
}

// Faults tells of those that were injected and not cleared.
func (p *Provider) Faults() []Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	faults := []Fault{}
	for _, f := range p.faults {
		faults = append(faults, *f)
	}
	return faults
}

// ClearFaults ends all faults; requests that were held go on.
func (p *Provider) ClearFaults() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.faults {
		close(f.cleared)
	}
	p.faults = nil
}

func (p *Provider) fault(ctx context.Context, method string, k *kind) error {
	p.mu.Lock()
	var met *Fault
	for _, f := range p.faults {
		if f.Met < f.Times && (f.Method == "" || f.Method == method) && (f.Token == "" || f.Token == k.token) {
			met = f
			f.Met++
			break
		}
	}
	p.mu.Unlock()
	if met == nil {
		return nil
	}
	if met.Hold {
		select {
		case <-met.cleared:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case <-time.After(met.Delay):
	case <-ctx.Done():
		return ctx.Err()
	}
	if met.Status == 0 {
		return nil
	}
	return &armError{Status: met.Status, Code: met.Code, Message: met.Message, RetryAfter: met.RetryAfter}
}
