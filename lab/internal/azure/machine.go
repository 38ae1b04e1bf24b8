package azure

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"

	"openclaw-azure/lab/internal/fabric"
)

const (
	x64   = "x64"
	arm64 = "Arm64"
)

type image struct{ architecture, exact, controllers string }

// images are those that Azure offers, as far as the lab knows them. Whatever is asked for, the lab boots the one image
// that it has built.
var images = map[string]image{
	"Debian:debian-13:13-gen2":                {x64, "0.20251117.2299", "SCSI"},
	"Debian:debian-13:13-arm64":               {arm64, "0.20251117.2299", "SCSI"},
	"Canonical:ubuntu-24_04-lts:server":       {x64, "24.04.202511050", "SCSI, NVMe"},
	"Canonical:ubuntu-24_04-lts:server-arm64": {arm64, "24.04.202511050", "SCSI, NVMe"},
}

// size is what Azure tells of one.
type size struct {
	family, architecture, controllers string
	cores                             int
	memory                            float64 // GiB
}

// sizes are those that the lab knows; its machines are all of one.
var sizes = func() map[string]size {
	all := map[string]size{}
	of := func(family, architecture, controllers, list string) {
		for row := range strings.SplitSeq(list, ", ") {
			s, name := size{family: family, architecture: architecture, controllers: controllers}, ""
			if _, err := fmt.Sscan(row, &name, &s.cores, &s.memory); err != nil {
				panic(err)
			}
			all["Standard_"+name] = s
		}
	}
	of("standardBSFamily", x64, "SCSI", "B1s 1 1, B1ms 1 2, B2s 2 4, B2ms 2 8, B4ms 4 16")
	of("standardBsv2Family", x64, "SCSI", "B2ts_v2 2 1, B2ls_v2 2 4, B2s_v2 2 8, B4ls_v2 4 8, B4s_v2 4 16")
	of("standardBasv2Family", x64, "SCSI", "B2ats_v2 2 1, B2als_v2 2 4, B2as_v2 2 8, B4als_v2 4 8, B4as_v2 4 16")
	of("standardDSv2Family", x64, "SCSI", "DS1_v2 1 3.5")
	of("standardDSv3Family", x64, "SCSI", "D2s_v3 2 8")
	of("standardDSv4Family", x64, "SCSI", "D2s_v4 2 8")
	of("standardDSv5Family", x64, "SCSI", "D2s_v5 2 8, D4s_v5 4 16")
	of("standardDASv4Family", x64, "SCSI", "D2as_v4 2 8")
	of("standardDASv5Family", x64, "SCSI", "D2as_v5 2 8")
	of("standardDADSv5Family", x64, "SCSI", "D2ads_v5 2 8")
	of("standardDDSv5Family", x64, "SCSI", "D2ds_v5 2 8")
	of("standardFSv2Family", x64, "SCSI", "F2s_v2 2 4")
	of("standardESv5Family", x64, "SCSI", "E2s_v5 2 16")
	of("standardDasv6Family", x64, "SCSI", "D2as_v6 2 8")
	of("standardDsv6Family", x64, "NVMe", "D2s_v6 2 8")
	of("standardBpsv2Family", arm64, "SCSI", "B2pts_v2 2 1, B2pls_v2 2 4, B2ps_v2 2 8, B4pls_v2 4 8, B4ps_v2 4 16")
	of("standardDPSv5Family", arm64, "SCSI", "D2pls_v5 2 4, D2ps_v5 2 8, D2pds_v5 2 8")
	of("standardDpsv6Family", arm64, "NVMe", "D2ps_v6 2 8")
	return all
}()

// refusedNames are administrators' names that Azure's documentation lists.
var refusedNames = strings.Fields(`administrator admin user user1 test user2 test1 user3 admin1 1 123 a actuser adm admin2
	aspnet backup console david guest john owner root server sql support support_388945a0 sys test2 test3 user4 user5`)

// maxCustomData is the length of 64 KiB in base64.
const maxCustomData = 87380

// detached runs work that Azure goes on with when its client has gone. Begun work is not undone by ctx.
func (p *Provider) detached(ctx context.Context, work func(context.Context) error) error {
	done := make(chan error, 1)
	p.work.Go(func() { done <- work(p.ctx) })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// putMachine boots a machine, or changes one that is there.
func (p *Provider) putMachine(ctx context.Context, id string, body object) (begun bool, err error) {
	var machine fabric.Machine
	var made, repaired, resized bool
	err = p.change(ctx, func(c *change) error {
		if err := c.parents(virtualMachine, id); err != nil {
			return err
		}
		if err := checkName(virtualMachine, id); err != nil {
			return err
		}
		old := c.get(id)
		if old != nil && busy(old) {
			return refuse(http.StatusConflict, "AnotherOperationInProgress",
				"Another operation on this or dependent resource is in progress.")
		}
		r := c.fresh(virtualMachine, id, old, bodyOf(virtualMachine, body))
		if err := c.checkMachine(r, old); err != nil {
			return err
		}
		switch {
		case old == nil:
			made = true
			r.ProvisioningState = "Creating"
		case old.ProvisioningState == "Failed":
			repaired = true
			r.ProvisioningState = "Updating"
		case old.Spec.text("hardwareProfile.vmSize") != r.Spec.text("hardwareProfile.vmSize"):
			resized = true
			r.ProvisioningState = "Updating"
		}
		profile := object(body).object("osProfile")
		customData, err := base64.StdEncoding.DecodeString(profile.text("customData"))
		if err != nil {
			return err
		}
		delete(r.Spec.object("osProfile"), "customData")
		delete(r.Spec.object("osProfile"), "adminPassword")
		c.resources[key(id)] = r
		if made {
			c.resources[key(diskID(id, r.Disk))] = &stored{ID: diskID(id, r.Disk), Name: r.Disk, Number: r.Number}
			c.attach(r)
		}
		machine, err = c.describe(r, customData)
		return err
	})
	if err != nil {
		return false, err
	}
	if !made && !repaired && !resized {
		return true, nil
	}
	return true, p.detached(ctx, func(ctx context.Context) error {
		var err error
		switch {
		case made:
			err = p.fabric.CreateVM(ctx, machine)
		case repaired:
			if err = p.clear(ctx, machine.VMID); err == nil {
				err = p.fabric.CreateVM(ctx, machine)
			}
		case resized:
			err = p.fabric.RestartVM(ctx, machine.VMID)
		}
		return p.settle(ctx, id, err, func() error {
			// Azure's own text for a machine that does not come up says nothing: the lab's says what happened.
			return refuse(http.StatusOK, "InternalExecutionError", "An internal execution error occurred. Please retry later. (the lab: %v)", err)
		})
	})
}

// clear takes away what is left of a machine that did not come up. Its rules may go with it: they come back first.
func (p *Provider) clear(ctx context.Context, vmID string) error {
	if err := p.fabric.DeleteVM(ctx, vmID); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.enforced, vmID)
	return p.enforce(ctx, p.record.Resources)
}

// settle ends an operation that went on by itself.
func (p *Provider) settle(ctx context.Context, id string, failure error, answer func() error) error {
	err := p.change(ctx, func(c *change) error {
		r := c.get(id)
		if r == nil {
			return nil // deleted meanwhile
		}
		r = r.clone()
		r.ProvisioningState = "Succeeded"
		if failure != nil {
			r.ProvisioningState = "Failed"
		}
		c.resources[key(id)] = r
		return nil
	})
	if failure != nil {
		return answer()
	}
	return err
}

func busy(r *stored) bool {
	return r.ProvisioningState != "Succeeded" && r.ProvisioningState != "Failed"
}

// checkMachine refuses what Azure refuses of a machine. For a name of its computer, a size, missing parameters and a
// disk that is too small the texts are from memory of public reports.
func (c *change) checkMachine(r, old *stored) error {
	size := r.Spec.text("hardwareProfile.vmSize")
	of, known := sizes[size]
	if !known {
		return badRequest("InvalidParameter", "The value %s provided for the VM size is not valid. The valid sizes in the current region are: %s.",
			size, strings.Join(slices.Sorted(maps.Keys(sizes)), ","))
	}
	if old != nil {
		if err := c.checkUnchanged(r, old); err != nil {
			return err
		}
	}
	if err := c.checkDisk(r, old, size, of.architecture); err != nil {
		return err
	}
	if r.Spec.has("securityProfile.encryptionAtHost") {
		return badRequest("InvalidParameter",
			"The property 'securityProfile.encryptionAtHost' is not valid because the 'Microsoft.Compute/EncryptionAtHost' feature is not enabled for this subscription.")
	}
	references := r.Spec.objects("networkProfile.networkInterfaces")
	if len(references) == 0 {
		return missingParameter("networkProfile")
	}
	if len(references) > 1 {
		return labCannot("gives a machine one network interface, not %d: %q", len(references), r.Name)
	}
	nic := references[0].text("id")
	if err := c.checkReference(r, networkInterface, nic); err != nil {
		return err
	}
	if user := c.machineOf(nic); user != nil && key(user.ID) != key(r.ID) {
		return badRequest("NicInUse", "Network Interface %s is used by existing resource %s.", nic, user.ID)
	}
	if old != nil {
		return nil
	}
	if err := checkProfile(r); err != nil {
		return err
	}
	r.VMID = uuid.NewString()
	r.Created = time.Now().UTC().Format("2006-01-02T15:04:05.0000000+00:00")
	r.Digests = map[string]string{}
	for _, name := range []string{"customData", "adminPassword"} {
		r.Digests[name] = digest(r.VMID, r.Spec.text("osProfile."+name))
	}
	return nil
}

func missingParameter(name string) error {
	return badRequest("InvalidParameter", "Required parameter '%s' is missing (null).", name)
}

// checkUnchanged refuses changes of what is fixed when a machine is made. What a request leaves out stays as it is.
func (c *change) checkUnchanged(r, old *stored) error {
	for _, fixed := range []struct{ path, name string }{
		{"storageProfile.imageReference", "imageReference"},
		{"osProfile.adminUsername", "adminUsername"},
		{"osProfile.linuxConfiguration.disablePasswordAuthentication", "linuxConfiguration.disablePasswordAuthentication"},
		{"osProfile.linuxConfiguration.ssh.publicKeys", "linuxConfiguration.ssh.publicKeys"},
		{"storageProfile.osDisk.name", "osDisk.name"},
		{"storageProfile.osDisk.createOption", "osDisk.createOption"},
		{"securityProfile.securityType", "securityProfile.securityType"},
	} {
		if r.Spec.has(fixed.path) && !same(r.Spec.at(fixed.path), old.Spec.at(fixed.path)) {
			return refuse(http.StatusConflict, "PropertyChangeNotAllowed", "Changing property '%s' is not allowed.", fixed.name)
		}
	}
	if r.Spec.has("osProfile") && computerName(r) != computerName(old) {
		return refuse(http.StatusConflict, "PropertyChangeNotAllowed", "Changing property '%s' is not allowed.", "computerName")
	}
	for _, name := range []string{"customData", "adminPassword"} {
		value := r.Spec.text("osProfile." + name)
		if value == "" {
			continue
		}
		if name == "customData" {
			if err := checkCustomData(value); err != nil {
				return err
			}
		}
		if digest(old.VMID, value) != old.Digests[name] {
			return refuse(http.StatusConflict, "PropertyChangeNotAllowed", "Changing property '%s' is not allowed.", name)
		}
	}
	if !same(interfaceIDs(r), interfaceIDs(old)) {
		return labCannot("cannot give a machine that is there another network interface: %q", r.Name)
	}
	if r.Spec.has("storageProfile.osDisk.diskSizeGB") && diskGiB(r) != diskGiB(old) {
		return labCannot("cannot change the size of a disk: %q", r.Name)
	}
	// What Azure keeps although a request leaves it out.
	if !r.Spec.has("osProfile") {
		r.Spec["osProfile"] = cloneValue(old.Spec["osProfile"])
	}
	if !r.Spec.has("storageProfile") {
		r.Spec["storageProfile"] = cloneValue(old.Spec["storageProfile"])
	}
	return nil
}

func interfaceIDs(vm *stored) []string {
	var ids []string
	for _, nic := range vm.Spec.objects("networkProfile.networkInterfaces") {
		ids = append(ids, key(nic.text("id")))
	}
	return ids
}

func imageOf(spec object) (image, bool) {
	reference := spec.object("storageProfile.imageReference")
	found, ok := images[strings.Join([]string{reference.text("publisher"), reference.text("offer"), reference.text("sku")}, ":")]
	version := reference.text("version")
	return found, ok && (version == "latest" || version == found.exact)
}

func imageName(spec object) string {
	reference := spec.object("storageProfile.imageReference")
	return strings.Join([]string{reference.text("publisher"), reference.text("offer"), reference.text("sku"), reference.text("version")}, ":")
}

func diskGiB(r *stored) int {
	if size, ok := r.Spec.number("storageProfile.osDisk.diskSizeGB"); ok {
		return size
	}
	return imageDiskGiB
}

func (c *change) checkDisk(r, old *stored, size, architecture string) error {
	if !r.Spec.has("storageProfile.imageReference") {
		return missingParameter("imageReference")
	}
	found, ok := imageOf(r.Spec)
	if !ok {
		return refuse(http.StatusNotFound, "PlatformImageNotFound",
			"The platform image '%s' is not available. Verify that all fields in the storage profile are correct. For more details about storage profile information, please refer to https://aka.ms/storageprofile",
			imageName(r.Spec))
	}
	if found.architecture != architecture {
		return badRequest("BadRequest",
			"Cannot create a VM of size '%s' because this VM size only supports a CPU Architecture of '%s', but an image or disk with CPU Architecture '%s' was given. Please check that the CPU Architecture of the image or disk is compatible with that of the VM size.",
			size, architecture, found.architecture)
	}
	if !strings.Contains(found.controllers, sizes[size].controllers) {
		return badRequest("InvalidParameter",
			"The VM size '%s' cannot boot with OS image or disk. Please check that disk controller types supported by the OS image or disk is one of the supported disk controller types for the VM size '%s'. Please query sku api at https://aka.ms/azure-compute-skus to determine supported disk controller types for the VM size.",
			size, size)
	}
	if disks := r.Spec.objects("storageProfile.dataDisks"); len(disks) > 0 {
		return labCannot("gives a machine no data disks: %q", r.Name)
	}
	if old != nil {
		return nil
	}
	if option := r.Spec.text("storageProfile.osDisk.createOption"); r.Spec.has("storageProfile.osDisk") && option != "FromImage" {
		return labCannot("makes disks from images alone, not by %q", option)
	}
	if asked := diskGiB(r); asked < imageDiskGiB {
		return refuse(http.StatusConflict, "OperationNotAllowed",
			"The specified disk size %d GB is smaller than the size of the corresponding disk in the VM image: %d GB. This is not allowed. Please choose equal or greater size or do not specify an explicit size.",
			asked, imageDiskGiB)
	}
	r.Disk = r.Spec.text("storageProfile.osDisk.name")
	if r.Disk == "" {
		r.Disk = fmt.Sprintf("%s_OsDisk_1_%s", r.Name, strings.ReplaceAll(uuid.NewString(), "-", ""))
	}
	if c.get(diskID(r.ID, r.Disk)) != nil {
		return refuse(http.StatusConflict, "ConflictingUserInput",
			"Disk %s already exists in resource group %s. Only CreateOption.Attach is supported.",
			r.Disk, strings.ToUpper(virtualMachine.pathOf(r.ID).text("resourceGroupName")))
	}
	return nil
}

// checkProfile is about the administrator of a new machine.
func checkProfile(r *stored) error {
	profile := r.Spec.object("osProfile")
	if profile == nil {
		return missingParameter("osProfile")
	}
	user := profile.text("adminUsername")
	if user == "" {
		return missingParameter("adminUsername")
	}
	if slices.Contains(refusedNames, strings.ToLower(user)) {
		return badRequest("InvalidParameter", "The Admin Username specified is not allowed.")
	}
	if name := computerName(r); len(name) > 64 || strings.ContainsAny(name, "`~!@#$%^&*()=+_[]{}\\|;:'\",<>/?.") {
		return badRequest("InvalidParameter",
			"Linux host name cannot exceed 64 characters in length or contain the following characters: ` ~ ! @ # $ %% ^ & * ( ) = + _ [ ] { } \\ | ; : ' \" , < > / ?.")
	}
	keys := profile.objects("linuxConfiguration.ssh.publicKeys")
	if profile.truth("linuxConfiguration.disablePasswordAuthentication") {
		if len(keys) == 0 {
			return badRequest("InvalidParameter",
				"Authentication using either SSH or by user name and password must be enabled in Linux profile.")
		}
	} else if profile.text("adminPassword") == "" {
		return missingParameter("adminPassword")
	}
	for _, publicKey := range keys {
		if path := "/home/" + user + "/.ssh/authorized_keys"; publicKey.text("path") != path {
			return badRequest("InvalidParameter",
				"Destination path for SSH public keys is currently limited to its default value %s due to a known issue in Linux provisioning agent.", path)
		}
		if !takesKey(publicKey.text("keyData")) {
			return badRequest("InvalidParameter", "The value of parameter linuxConfiguration.ssh.publicKeys.keyData is invalid.")
		}
	}
	return checkCustomData(profile.text("customData"))
}

func checkCustomData(data string) error {
	if _, err := base64.StdEncoding.DecodeString(data); err != nil || len(data) > maxCustomData {
		return badRequest("InvalidParameter", "Custom data in OSProfile must be in Base64 encoding and with a maximum length of %d characters.", maxCustomData)
	}
	return nil
}

// takesKey says whether Azure takes a public key: RSA of 2048 bits and more, and Ed25519.
func takesKey(line string) bool {
	parsed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return false
	}
	switch parsed.Type() {
	case ssh.KeyAlgoED25519:
		return true
	case ssh.KeyAlgoRSA:
		crypto, ok := parsed.(ssh.CryptoPublicKey)
		if !ok {
			return false
		}
		number, ok := crypto.CryptoPublicKey().(*rsa.PublicKey)
		return ok && number.N.BitLen() >= 2048
	}
	return false
}

func computerName(r *stored) string {
	if name := r.Spec.text("osProfile.computerName"); name != "" {
		return name
	}
	return r.Name
}

// attach gives the interface of a new machine its hardware address.
func (c *change) attach(vm *stored) {
	for _, id := range interfaceIDs(vm) {
		nic := c.get(id).clone()
		if nic.MAC == "" {
			tail := make([]byte, 3)
			rand.Read(tail)
			nic.MAC = fmt.Sprintf("00-0D-3A-%02X-%02X-%02X", tail[0], tail[1], tail[2])
		}
		c.resources[key(id)] = nic
	}
}

// describe is a machine as the fabric boots it.
func (c *change) describe(r *stored, customData []byte) (fabric.Machine, error) {
	nic := c.get(interfaceIDs(r)[0])
	sub := c.get(subnetID(nic))
	network := c.get(sub.ID[:strings.LastIndex(sub.ID, "/subnets/")])
	m := fabric.Machine{
		VMID: r.VMID, Name: r.Name, ComputerName: computerName(r), Image: imageName(r.Spec),
		Size: r.Spec.text("hardwareProfile.vmSize"), AdminUsername: r.Spec.text("osProfile.adminUsername"),
		CustomData: customData, VNet: prefixesOf(network.Spec), DiskGiB: diskGiB(r),
	}
	for _, publicKey := range r.Spec.objects("osProfile.linuxConfiguration.ssh.publicKeys") {
		m.AdminKeys = append(m.AdminKeys, strings.TrimSpace(publicKey.text("keyData")))
	}
	var err error
	if m.PrivateAddress, err = netip.ParseAddr(nic.Address); err != nil {
		return m, err
	}
	if m.Subnet, err = netip.ParsePrefix(subnetPrefixes(sub.Spec)[0]); err != nil {
		return m, err
	}
	if address := c.get(publicAddressID(nic)); address != nil {
		m.PublicAddress, err = netip.ParseAddr(address.Address)
	}
	return m, err
}

// deleteMachine takes a machine down and with it its run commands, and its disk and interface where it says so.
func (p *Provider) deleteMachine(ctx context.Context, id string) error {
	p.mu.Lock()
	r := p.record.get(id)
	if r == nil {
		err := p.absent(p.record.Resources, virtualMachine, id)
		p.mu.Unlock()
		return err
	}
	for _, s := range under(p.record.Resources, id) {
		if cancel := p.running[key(s.ID)]; cancel != nil {
			cancel(errDeleted)
		}
	}
	p.mu.Unlock()
	return p.detached(ctx, func(ctx context.Context) error {
		err := p.fabric.DeleteVM(ctx, r.VMID)
		if there, lookErr := p.fabric.VMExists(ctx, r.VMID); err != nil && (there || lookErr != nil) {
			return refuse(http.StatusOK, "InternalExecutionError", "An internal execution error occurred. Please retry later. (the lab: %v)", err)
		}
		return p.change(ctx, func(c *change) error { return c.forgetMachine(r) })
	})
}

// forgetMachine takes a machine that is gone out of the record.
func (c *change) forgetMachine(r *stored) error {
	delete(c.resources, key(r.ID))
	for _, s := range under(c.resources, r.ID) {
		delete(c.resources, key(s.ID))
	}
	if r.Spec.text("storageProfile.osDisk.deleteOption") == "Delete" {
		delete(c.resources, key(diskID(r.ID, r.Disk)))
	}
	for _, reference := range r.Spec.objects("networkProfile.networkInterfaces") {
		nic := c.get(reference.text("id"))
		if nic == nil {
			continue
		}
		if reference.text("deleteOption") == "Delete" {
			if err := c.delete(networkInterface, nic.ID); err != nil {
				return err
			}
			continue
		}
		nic = nic.clone()
		nic.MAC = ""
		c.resources[key(nic.ID)] = nic
	}
	delete(c.p.record.Agents, r.VMID)
	delete(c.p.enforced, r.VMID)
	return nil
}

// forgetIfGone drops a machine that somebody took away beneath the control plane.
func (p *Provider) forgetIfGone(ctx context.Context, r *stored) error {
	if r.ProvisioningState != "Succeeded" {
		return nil
	}
	there, err := p.fabric.VMExists(ctx, r.VMID)
	if err != nil {
		return fmt.Errorf("look for machine %q: %w", r.Name, err)
	}
	if there {
		return nil
	}
	return p.changeLocked(ctx, func(c *change) error { return c.forgetMachine(r) })
}

func digest(salt, text string) string {
	sum := sha256.Sum256([]byte(salt + "\x00" + text))
	return hex.EncodeToString(sum[:])
}
