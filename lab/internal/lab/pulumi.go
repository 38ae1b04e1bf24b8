package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/mod/semver"

	"openclaw-azure/lab/internal/calls"
	"openclaw-azure/lab/internal/control"
	"openclaw-azure/lab/internal/place"
	"openclaw-azure/lab/internal/tail"
	"openclaw-azure/lab/internal/toolchain"
)

// commandProvider is the program that serves remote and local commands to Pulumi.
const commandProvider = "pulumi-resource-command"

// BecomePulumi replaces this process by the Pulumi CLI at the operator's place, with the lab's stack and providers.
func (l Lab) BecomePulumi(ctx context.Context, args []string) error {
	status, err := l.control().Status(ctx)
	if err != nil {
		return err
	}
	temporary, err := l.temporary()
	if err != nil {
		return err
	}
	// From here on this thread, and what it starts, is at the operator's place.
	if err := l.enter(place.Operator); err != nil {
		return err
	}
	port, err := l.startCommandProvider()
	if err != nil {
		return err
	}
	environment := append(l.operatorEnvironment(),
		fmt.Sprintf("PULUMI_DEBUG_PROVIDERS=azure-native:%d,command:%d", status.AzurePort, port),
		"SSL_CERT_FILE="+l.path(control.ManagerCertificate),
		"TMPDIR="+temporary,
		toolchain.BuildTarget+"="+l.path("program"),
	)
	if err := l.stand(); err != nil {
		return err
	}
	if err := l.noteDeploy(args); err != nil {
		return err
	}
	return become(append([]string{"pulumi"}, args...), environment)
}

// operatorEnvironment is what a command at the operator's place finds set: the lab's stack, for the Pulumi CLI.
func (l Lab) operatorEnvironment() []string {
	environment := slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		// Of one that is set twice, the first counts.
		return slices.Contains([]string{"PULUMI_CONFIG_PASSPHRASE", "PULUMI_ACCESS_TOKEN", "PULUMI_CONFIG", "ARM_SUBSCRIPTION_ID", "SSL_CERT_FILE", "SSL_CERT_DIR"}, name)
	})
	return append(environment,
		"PULUMI_STACK="+l.Name,
		"PULUMI_BACKEND_URL=file://"+l.path("state"),
		"PULUMI_CONFIG_PASSPHRASE_FILE="+l.path("passphrase"),
		"PULUMI_HOME="+l.path("home"),
		"PULUMI_SKIP_UPDATE_CHECK=true",
		"PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION=true",
		// Nothing can be fetched here; what is needed was fetched before.
		"GOPROXY=off", "GOTOOLCHAIN=local", goflags(),
	)
}

// temporary is the lab's own temporary folder: where a run fails or is interrupted, the language host leaves a program
// of 46 MB in it.
func (l Lab) temporary() (string, error) {
	folder := l.path("tmp")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		// No run compiles for an hour; a program that runs does not mind losing its name.
		if info, err := entry.Info(); err == nil && time.Since(info.ModTime()) > time.Hour {
			if err := os.RemoveAll(filepath.Join(folder, entry.Name())); err != nil {
				return "", err
			}
		}
	}
	return folder, nil
}

// goflags are the user's own and two more: a repository that belongs to somebody else must not stop the compiler, and
// linking takes twice as long with debugging information.
func goflags() string {
	return "GOFLAGS=" + strings.TrimSpace(os.Getenv("GOFLAGS")+" -buildvcs=false -ldflags=-w")
}

// stand sees to it that Pulumi finds the program: from any folder of the repository by itself, from elsewhere not.
func (l Lab) stand() error {
	here, err := os.Getwd()
	if err == nil && (here == l.Root || strings.HasPrefix(here, l.Root+string(filepath.Separator))) {
		return nil
	}
	return os.Chdir(l.Root)
}

// startCommandProvider starts the command provider as Pulumi would start a plugin: one for each run, which dies with
// it. It says on its first line which port it serves.
func (l Lab) startCommandProvider() (port int, err error) {
	path, err := l.findCommandProvider()
	if err != nil {
		return 0, err
	}
	logFile, err := os.OpenFile(l.path("command.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer logFile.Close()
	provider := exec.Command(path)
	provider.Dir = l.Root
	provider.Env = append(os.Environ(), l.notesCalls())
	provider.Stderr = logFile
	stdout, err := provider.StdoutPipe()
	if err != nil {
		return 0, err
	}
	// The thread that starts it goes on to be Pulumi's, so that Pulumi's end is the provider's. A Ctrl-C at the
	// terminal is Pulumi's to act on.
	provider.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := provider.Start(); err != nil {
		return 0, fmt.Errorf("start %s: %w", path, err)
	}
	type answer struct {
		line string
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		line, err := bufio.NewReader(stdout).ReadString('\n')
		answered <- answer{line, err}
	}()
	const limit = 30 * time.Second
	select {
	case got := <-answered:
		if got.err != nil && !errors.Is(got.err, io.EOF) {
			return 0, fmt.Errorf("read the port of %s: %w", path, got.err)
		}
		port, err := strconv.Atoi(strings.TrimSpace(got.line))
		if err != nil {
			return 0, fmt.Errorf("%s does not say which port it serves but %q\n%s", path, got.line, tail.Lines(logFile.Name(), 5))
		}
		return port, nil
	case <-time.After(limit):
		_ = provider.Process.Kill()
		return 0, fmt.Errorf("%s does not say within %s which port it serves", path, limit)
	}
}

// notesCalls tells a provider where to note its calls.
func (l Lab) notesCalls() string { return calls.Variable + "=" + l.path("calls") }

// findCommandProvider prefers the real one, wherever the user has it, to the lab's own.
func (l Lab) findCommandProvider() (string, error) {
	if path := os.Getenv("LAB_COMMAND_PROVIDER"); path != "" {
		found, err := exec.LookPath(path)
		if err != nil {
			return "", fmt.Errorf("LAB_COMMAND_PROVIDER: %w", err)
		}
		return filepath.Abs(found)
	}
	if path, err := exec.LookPath(commandProvider); err == nil {
		return filepath.Abs(path)
	}
	home := os.Getenv("PULUMI_HOME")
	if home == "" {
		home = filepath.Join(os.Getenv("HOME"), ".pulumi")
	}
	installed, err := filepath.Glob(filepath.Join(home, "plugins", "resource-command-v*", commandProvider))
	if err != nil {
		return "", err
	}
	if len(installed) > 0 {
		version := func(path string) string {
			return strings.TrimPrefix(filepath.Base(filepath.Dir(path)), "resource-command-")
		}
		return slices.MaxFunc(installed, func(a, b string) int { return semver.Compare(version(a), version(b)) }), nil
	}
	return filepath.Join(l.Root, "bin", commandProvider), nil
}
