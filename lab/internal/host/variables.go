package host

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"openclaw-azure/lab/internal/archive"
)

// likeVariable, set to ubuntu when a lab is started, makes of each new machine what Azure's Ubuntu is in the ways that
// matter here: sshd by socket activation, cloud-init's drop-in that allows passwords, the image's own drop-in, the agent's
// sudoers. It stays a Debian; an Ubuntu gets them anyway.
const likeVariable = "LAB_LIKE"

// cloudInitVariable, set to a number of seconds when a lab is started, makes cloud-init's last stage take that long at the
// first boot of each new machine.
const cloudInitVariable = "LAB_CLOUD_INIT"

// variables are what the environment says of new machines.
type variables struct {
	likeUbuntu bool
	cloudInit  int // seconds that its last stage takes longer
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
	if text := os.Getenv(cloudInitVariable); text != "" {
		if v.cloudInit, err = strconv.Atoi(text); err != nil || v.cloudInit < 0 {
			errs = append(errs, fmt.Errorf("%s: value %q: a whole number of seconds is wanted", cloudInitVariable, text))
		}
	}
	return v, errors.Join(errs...)
}
