// Lab-daemon is the process of a lab in the background. bin/lab starts it; it is a program of its own because what it
// takes to speak Pulumi's protocol has no place in a command that is to answer at once, on any terminal.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"openclaw-azure/lab/internal/daemon"
	"openclaw-azure/lab/internal/lab"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "lab-daemon: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	l, err := lab.Open(filepath.Dir(filepath.Dir(self)), os.Getenv("LAB"))
	if err != nil {
		return err
	}
	return daemon.Run(daemon.Config{Name: l.Name, Root: l.Root, Folder: l.Folder(), Cache: l.Cache})
}
