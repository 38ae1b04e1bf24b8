package door

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// A host that is not there yet costs nothing to ask.
	askAgain = time.Second
	// sshd keeps count of connections that do not log in (PerSourcePenalties: 1 s
	// each): slower than it counts.
	askAgainSlowly = 2 * time.Second
	// Logins after the first that a host may refuse to everybody, as one that boots does: each counts against this
	// machine in sshd.
	closedLogins = 2
	// How often a wait says that it still waits.
	sayAgain = 15 * time.Second
)

// WaitReady is Await for who needs no more than to know.
func (d Door) WaitReady(ctx context.Context, say func(line string)) error {
	c, err := d.Await(ctx, say)
	if err != nil {
		return err
	}
	return c.Close()
}

// Await waits until the door opens and lets the user in. Only what passes by
// itself is waited for: a host that is not there yet, or not speaking SSH yet,
// and, twice at most, one that says that it lets nobody in yet. A refused key or
// another host key ends the wait at once. say, where not nil, is given a line
// for each new reason to wait, and the same one again from time to time.
func (d Door) Await(ctx context.Context, say func(line string)) (*Client, error) {
	start := time.Now()
	closed := 0
	said, saidAt := "", time.Time{}
	var last *Error
	for {
		c, err := d.Connect(ctx)
		if err == nil {
			return c, nil
		}
		pause := askAgain
		var fault *Error
		if !errors.As(err, &fault) {
			return nil, err
		}
		if ctx.Err() != nil && last != nil {
			// Cut short, this try says less than the one before.
			fault = last
		}
		last = fault
		switch fault.Kind {
		case ErrUnreachable:
		case ErrNoSSH:
			pause = askAgainSlowly
		case ErrLoginClosed:
			if closed++; closed > closedLogins {
				return nil, err
			}
			pause = askAgainSlowly
		default:
			return nil, err
		}
		if say != nil && (fault.Fact != said || time.Since(saidAt) >= sayAgain) {
			said, saidAt = fault.Fact, time.Now()
			say(fmt.Sprintf("waiting for the %s (%s so far): %s", d, time.Since(start).Round(time.Second), fault.Fact))
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil, d.cancelled(ctx.Err())
			}
			gaveUp := *fault
			gaveUp.Fact = fmt.Sprintf("not open in %s: %s", round(time.Since(start)), fault.Fact)
			return nil, d.hinted(&gaveUp)
		}
	}
}
