package main

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestLookFindsWhatAnArchiveLacks: a plugin is pinned only where its archive holds all that it needs, however deep.
func TestLookFindsWhatAnArchiveLacks(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"nothing needed", map[string]string{"package.json": `{}`}, nil},
		{"OpenClaw itself", map[string]string{"package.json": `{"dependencies":{"openclaw":"1"}}`}, nil},
		{"held", map[string]string{"package.json": `{"dependencies":{"ws":"1","@a/b":"1"}}`, "node_modules/ws/package.json": `{}`, "node_modules/@a/b/package.json": `{}`}, nil},
		{"held above", map[string]string{"package.json": `{"dependencies":{"@a/b":"1"}}`, "node_modules/@a/b/package.json": `{"dependencies":{"ws":"1"}}`, "node_modules/ws/package.json": `{}`}, nil},
		{"held beside another only", map[string]string{"package.json": `{"dependencies":{"a":"1","b":"1"}}`, "node_modules/a/package.json": `{"dependencies":{"ws":"1"}}`,
			"node_modules/b/package.json": `{}`, "node_modules/b/node_modules/ws/package.json": `{}`}, []string{"ws"}},
		{"lacking", map[string]string{"package.json": `{"dependencies":{"ws":"1","@a/b":"1"}}`}, []string{"@a/b", "ws"}},
		{"optional", map[string]string{"package.json": `{"dependencies":{"ws":"1"},"optionalDependencies":{"ws":"1"}}`}, nil},
		{"a package's own files", map[string]string{"package.json": `{}`, "node_modules/a/package.json": `{}`, "node_modules/a/esm/package.json": `{"dependencies":{"x":"1"}}`}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.files["openclaw.plugin.json"] = "\xef\xbb\xbf" + `{"id":"discord","channels":["discord"]}`
			packed := archive{file: filepath.Join(t.TempDir(), "plugin.tgz")}
			file, err := os.Create(packed.file)
			if err != nil {
				t.Fatal(err)
			}
			zipped := gzip.NewWriter(file)
			files := tar.NewWriter(zipped)
			for name, content := range test.files {
				if err := files.WriteHeader(&tar.Header{Name: "package/" + name, Mode: 0o644, Size: int64(len(content))}); err != nil {
					t.Fatal(err)
				}
				fmt.Fprint(files, content)
			}
			files.Close()
			zipped.Close()
			file.Close()
			said, missing, err := packed.look()
			if err != nil || said.ID != "discord" || !slices.Equal(said.Channels, []string{"discord"}) {
				t.Errorf("it is %+v, %v", said, err)
			}
			if !slices.Equal(missing, test.want) {
				t.Errorf("it lacks %q, want %q", missing, test.want)
			}
		})
	}
}
