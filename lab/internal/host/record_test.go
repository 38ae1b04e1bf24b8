package host

import (
	"os"
	"testing"

	"openclaw-azure/lab/internal/place"
)

// TestDeletedMachineStaysDeleted although a script of its, or its agent, still has something to note.
func TestDeletedMachineStaysDeleted(t *testing.T) {
	h, err := Open(t.TempDir(), "", place.Networks{Lab: "unit"}, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	const id = "5d4b3c2a-0000-4000-8000-0123456789ab"
	if m, err := h.note(id, func(m *machine) { m.Scripts++ }); err == nil || err.Error() != "there is no virtual machine "+id {
		t.Errorf("got %+v, %v", m, err)
	}
	if exists, err := h.VMExists(t.Context(), id); exists || err != nil {
		t.Errorf("exists: %v, %v", exists, err)
	}
	// The twin: one that is there.
	h.record.Machines[id] = machine{}
	if m, err := h.note(id, func(m *machine) { m.Scripts++ }); m.Scripts != 1 || h.record.Machines[id].Scripts != 1 || err != nil {
		t.Errorf("got %+v, %v", m, err)
	}
	if text, err := os.ReadFile(h.recordPath()); len(text) == 0 || err != nil {
		t.Errorf("kept: %q, %v", text, err)
	}
}
