// Package calls is the record of what engines asked of the lab's providers, and how long each answer took.
package calls

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Variable names the file in which a provider notes its calls, where there is that file: who wants them makes it.
const Variable = "LAB_CALLS"

// Call is one call of an engine, as the file has it, a line each.
type Call struct {
	Method     string // of Pulumi's ResourceProvider
	URN        string `json:",omitempty"`
	Start, End time.Time
}

// Note notes a call.
func (c Call) Note() {
	file, err := os.OpenFile(os.Getenv(Variable), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return // nobody wants it
	}
	defer file.Close()
	if line, err := json.Marshal(c); err == nil {
		// Several providers' lines do not mix: each is one short write at the file's end. A note that is lost is no
		// reason to fail a call.
		_, _ = file.Write(append(line, '\n'))
	}
}

// Read reads the file.
func Read(path string) ([]Call, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var calls []Call
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var c Call
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", path, len(calls)+1, err)
		}
		calls = append(calls, c)
	}
	return calls, lines.Err()
}
