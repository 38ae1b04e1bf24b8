package main

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/pulumi/pulumi-azure-native-sdk/compute/v2"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"go.yaml.in/yaml/v3"

	"openclaw-azure/internal/azure"
	"openclaw-azure/internal/config"
	"openclaw-azure/internal/engine"
	"openclaw-azure/internal/hint"
	"openclaw-azure/internal/lastrun"
	"openclaw-azure/internal/machine"
)

// virtualMachine is the VM and its break-glass.
type virtualMachine struct {
	*compute.VirtualMachine
	id         string // Azure's vmId: new for a VM made anew; empty if not known
	fresh      bool   // made in this run
	image      string // that it was made of, whatever is configured now
	breakGlass pulumi.Resource
	firing     string // the name of the run command; empty if it is not known or not declared
}

// askedOf is what this run asks of Azure.
func askedOf(ctx *pulumi.Context, cfg *config.Config, last *lastrun.Run, known azure.Known) (azure.Asked, error) {
	asked := azure.Asked{Location: cfg.Location, Size: cfg.VMSize, Tags: tagsOf(ctx, cfg), Watched: cfg.AzureEmail != ""}
	asked.Image = azure.Image{Publisher: cfg.Image.Publisher, Offer: cfg.Image.Offer, SKU: cfg.Image.SKU}
	var err error
	asked.Before, err = sizeOf(ctx, cfg, last, known)
	return asked, err
}

// sizeOf is the size of the stack's machine, empty if there is none. Quotas count it already.
func sizeOf(ctx *pulumi.Context, cfg *config.Config, last *lastrun.Run, known azure.Known) (string, error) {
	if !cfg.Bootstrap {
		if last.VMSize == "" || strings.EqualFold(last.VMSize, cfg.VMSize) {
			return cfg.VMSize, nil // a machine is made with port 22 open alone
		}
		// A run that failed later on may have resized it.
		var err error
		if known, err = azure.InState(ctx); err != nil {
			return "", err
		}
	}
	if size := known.Size("vm"); size != "" || !known.Has("nic") {
		return size, nil
	}
	// A run that was killed may have left one that Pulumi does not know.
	vm, err := compute.LookupVirtualMachine(ctx, &compute.LookupVirtualMachineArgs{
		ResourceGroupName: cmp.Or(cfg.ResourceGroup, known.Text("openclaw", "name")), VmName: strings.TrimSuffix(known.Text("nic", "name"), "nic") + "vm"})
	if err != nil || vm.HardwareProfile == nil {
		return "", nil // whoever makes it hears of the error
	}
	return azure.Deref(vm.HardwareProfile.VmSize), nil
}

// askAhead asks Azure what it would refuse, where a machine is to be made or resized: before anything is declared, all at once.
func (r *run) askAhead(ctx *pulumi.Context, asked azure.Asked) error {
	if strings.EqualFold(asked.Before, asked.Size) {
		return nil
	}
	objections, notes := r.ahead(ctx, cmp.Or(r.info.Config["azure-native:subscriptionId"], os.Getenv("ARM_SUBSCRIPTION_ID")), asked)
	for _, note := range notes {
		engine.Say(ctx, note)
	}
	if objections == nil {
		return nil
	}
	text := "nothing was made or changed, since this machine would be refused, or would not do:"
	for _, o := range objections {
		text += strings.ReplaceAll("\n"+hint.Text(o.Text, o.Commands...), "\n", "\n  ")
	}
	return errors.New(text)
}

func newVM(ctx *pulumi.Context, cfg *config.Config, n *netResources, allKeys *stackKeys, last *lastrun.Run) (*virtualMachine, error) {
	imported, err := n.adoptNamed(ctx, "vm", "Microsoft.Compute/virtualMachines", func(group, name string) (found, error) {
		vm, err := compute.LookupVirtualMachine(ctx, &compute.LookupVirtualMachineArgs{ResourceGroupName: group, VmName: name})
		if err != nil {
			return found{}, err
		}
		return found{vm.ProvisioningState, vm.Tags}, nil
	})
	if err != nil {
		return nil, err
	}
	vm, err := compute.NewVirtualMachine(ctx, "vm", vmArgs(cfg, n, allKeys),
		// Azure refuses to change these on a live VM: a VM made anew gets the current ones.
		// The last: Azure does not tell of it while the machine is deallocated, and a refresh would take it for gone.
		pulumi.IgnoreChanges([]string{"osProfile", "storageProfile.imageReference", "storageProfile.osDisk.managedDisk.storageAccountType"}),
		pulumi.DeleteBeforeReplace(true),
		n.within(nil, imported))
	if err != nil {
		return nil, err
	}
	m := &virtualMachine{VirtualMachine: vm, image: cfg.Image.Name}
	if err := m.identify(ctx, n.adopter.Known, last, imported != nil); err != nil {
		return nil, err
	}
	if last != nil && m.id == last.VMID {
		m.image = last.Image
		if last.Gone {
			return nil, last.Missing(cfg)
		}
		warnOfRebuild(ctx, cfg, last)
	}
	if !cfg.Bootstrap && (m.id == "" || m.id != last.VMID) {
		return nil, hint.To(errors.New("the virtual machine would be made anew, and port 22 is to be closed on it: nobody could configure it"),
			"pulumi config set bootstrap true && pulumi up")
	}
	m.fresh = cfg.Bootstrap && (m.id == "" || imported == nil && m.id != n.adopter.Known.Text("vm", "vmId"))
	if cfg.Bootstrap && m.id != "" && allKeys.stack != nil {
		m.firing, err = firing(cfg, m.id, allKeys.stack.Bootstrap.Public, last, n.adopter.Known, func(name string) (bool, error) {
			if m.fresh {
				return false, nil
			}
			return hasRunCommand(ctx, n.groupName, m.Name, name)
		})
		if err != nil {
			return nil, err
		}
	}
	if cfg.Bootstrap && !m.fresh {
		// Before anything else: it lets the layers in. Not by DependsOn: when port 22 closes the rule would wait until Azure's agent
		// has let go of the run command, which may take hours.
		if err := errors.Join(engine.Await(ctx, n.bootstrap.ID()), engine.Await(ctx, n.wireguard.ID())); err != nil {
			return nil, err
		}
		m.breakGlass, err = newBreakGlass(ctx, cfg, n, allKeys, m)
	}
	return m, err
}

// leaveAWayBack declares the break-glass of a machine that was made in this run, after the proof: cloud-init opened port 22 on
// it, and the layers need not wait for Azure's agent, nor fail with it.
func (m *virtualMachine) leaveAWayBack(ctx *pulumi.Context, cfg *config.Config, n *netResources, allKeys *stackKeys, proven *proof) error {
	if !m.fresh {
		return nil
	}
	// Not by DependsOn: a later run declares it before the proof, and --target wants what it depends on first.
	err := engine.Await(ctx, proven.ID())
	if err == nil {
		m.breakGlass, err = newBreakGlass(ctx, cfg, n, allKeys, m)
	}
	return err
}

// identify learns Azure's vmId. An adopted machine is none that the last run knew.
func (m *virtualMachine) identify(ctx *pulumi.Context, known azure.Known, last *lastrun.Run, adopted bool) error {
	var err error
	if m.id, err = engine.Text(ctx, m.VmId); err != nil || m.id != "" {
		return err
	}
	if !ctx.DryRun() {
		return notMade("the virtual machine was")
	}
	if adopted {
		return nil
	}
	// The preview of an update knows no output; the ID tells it from a machine made anew, which has none yet.
	id, err := engine.Value(ctx, m.ID())
	if id != nil && id != pulumi.ID("") {
		if m.id = known.Text("vm", "vmId"); last != nil {
			m.id = last.VMID
		}
	}
	return err
}

func vmArgs(cfg *config.Config, n *netResources, allKeys *stackKeys) *compute.VirtualMachineArgs {
	return &compute.VirtualMachineArgs{
		ResourceGroupName: n.groupName,
		VmName:            pulumi.String(n.named("vm")),
		Location:          pulumi.String(cfg.Location),
		HardwareProfile:   compute.HardwareProfileArgs{VmSize: pulumi.String(cfg.VMSize)},
		NetworkProfile: compute.NetworkProfileArgs{NetworkInterfaces: compute.NetworkInterfaceReferenceArray{
			// Detach: Pulumi owns the interface, and Azure must not take it along with the VM.
			compute.NetworkInterfaceReferenceArgs{Id: n.nic.ID(), Primary: pulumi.Bool(true), DeleteOption: pulumi.String("Detach")},
		}},
		OsProfile: compute.OSProfileArgs{
			ComputerName:  pulumi.String("openclaw"),
			AdminUsername: pulumi.String(cfg.AdminUsername),
			CustomData:    allKeys.secret(func() string { return customData(allKeys) }),
			LinuxConfiguration: compute.LinuxConfigurationArgs{
				DisablePasswordAuthentication: pulumi.Bool(true),
				Ssh: compute.SshConfigurationArgs{PublicKeys: compute.SshPublicKeyTypeArray{compute.SshPublicKeyTypeArgs{
					Path:    pulumi.Sprintf("/home/%s/.ssh/authorized_keys", cfg.AdminUsername),
					KeyData: allKeys.public(func() string { return allKeys.stack.Bootstrap.Public }),
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
			// Delete: an orphaned disk costs money and keeps what it held. No name: a fixed one blocks a rebuild.
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
	}
}

// warnOfRebuild says what has no effect on a machine that lives: no change of the configuration destroys it silently.
func warnOfRebuild(ctx *pulumi.Context, cfg *config.Config, last *lastrun.Run) {
	var changed []string
	if cfg.Image.Name != last.Image {
		changed = append(changed, fmt.Sprintf("  %s: value %q, the machine was made of %q", config.KeyImage, cfg.Image.Name, last.Image))
	}
	if cfg.AdminUsername != last.AdminUsername {
		changed = append(changed, fmt.Sprintf("  %s: value %q, Azure's own record of the machine says %q and keeps it; port 22 opens to the new one",
			config.KeyAdminUsername, cfg.AdminUsername, last.AdminUsername))
	}
	if changed == nil {
		return
	}
	engine.Warn(ctx, hint.Text("a machine that lives keeps what it was made of, and nothing destroys it for that:\n"+strings.Join(changed, "\n"),
		"to have it made anew: bring the backups home from /backups/openclaw, then",
		"pulumi destroy && pulumi config set bootstrap true && pulumi up"))
}

// leftOut is what to do about something that the program declared and that is not there.
const leftOut = "an error above says why; where there is none, --target left it out: pulumi up, without it"

// notMade is for a resource that this run needs and that is not there.
func notMade(what string) error {
	return hint.To(fmt.Errorf("%s not made", what),
		leftOut)
}

// customData is cloud-init's configuration, in base64: the SSH host key, so that the very first connection is pinned,
// and nothing else that is secret. The drop-in makes it the only key that sshd offers; the layer ssh replaces it.
func customData(allKeys *stackKeys) string {
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
			{machine.HostKeyPath, allKeys.stack.HostKey.Private, "0600", "root:root"},
			{machine.HostKeyPath + ".pub", allKeys.stack.HostKey.Public + "\n", "0644", "root:root"},
			{machine.SSHDropIn, "HostKey " + machine.HostKeyPath + "\nPasswordAuthentication no\nPermitRootLogin no\n", "0600", "root:root"},
		}})
	if err != nil {
		panic(err) // strings alone
	}
	return base64.StdEncoding.EncodeToString(append([]byte("#cloud-config\n"), text...))
}
