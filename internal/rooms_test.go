// Package internal has no code of its own. rooms_test.go keeps the direction in which its packages import each other.
package internal

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "openclaw-azure"

// rows are the packages of this module, from the ground up. A package imports only those of rows below its own.
var rows = [][]string{
	{"internal/backup", "internal/prefix", "internal/shell", "internal/hint", "internal/foreign", "internal/version", "internal/breakglass", "internal/hosttest/privateroot", "internal/hosttest/screen", "internal/localport", "templates"},
	{"internal/machine", "internal/layer", "internal/keys", "internal/tunnel", "internal/door", "internal/controlui", "internal/engine", "internal/sandbox", "internal/lockfile", "internal/applier",
		"internal/hosttest", "internal/localport/localporttest"},
	{"internal/config", "internal/outputs", "internal/azure", "internal/keys/keystest"},
	{"internal/host", "internal/reach"},
	{"internal/lastrun"},
	{"internal/standin"},
	{"internal", "", "cmd/claw", "cmd/keys", "cmd/lock"},
}

// never are arrows that no row forbids by itself, or that one could come to want: one of the two would then know what
// only the program that uses both has to know.
var never = [][2]string{
	{"internal/config", "internal/outputs"},
	{"internal/outputs", "internal/config"},
	{"cmd/claw", "internal/config"}, // and so to Pulumi, which takes minutes to compile
	{"internal/reach", "internal/config"},
	{"internal/azure", "internal/config"},
}

// knowPulumi are the packages that use Pulumi's SDK, and the one file that does; empty: any. All others can be tested,
// and understood, without an engine.
var knowPulumi = map[string]string{
	"internal/azure":   "",
	"internal/config":  "load.go",
	"internal/engine":  "",
	"internal/lastrun": "lastrun.go",
	"internal/standin": "",
}

// forTests are packages that no program may contain.
var forTests = []string{"internal/hosttest", "internal/hosttest/privateroot", "internal/hosttest/screen", "internal/keys/keystest", "internal/localport/localporttest", "internal/standin"}

// listed is what go list says of a package.
type listed struct {
	ImportPath, Dir           string
	GoFiles                   []string
	Imports, Deps             []string
	TestImports, XTestImports []string
}

func (l listed) room() string { return room(l.ImportPath) }

// room is the path of a package in this module.
func room(path string) string { return strings.TrimPrefix(strings.TrimPrefix(path, module), "/") }

// ours tells whether a package is of this module, or of one below its path, as the lab is.
func ours(path string) bool { return path == module || strings.HasPrefix(path, module+"/") }

func list(t *testing.T) (all []listed) {
	t.Helper()
	command := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports,Deps,TestImports,XTestImports", "./...")
	command.Dir = ".."
	out, err := command.Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			t.Fatalf("go list: %v\n%s", err, failed.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var one listed
		if err := d.Decode(&one); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, one)
	}
}

func TestRooms(t *testing.T) {
	all := list(t)
	t.Run("import downwards", func(t *testing.T) { importDownwards(t, all) })
	t.Run("contain no lab and no test", func(t *testing.T) { containNoLab(t, all) })
	t.Run("leave Pulumi to a few", func(t *testing.T) { leavePulumi(t, all) })
}

func importDownwards(t *testing.T, all []listed) {
	row := map[string]int{}
	for i, names := range rows {
		for _, name := range names {
			row[name] = i + 1
		}
	}
	for _, p := range all {
		name := p.room()
		if row[name] == 0 {
			t.Errorf("%q is in no row: put it above all that it imports", name)
			continue
		}
		for _, path := range p.Imports {
			if ours(path) && row[room(path)] >= row[name] {
				t.Errorf("%q, of row %d, imports %q, of row %d: only rows below are open to it", name, row[name], room(path), row[room(path)])
			}
		}
		for _, arrow := range never {
			if name == arrow[0] && slices.Contains(p.Deps, module+"/"+arrow[1]) {
				t.Errorf("%q leads to %q, by itself or through another", arrow[0], arrow[1])
			}
		}
	}
}

func containNoLab(t *testing.T, all []listed) {
	for _, p := range all {
		for _, path := range slices.Concat(p.Deps, p.TestImports, p.XTestImports) {
			if strings.HasPrefix(path, module+"/lab") {
				t.Errorf("%q leads to %q: the lab is another module, and the program knows nothing of it", p.ImportPath, path)
			}
		}
		for _, path := range p.Imports {
			if !slices.Contains(forTests, p.room()) && slices.Contains(forTests, room(path)) {
				t.Errorf("%q imports %q, which is for tests", p.room(), room(path))
			}
		}
	}
}

func leavePulumi(t *testing.T, all []listed) {
	sdk := func(path string) bool { return strings.HasPrefix(path, "github.com/pulumi/") }
	for _, p := range all {
		only, may := knowPulumi[p.room()]
		if !strings.HasPrefix(p.room(), "internal/") || may && only == "" || !slices.ContainsFunc(p.Imports, sdk) {
			continue
		}
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, spec := range file.Imports {
				if path, _ := strconv.Unquote(spec.Path.Value); sdk(path) && (!may || name != only) {
					t.Errorf("%s/%s imports %q", p.room(), name, path)
				}
			}
		}
	}
}
