// Package version says which version of the program this is.
package version

// Number is what a release is named; the stack's readme and `claw version` show it.
const Number = "0.1.0-dev"
