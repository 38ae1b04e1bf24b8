// Package progress tells what a long step does: when it begins, that it moves, and how it ends.
package progress

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"openclaw-azure/lab/internal/tail"
)

// Reporter writes one line at a time; steps may run side by side.
type Reporter struct {
	mu  sync.Mutex
	out io.Writer
}

// New reports to out.
func New(out io.Writer) *Reporter { return &Reporter{out: out} }

// Say writes a line.
func (r *Reporter) Say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.out, format+"\n", args...)
}

// every is how often a step shows that it moves.
const every = 10 * time.Second

// Step runs one step. What it writes is kept in a log file and shown only where it fails; the last line of it stands
// beside the seconds, so that one sees it move.
func (r *Reporter) Step(title, logFile string, run func(output io.Writer) error) error {
	file, err := os.Create(logFile)
	if err != nil {
		return err
	}
	defer file.Close()
	last := &lastLine{}
	start := time.Now()
	r.Say("%s ...", title)
	done := make(chan struct{})
	var ticker sync.WaitGroup
	ticker.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				r.Say("%s: %.0f s%s", title, time.Since(start).Seconds(), last.suffix())
			}
		}
	})
	err = run(io.MultiWriter(file, last))
	close(done)
	ticker.Wait()
	if err != nil {
		const shown = 20
		r.Say("%s: failed after %.0f s; the end of %s:\n  %s", title, time.Since(start).Seconds(), logFile,
			strings.ReplaceAll(tail.Lines(logFile, shown), "\n", "\n  "))
		return fmt.Errorf("%s: %w", title, err)
	}
	r.Say("%s: done in %.0f s", title, time.Since(start).Seconds())
	return nil
}

// lastLine keeps the last line that was written to it.
type lastLine struct {
	mu   sync.Mutex
	text []byte
}

var _ io.Writer = (*lastLine)(nil)

func (l *lastLine) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if len(l.text) > 4096 {
		l.text = l.text[len(l.text)-4096:]
	}
	return len(p), nil
}

func (l *lastLine) suffix() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := bytes.TrimSpace(l.text)
	text = text[bytes.LastIndexAny(text, "\r\n")+1:]
	if len(text) == 0 {
		return ""
	}
	return " (" + strings.ToValidUTF8(string(text[:min(len(text), 100)]), "") + ")"
}
