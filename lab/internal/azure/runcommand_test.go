package azure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"openclaw-azure/lab/internal/fabric"
)

func (s *stack) commandInputs(script string, more object) object {
	all := s.in()(object{"vmName": s.vm.state["name"], "source": object{"script": script}})
	for name, value := range more {
		all[name] = value
	}
	return all
}

func (m *memory) ran() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var texts []string
	for _, s := range m.scripts {
		texts = append(texts, s.text)
	}
	return texts
}

func exits(code int) func(context.Context, scriptRun) (fabric.Result, error) {
	return func(context.Context, scriptRun) (fabric.Result, error) {
		return fabric.Result{ExitCode: code, Stdout: []byte("canary"), Stderr: []byte("canary")}, nil
	}
}

func TestRunCommandGetsItsParameters(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	e.create(runCommand, "c", s.commandInputs("echo $A", object{
		"parameters":          []any{object{"name": "A", "value": "a"}, object{"name": "EMPTY", "value": ""}},
		"protectedParameters": []any{object{"name": "B", "value": "canary"}},
		"timeoutInSeconds":    7,
	}))
	run := e.fabric.scripts[0]
	equal(t, "script", fmt.Sprintf("%+v", run), fmt.Sprintf("%+v", scriptRun{
		vmID: s.vm.state.text("vmId"), text: "echo $A", params: []fabric.Param{{Name: "A", Value: "a"}, {Name: "B", Value: "canary"}}, timeout: 7 * time.Second,
	}))
	e.create(runCommand, "d", s.commandInputs("true", nil))
	equal(t, "time without a limit of its own", fmt.Sprint(e.fabric.scripts[1].timeout), "1h30m0s")
	data, err := os.ReadFile(e.file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), "canary") {
		t.Error("the record holds a protected parameter")
	}
	info, err := os.Stat(e.file)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "mode of the record", info.Mode().String(), "-rw-------")
}

// Unchanged content does not run again, changed settings do.
func TestRunCommandRunsOnce(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	c := e.create(runCommand, "c", s.commandInputs("one", nil))
	e.update(c, s.commandInputs("one", object{"tags": object{"a": "b"}}))
	equal(t, "runs of unchanged content", list(e.fabric.ran()), []any{"one"})
	e.update(c, s.commandInputs("one", object{"protectedParameters": []any{object{"name": "K", "value": "v"}}}))
	equal(t, "runs after a changed parameter", list(e.fabric.ran()), []any{"one", "one"})
	e.update(c, s.commandInputs("two", nil))
	equal(t, "runs after a changed script", list(e.fabric.ran()), []any{"one", "one", "two"})
}

// Made anew under its old name it does not run, whatever it holds, until its settings changed more often than before.
func TestRunCommandUnderAnOldName(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	c := e.create(runCommand, "c", s.commandInputs("one", nil))
	e.update(c, s.commandInputs("two", nil))
	e.delete(c)
	c = e.create(runCommand, "c", s.commandInputs("three", nil))
	equal(t, "state", c.state["provisioningState"], "Succeeded")
	e.update(c, s.commandInputs("four", nil))
	equal(t, "runs", list(e.fabric.ran()), []any{"one", "two"})
	e.update(c, s.commandInputs("five", nil))
	equal(t, "runs", list(e.fabric.ran()), []any{"one", "two", "five"})
	e.create(runCommand, "another", s.commandInputs("six", nil))
	equal(t, "runs", list(e.fabric.ran()), []any{"one", "two", "five", "six"})

	// A new machine knows nothing of it.
	e.delete(c)
	e.delete(s.vm)
	s.vm = e.create(virtualMachine, "vm", s.in()(s.vmInputs()))
	e.create(runCommand, "c", s.commandInputs("one", nil))
	equal(t, "runs", list(e.fabric.ran()), []any{"one", "two", "five", "six", "one"})
}

// A failing script is Succeeded unless the failure is asked for; then the resource stays, failed, and does not run again.
func TestRunCommandFailure(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	e.fabric.run = exits(3)
	hidden := e.create(runCommand, "hidden", s.commandInputs("false", nil))
	equal(t, "state", hidden.state["provisioningState"], "Succeeded")

	want := `Status=200 Code="VMExtensionProvisioningError" Message="VM has reported a failure when processing run command 'shown'. Error message: 'Execution failed: command terminated with exit status=3'."`
	shown := object{"treatFailureAsDeploymentFailure": true}
	c, err := e.tryCreate(runCommand, "shown", s.commandInputs("false", shown))
	e.wantError(err, want)
	if c.id == "" {
		t.Fatal("the engine is not told what was made")
	}
	equal(t, "state", c.state["provisioningState"], "Failed")
	equal(t, "gone", e.read(c), false)

	show := func(query string) (string, error) {
		return e.p.Az(t.Context(), []string{"vm", "run-command", "show", "--resource-group", s.group.state.text("name"), "--vm-name", s.vm.state.text("name"),
			"--name", c.state.text("name"), "--instance-view", "--query", query, "--output", "tsv"})
	}
	if said, err := show("instanceView.error"); err != nil || said != "canary\n" {
		t.Errorf("what it said: %q, %v", said, err)
	}
	if _, err := show("id"); err == nil {
		t.Error("another query was answered")
	}
	e.fabric.run = nil
	e.wantError(e.tryUpdate(c, s.commandInputs("false", shown)), want)
	equal(t, "runs", len(e.fabric.scripts), 2)
	e.update(c, s.commandInputs("true", shown))
	equal(t, "runs", len(e.fabric.scripts), 3)
	equal(t, "state", c.state["provisioningState"], "Succeeded")
}

func TestRunCommandThatTakesTooLong(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	e.fabric.run = exits(-1)
	_, err := e.tryCreate(runCommand, "c", s.commandInputs("sleep", object{"treatFailureAsDeploymentFailure": true}))
	e.wantError(err, `Status=200 Code="VMExtensionProvisioningError" Message="VM has reported a failure when processing run command 'c'. Error message: 'Execution failed: command terminated with exit status=-1'."`)
}

// An agent that does not answer fails the operation, whatever is asked for.
func TestRunCommandWithoutAgent(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	e.fabric.run = func(context.Context, scriptRun) (fabric.Result, error) {
		return fabric.Result{}, errors.New("the guest is down")
	}
	c, err := e.tryCreate(runCommand, "c", s.commandInputs("true", nil))
	e.wantError(err, fmt.Sprintf(`Status=200 Code="VMAgentStatusCommunicationError" Message="VM '%s' has not reported status for VM agent or extensions. Verify that the OS is up and healthy, the VM has a running VM agent, and that it can establish outbound connections to Azure storage. (the lab: the guest is down)"`,
		s.vm.state.text("name")))

	// The agent has seen nothing of it, and so it runs once the agent is back.
	e.fabric.run = nil
	e.update(c, s.commandInputs("true", nil))
	equal(t, "runs", len(e.fabric.scripts), 2)
	equal(t, "state", c.state["provisioningState"], "Succeeded")
}

// A run command goes with its machine, and is not there where the machine is gone beneath Azure.
func TestRunCommandOfAMachineThatIsGone(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	c := e.create(runCommand, "c", s.commandInputs("true", nil))
	if err := e.fabric.DeleteVM(t.Context(), s.vm.state.text("vmId")); err != nil {
		t.Fatal(err)
	}
	equal(t, "the run command", e.read(c), true)
}

// An asynchronous one has succeeded as soon as it started; deleting it ends its script.
func TestRunCommandAsync(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	started, ended := make(chan struct{}), make(chan struct{})
	e.fabric.run = func(ctx context.Context, _ scriptRun) (fabric.Result, error) {
		close(started)
		<-ctx.Done()
		close(ended)
		return fabric.Result{}, ctx.Err()
	}
	c := e.create(runCommand, "c", s.commandInputs("sleep", object{"asyncExecution": true, "treatFailureAsDeploymentFailure": true}))
	equal(t, "state", c.state["provisioningState"], "Succeeded")
	<-started
	e.delete(c)
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the script of a deleted run command goes on")
	}
}

// A script under which the server ends was not deleted: it did not end, and the server waits until that is noted.
func TestRunCommandWhenTheServerEnds(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	started, released := make(chan struct{}), false
	e.fabric.run = func(ctx context.Context, _ scriptRun) (fabric.Result, error) {
		close(started)
		<-ctx.Done()
		time.Sleep(50 * time.Millisecond) // a machine takes a moment to let go of it
		released = true
		return fabric.Result{}, ctx.Err()
	}
	e.create(runCommand, "c", s.commandInputs("sleep", object{"asyncExecution": true}))
	<-started
	e.stop()
	equal(t, "the script has been let go of", released, true)
	again := openEngine(t, e.fabric, e.file)
	equal(t, "outcome", again.p.record.Agents[s.vm.state.text("vmId")]["c"].Outcome, notEnded)
}

func TestRunCommandLimit(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	for i := range maxRunCommands {
		e.create(runCommand, fmt.Sprintf("c%d", i), s.commandInputs("true", nil))
	}
	_, err := e.tryCreate(runCommand, "more", s.commandInputs("true", nil))
	e.wantError(err, `Status=409 Code="OperationNotAllowed" Message="The maximum number of managed Run commands (max=25, current=25) has been exceeded. Use fewer Run commands and retry the request. To list Run commands, refer: https://aka.ms/RunCommandManaged#list-all-deployed-runcommand-resources-on-a-vm-1 and then delete a Run command: https://aka.ms/RunCommandManaged#delete-runcommand-resource-from-the-vm-1"`)
}

func TestRunCommandOnArm64(t *testing.T) {
	e := newEngine(t)
	s := e.network()
	inputs := set(set(s.vmInputs(), "hardwareProfile.vmSize", "Standard_B2pls_v2"), "storageProfile.imageReference.sku", "13-arm64")
	s.vm = e.create(virtualMachine, "vm", s.in()(inputs))
	_, err := e.tryCreate(runCommand, "c", s.commandInputs("true", nil))
	e.wantError(err, fmt.Sprintf(`Status=409 Code="OperationNotAllowed" Message="Run Command is not supported on VM '%s' with CPU Architecture 'Arm64'."`, s.vm.state.text("name")))
}

// Azure deletes a run command through the machine's agent.
func TestDeleteRunCommandThroughTheAgent(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	c := e.create(runCommand, "c", s.commandInputs("true", nil))
	name := s.vm.state.text("name")
	for _, test := range []struct {
		fault error
		want  string
	}{
		{fabric.Stopped{Why: errors.New("it was switched off")}, `Status=409 Code="OperationNotAllowed" Message="Cannot modify extensions in the VM when the VM is not running."`},
		{errors.New("no agent"), fmt.Sprintf(`Status=200 Code="VMAgentStatusCommunicationError" Message="VM '%s' has not reported status for VM agent or extensions. Verify that the OS is up and healthy, the VM has a running VM agent, and that it can establish outbound connections to Azure storage. (the lab: no agent)"`, name)},
	} {
		e.fabric.agentErr = test.fault
		e.wantError(e.tryDelete(c), test.want)
	}
	e.fabric.agentErr = nil
	e.delete(c)
}
