package applier

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/machine"
)

// tables are what the applier allows and needs of each part of a request, and its exit statuses.
type tables struct {
	Requests, Fields, ProbeFields, ProbeNeeds, Needs map[string][]string
	Secrets, Confirm, Quick                          []string
	Exits                                            map[string]int
}

func readTables(t *testing.T) (of tables) {
	t.Helper()
	out := python(t, inMemory+`
r, w = sys.modules["applier.request"], sys.modules["applier.words"]
def lists(table):
    return {name: sorted(fields) for name, fields in table.items()}
print(json.dumps({
    "requests": lists(r.REQUESTS), "fields": lists(r.FIELDS), "needs": lists(r.NEEDS),
    "probeFields": lists(r.PROBE_FIELDS), "probeNeeds": lists(r.PROBE_NEEDS),
    "secrets": sorted(r.SECRET_FIELDS), "confirm": sorted(r.CONFIRM_FIELDS), "quick": sorted(r.QUICK_FIELDS),
    "exits": {name: value for name, value in vars(w).items() if name.startswith("EXIT_")},
}))`, onDisk(t))
	if err := json.Unmarshal([]byte(out), &of); err != nil {
		t.Fatal(err)
	}
	return of
}

// tags are the names of a struct's fields on the wire; always has those that are there whatever their value.
func tags(of any) (all, always []string) {
	for _, field := range reflect.VisibleFields(reflect.TypeOf(of)) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		all = append(all, name)
		if options != "omitempty" {
			always = append(always, name)
		}
	}
	slices.Sort(all)
	slices.Sort(always)
	return all, always
}

// missing finds what of some names is not among others.
func missing(of, among []string) (names []string) {
	for _, name := range of {
		if !slices.Contains(among, name) {
			names = append(names, name)
		}
	}
	return names
}

func TestFieldsAreOnBothSides(t *testing.T) {
	python := readTables(t)
	packed, err := layer.Layer{Name: "x", Armed: true}.Pack()
	if err != nil {
		t.Fatal(err)
	}
	same := func(what string, of any, fields, needs []string) {
		t.Helper()
		all, always := tags(of)
		if diff := cmp.Diff(all, fields); diff != "" {
			t.Errorf("%s: Go (-) and the applier (+) differ:\n%s", what, diff)
		}
		if never := missing(needs, always); never != nil {
			t.Errorf("%s: the applier needs %q, which Go may leave out", what, never)
		}
	}
	apply := packed.Apply(layer.Confirmation{})
	for op, request := range map[string]any{"apply": apply, "confirm": packed.Confirm(22), "observe": layer.Observe(), "prove": layer.Prove(nil)} {
		same("request "+op, request, python.Requests[op], nil)
	}
	// The host's own timer asks for it.
	if diff := cmp.Diff([]string{"op"}, python.Requests["rollback"]); diff != "" || len(python.Requests) != 5 {
		t.Errorf("requests: %q\n%s", python.Requests, diff)
	}
	secrets, _ := reflect.TypeOf(apply).FieldByName("Secrets")
	same("secrets", reflect.Zero(secrets.Type).Interface(), python.Secrets, nil)
	same("confirm", layer.Confirmation{}, python.Confirm, python.Confirm)
	same("quick", layer.Quick{}, python.Quick, python.Quick)
	sections := map[string]any{"": layer.Layer{}, "groups": layer.Group{}, "users": layer.User{}, "directories": layer.Directory{},
		"files": layer.File{}, "checks": layer.Check{}, "units": layer.Unit{}}
	for section, of := range sections {
		same("declared "+section, of, python.Fields[section], python.Needs[section])
	}
	if len(python.Fields) != len(sections) {
		t.Errorf("sections: %q", python.Fields)
	}
}

func TestProbesAreOnBothSides(t *testing.T) {
	python := readTables(t)
	from := netip.MustParseAddr("10.100.0.2")
	some, by, rules := []string{"x"}, map[string]string{"x": "y"}, [][]string{{"x"}}
	made := map[string][]string{}
	// With all that a kind can say, and with as little.
	for _, p := range []struct{ whole, least layer.Probe }{
		{layer.Command("x", "y", "z").Within(11), layer.Command("", "", "z")},
		{layer.KernelSysctl("x", "y"), layer.Sysctl("x", "")},
		{layer.SSHD("x", from, 22, by), layer.SSHD("x", from, 22, by)},
		{layer.IP6Tables(some, some, rules), layer.IPTables("filter", some, nil, nil)},
		{layer.WireGuard("wg0", 51820, "x", map[string][]string{"x": some}), layer.WireGuard("wg0", 0, "", nil)},
		{layer.Jail("x", by), layer.Jail("x", by)},
		{layer.Files(layer.Watched{Paths: some, Except: some, Generated: by, Units: some}), layer.Files(layer.Watched{Paths: some})},
		{layer.Keys(map[string][]string{"x": some}), layer.Keys(map[string][]string{"x": some})},
		{layer.Accounts(some, some), layer.Accounts(nil, nil)},
		{layer.NFTables(), layer.NFTables()},
		{layer.Routes(), layer.Routes()},
		{layer.Sockets("x", "y", some...), layer.Sockets("x", "y")},
	} {
		kind := p.whole.Kind
		made[kind] = keys(t, p.whole)
		if diff := cmp.Diff(python.ProbeFields[kind], made[kind]); diff != "" {
			t.Errorf("%s: the applier (-) and Go (+) differ:\n%s", kind, diff)
		}
		if never := missing(python.ProbeNeeds[kind], keys(t, p.least)); never != nil {
			t.Errorf("%s: the applier needs %q, which Go may leave out", kind, never)
		}
	}
	if len(made) != len(python.ProbeFields) || len(made) != len(python.ProbeNeeds) {
		t.Errorf("kinds: made %q, the applier knows %q and %q", made, python.ProbeFields, python.ProbeNeeds)
	}
	var used []string
	for _, fields := range made {
		used = append(used, fields...)
	}
	all, _ := tags(layer.Probe{})
	if never := missing(all, used); never != nil {
		t.Errorf("no kind of probe has %q", never)
	}
}

// keys are the fields of a probe as it goes over the wire.
func keys(t *testing.T, p layer.Probe) (names []string) {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestExitStatusesAreOnBothSides(t *testing.T) {
	want := map[string]int{"EXIT_FAILED": machine.ExitFailed, "EXIT_ROLLED_BACK": machine.ExitRolledBack,
		"EXIT_NOT_PENDING": machine.ExitNotPending, "EXIT_REFUSED": machine.ExitRefused}
	if diff := cmp.Diff(want, readTables(t).Exits); diff != "" {
		t.Errorf("exit statuses of Go (-) and the applier (+) differ:\n%s", diff)
	}
}
