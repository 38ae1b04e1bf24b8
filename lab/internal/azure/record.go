package azure

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/google/uuid"
)

// stored is one resource as Azure keeps it. A stored value is never changed in place: a change makes a new one, so
// that a request which fails half way leaves what was.
type stored struct {
	ID   string
	Kind string // a kind's token; empty for a disk
	Name string
	// Number orders resources by their creation.
	Number int
	// Spec is the body of the last request, without what Azure never returns.
	Spec object
	// ProvisioningState is Succeeded, Failed, Creating or Updating.
	ProvisioningState string
	ETag              string
	GUID              string

	// Address is a public address, or the private one of an interface's first configuration.
	Address string `json:",omitempty"`
	// MAC of an interface that is attached to a machine.
	MAC string `json:",omitempty"`

	// VMID, Disk and Created are a machine's.
	VMID    string `json:",omitempty"`
	Disk    string `json:",omitempty"`
	Created string `json:",omitempty"`
	// Digests tell whether a property changed that Azure never returns, by its name.
	Digests map[string]string `json:",omitempty"`

	// Sequence counts the settings that a run command had, from 0.
	Sequence int `json:",omitempty"`
	// Outcome is what became of a run command's last request; empty where it succeeded.
	Outcome string `json:",omitempty"`
}

func (r *stored) clone() *stored {
	c := *r
	c.Spec = r.Spec.clone()
	c.Digests = maps.Clone(r.Digests)
	return &c
}

// agentState is what the agent within a machine remembers of a run command's name, whatever becomes of the resource.
type agentState struct {
	// Sequence is the highest that ran.
	Sequence int
	Outcome  string
	Error    string // the end of its standard error
}

// record is all that exists. It is kept in one file, which is replaced as a whole.
type record struct {
	file string

	Subscription string
	Numbers      int
	Resources    map[string]*stored
	// Agents are by vmId, then by the run command's name.
	Agents map[string]map[string]agentState
}

func openRecord(file string) (*record, error) {
	r := &record{
		file:         file,
		Subscription: uuid.NewString(),
		Resources:    map[string]*stored{},
		Agents:       map[string]map[string]agentState{},
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return r, r.save()
	}
	if err != nil {
		return nil, fmt.Errorf("read the control plane's record: %w", err)
	}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("read the control plane's record %q: %w", file, err)
	}
	return r, nil
}

func (r *record) save() error {
	data, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return fmt.Errorf("write the control plane's record: %w", err)
	}
	// CreateTemp makes the file with mode 0600.
	temp, err := os.CreateTemp(filepath.Dir(r.file), filepath.Base(r.file)+".*")
	if err != nil {
		return fmt.Errorf("write the control plane's record: %w", err)
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(data)
	if err == nil {
		err = temp.Sync()
	}
	if closeErr := temp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temp.Name(), r.file)
	}
	if err != nil {
		return fmt.Errorf("write the control plane's record: %w", err)
	}
	return nil
}

// key finds a resource whatever the case in which its id is written.
func key(id string) string { return strings.ToLower(strings.TrimSuffix(id, "/")) }

func (r *record) get(id string) *stored { return r.Resources[key(id)] }

// ofKind gives the resources of a kind in the order of their creation.
func (r *record) ofKind(k *kind) []*stored { return ofKind(r.Resources, k) }

func ofKind(resources map[string]*stored, k *kind) []*stored {
	var found []*stored
	for _, s := range resources {
		if s.Kind == k.token {
			found = append(found, s)
		}
	}
	return inOrder(found)
}

// under gives the resources whose id begins with id, itself not.
func under(resources map[string]*stored, id string) []*stored {
	var found []*stored
	for k, s := range resources {
		if strings.HasPrefix(k, key(id)+"/") {
			found = append(found, s)
		}
	}
	return inOrder(found)
}

func inOrder(found []*stored) []*stored {
	sort.Slice(found, func(i, j int) bool { return found[i].Number < found[j].Number })
	return found
}
