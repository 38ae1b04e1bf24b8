#!/bin/sh
# Sees to it that this machine (Debian 12 or 13, root) has what the lab needs, builds bin/lab, and then runs a command
# with the right Go on PATH:
#
#     lab/setup.sh COMMAND ARGS...
#
# With LAB_SCENARIOS set, what the scenarios alone need too; with LAB_RACE, what Go's race detector does.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/openclaw-lab
export HOME="${HOME:-/root}"
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

fail() {
	echo "lab/setup.sh: $*" >&2
	exit 1
}

# slowly TITLE PROGRAM...: shows that a long step moves, and what it said where it fails. The step has a session of its own, which
# a signal ends as a whole: what it starts holds the lock too, and a shell's background hears no Ctrl-C.
slowly() {
	title=$1
	shift
	log=$(mktemp)
	start=$(date +%s)
	next=10
	echo "$title ..."
	setsid "$@" >"$log" 2>&1 </dev/null &
	child=$!
	trap 'kill -- "-$child" 2>/dev/null || kill "$child" 2>/dev/null || true; wait "$child" || true; rm -f "$log"; exit 130' INT TERM HUP
	while kill -0 "$child" 2>/dev/null; do
		sleep 0.2
		elapsed=$(($(date +%s) - start))
		if [ "$elapsed" -ge "$next" ]; then
			echo "$title: $elapsed s ($(tail -n 1 "$log" | cut -c 1-100))"
			next=$((elapsed + 10))
		fi
	done
	status=0
	wait "$child" || status=$?
	trap - INT TERM HUP
	if [ "$status" -ne 0 ]; then
		tail -n 30 "$log" >&2
		rm -f "$log"
		fail "$title: failed with status $status"
	fi
	rm -f "$log"
	echo "$title: done in $(($(date +%s) - start)) s"
}

[ "$(id -u)" -eq 0 ] || fail 'the lab makes namespaces and mounts, and needs root'
command -v apt-get >/dev/null || fail 'the lab needs Debian 12 or 13: there is no apt-get'

# One at a time: apt and the compiler's output are shared.
mkdir -p "$cache" "$root/bin"
exec 9>"$cache/setup.lock"
if ! flock -n 9; then
	echo 'another setup is at work; waiting for it'
	flock 9
fi

# What the lab itself uses, what a real client at the operator's place uses (wg-quick, ssh), what scenarios look with,
# what programs of the host import and run (h11, age, zstd), and linters.
packages='age ca-certificates conntrack debian-archive-keyring e2fsprogs git iproute2 iptables iputils-ping mmdebstrap mypy
	netcat-openbsd nftables openssh-client perl pyflakes3 python3 python3-h11 shellcheck systemd-container util-linux wireguard-go wireguard-tools zstd'
# A browser, which is large, for the scenarios alone.
[ -z "${LAB_SCENARIOS-}" ] || packages="$packages chromium"
[ -z "${LAB_RACE-}" ] || packages="$packages gcc libc6-dev"
missing=''
for package in $packages; do
	state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || state=''
	[ "$state" = installed ] || missing="$missing $package"
done

# The lab asks it for this machine's registry; any version will do.
command -v npm >/dev/null || missing="$missing npm"

# The newest version of Go that any of the modules here asks for.
wanted=$(sed -n 's/^go \([0-9.]*\)$/\1/p' "$root/go.mod" "$root"/lab/go.mod "$root"/lab/tools/*/go.mod | sort -V | tail -n 1)
# What is fetched where there is none: a release that has it, and exact.
toolchain=go1.26.8

# new_enough GO: whether that Go is as new as wanted. Outside of any module, or it would try to replace itself.
new_enough() {
	have=$(cd / && GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) || return 1
	[ "$(printf '%s\n%s\n' "$wanted" "${have#go}" | sort -V | head -n 1)" = "$wanted" ]
}
own=$cache/go/$toolchain
if new_enough go; then
	rm -f "$cache/go/current"
else
	command -v go >/dev/null || [ -x "$own/bin/go" ] || missing="$missing golang-go"
fi

if [ -n "$missing" ]; then
	apt() { slowly "$1 packages" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"; }
	echo "packages that are missing:$missing"
	apt update
	# shellcheck disable=SC2086 # a list of names
	apt install --no-install-recommends $missing
fi

if ! new_enough go; then
	if [ ! -x "$own/bin/go" ]; then
		arch=$(dpkg --print-architecture)
		# Releases of Go are modules too. An old Go fetches a new one from the same place as any module.
		slowly "fetch $toolchain" env -C / GOTOOLCHAIN=local GOFLAGS=-mod=mod go mod download -x "golang.org/toolchain@v0.0.1-$toolchain.linux-$arch"
		from=$(cd / && go env GOMODCACHE)/golang.org/toolchain@v0.0.1-$toolchain.linux-$arch
		rm -rf "$own.part"
		mkdir -p "$cache/go"
		slowly "copy $toolchain" cp -R "$from" "$own.part"
		chmod -R u+w "$own.part"
		# A module holds no modes.
		chmod +x "$own.part"/bin/* "$own.part"/pkg/tool/*/*
		rm -rf "$own"
		mv "$own.part" "$own"
	fi
	ln -sfn "$toolchain" "$cache/go/current"
	export PATH="$own/bin:$PATH"
	new_enough go || fail "$own/bin/go is not the Go that was fetched"
fi

slowly 'build bin/lab' go build -C "$root/lab" -v -buildvcs=false -o "$root/bin/" ./cmd/...

exec 9>&-
[ $# -eq 0 ] || exec "$@"
