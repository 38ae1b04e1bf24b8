package main

import (
	"errors"
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
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

// errNotMade is for a resource that this run needs and that is not there.
func errNotMade(what string) error {
	return fmt.Errorf("%s not made\nhint: an error above says why; where there is none, --target left it out: pulumi up, without it", what)
}

// warn puts a warning on the console.
func warn(ctx *pulumi.Context, text string) {
	_ = ctx.Log.Warn(text, nil)
}
