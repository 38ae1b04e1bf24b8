package standin

import (
	"encoding/base64"
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"go.yaml.in/yaml/v3"

	"openclaw-azure/internal/keys"
	"openclaw-azure/internal/machine"
)

// bootGuest makes the machine as Azure and cloud-init do: its host key from customData, the administrator's key, sshd on
// port 22 with nothing in front of it.
func bootGuest(id string, vm resource.PropertyMap) (*guest, error) {
	profile := vm["osProfile"].ObjectValue()
	text, err := base64.StdEncoding.DecodeString(profile["customData"].StringValue())
	if err != nil {
		return nil, fmt.Errorf("customData: %w", err)
	}
	var cloud struct {
		Files []struct{ Path, Content string } `yaml:"write_files"`
	}
	if err := yaml.Unmarshal(text, &cloud); err != nil {
		return nil, fmt.Errorf("customData: %w", err)
	}
	g := &guest{ID: id, Sshd22: true, Firewall22: true, Layers: map[string]*record{}}
	for _, file := range cloud.Files {
		if file.Path == machine.HostKeyPath+".pub" {
			g.HostKey = file.Content
		}
	}
	ssh := profile["linuxConfiguration"].ObjectValue()["ssh"].ObjectValue()
	g.Admin = profile["adminUsername"].StringValue()
	g.AdminKey = ssh["publicKeys"].ArrayValue()[0].ObjectValue()["keyData"].StringValue()
	return g, nil
}

// breakGlass does what the script does where the agent runs it: the bootstrap door opens, with the keys that it got.
func (g *guest) breakGlass(command resource.PropertyMap) error {
	if g == nil {
		return fmt.Errorf(`Status=404 Code="ParentResourceNotFound" Message="no virtual machine"`)
	}
	parameters := map[string]string{}
	for _, list := range []resource.PropertyKey{"parameters", "protectedParameters"} {
		for _, p := range command[list].ArrayValue() {
			parameters[p.ObjectValue()["name"].StringValue()] = p.ObjectValue()["value"].StringValue()
		}
	}
	public, err := publicHalf(parameters["HOST_KEY"])
	if err != nil {
		return fmt.Errorf("HOST_KEY: %w", err)
	}
	if _, err := keys.ParseAuthorizedKey(parameters["ADMIN_KEY"]); err != nil {
		return fmt.Errorf("ADMIN_KEY: %w", err)
	}
	g.HostKey, g.AdminKey, g.Admin = public, parameters["ADMIN_KEY"], parameters["ADMIN_USER"]
	g.Sshd22, g.Firewall22 = true, true
	return nil
}

// guest is the machine as far as the program deals with it: its doors, and what was applied last.
type guest struct {
	ID      string
	address string

	HostKey, Admin, AdminKey string
	Sshd22, Firewall22       bool
	Stubborn22               bool // sshd and firewall keep port 22 whatever they are told

	ClawKeys   string // the file of them
	deployKeys string // the program's own
	Wireguard  string // wg0.conf
	sshd       string // the drop-in

	Layers       map[string]*record
	Drift        map[string][]Drift
	Notes        []string // what is worth knowing, and no drift
	Warnings     []string
	Later        []string // warnings of the proof alone
	NotShown     []string // kernel settings
	Pending      string   // layer that waits for its confirmation
	LastRollback string   // layer that was taken back
}

// Drift is one difference, as the applier says it.
type Drift struct {
	Subject string `json:"subject"`
	Want    string `json:"want"`
	Got     string `json:"got"`
}

// record is what the applier keeps of a layer.
type record struct{ Token, digest string }
