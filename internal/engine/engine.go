// Package engine is how the program talks to Pulumi's engine: it waits for outputs, and puts each warning and each error
// on the console once.
package engine

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/internals"

	"openclaw-azure/internal/foreign"
	"openclaw-azure/internal/hint"
)

// OwnStack is this stack's name, as a reference to a stack wants it.
func OwnStack(ctx *pulumi.Context) string {
	return fmt.Sprintf("%s/%s/%s", ctx.Organization(), ctx.Project(), ctx.Stack())
}

// OwnOutputs reads what the last run exported; empty if there was none. Not by a StackReference: that is a resource, and
// each preview would show that it is read.
func OwnOutputs(ctx *pulumi.Context) (map[string]any, error) {
	var last struct {
		Outputs map[string]any `pulumi:"outputs"`
	}
	err := read(ctx, "pulumi:pulumi:readStackOutputs", &struct {
		Name string `pulumi:"name"`
	}{OwnStack(ctx)}, &last)
	switch {
	case err != nil && strings.Contains(err.Error(), "invalid character '/'"):
		return nil, hint.To(errors.New("this backend keeps its stacks in Pulumi's old layout, where they belong to no project: the program cannot find its own stack there"),
			"pulumi state upgrade")
	case err != nil:
		return nil, fmt.Errorf("read the outputs of the last run: %w", err)
	}
	return last.Outputs, nil
}

// Resource is one of the stack's state.
type Resource struct {
	Type    string         `pulumi:"type"`
	Outputs map[string]any `pulumi:"outputs"`
}

// OwnResources reads which resources the stack's state holds, by their URNs.
func OwnResources(ctx *pulumi.Context) (map[string]Resource, error) {
	var state struct {
		Outputs map[string]Resource `pulumi:"outputs"`
	}
	err := read(ctx, "pulumi:pulumi:readStackResourceOutputs", &struct {
		Stack string `pulumi:"stackName"`
	}{OwnStack(ctx)}, &state)
	if err != nil {
		return nil, fmt.Errorf("read which resources the last run left: %w", err)
	}
	return state.Outputs, nil
}

// A state that lies in a file is being written while the run begins, and one that is half written is read as its end.
const (
	readTries = 5
	readPause = 300 * time.Millisecond
)

// read asks the engine for something of the stack's own state.
func read(ctx *pulumi.Context, token string, args, into any) error {
	for try := 1; ; try++ {
		_, err := ctx.InvokePackageRaw(token, args, into, "")
		if err == nil || try == readTries {
			return err
		}
		select {
		case <-ctx.Context().Done():
			return err
		case <-time.After(readPause):
		}
	}
}

// Value waits for an output; nil means that it is not known, as in a preview. An error means that the resource failed,
// and is on the console already.
//
// The program looks before it declares, so it has to wait in the middle of its own run. Pulumi offers that in a package
// that it calls internal; if UnsafeAwaitOutput goes, what follows a wait has to move into ApplyT, and no resource could
// be left out by what is found.
func Value(ctx *pulumi.Context, o pulumi.Output) (any, error) {
	result, err := internals.UnsafeAwaitOutput(ctx.Context(), o)
	if err != nil {
		return nil, reported{err}
	}
	if !result.Known {
		return nil, nil
	}
	return result.Value, nil
}

// Await waits until an output is there, or known to be unknown.
func Await(ctx *pulumi.Context, o pulumi.Output) error {
	_, err := Value(ctx, o)
	return err
}

// Text waits for a text. It is empty if the text is not known, as in a preview, or not there.
func Text(ctx *pulumi.Context, o pulumi.Output) (string, error) {
	value, err := Value(ctx, o)
	switch v := value.(type) {
	case string:
		return v, err
	case pulumi.ID:
		return string(v), err
	case *string:
		if v != nil {
			return *v, err
		}
	}
	return "", err
}

// reported wraps what Pulumi has put on the console already.
type reported struct{ error }

var _ interface{ Unwrap() error } = reported{}

func (e reported) Unwrap() error { return e.error }

// Report puts an error on the console, once.
func Report(ctx *pulumi.Context, err error) {
	var done reported
	if errors.As(err, &done) {
		return
	}
	// Azure's errors come as plain strings, by Pulumi's own errors.
	_ = ctx.Log.Error(foreign.Printable(err.Error()), nil) // if even the log fails, there is nobody left to tell
}

// Warn puts a warning on the console.
func Warn(ctx *pulumi.Context, text string) { _ = ctx.Log.Warn(foreign.Printable(text), nil) }

// Say puts a line on the console.
func Say(ctx *pulumi.Context, text string) { _ = ctx.Log.Info(foreign.Printable(text), nil) }
