package lockfile

import (
	"strings"
	"testing"
)

func TestVerify(t *testing.T) {
	sum := "sha512-" + strings.Repeat("a", 86) + "=="
	good := `{"lockfileVersion": 3, "packages": {
		"": {"dependencies": {"openclaw": "2026.9.6"}},
		"node_modules/openclaw": {"version": "2026.9.6", "integrity": "` + sum + `"},
		"node_modules/openclaw/node_modules/inner": {"version": "1.0.0", "inBundle": true},
		"node_modules/other": {"version": "1.0.0", "integrity": "` + sum + `"}}}`
	if err := Verify([]byte(good), "2026.9.6"); err != nil {
		t.Errorf("a good one: %v", err)
	}
	for _, test := range []struct{ name, old, new, want string }{
		{"another version of npm", `"lockfileVersion": 3`, `"lockfileVersion": 1`, `lockfileVersion 1, expected 3`},
		{"another version", `"2026.9.6"}}`, `"2026.9.5"}}`, `asks for map[openclaw:2026.9.5], expected openclaw 2026.9.6 alone`},
		{"one that is not locked", `{"version": "2026.9.6"`, `{"version": "2026.9.4"`, `holds openclaw "2026.9.4", expected "2026.9.6"`},
		{"no sum", `"node_modules/other": {"version": "1.0.0", "integrity": "` + sum + `"}`, `"node_modules/other": {"version": "1.0.0"}`,
			`node_modules/other: integrity "", expected a SHA-512`},
		{"a weak sum", `"node_modules/other": {"version": "1.0.0", "integrity": "` + sum + `"}`,
			`"node_modules/other": {"version": "1.0.0", "integrity": "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk="}`,
			`node_modules/other: integrity "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=", expected a SHA-512`},
		{"a registry", `"node_modules/other": {`, `"node_modules/other": {"resolved": "https://mirror.example/other.tgz", `,
			`node_modules/other: names where it comes from, "https://mirror.example/other.tgz"`},
		{"bundled in nothing", `"node_modules/other": {`, `"node_modules/other": {"inBundle": true, `, `node_modules/other: comes within a package that no sum pins`},
		{"a link", `"node_modules/other": {`, `"node_modules/other": {"link": true, `, `node_modules/other: is a link to another folder`},
	} {
		t.Run(test.name, func(t *testing.T) {
			changed := strings.Replace(good, test.old, test.new, 1)
			if changed == good {
				t.Fatal("nothing was replaced")
			}
			if err := Verify([]byte(changed), "2026.9.6"); err == nil || err.Error() != test.want {
				t.Errorf("got\n%v\nwant\n%s", err, test.want)
			}
		})
	}
}
