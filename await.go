package main

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/internals"
)

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
