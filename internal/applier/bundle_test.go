package applier

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// Each module once, after all that it imports: a cycle has no such order.
func TestModulesInOrder(t *testing.T) {
	var standing []string
	names, err := fs.Glob(files, "*.py")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if name != "loader.py" {
			standing = append(standing, strings.TrimSuffix(name, ".py"))
		}
	}
	if diff := cmp.Diff(standing, slices.Sorted(slices.Values(modules))); diff != "" {
		t.Errorf("the modules (-) and their order (+) differ:\n%s", diff)
	}
	var loaded []string
	for _, match := range regexp.MustCompile(`(?m)^load\("(\w+)", r'''`).FindAllStringSubmatch(source(), -1) {
		loaded = append(loaded, match[1])
	}
	if diff := cmp.Diff(modules, loaded); diff != "" {
		t.Errorf("the order (-) and what the program loads (+) differ:\n%s", diff)
	}
	imports := regexp.MustCompile(`(?m)^\s*(?:from|import)\s+applier(?:\.(\w+)|\b.*)`)
	for i, name := range modules {
		for _, match := range imports.FindAllStringSubmatch(read(name), -1) {
			if !slices.Contains(modules[:i], match[1]) {
				t.Errorf("%s.py: %q: no module before it is imported", name, match[0])
			}
		}
	}
}

// The text is between quotes as it stands, and whoever reads it on the host can read it.
func TestSourceIsText(t *testing.T) {
	for _, name := range modules {
		text := read(name)
		if strings.Contains(text, quotes) || !strings.HasSuffix(text, "\n") {
			t.Errorf("%s.py has %s in it, or no end of its last line", name, quotes)
		}
	}
	if !utf8.ValidString(source()) || strings.Contains(source(), "\r") {
		t.Error("the program is not UTF-8 text, or has a carriage return in it")
	}
}

// Another text would be a change of the layer that brings it.
func TestSourceIsStable(t *testing.T) {
	for range 3 {
		if string(Source()) != source() {
			t.Fatal("another text than before")
		}
	}
	Source()[0] = 'x'
	if string(Source()) != source() {
		t.Error("whoever has the text can change it")
	}
}

// python runs a script with the interpreter's isolation that the host has.
func python(t *testing.T, script string, arguments ...string) string {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Fatalf("the applier is Python: %v", err)
	}
	out, err := exec.Command(path, append([]string{"-I", "-B", "-c", script}, arguments...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// inMemory loads the program as the remote command does.
const inMemory = `
import json, sys
with open(sys.argv[1], "rb") as file:
    g = {"__name__": "openclaw_apply"}
    exec(compile(file.read(), "apply.py", "exec"), g)
`

// onDisk is the program as the host has it.
func onDisk(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "apply.py")
	if err := os.WriteFile(path, Source(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// A traceback names the module and the line as its own file has them, from memory and from the disk.
func TestTraceback(t *testing.T) {
	const wanted = "    file, active, load = state.get("
	line := 0
	for i, text := range strings.Split(read("units"), "\n") {
		if strings.HasPrefix(text, wanted) {
			line = i + 1
		}
	}
	const fault = `
import traceback
try:
    sys.modules["applier.units"].unit_faults({}, None)
except AttributeError as error:
    print(traceback.extract_tb(error.__traceback__)[-1])
`
	want := fmt.Sprintf("<FrameSummary file applier/units.py, line %d in unit_faults>\n", line)
	path := onDisk(t)
	if got := python(t, inMemory+fault, path); got != want {
		t.Errorf("from memory: %s, want %s", got, want)
	}
	if got := python(t, `import runpy, sys; runpy.run_path(sys.argv[1])`+fault, path); got != want {
		t.Errorf("from the disk: %s, want %s", got, want)
	}
}

// A fault of the applier's own is told by its kind and place alone: its message may repeat a secret.
func TestFaultIsToldByItsPlace(t *testing.T) {
	got := python(t, inMemory+`
sys.modules["applier.main"].OTHERS["observe"] = lambda body: sys.modules["applier.words"].clean(None)
sys.exit(0 * g["main"](b'{"op": "observe", "canary": "canary"}', b""))`, onDisk(t))
	if !regexp.MustCompile(`^\{"result":"failed","error":"a fault of the applier: (Type|Attribute)Error at applier/words\.py line \d+"\}\n$`).MatchString(got) {
		t.Errorf("said %s", got)
	}
}

// The file itself is run by the host's timer.
func TestRunsFromTheDisk(t *testing.T) {
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(path, "-I", onDisk(t), "explode").CombinedOutput()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 64 || string(out) != "usage: apply.py rollback|observe\n" {
		t.Errorf("%v: %s", err, out)
	}
}
