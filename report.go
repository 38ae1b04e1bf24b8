package main

import (
	"errors"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/internals"
)

// errReported wraps what Pulumi has put on the console already.
type errReported struct{ error }

func (e errReported) Unwrap() error { return e.error }

// report puts an error on the console, once.
func report(ctx *pulumi.Context, err error) {
	var reported errReported
	if errors.As(err, &reported) {
		return
	}
	_ = ctx.Log.Error(err.Error(), nil) // nothing is left to tell, where even the log fails
}

// warn puts a warning on the console.
func warn(ctx *pulumi.Context, text string) {
	_ = ctx.Log.Warn(text, nil)
}

// await waits until an output is there or known to be unknown. An error means that the resource failed, which stands
// on the console.
func await(ctx *pulumi.Context, o pulumi.Output) error {
	if _, err := internals.UnsafeAwaitOutput(ctx.Context(), o); err != nil {
		return errReported{err}
	}
	return nil
}

// awaitString waits for a text. It is empty where the text is not known, as in a preview, or not there.
func awaitString(ctx *pulumi.Context, o pulumi.Output) (string, error) {
	result, err := internals.UnsafeAwaitOutput(ctx.Context(), o)
	if err != nil {
		return "", errReported{err}
	}
	if !result.Known {
		return "", nil
	}
	switch v := result.Value.(type) {
	case string:
		return v, nil
	case *string:
		if v != nil {
			return *v, nil
		}
	}
	return "", nil
}
