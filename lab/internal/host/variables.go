package host

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"openclaw-azure/lab/internal/archive"
)

// likeVariable, set to ubuntu when a lab is started, makes of each new machine what Azure's Ubuntu is in the ways that
// matter here: sshd by socket activation, cloud-init's drop-in that allows passwords, the image's own drop-in, the agent's
// sudoers, its rules and its units. It stays a Debian; an Ubuntu gets them anyway.
const likeVariable = "LAB_LIKE"

// cloudInitVariable, set to a number of seconds when a lab is started, makes cloud-init's last stage take that long at the
// first boot of each new machine.
const cloudInitVariable = "LAB_CLOUD_INIT"

// agentVariable, set to a number of seconds when a lab is started, makes Azure's agent take that long before it takes its first
// order on each new machine.
const agentVariable = "LAB_AGENT"

// variables are what the environment says of new machines.
type variables struct {
	likeUbuntu bool
	cloudInit  time.Duration // that its last stage takes longer
	agent      time.Duration // that the agent does
}

// CheckVariables refuses a value that would silently make another machine than somebody wants.
func CheckVariables() error {
	_, err := readVariables()
	return err
}

func readVariables() (v variables, err error) {
	suite, suiteErr := archive.WantedSuite()
	errs := []error{suiteErr}
	like := os.Getenv(likeVariable)
	if like != "" && like != "ubuntu" {
		errs = append(errs, fmt.Errorf("%s: value %q: a lab's host is made like %q, or as it is where this is empty", likeVariable, like, "ubuntu"))
	}
	v.likeUbuntu = like == "ubuntu" || suite.Name == "noble"
	v.cloudInit, err = readSeconds(cloudInitVariable)
	errs = append(errs, err)
	v.agent, err = readSeconds(agentVariable)
	return v, errors.Join(append(errs, err)...)
}

// readSeconds reads a number of seconds, 0 where there is none.
func readSeconds(name string) (time.Duration, error) {
	text := os.Getenv(name)
	if text == "" {
		return 0, nil
	}
	seconds, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%s: value %q: a whole number of seconds is wanted", name, text)
	}
	return time.Duration(seconds) * time.Second, nil
}
