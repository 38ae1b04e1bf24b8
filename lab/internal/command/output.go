package command

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"

	"openclaw-azure/lab/internal/attached"
)

// The streams of the last run, as the next one finds them in its environment.
const (
	stdoutVariable = "PULUMI_COMMAND_STDOUT"
	stderrVariable = "PULUMI_COMMAND_STDERR"
)

// output is what a command left in the state: plain text, even where its input was secret.
type output struct{ stdout, stderr string }

func previousOutput(state resource.PropertyMap) output {
	text := func(key resource.PropertyKey) string {
		if v := plain(state[key]); v.IsString() {
			return v.StringValue()
		}
		return ""
	}
	return output{stdout: text("stdout"), stderr: text("stderr")}
}

func (o output) addTo(inputs resource.PropertyMap) resource.PropertyMap {
	state := inputs.Copy()
	state["stdout"] = resource.NewProperty(o.stdout)
	state["stderr"] = resource.NewProperty(o.stderr)
	return state
}

// capture collects both streams of one command and shows their lines as they come.
type capture struct {
	mu                   sync.Mutex
	stdout, stderr, both bytes.Buffer
	log                  *lines
}

func (r *run) capture(urn string) *capture {
	return &capture{log: &lines{engine: r.Engine, urn: urn}}
}

// stream is where one of the command's streams goes.
func (c *capture) stream(buf *bytes.Buffer, logged bool) io.Writer {
	return writerFunc(func(p []byte) (int, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		buf.Write(p)
		c.both.Write(p)
		if logged {
			c.log.write(p)
		}
		return len(p), nil
	})
}

// finish gives the output, or an error that holds the command's text and both streams and never its input.
func (c *capture) finish(err error, text string) (output, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log.flush()
	if err == nil && c.log.tooLong {
		err = errLineTooLong
	}
	if err != nil {
		return output{}, fmt.Errorf("%w: running %q:\n%s", err, text, c.both.String())
	}
	return output{
		stdout: strings.TrimSuffix(c.stdout.String(), "\n"),
		stderr: strings.TrimSuffix(c.stderr.String(), "\n"),
	}, nil
}

// errLineTooLong stands for a hang: the real provider stops reading at such a line, and the command never ends.
var errLineTooLong = errors.New("a logged line of 64 KiB or more, at which the real provider waits for ever")

// lines cuts what is written into log messages.
type lines struct {
	engine  *attached.Engine
	urn     string
	rest    []byte
	tooLong bool
}

func (l *lines) write(p []byte) {
	l.rest = append(l.rest, p...)
	for !l.tooLong {
		i := bytes.IndexByte(l.rest, '\n')
		if i >= bufio.MaxScanTokenSize || i < 0 && len(l.rest) >= bufio.MaxScanTokenSize {
			l.tooLong = true
		}
		if i < 0 {
			return
		}
		line := bytes.TrimSuffix(l.rest[:i], []byte("\r"))
		l.engine.Status(pulumirpc.LogSeverity_INFO, l.urn, string(line))
		l.rest = l.rest[i+1:]
	}
	l.rest = nil
}

func (l *lines) flush() {
	if len(l.rest) > 0 && !l.tooLong {
		l.engine.Status(pulumirpc.LogSeverity_INFO, l.urn, string(bytes.TrimSuffix(l.rest, []byte("\r"))))
	}
	l.rest = nil
}

type writerFunc func([]byte) (int, error)

var _ io.Writer = writerFunc(nil)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
