package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/pulumi/pulumi-azure-native-sdk/compute/v2"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/internals"
	"gopkg.in/yaml.v3"

	"openclaw-azure/internal/breakglass"
)

// machine is the VM and its break-glass.
type machine struct {
	*compute.VirtualMachine
	id         string // Azure's vmId: new for a VM made anew; empty where not known
	image      string // that it was made of, whatever is configured now
	breakGlass pulumi.Resource
	firing     string // the name of the run command; empty where it is not known or not declared
}

func newVM(ctx *pulumi.Context, cfg *Config, n *netResources, ring *keyring, last *lastRun) (*machine, error) {
	refused, err := ctx.RegisterErrorHook("vm-refused", func(args *pulumi.ErrorHookArgs) (bool, error) {
		return false, refusedSize(cfg, args.Errors[0])
	})
	if err != nil {
		return nil, err
	}
	adopted, err := n.adopt(ctx, "vm", "openclaw", n.group.Name, func(group, _ string) (found, error) {
		vm, err := compute.LookupVirtualMachine(ctx, &compute.LookupVirtualMachineArgs{ResourceGroupName: group, VmName: "vm"})
		if err != nil {
			return found{}, err
		}
		return found{vm.Id, vm.ProvisioningState}, nil
	})
	if err != nil {
		return nil, err
	}
	vm, err := compute.NewVirtualMachine(ctx, "vm", &compute.VirtualMachineArgs{
		ResourceGroupName: n.group.Name,
		VmName:            pulumi.String("vm"),
		Location:          pulumi.String(cfg.Location),
		HardwareProfile:   compute.HardwareProfileArgs{VmSize: pulumi.String(cfg.VMSize)},
		NetworkProfile: compute.NetworkProfileArgs{NetworkInterfaces: compute.NetworkInterfaceReferenceArray{
			// Detach: Pulumi owns the interface, and Azure must not take it along with the VM.
			compute.NetworkInterfaceReferenceArgs{Id: n.nic.ID(), Primary: pulumi.Bool(true), DeleteOption: pulumi.String("Detach")},
		}},
		OsProfile: compute.OSProfileArgs{
			ComputerName:  pulumi.String("openclaw"),
			AdminUsername: pulumi.String(cfg.AdminUsername),
			CustomData:    ring.secret(func() string { return customData(ring) }),
			LinuxConfiguration: compute.LinuxConfigurationArgs{
				DisablePasswordAuthentication: pulumi.Bool(true),
				Ssh: compute.SshConfigurationArgs{PublicKeys: compute.SshPublicKeyTypeArray{compute.SshPublicKeyTypeArgs{
					Path:    pulumi.Sprintf("/home/%s/.ssh/authorized_keys", cfg.AdminUsername),
					KeyData: ring.public(func() string { return ring.stack.Bootstrap.Public }),
				}}},
			},
		},
		StorageProfile: compute.StorageProfileArgs{
			ImageReference: compute.ImageReferenceArgs{
				Publisher: pulumi.String(cfg.Image.Publisher),
				Offer:     pulumi.String(cfg.Image.Offer),
				Sku:       pulumi.String(cfg.Image.SKU),
				Version:   pulumi.String(cfg.Image.Version),
			},
			// Delete: an orphaned disk costs money and keeps what stood on it. No name: a fixed one blocks a rebuild.
			OsDisk: compute.OSDiskArgs{
				CreateOption: pulumi.String("FromImage"),
				DeleteOption: pulumi.String("Delete"),
				ManagedDisk:  compute.ManagedDiskParametersArgs{StorageAccountType: pulumi.String("StandardSSD_LRS")},
			},
		},
		SecurityProfile: compute.SecurityProfileArgs{
			SecurityType: pulumi.String("TrustedLaunch"),
			UefiSettings: compute.UefiSettingsArgs{SecureBootEnabled: pulumi.Bool(true), VTpmEnabled: pulumi.Bool(true)},
		},
		DiagnosticsProfile: compute.DiagnosticsProfileArgs{BootDiagnostics: compute.BootDiagnosticsArgs{Enabled: pulumi.Bool(true)}},
		Tags:               n.tags,
	},
		// Azure refuses to change these on a live VM: a VM made anew gets the current ones.
		pulumi.IgnoreChanges([]string{"osProfile", "storageProfile.imageReference"}),
		pulumi.DeleteBeforeReplace(true),
		n.named("vmName", adopted),
		pulumi.ResourceHooks(&pulumi.ResourceHookBinding{OnError: []*pulumi.ErrorHook{refused}}))
	if err != nil {
		return nil, err
	}
	m := &machine{VirtualMachine: vm}
	if m.id, err = awaitString(ctx, vm.VmId); err != nil {
		return nil, err
	}
	if m.id == "" && !ctx.DryRun() {
		return nil, errNotMade("the virtual machine was")
	}
	if m.id == "" && last != nil && ctx.DryRun() && adopted == nil {
		// The preview of an update knows no output; the ID tells it from a machine made anew, which has none yet.
		id, err := internals.UnsafeAwaitOutput(ctx.Context(), vm.ID())
		if err != nil {
			return nil, errReported{err}
		}
		if id.Known && id.Value != pulumi.ID("") {
			m.id = last.VMID
		}
	}
	m.image = cfg.Image.Name
	if last != nil && m.id == last.VMID {
		m.image = last.Image
		if last.gone {
			return nil, last.missing(cfg)
		}
		warnOfRebuild(ctx, cfg, last)
	}
	if !cfg.Bootstrap && (m.id == "" || m.id != last.VMID) {
		return nil, fmt.Errorf("the virtual machine would be made anew, and port 22 is to be closed on it: nobody could configure it" +
			"\nhint: pulumi config set bootstrap true && pulumi up")
	}
	if cfg.Bootstrap {
		m.breakGlass, err = newBreakGlass(ctx, cfg, n, ring, m, last)
	}
	return m, err
}

// refusedSize adds what to do to an error of Azure's that is about the size; nil where it is about something else.
func refusedSize(cfg *Config, message string) error {
	for _, code := range []string{"SkuNotAvailable", "QuotaExceeded", "OperationNotAllowed", "AllocationFailed", "ZonalAllocationFailed"} {
		if strings.Contains(message, `Code="`+code+`"`) {
			return fmt.Errorf("%s\nthe size %q is not to be had in %q, or not in this subscription's quota; the rest is kept and `pulumi up` goes on from here"+
				"\nhint: pulumi config set vmSize Standard_B2as_v2    # or another that `az vm list-skus --location %s --size Standard_B --output table` shows without a restriction",
				message, cfg.VMSize, cfg.Location, cfg.Location)
		}
	}
	return nil
}

// warnOfRebuild says what has no effect on a machine that lives: no change of the configuration destroys it silently.
func warnOfRebuild(ctx *pulumi.Context, cfg *Config, last *lastRun) {
	var changed []string
	if cfg.Image.Name != last.Image {
		changed = append(changed, fmt.Sprintf("  %s: value %q, the machine was made of %q", keyImage, cfg.Image.Name, last.Image))
	}
	if cfg.AdminUsername != last.AdminUsername {
		changed = append(changed, fmt.Sprintf("  %s: value %q, Azure's own record of the machine says %q and keeps it; port 22 opens to the new one",
			keyAdminUsername, cfg.AdminUsername, last.AdminUsername))
	}
	if changed == nil {
		return
	}
	warn(ctx, "a machine that lives keeps what it was made of, and nothing destroys it for that:\n"+strings.Join(changed, "\n")+
		"\nhint: to have it made anew: bring the backups home from /backups/openclaw, then"+
		"\nhint: pulumi destroy && pulumi config set bootstrap true && pulumi up")
}

// newBreakGlass declares the way back in: a script that Azure's own agent runs as root, with no open port.
func newBreakGlass(ctx *pulumi.Context, cfg *Config, n *netResources, ring *keyring, m *machine, last *lastRun) (pulumi.Resource, error) {
	var name pulumi.StringPtrInput = pulumi.All(m.VmId, ring.unknown).ApplyT(func([]any) string { return "" }).(pulumi.StringOutput)
	if m.id != "" && ring.stack != nil {
		// Each firing has a name of its own, also where the door was open before in the same way: Azure's agent may
		// not run a command again that was made anew under its old name.
		sum := sha256.Sum256([]byte(strings.Join([]string{m.id, cfg.AdminUsername, ring.stack.Bootstrap.Public,
			strings.Join(prefixStrings(cfg.AllowedSSH), ","), strconv.Itoa(cfg.Rescue)}, "\n")))
		cause := "break-glass-" + hex.EncodeToString(sum[:6])
		m.firing = cause + "-" + newToken()
		if last != nil && strings.HasPrefix(last.Firing, cause+"-") {
			m.firing = last.Firing // it is declared still: the door stays open
		}
		name = pulumi.String(m.firing)
	}
	parameter := func(name string, value pulumi.StringInput) compute.RunCommandInputParameterArgs {
		return compute.RunCommandInputParameterArgs{Name: pulumi.String(name), Value: value}
	}
	waits, err := ctx.RegisterResourceHook("before-break-glass", func(*pulumi.ResourceHookArgs) error {
		_ = ctx.Log.Info("waiting for Azure's agent on the machine, which lets cloud-init finish and then sees to it that port 22 opens", nil)
		return nil
	}, nil)
	if err != nil {
		return nil, err
	}
	failed, err := ctx.RegisterErrorHook("break-glass-failed", func(args *pulumi.ErrorHookArgs) (bool, error) {
		if strings.Contains(args.Errors[0], `Code="VMExtensionProvisioningError"`) {
			_ = ctx.Log.Error(scriptFailed(args.Errors[0], args.NewInputs), nil) // an error of the hook's own would be lost: the resource was made
		}
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	return compute.NewVirtualMachineRunCommandByVirtualMachine(ctx, "break-glass", &compute.VirtualMachineRunCommandByVirtualMachineArgs{
		ResourceGroupName: n.group.Name,
		Location:          pulumi.String(cfg.Location),
		VmName:            m.Name,
		RunCommandName:    name,
		Source:            compute.VirtualMachineRunCommandScriptSourceArgs{Script: pulumi.String(breakglass.Script)},
		Parameters: compute.RunCommandInputParameterArray{
			parameter("ADMIN_USER", pulumi.String(cfg.AdminUsername)),
			parameter("ADMIN_KEY", ring.public(func() string { return ring.stack.Bootstrap.Public })),
			parameter("ALLOWED_CIDRS", pulumi.String(strings.Join(prefixStrings(cfg.AllowedSSH), ","))),
			parameter("BOOTSTRAP_PORT", pulumi.Sprintf("%d", bootstrapPort)),
			parameter("SSH_PORT", pulumi.Sprintf("%d", cfg.SSHPort)),
			parameter("WIREGUARD_PORT", pulumi.Sprintf("%d", cfg.WireGuardPort)),
		},
		ProtectedParameters: compute.RunCommandInputParameterArray{
			parameter("HOST_KEY", ring.secret(func() string { return ring.stack.HostKey.Private })),
		},
		TimeoutInSeconds:                pulumi.Int(1800),
		TreatFailureAsDeploymentFailure: pulumi.Bool(true),
		Tags:                            n.tags,
	}, n.within(), pulumi.DependsOn([]pulumi.Resource{n.bootstrap, n.wireguard}),
		pulumi.ResourceHooks(&pulumi.ResourceHookBinding{BeforeCreate: []*pulumi.ResourceHook{waits}, OnError: []*pulumi.ErrorHook{failed}}))
}

// scriptFailed says what became of the break-glass: Azure's error names an exit status and nothing else.
func scriptFailed(message string, inputs resource.PropertyMap) string {
	if strings.Contains(message, "exit status=28'") { // the script's own, for ENOSPC
		return "no space left on the disk of the machine: port 22 was not opened from inside" +
			"\nhint: make room on it, through the tunnel or Azure's serial console, then `pulumi up`"
	}
	text := func(name resource.PropertyKey) string {
		if !inputs[name].IsString() {
			return "…"
		}
		return inputs[name].StringValue()
	}
	return fmt.Sprintf("the script that opens port 22 from inside failed on the machine"+
		"\nhint: what it said: az vm run-command show --resource-group %s --vm-name %s --name %s --instance-view --query instanceView.error --output tsv"+
		"\nhint: pulumi up    # runs it again", text("resourceGroupName"), text("vmName"), text("runCommandName"))
}

// customData is cloud-init's configuration, in base64: the SSH host key, so that the very first connection is pinned,
// and nothing else that is secret. The drop-in makes it the only key that sshd offers; the layer ssh replaces it.
func customData(ring *keyring) string {
	type file struct {
		Path        string `yaml:"path"`
		Content     string `yaml:"content"`
		Permissions string `yaml:"permissions"`
		Owner       string `yaml:"owner"`
	}
	text, err := yaml.Marshal(map[string]any{
		// cloud-init deletes /etc/ssh/ssh_host_*key* after it has written files: ours would go with the image's.
		"ssh_deletekeys": false,
		"write_files": []file{
			{hostKeyPath, ring.stack.HostKey.Private, "0600", "root:root"},
			{hostKeyPath + ".pub", ring.stack.HostKey.Public + "\n", "0644", "root:root"},
			{"/etc/ssh/sshd_config.d/00-openclaw.conf", "HostKey " + hostKeyPath + "\nPasswordAuthentication no\nPermitRootLogin no\n", "0600", "root:root"},
		}})
	if err != nil {
		panic(err) // strings alone
	}
	return base64.StdEncoding.EncodeToString(append([]byte("#cloud-config\n"), text...))
}
