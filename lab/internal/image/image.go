// Package image builds the disk that the lab's virtual machines start from: Debian or Ubuntu as a cloud image has it,
// with systemd, cloud-init and sshd, and nothing yet of what the program installs.
package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"openclaw-azure/lab/internal/archive"
	"openclaw-azure/lab/internal/place"
)

// Size of a virtual machine's file system. The file is sparse: it takes what is written to it.
const Size = 8 << 30

// edition is raised when what build does changes in a way that its inputs do not show.
const edition = "1"

//go:embed files
var files embed.FS

// Packages as on a cloud image. ufw, fail2ban and wireguard-tools are the program's to install; wireguard-go stands
// in for the kernel module that a shared kernel may lack.
var packages = []string{
	"apparmor", "apt-utils", "bsdextrautils", "bash-completion", "ca-certificates", "chrony", "cloud-init", "cron", "curl", "dbus",
	"e2fsprogs", "iproute2", "iptables", "iputils-ping", "kmod", "less", "libnss-myhostname", "libnss-resolve", "libpam-systemd",
	"login", "logrotate", "netbase", "netplan.io", "nftables", "openssh-server", "passwd", "perl", "polkitd", "procps", "python3", "sudo",
	"systemd", "systemd-resolved", "systemd-sysv", "tzdata", "udev", "unattended-upgrades", "vim-tiny", "wireguard-go",
}

// ofSuite are packages that only one distribution's images have. Debian's kernel settings, loose reverse paths among
// them, are in one of their own; Ubuntu's are in procps.
var ofSuite = map[string][]string{"trixie": {"linux-sysctl-defaults"}}

func packagesOf(suite archive.Suite) []string { return slices.Concat(packages, ofSuite[suite.Name]) }

// links are what packages' scripts make on a machine that runs.
var links = map[string]string{
	// The name service is systemd-resolved, and what it asks is said by netplan's file.
	"etc/resolv.conf": "../run/systemd/resolve/stub-resolv.conf",
	"etc/systemd/system/multi-user.target.wants/walinuxagent.service": "/usr/lib/systemd/system/walinuxagent.service",
}

// Image is a disk that can be had.
type Image struct {
	machine archive.Machine
	cache   string
	key     string
}

// New says what the image is made of; Path is where it will stand in the cache folder.
func New(machine archive.Machine, cache string) (Image, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, edition, machine.Suite.Name, Size, packagesOf(machine.Suite), links, machine.Lines(), options(machine), strings.Fields(kernel))
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := files.ReadFile(path)
		fmt.Fprintln(sum, path, len(content))
		sum.Write(content)
		return err
	})
	if err != nil {
		return Image{}, err
	}
	return Image{machine, cache, hex.EncodeToString(sum.Sum(nil))[:16]}, nil
}

// Path of the finished disk.
func (i Image) Path() string {
	return filepath.Join(i.cache, "images", i.machine.Suite.Name+"-"+i.key+".ext4")
}

// Built tells whether the disk is there.
func (i Image) Built() bool {
	_, err := os.Stat(i.Path())
	return err == nil
}

func options(machine archive.Machine) string {
	return strings.Join(append([]string{
		"// The only way out of the lab's host.",
		fmt.Sprintf("Acquire::http::Proxy \"http://%s:%d\";", place.ProxyAddress, place.ProxyPort),
	}, machine.Options...), "\n") + "\n"
}

// Build makes the disk; what the tools say goes to output. Whoever calls it sees to it that nobody else does.
func (i Image) Build(ctx context.Context, output io.Writer) error {
	if i.Built() {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(i.Path()), 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(i.Path()), "build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	root := filepath.Join(work, "root")
	if err := i.bootstrap(ctx, work, root, output); err != nil {
		return err
	}
	if err := installKernel(ctx, work, root, output); err != nil {
		return err
	}
	if err := i.shape(root); err != nil {
		return fmt.Errorf("shape the image: %w", err)
	}
	disk := filepath.Join(work, "disk")
	if err := makeDisk(ctx, root, disk, output); err != nil {
		return err
	}
	return os.Rename(disk, i.Path())
}

func (i Image) bootstrap(ctx context.Context, work, root string, output io.Writer) error {
	proxy, err := archive.NewProxy(i.machine, filepath.Join(i.cache, "packages"), log.New(output, "", 0))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: proxy}
	defer server.Close()
	go server.Serve(listener)

	args := []string{
		"--mode=root", "--variant=minbase", "--format=directory",
		// A build that is cut off is thrown away: nothing has to be safe on the disk before it is done.
		"--dpkgopt=force-unsafe-io",
		"--include=" + strings.Join(packagesOf(i.machine.Suite), ","),
		"--aptopt=Acquire::http::Proxy \"http://" + listener.Addr().String() + "\"",
	}
	for _, option := range i.machine.Options {
		args = append(args, "--aptopt="+strings.TrimSuffix(option, ";"))
	}
	if i.machine.Suite.Keyring != nil {
		keys, err := i.keyring(ctx, work, output)
		if err != nil {
			return err
		}
		args = append(args, "--keyring="+keys)
	}
	args = append(args, i.machine.Suite.Name, root)
	args = append(args, i.machine.Lines()...)
	return isolated(ctx, output, "mmdebstrap", args...)
}

// keyring is the folder with the keys of another distribution's archive, which this machine does not know.
func (i Image) keyring(ctx context.Context, work string, output io.Writer) (string, error) {
	content, err := i.machine.Fetch(ctx, *i.machine.Suite.Keyring)
	if err != nil {
		return "", err
	}
	packed, folder := filepath.Join(work, "keyring.deb"), filepath.Join(work, "keyring")
	if err := os.WriteFile(packed, content, 0o644); err != nil {
		return "", err
	}
	return filepath.Join(folder, "usr/share/keyrings"), isolated(ctx, output, "dpkg-deb", "--extract", packed, folder)
}

// isolated runs a tool in mount and process namespaces of its own: however it ends, it leaves no mount and no
// process behind.
func isolated(ctx context.Context, output io.Writer, name string, args ...string) error {
	script := `mount --make-rslave / && mount -t proc proc /proc && exec "$@"`
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", script, "sh", name}, args...)...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	if err := cmd.Run(); err != nil {
		return errors.Join(ctx.Err(), fmt.Errorf("%s: %w", name, err))
	}
	return nil
}

// kernel is an empty package that stands for the shared one: without it apt takes wireguard-tools' wish for a kernel
// that has WireGuard as a reason to install 400 MB.
const kernel = `Package: lab-kernel
Version: 1
Architecture: all
Maintainer: the lab <root@localhost>
Provides: linux-image, wireguard-modules (= 1.0.0)
Description: stands for the kernel that the lab's hosts share with their machine
`

func installKernel(ctx context.Context, work, root string, output io.Writer) error {
	tree := filepath.Join(work, "lab-kernel")
	if err := os.MkdirAll(filepath.Join(tree, "DEBIAN"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tree, "DEBIAN/control"), []byte(kernel), 0o644); err != nil {
		return err
	}
	const name = "lab-kernel.deb"
	if err := isolated(ctx, output, "dpkg-deb", "--build", "--root-owner-group", tree, filepath.Join(root, name)); err != nil {
		return err
	}
	defer os.Remove(filepath.Join(root, name))
	return isolated(ctx, output, "chroot", root, "dpkg", "--install", "/"+name)
}

// shape makes of a bootstrapped system what a cloud's publisher ships.
func (i Image) shape(root string) error {
	tree, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer tree.Close()
	keys, err := filepath.Glob(filepath.Join(root, "etc/ssh/ssh_host_*"))
	if err != nil {
		return err
	}
	for _, path := range append(keys,
		filepath.Join(root, "etc/apt/apt.conf.d/99mmdebstrap"),
		filepath.Join(root, "etc/dpkg/dpkg.cfg.d/99mmdebstrap"),
		filepath.Join(root, "etc/hostname"),
		filepath.Join(root, "etc/resolv.conf"),
		filepath.Join(root, "var/lib/dbus/machine-id"),
	) {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	err = fs.WalkDir(files, "files", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		return write(tree, strings.TrimPrefix(path, "files/"), content)
	})
	if err != nil {
		return err
	}
	for path, target := range links {
		if err := tree.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := tree.Symlink(target, path); err != nil {
			return err
		}
	}
	for path, content := range map[string]string{
		// Empty: each machine gets an id of its own at its first boot.
		"etc/machine-id":                 "",
		"etc/apt/apt.conf.d/99lab-proxy": options(i.machine),
		"etc/apt/sources.list":           strings.Join(i.machine.Lines(), "\n") + "\n",
	} {
		if err := write(tree, path, []byte(content)); err != nil {
			return err
		}
	}
	return nil
}

func write(tree *os.Root, path string, content []byte) error {
	if err := tree.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return tree.WriteFile(path, content, 0o644)
}

func makeDisk(ctx context.Context, root, disk string, output io.Writer) error {
	cmd := exec.CommandContext(ctx, "mke2fs", "-q", "-t", "ext4", "-L", "cloudimg-rootfs", "-d", root,
		"-E", "lazy_itable_init=1,lazy_journal_init=1", disk, fmt.Sprintf("%dk", Size>>10))
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.MultiWriter(output, &said), io.MultiWriter(output, &said)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("mke2fs: %w\n%s", err, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}
