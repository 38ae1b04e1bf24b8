package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/pulumi/pulumi-azure-native-sdk/compute/v2"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"openclaw-azure/internal/azure"
	"openclaw-azure/internal/breakglass"
	"openclaw-azure/internal/config"
	"openclaw-azure/internal/engine"
	"openclaw-azure/internal/foreign"
	"openclaw-azure/internal/hint"
	"openclaw-azure/internal/lastrun"
	"openclaw-azure/internal/machine"
	"openclaw-azure/internal/prefix"
)

// newBreakGlass declares the way back in: a script that Azure's own agent runs as root, with no open port.
func newBreakGlass(ctx *pulumi.Context, cfg *config.Config, n *netResources, allKeys *stackKeys, m *virtualMachine) (pulumi.Resource, error) {
	// Known where both are: it follows from them.
	name := pulumi.Unsecret(pulumi.All(m.ID(), allKeys.unknown).ApplyT(func([]any) string { return m.firing })).(pulumi.StringOutput)
	hooks, err := breakGlassHooks(ctx, m.fresh)
	if err != nil {
		return nil, err
	}
	parameter := func(name string, value pulumi.StringInput) compute.RunCommandInputParameterArgs {
		return compute.RunCommandInputParameterArgs{Name: pulumi.String(name), Value: value}
	}
	return compute.NewVirtualMachineRunCommandByVirtualMachine(ctx, "break-glass", &compute.VirtualMachineRunCommandByVirtualMachineArgs{
		ResourceGroupName: n.groupName,
		Location:          pulumi.String(cfg.Location),
		VmName:            m.Name,
		RunCommandName:    name,
		Source:            compute.VirtualMachineRunCommandScriptSourceArgs{Script: pulumi.String(breakglass.Script)},
		Parameters: compute.RunCommandInputParameterArray{
			parameter("ADMIN_USER", pulumi.String(cfg.AdminUsername)),
			parameter("ADMIN_KEY", allKeys.public(func() string { return allKeys.stack.Bootstrap.Public })),
			parameter("ALLOWED_CIDRS", pulumi.String(strings.Join(prefix.Strings(cfg.AllowedSSH), ","))),
			parameter("BOOTSTRAP_PORT", pulumi.Sprintf("%d", machine.BootstrapPort)),
			parameter("SSH_PORT", pulumi.Sprintf("%d", cfg.SSHPort)),
			parameter("WIREGUARD_PORT", pulumi.Sprintf("%d", cfg.WireGuardPort)),
		},
		ProtectedParameters: compute.RunCommandInputParameterArray{
			parameter("HOST_KEY", allKeys.secret(func() string { return allKeys.stack.HostKey.Private })),
		},
		TimeoutInSeconds:                pulumi.Int(1800),
		TreatFailureAsDeploymentFailure: pulumi.Bool(true),
		Tags:                            n.tags,
	}, n.within(m.VirtualMachine), pulumi.ResourceHooks(hooks))
}

// firing names the run command. Each firing has a name of its own, also where the door was open before in the same way:
// Azure's agent may not run a command again that was made anew under its old name. has tells whether Azure has a run command of a
// name: a run that was killed while Azure made one left it, unknown to Pulumi, until the machine goes.
func firing(cfg *config.Config, vmID, key string, last *lastrun.Run, known azure.Known, has func(name string) (bool, error)) (string, error) {
	sum := sha256.Sum256([]byte(strings.Join([]string{vmID, cfg.AdminUsername, key,
		strings.Join(prefix.Strings(cfg.AllowedSSH), ","), strconv.Itoa(cfg.Rescue)}, "\n")))
	cause := "break-glass-" + hex.EncodeToString(sum[:6]) + "-"
	if last != nil && strings.HasPrefix(last.Firing, cause) && known.Text("break-glass", "name") == last.Firing && known.Text("break-glass", "provisioningState") != "Failed" {
		return last.Firing, nil // it is declared still: the door stays open
	}
	for before := known.Text("break-glass", "name"); ; {
		name := cause + digest(last.Mark(), before)
		taken, err := has(name)
		if err != nil || !taken {
			return name, err
		}
		before = name
	}
}

// hasRunCommand asks Azure whether a machine has a run command of a name.
func hasRunCommand(ctx *pulumi.Context, group, vm pulumi.StringOutput, name string) (bool, error) {
	groupName, err := engine.Text(ctx, group)
	if err != nil {
		return false, err
	}
	vmName, err := engine.Text(ctx, vm)
	if err != nil || groupName == "" || vmName == "" {
		return false, err // about to be made
	}
	_, err = compute.LookupVirtualMachineRunCommandByVirtualMachine(ctx, &compute.LookupVirtualMachineRunCommandByVirtualMachineArgs{
		ResourceGroupName: groupName, VmName: vmName, RunCommandName: name})
	switch {
	case azure.NotThere(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look for the run command %q of %q in resource group %q: %w", name, vmName, groupName, foreign.Err(err))
	}
	return true, nil
}

// breakGlassHooks tell what the run waits for, and what to do if it fails. last says that it comes after all else.
func breakGlassHooks(ctx *pulumi.Context, last bool) (*pulumi.ResourceHookBinding, error) {
	waits, err := ctx.RegisterResourceHook("before-break-glass", func(*pulumi.ResourceHookArgs) error {
		if last {
			engine.Say(ctx, "waiting for Azure's agent on the machine, which the way back in goes through")
		} else {
			engine.Say(ctx, "waiting for Azure's agent on the machine, which lets cloud-init finish and then sees to it that port 22 opens")
		}
		return nil
	}, nil)
	if err != nil {
		return nil, err
	}
	failed, err := ctx.RegisterErrorHook("break-glass-failed", func(args *pulumi.ErrorHookArgs) (bool, error) {
		if triedAgain(args) {
			return false, nil // network.go's hook has the word
		}
		// An error of the hook's own would be lost where the resource was made.
		if text := scriptFailed(args.Errors[0], args.NewInputs); text != "" {
			_ = ctx.Log.Error(text, nil)
		}
		if last {
			_ = ctx.Log.Error(hint.Text("the machine is configured and the tunnel was proven: only the way back in, through Azure's agent, is missing", "pulumi up    # fires it again"), nil)
		}
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	return &pulumi.ResourceHookBinding{BeforeCreate: []*pulumi.ResourceHook{waits}, OnError: []*pulumi.ErrorHook{failed}}, nil
}

// scriptFailed says what became of the break-glass: Azure's error names an exit status and nothing else. It is empty where no
// script ran. No public source quotes the whole error of a run command that failed: all that is certain is what the agent's
// handler reports, "Execution failed: command terminated with exit status=N".
func scriptFailed(message string, inputs resource.PropertyMap) string {
	_, status, ran := strings.Cut(message, "exit status=")
	status = status[:len(status)-len(strings.TrimLeft(status, "0123456789"))]
	if !ran && !strings.Contains(message, "VMExtension") {
		return ""
	}
	if status == fmt.Sprint(machine.ExitNoSpace) {
		return hint.Text("no space left on the disk of the machine: port 22 was not opened from inside",
			"make room on it, through the tunnel or Azure's serial console, then `pulumi up`")
	}
	if status == fmt.Sprint(machine.ExitNetDown) {
		return hint.Text("the machine's network could not be made whole from inside: no answer finds its way out",
			"az vm restart: the kernel forgets routes and packet filters; then `pulumi up`")
	}
	text := func(name resource.PropertyKey) string {
		if !inputs[name].IsString() {
			return "…"
		}
		return inputs[name].StringValue()
	}
	return hint.Text("the script that opens port 22 from inside failed on the machine",
		fmt.Sprintf("what it said: az vm run-command show --resource-group %s --vm-name %s --name %s --instance-view --query instanceView.error --output tsv", text("resourceGroupName"), text("vmName"), text("runCommandName")),
		"pulumi up    # runs it again")
}
