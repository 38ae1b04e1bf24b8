package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
)

// networkName is what BENCH calls the figures of the agent's network.
const networkName = "the agent's network"

//go:embed network.py
var networkProgram string

// network prints what the way through the gate costs. It is measured on the host, where the job before left it.
func (l *lab) network() error {
	said, err := l.on("program='" + strings.ReplaceAll(networkProgram, "'", `'\''`) + `'; printf %s "$program" | python3 -c "$program"`)
	if err != nil {
		return err
	}
	var f struct {
		Direct, Gate, PSS float64
		Held              [2]float64
	}
	if err := json.Unmarshal([]byte(said), &f); err != nil {
		return fmt.Errorf("read %q: %w", said, err)
	}
	fmt.Printf("%s: a connection and a request, median of 200: direct %.2f ms, by the gate %.2f ms (%+.2f)\n", networkName, f.Direct, f.Gate, f.Gate-f.Direct)
	fmt.Printf("%s: 1500 connections opened in %.0f ms and held, a request beside them %.1f ms\n", networkName, f.Held[0], f.Held[1])
	fmt.Printf("%s: memory of gate, resolver and way in %.1f MB (PSS)\n", networkName, f.PSS)
	return nil
}
