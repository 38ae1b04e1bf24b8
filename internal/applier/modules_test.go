package applier

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The tables of tests/, each by its name. A module that is taken for a script, or a test that is misnamed, would not run.
func TestModules(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatalf("the applier is Python: %v", err)
	}
	paths, err := filepath.Glob("tests/*_test.py")
	if err != nil {
		t.Fatal(err)
	}
	arguments, wanted := []string{"-B", "-m", "unittest", "--verbose"}, 0
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		wanted += strings.Count(string(text), "\n    def test_")
		arguments = append(arguments, "applier.tests."+strings.TrimSuffix(filepath.Base(path), ".py"))
	}
	command := exec.Command(python, arguments...)
	command.Dir = ".." // the package's own parent
	out, err := command.CombinedOutput()
	ran := regexp.MustCompile(`(?m)^test_(\w+) \(applier\.tests\.([\w.]+)\) \.\.\. (\w+)`).FindAllStringSubmatch(string(out), -1)
	for _, test := range ran {
		t.Run(test[1], func(t *testing.T) {
			if test[3] != "ok" {
				t.Errorf("%s of %s: %s", test[1], test[2], test[3])
			}
		})
	}
	if err != nil || len(ran) != wanted || wanted == 0 || !strings.Contains(string(out), fmt.Sprintf("\nRan %d tests in ", wanted)) {
		t.Errorf("%v: %d tests ran, %d are there:\n%s", err, len(ran), wanted, out)
	}
}
