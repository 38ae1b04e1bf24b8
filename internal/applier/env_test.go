package applier_test

import (
	"testing"

	"openclaw-azure/internal/layer"
)

func TestEnv(t *testing.T) {
	env := func(values map[string]string) layer.Layer {
		return layer.Layer{Name: "env", Files: []layer.File{{Path: "/etc/openclaw.env", Mode: "0640", Owner: "root", Group: "root",
			Policy: layer.Env, Content: []byte("# yours\n"), Values: values}}}
	}
	type step struct {
		write  string // what the operator leaves in the file; empty: nothing
		values map[string]string
		want   string
		error  string
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"made", []step{{"", map[string]string{"A": "1"}, "# yours\nA=1\n", ""}}},
		{"never overwritten", []step{{"# mine\nB=2\n", map[string]string{"A": "1"}, "# mine\nB=2\nA=1\n", ""}}},
		{"no keys", []step{{"# mine\nB=2", nil, "# mine\nB=2", ""}}},
		{"last line has no end", []step{{"B=2", map[string]string{"A": "1"}, "B=2\nA=1\n", ""}}},
		{"kept in its place", []step{{"# a\nA=0\n; b\n\nB=2\n", map[string]string{"A": "1"}, "# a\nA=1\n; b\n\nB=2\n", ""}}},
		{"same value otherwise written", []step{{"A='1 2' # no comment here\n", map[string]string{"A": "1 2# no comment here"}, "A='1 2' # no comment here\n", ""}}},
		{"quoted", []step{{"", map[string]string{"A": "a b$c`d\"e\\f'g"}, "# yours\nA=\"a b\\$c\\`d\\\"e\\\\f'g\"\n", ""}}},
		{"empty value", []step{{"", map[string]string{"A": ""}, "# yours\nA=\n", ""}}},
		{"every occurrence", []step{{"A=0\nB=1\nA=9\n", map[string]string{"A": "1"}, "A=1\nB=1\nA=1\n", ""}}},
		{"blanks around", []step{{"  A = 0 \n", map[string]string{"A": "1"}, "A=1\n", ""}}},
		{"blanks around, the same", []step{{"  A = 1 \n", map[string]string{"A": "1"}, "  A = 1 \n", ""}}},
		{"inside the operator's quotes", []step{{"B=\"x\nA=0\ny\"\n", map[string]string{"A": "1"}, "B=\"x\nA=0\ny\"\nA=1\n", ""}}},
		{"continued line", []step{{"B=x\\\nA=0\n", map[string]string{"A": "1"}, "B=x\\\nA=0\nA=1\n", ""}}},
		{"commented out", []step{{"#A=0\n ;A=0\n", map[string]string{"A": "1"}, "#A=0\n ;A=0\nA=1\n", ""}}},
		{"dropped while ours", []step{
			{"B=2\n", map[string]string{"A": "1", "C": "3"}, "B=2\nA=1\nC=3\n", ""},
			{"", map[string]string{"C": "3"}, "B=2\nC=3\n", ""},
		}},
		{"dropped and theirs", []step{
			{"", map[string]string{"A": "1"}, "# yours\nA=1\n", ""},
			{"A=mine\n", nil, "A=mine\n", ""},
		}},
		{"dropped by a later run", []step{
			{"", map[string]string{"A": "1"}, "# yours\nA=1\n", ""},
			{"", map[string]string{"A": "2"}, "# yours\nA=2\n", ""},
			{"", nil, "# yours\n", ""},
		}},
		{"open quote", []step{{"B=\"never closed\n", map[string]string{"A": "1"}, "B=\"never closed\n",
			`"/etc/openclaw.env": "A" cannot be set: a line before it opens a quote that nothing closes`}}},
		{"two lines", []step{{"B=2\n", map[string]string{"A": "1\n2"}, "B=2\n", `"/etc/openclaw.env": the value of "A" has more than one line`}}},
		{"no name", []step{{"B=2\n", map[string]string{"A B": "1"}, "B=2\n", `"/etc/openclaw.env": "A B" is not a variable's name`}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRoot(t)
			r.Sh("rm -f /etc/openclaw.env")
			for _, s := range c.steps {
				if s.write != "" {
					r.Write("/etc/openclaw.env", s.write)
				}
				o := r.apply(env(s.values), "t")
				if s.error != "" {
					o.want(t, 1, "failed")
					o.says(t, s.error)
				} else if o.exit != 0 {
					t.Fatalf("%s", o.stdout)
				}
				r.Has("/etc/openclaw.env", s.want)
				if s.error == "" {
					r.quiet("env")
					r.apply(env(s.values), "t").want(t, 0, "unchanged")
				}
			}
		})
	}
	t.Run("symlink", func(t *testing.T) {
		r := newRoot(t)
		r.Write("/etc/mine.env", "B=2\n")
		r.Sh("ln -s /etc/mine.env /etc/openclaw.env")
		r.apply(env(map[string]string{"A": "1"}), "t").says(t, `"/etc/openclaw.env" is a symlink: it may hold lines of yours, so it is not replaced
put a plain file there, then run again`)
		r.Has("/etc/mine.env", "B=2\n")
	})
}
