package azure

import (
	"context"
	"slices"
	"time"
)

// Fault makes requests fail, or take their time, as they do in Azure now and then. The zero value of Method and Token
// fits every request.
type Fault struct {
	Method string // PUT, GET or DELETE
	Token  string // azure-native:MODULE:TYPE
	Times  int    // how many requests it meets
	Delay  time.Duration

	// Status is the answer's; with 0 the request goes on after Delay.
	Status     int
	Code       string
	Message    string
	RetryAfter time.Duration
}

// Inject makes the next requests that fit f meet it.
func (p *Provider) Inject(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, &f)
}

func (p *Provider) fault(ctx context.Context, method string, k *kind) error {
	p.mu.Lock()
	var met *Fault
	for i, f := range p.faults {
		if (f.Method == "" || f.Method == method) && (f.Token == "" || f.Token == k.token) {
			met = f
			if f.Times--; f.Times <= 0 {
				p.faults = slices.Delete(p.faults, i, i+1)
			}
			break
		}
	}
	p.mu.Unlock()
	if met == nil {
		return nil
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
