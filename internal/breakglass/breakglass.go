// Package breakglass holds the script that opens the bootstrap door through Azure's agent, with no open port, however
// broken the host's own configuration is.
package breakglass

import _ "embed"

// Script is POSIX sh, to be run as root. Its parameters are the environment variables that its header names; HOST_KEY
// is a secret.
//
//go:embed open-door.sh
var Script string
