package azure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"openclaw-azure/lab/internal/fabric"
)

const (
	maxRunCommands = 25
	// defaultScriptTime is how long a script may run that names no time of its own.
	defaultScriptTime = 90 * time.Minute
)

// script is a run command about to run.
type script struct {
	vmID, name string
	sequence   int
	text       []byte
	params     []fabric.Param
	timeout    time.Duration
	failsToo   bool // treatFailureAsDeploymentFailure
	async      bool
	// before is what the agent knew of the name, nil where it knew nothing.
	before *agentState
}

// putRunCommand gives the machine's agent a script, which the agent runs unless it has seen it: it remembers for each
// name the highest sequence number that ran, a new resource begins at 0 and changed settings add one. So what did not
// change does not run again, not even after a failure, and a name that was used and deleted may never run again.
func (p *Provider) putRunCommand(ctx context.Context, id string, body object) (begun bool, err error) {
	var s script
	var runs bool
	var outcome string
	err = p.change(ctx, func(c *change) error {
		if err := c.parents(runCommand, id); err != nil {
			return err
		}
		if err := checkName(runCommand, id); err != nil {
			return err
		}
		vm := c.get(id[:strings.LastIndex(id, "/runCommands/")])
		old := c.get(id)
		if busy(vm) || old != nil && busy(old) {
			return refuse(http.StatusConflict, "AnotherOperationInProgress",
				"Another operation on this or dependent resource is in progress.")
		}
		r := c.fresh(runCommand, id, old, bodyOf(runCommand, body))
		if err := c.checkRunCommand(vm, r, old); err != nil {
			return err
		}
		s, err = scriptOf(vm, r)
		if err != nil {
			return err
		}
		settings := digest(vm.VMID, settingsOf(r.Spec))
		switch {
		case old == nil:
			r.Sequence = 0
		case old.Digests["settings"] != settings:
			r.Sequence = old.Sequence + 1
		}
		s.sequence = r.Sequence
		r.Digests = map[string]string{"settings": settings}
		delete(r.Spec, "protectedParameters")
		delete(r.Spec, "runAsPassword")
		agent, seen := p.record.Agents[vm.VMID][r.Name]
		runs = !seen || r.Sequence > agent.Sequence
		if runs {
			if seen {
				s.before = &agent
			}
			p.remember(s, notEnded, nil)
			r.ProvisioningState = "Updating"
			if old == nil {
				r.ProvisioningState = "Creating"
			}
			if s.async {
				r.ProvisioningState = "Succeeded"
			}
		} else if s.failsToo && !s.async {
			if outcome = agent.Outcome; outcome != "" {
				r.ProvisioningState = "Failed"
			}
		}
		r.Outcome = outcome
		c.resources[key(id)] = r
		return nil
	})
	if err != nil {
		return false, err
	}
	if !runs {
		if outcome != "" {
			return true, scriptFailed(s.name, outcome)
		}
		return true, nil
	}
	if s.async {
		p.work.Go(func() { _, _ = p.execute(p.ctx, id, s) })
		return true, nil
	}
	return true, p.detached(ctx, func(ctx context.Context) error {
		outcome, err := p.execute(ctx, id, s)
		failure := err
		if failure == nil && outcome != "" && s.failsToo {
			failure = scriptFailed(s.name, outcome)
		}
		return p.settle(ctx, id, failure, func() error { return failure })
	})
}

// scriptFailed is the answer for a script that failed where that fails the deployment. No public source quotes it; that
// it holds nothing of what the script printed is inferred: output is in the instance view, which the provider never reads.
func scriptFailed(name, outcome string) error {
	return refuse(http.StatusOK, "VMExtensionProvisioningError",
		"VM has reported a failure when processing run command '%s'. Error message: 'Execution failed: %s'.", name, outcome)
}

// remember is what the agent does; an agent whose machine was deleted meanwhile does nothing more.
func (p *Provider) remember(s script, outcome string, said []byte) {
	for _, vm := range p.record.ofKind(virtualMachine) {
		if vm.VMID != s.vmID {
			continue
		}
		if p.record.Agents[s.vmID] == nil {
			p.record.Agents[s.vmID] = map[string]agentState{}
		}
		p.record.Agents[s.vmID][s.name] = agentState{Sequence: s.sequence, Outcome: outcome, Error: end(said)}
	}
}

// end is what the agent reports of a script's output.
func end(output []byte) string {
	const most = 4096 // bytes
	return string(output[max(0, len(output)-most):])
}

// forget makes the agent's memory of a name what it was before.
func (p *Provider) forget(s script) {
	agent := p.record.Agents[s.vmID]
	delete(agent, s.name)
	if agent != nil && s.before != nil {
		agent[s.name] = *s.before
	}
}

// notEnded is what the agent remembers of a script until it ends.
const notEnded = "the script did not end"

// errDeleted ends the script of a run command that is deleted.
var errDeleted = errors.New("the run command was deleted")

// execute runs a script in the machine. Outcome is empty where it ended well; err says that the agent did not answer, or that the
// server ended under the script.
func (p *Provider) execute(ctx context.Context, id string, s script) (outcome string, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.mu.Lock()
	p.running[key(id)] = cancel
	p.mu.Unlock()
	result, err := p.fabric.RunScript(ctx, s.vmID, s.text, s.params, s.timeout)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.running, key(id))
	switch {
	case errors.Is(context.Cause(ctx), errDeleted):
		outcome, err = errDeleted.Error(), nil
	case ctx.Err() != nil:
		return notEnded, ctx.Err()
	case err != nil:
		// An agent that did not answer has seen nothing.
		p.forget(s)
		return "", silentAgent(id[strings.LastIndex(id[:strings.LastIndex(id, "/runCommands/")], "/")+1:strings.LastIndex(id, "/runCommands/")], err)
	case result.ExitCode != 0: // -1 where its time was over
		outcome = fmt.Sprintf("command terminated with exit status=%d", result.ExitCode)
	}
	p.remember(s, outcome, result.Stderr)
	if saveErr := p.record.save(); err == nil && saveErr != nil {
		err = saveErr
	}
	return outcome, err
}

// checkRunCommand. The status and code of the limit, and the text for arm64, are not quoted by any public source.
func (c *change) checkRunCommand(vm, r, old *stored) error {
	if sizes[vm.Spec.text("hardwareProfile.vmSize")].architecture == arm64 {
		return refuse(http.StatusConflict, "OperationNotAllowed", "Run Command is not supported on VM '%s' with CPU Architecture '%s'.", vm.Name, arm64)
	}
	if old == nil {
		count := 0
		for _, s := range under(c.resources, vm.ID) {
			if s.Kind == runCommand.token {
				count++
			}
		}
		if count >= maxRunCommands {
			return refuse(http.StatusConflict, "OperationNotAllowed",
				"The maximum number of managed Run commands (max=%d, current=%d) has been exceeded. Use fewer Run commands and retry the request. To list Run commands, refer: https://aka.ms/RunCommandManaged#list-all-deployed-runcommand-resources-on-a-vm-1 and then delete a Run command: https://aka.ms/RunCommandManaged#delete-runcommand-resource-from-the-vm-1",
				maxRunCommands, count)
		}
	}
	source := r.Spec.object("source")
	switch {
	case source.has("scriptUri"), source.has("commandId"):
		return labCannot("runs scripts that stand in the request, none by scriptUri or commandId: %q", r.Name)
	case source.text("script") == "":
		return badRequest("InvalidParameter", "Required parameter 'source.script' is missing (null).")
	case r.Spec.text("runAsUser") != "":
		return labCannot("runs scripts as root, not as %q: %q", r.Spec.text("runAsUser"), r.Name)
	case r.Spec.has("outputBlobUri"), r.Spec.has("errorBlobUri"):
		return labCannot("has no blobs for a script's output: %q", r.Name)
	}
	return nil
}

// scriptOf takes the script out of a request. Parameters without a value are left out, as the agent does.
func scriptOf(vm, r *stored) (script, error) {
	s := script{
		vmID: vm.VMID, name: r.Name, text: []byte(r.Spec.text("source.script")), timeout: defaultScriptTime,
		failsToo: r.Spec.truth("treatFailureAsDeploymentFailure"), async: r.Spec.truth("asyncExecution"),
	}
	if seconds, ok := r.Spec.number("timeoutInSeconds"); ok && seconds > 0 {
		s.timeout = time.Duration(seconds) * time.Second
	}
	for _, list := range []string{"parameters", "protectedParameters"} {
		for _, param := range r.Spec.objects(list) {
			if param.text("name") == "" {
				return s, labCannot("hands parameters to a script by name: %q has one without", r.Name)
			}
			if value := param.text("value"); value != "" {
				s.params = append(s.params, fabric.Param{Name: param.text("name"), Value: value})
			}
		}
	}
	return s, nil
}

// settingsOf is what the agent is given: all but what concerns the resource alone.
func settingsOf(spec object) string {
	settings := spec.clone()
	delete(settings, "tags")
	delete(settings, "location")
	data, err := json.Marshal(settings)
	if err != nil {
		return ""
	}
	return string(data)
}

// deleteRunCommand ends its script, and waits until the machine's agent has taken it away: Azure deletes it through the agent. What
// the agent remembers of its name stays. For an agent that does not answer Azure waits an hour and more; here it is some minutes.
func (p *Provider) deleteRunCommand(ctx context.Context, id string) error {
	p.mu.Lock()
	r, vm := p.record.get(id), p.record.get(id[:strings.LastIndex(id, "/runCommands/")])
	if r == nil || vm == nil {
		defer p.mu.Unlock()
		return p.absent(p.record.Resources, runCommand, id)
	}
	if cancel := p.running[key(id)]; cancel != nil {
		cancel(errDeleted)
	}
	p.mu.Unlock()
	return p.detached(ctx, func(ctx context.Context) error {
		err := p.fabric.AwaitAgent(ctx, vm.VMID)
		var stopped fabric.Stopped
		switch {
		case errors.As(err, &stopped):
			return refuse(http.StatusConflict, "OperationNotAllowed", "Cannot modify extensions in the VM when the VM is not running.")
		case err != nil:
			return silentAgent(vm.Name, err)
		}
		time.Sleep(uninstalls)
		return p.change(ctx, func(c *change) error {
			delete(c.resources, key(id))
			return nil
		})
	})
}

// uninstalls is how long the agent takes to forget a run command. On Azure the provider asks every half minute.
const uninstalls = time.Second

// silentAgent is the answer where a machine's agent does not.
func silentAgent(vm string, err error) error {
	return refuse(http.StatusOK, "VMAgentStatusCommunicationError",
		"VM '%s' has not reported status for VM agent or extensions. Verify that the OS is up and healthy, the VM has a running VM agent, and that it can establish outbound connections to Azure storage. (the lab: %v)", vm, err)
}
