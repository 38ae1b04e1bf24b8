#!/bin/sh
# Opens the bootstrap door from inside: port 22 for the administrator's key, with the host key that the deployment
# pinned. Azure's agent runs it as root; it needs no open port and nothing of the host's own configuration.
#
# Where the door is open as declared it changes nothing. Else it repairs what stands in the way, one thing after the
# other, however broken it is, and proves the door at the end. The deployment's layers come after it and make the
# host whole; so every file here is one that they own, or one that the image's vendor made.
#
# Parameters, as environment variables:
#   HOST_KEY        the host's private key, OpenSSH's PEM
#   ADMIN_USER      the bootstrap user
#   ADMIN_KEY       its authorized_keys line
#   ALLOWED_CIDRS   who may come to port 22, separated by commas
#   SSH_PORT        the tunnel door's port, kept open beside (2222)
#   BOOTSTRAP_PORT  22
#   WIREGUARD_PORT  51820
set -u
umask 077
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
unset LD_PRELOAD LD_LIBRARY_PATH PYTHONPATH

host_key=${HOST_KEY-}
unset HOST_KEY # no child needs it
admin=${ADMIN_USER-}
admin_key=${ADMIN_KEY-}
cidrs=$(printf '%s' "${ALLOWED_CIDRS-}" | tr ',' ' ')
ssh_port=${SSH_PORT:-2222}
port=${BOOTSTRAP_PORT:-22}
wireguard_port=${WIREGUARD_PORT:-51820}

state=/var/lib/openclaw-deploy
applier=/usr/local/lib/openclaw-deploy/apply.py
timer=openclaw-deploy-rollback
key_file=/etc/ssh/ssh_host_openclaw_ed25519_key
config=/etc/ssh/sshd_config
drop_in=/etc/ssh/sshd_config.d/00-openclaw.conf
main_sudoers=/etc/sudoers
door_sudoers=/etc/sudoers.d/90-cloud-init-users
door_table=openclaw-door # the layer firewall deletes it once its own filter is in force
least_mtu=1500           # Azure's, and the least that its DHCP hands out

say() {
	printf 'open-door: %s\n' "$*"
}

status=1 # of a failure
fail() {
	printf 'open-door: %s\n' "$*" >&2
	exit "$status"
}

have() {
	command -v "$1" >/dev/null 2>&1
}

# aside keeps a broken file beside the good one, under a name that nothing reads.
aside() {
	if [ -e "$1" ] || [ -L "$1" ]; then
		chattr -i "$1" 2>/dev/null
		say "keeping $1 as $1.broken"
		rm -rf "$1.broken"
		mv -f "$1" "$1.broken"
	fi
}

# put writes standard input to a file in one step: put PATH MODE OWNER.
put() {
	chattr -i "$1" 2>/dev/null
	mkdir -p "$(dirname "$1")" && chmod go-w "$(dirname "$1")" || return 1
	[ -d "$1" ] && aside "$1"
	problem=$({ cat >"$1.openclaw-new" && chown "$3" "$1.openclaw-new" && chmod "$2" "$1.openclaw-new" &&
		mv -f "$1.openclaw-new" "$1"; } 2>&1) && return 0
	rm -f "$1.openclaw-new"
	case $problem in
	*'No space left on device'*) status=28 ;; # ENOSPC: what is said has no room on the disk either
	esac
	fail "cannot write $1: ${problem##*: }"
}

# --- parameters ------------------------------------------------------------------------------------------------------

read_parameters() {
	case $admin in
	'' | *[!a-z0-9_-]* | -*) fail "ADMIN_USER is not a user name" ;;
	esac
	case $admin_key in
	*'
'*) fail "ADMIN_KEY has more than one line" ;;
	ssh-* | ecdsa-* | sk-*) ;;
	*) fail "ADMIN_KEY is not an authorized_keys line" ;;
	esac
	for number in "$ssh_port" "$port" "$wireguard_port"; do
		case $number in
		'' | *[!0-9]*) fail "a port is not a number" ;;
		esac
	done
	[ -n "$cidrs" ] || fail "ALLOWED_CIDRS is empty"
	for cidr in $cidrs; do
		case $cidr in
		*[!0-9a-fA-F.:/]*) fail "ALLOWED_CIDRS holds something else than addresses" ;;
		esac
	done
	# Line ends may have been lost on the way: they are put back.
	printf '%s\n' "$host_key" | awk '
		{ text = text $0 }
		END {
			gsub(/\\n|[ \r\t]/, "", text)
			sub(/^-*BEGINOPENSSHPRIVATEKEY-*/, "", text)
			sub(/-*ENDOPENSSHPRIVATEKEY-*$/, "", text)
			print "-----BEGIN OPENSSH PRIVATE KEY-----"
			for (; length(text) > 0; text = substr(text, 71)) print substr(text, 1, 70)
			print "-----END OPENSSH PRIVATE KEY-----"
		}' >"$work/host_key"
	host_key=
}

# derive_host_key needs ssh-keygen, which may first have to be put back.
derive_host_key() {
	ssh-keygen -y -P '' -f "$work/host_key" 2>/dev/null | cut -d' ' -f1,2 >"$work/host_key.pub"
	[ -s "$work/host_key.pub" ]
}

# --- what the door needs, each looked at without a change -------------------------------------------------------------

# connects asks the running sshd on the bootstrap port whether the administrator's key would do, with the host key
# pinned. It needs only the public halves: sshd answers before it wants a signature. Each try comes from another
# loopback address, since sshd shuts out an address that closes without logging in.
tries=0
connects() {
	printf '%s\n' "$admin_key" >"$work/admin.pub"
	printf 'door %s\n' "$(cat "$work/host_key.pub")" >"$work/known_hosts"
	address=$(sshd -T 2>/dev/null | awk '$1 == "listenaddress" { print $2 }' | grep ":$port\$" | head -n 1)
	address=${address%:"$port"}
	tries=$((tries + 1))
	case $address in
	'' | 0.0.0.0 | '[::]' | 127.*) set -- 127.0.0.1 -b "127.7.$(($$ % 250 + 1)).$((tries % 250 + 1))" ;;
	*) set -- "$address" ;;
	esac
	target=$1
	shift
	timeout 15 ssh -F /dev/null -v -n -p "$port" "$@" -o BatchMode=yes -o ConnectTimeout=4 -o IdentitiesOnly=yes \
		-o IdentityAgent=none -o PreferredAuthentications=publickey -o HostKeyAlias=door \
		-o StrictHostKeyChecking=yes -o UserKnownHostsFile="$work/known_hosts" -o GlobalKnownHostsFile=/dev/null \
		-o UpdateHostKeys=no -o CheckHostIP=no -i "$work/admin.pub" "$admin@$target" true >"$work/connect" 2>&1
	grep -q 'Server accepts key' "$work/connect"
}

connect_problem() {
	if grep -q 'REMOTE HOST IDENTIFICATION HAS CHANGED\|No .* host key is known' "$work/connect"; then
		echo "sshd on port $port offers another host key"
	elif grep -q 'Permission denied' "$work/connect"; then
		echo "sshd on port $port refuses the key of $admin"
	else
		echo "sshd on port $port does not answer: $(grep -v '^debug1: \(load\|identity\|OpenSSH\|Reading\)' "$work/connect" |
			tail -n 1)"
	fi
}

# answers gives sshd a moment: its port opens shortly after its start returns. A refusal is final.
answers() {
	moment=0
	until connects; do
		grep -q 'Permission denied\|Host key verification failed' "$work/connect" && return 1
		moment=$((moment + 1))
		[ "$moment" -lt 5 ] || return 1
		sleep 1
	done
}

# logs_in walks the whole way in that is not sshd's own configuration: PAM, the account, its shell, sudo. A second
# sshd with a key of the moment does it, over a pipe: no port, no change.
logs_in() {
	rm -rf "$way"
	mkdir "$way" && chmod 755 "$way" || return 1
	ssh-keygen -q -t ed25519 -N '' -C door -f "$way/user" && ssh-keygen -q -t ed25519 -N '' -C door -f "$way/host" ||
		return 1
	cp "$way/user.pub" "$way/keys" && chmod 644 "$way/keys"
	cat >"$way/config" <<-END
		HostKey $way/host
		AuthorizedKeysFile $way/keys
		PidFile none
		UsePAM yes
		PasswordAuthentication no
		KbdInteractiveAuthentication no
		LogLevel ERROR
	END
	mkdir -p /run/sshd && chmod 755 /run/sshd
	timeout 30 ssh -F /dev/null -n -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none -o LogLevel=ERROR \
		-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o GlobalKnownHostsFile=/dev/null \
		-o ProxyCommand="$(command -v sshd) -i -f $way/config" -i "$way/user" "$admin@door" \
		'sudo -n true && echo the-door-is-open' >"$work/login" 2>&1
	rm -rf "$way"
	grep -q '^the-door-is-open$' "$work/login"
}

# legacy_tables names what the older kind of iptables (ip), ip6tables (ip6) or arptables (arp) has in the kernel.
legacy_tables() {
	cat "/proc/net/${1}_tables_names" 2>/dev/null
}

# legacy_rules prints what the older kind of iptables holds. nft neither lists nor flushes it.
legacy_rules() {
	for tool in iptables ip6tables; do
		for table in $(legacy_tables "${tool%tables}"); do
			"$tool-legacy" -w 10 -t "$table" -S 2>&1 | sed "/^-P [A-Z]* ACCEPT\$/d; s/^/$tool-legacy, table $table: /"
		done
	done
}

# filters names the tables of nftables that decide about packets: with a hook, and with a rule or the policy to drop.
# iptables' own are among them. Left out are fail2ban's table while it bans nobody, and what Azure's agent keeps for
# its own address: it puts that back whenever it is gone.
filters() {
	have nft || return 0
	nft list ruleset 2>/dev/null | awk '
		/^table / { table = $2 " " $3; hooked = decides = others = 0 }
		/^\t[a-z]/ { chain = $1 == "chain"; out = tolower($2) == "output" }
		/^\t\ttype .* hook / { hooked = 1; if (/policy drop/) decides = others = 1; next }
		chain && /^\t\t[^ \t]/ && !/^\t\tcomment "/ {
			decides = 1
			if (table == "inet f2b-table" ? !/ saddr @addr6?-set-/ : !(out && /ip daddr 168\.63\.129\.16 /)) others = 1
		}
		/^\t\telements = / && table == "inet f2b-table" { others = 1 }
		/^}/ && hooked && decides && (others || table !~ /^(inet f2b-table|ip security|ip walinuxagent)$/) { print table }'
}

# door_mark tells a packet filter that this script made for these very parameters.
door_mark() {
	printf '%s\n' "$cidrs" "$port" "$ssh_port" "$wireguard_port" | cksum | tr ' ' '-'
}

# layer_stands asks the host's own look at itself, the one that also finds drift, whether a layer is as declared.
layer_stands() {
	[ -e "$applier" ] && timeout 120 /usr/bin/python3 -I "$applier" observe </dev/null >"$work/observed" 2>/dev/null &&
		/usr/bin/python3 -I -c '
import json, sys
sys.exit(bool(json.load(open(sys.argv[1]))["layers"][sys.argv[2]]["drift"]))' "$work/observed" "$1" 2>/dev/null
}

# filter_problem says why the packet filter may keep the administrator out; nothing where it does not. It judges no
# rules: nothing filters, or this script's own table alone does, or the layers' own filter stands as they declared it.
filter_problem() {
	legacy_rules | grep -m 1 . && return
	# The layers bring nft: where they were and it is gone, nobody can see what it left.
	[ ! -d "$state/layers" ] || have nft || { echo "nft is missing" && return; }
	own='' declared=''
	filters >"$work/filters"
	while read -r family table; do
		case $family,$table in
		inet,"$door_table") own=yes ;;
		ip,filter | ip6,filter) declared=yes ;;
		*) echo "the table $family $table holds rules" && return ;;
		esac
	done <"$work/filters"
	case $own,$declared in
	,) ;;
	yes,) nft list table inet "$door_table" 2>/dev/null | grep -qF "$(door_mark)" || echo "it was opened to others" ;;
	,yes)
		for cidr in $cidrs; do
			case $cidr in
			*:*) continue ;;
			esac
			iptables -w 10 -C ufw-user-input -s "$cidr" -p tcp -m tcp --dport "$port" -j ACCEPT 2>/dev/null || {
				echo "UFW does not admit $cidr" && return
			}
		done
		layer_stands firewall || echo "it is not as the layers declared it"
		;;
	*) echo "others filter beside this script" ;;
	esac
}

# managed says whether systemd-networkd is to keep the host's addresses and routes.
managed() {
	for file in /etc/netplan/*.yaml /etc/systemd/network/*.network /run/systemd/network/*.network; do
		[ -e "$file" ] && return 0
	done
	return 1
}

# uplinks are the interfaces by which somebody may come from outside, by the names that udev and Azure give them. Those
# that other programs make have an MTU of their own.
uplinks() {
	for link in /sys/class/net/eth* /sys/class/net/en*; do
		[ -e "$link" ] && echo "${link##*/}"
	done
}

# strays prints the routes that neither the kernel nor the network's manager made, as TYPE DESTINATION TABLE PROTOCOL.
# A default route is let be where there is no manager: then a person made it.
strays() {
	managed && kept='static' || kept='default'
	ip -4 -d -o route show table all | awk -v kept="$kept" '
		{
			table = "main"; protocol = "boot"
			for (i = 3; i < NF; i++) {
				if ($i == "table") table = $(i + 1)
				if ($i == "proto") protocol = $(i + 1)
			}
			refuses = $1 ~ /^(blackhole|unreachable|prohibit|throw)$/
			if (!refuses && protocol ~ /^(kernel|dhcp|ra)$/) next
			if (!refuses && table == "main" && (kept == protocol || kept == $2)) next
			print $1, $2, table, protocol
		}'
}

# network_of is the network of an address with its length.
network_of() {
	printf '%s\n' "$1" | awk -F '[./]' '{
		number = (($1 * 256 + $2) * 256 + $3) * 256 + $4
		number -= number % 2 ^ (32 - $5)
		printf "%d.%d.%d.%d/%d\n", number / 16777216, number / 65536 % 256, number / 256 % 256, number % 256, $5
	}'
}

# routed says whether there is such a route.
routed() {
	ip -4 route show "$@" | grep -q .
}

# unrouted prints the routes that the kernel makes with an address, and that are gone, as words of `ip route`.
unrouted() {
	ip -4 -o address show up | while read -r _ name _ address rest; do
		plain=${address%/*}
		case $address in
		*/*) network=$(network_of "$address") ;;
		*) continue ;; # the other end of a line of two
		esac
		own="dev $name table local proto kernel scope host src $plain"
		routed table local type local exact "$plain" || echo "local $plain $own"
		case $name,$address,$rest in
		lo,*) routed table local type local exact "$network" || echo "local $network $own" ;;
		*/32,* | *secondary* | *noprefixroute*) ;;
		*) routed exact "$network" dev "$name" proto kernel || echo "$network dev $name proto kernel scope link src $plain" ;;
		esac
	done
}

default_rules='0: from all lookup local
32766: from all lookup main
32767: from all lookup default'

# network_problem says what stands between the host and its answers' way out; nothing where nothing does.
network_problem() {
	[ "$(ip -4 rule show | tr -s ' \t' ' ' | sed 's/ $//')" = "$default_rules" ] || { echo "there are policy rules" && return; }
	stray=$(strays | head -n 1)
	[ -z "$stray" ] || { echo "there is a route of nobody's: $stray" && return; }
	ip link show dev lo up | grep -q . || { echo "the loopback interface is down" && return; }
	[ -z "$(unrouted)" ] || { echo "the kernel's own routes are gone" && return; }
	for name in $(uplinks); do
		[ "$(cat "/sys/class/net/$name/mtu")" -ge "$least_mtu" ] || { echo "the MTU of $name is too small" && return; }
	done
	! managed || systemctl is-active --quiet systemd-networkd.service || { echo "systemd-networkd does not run" && return; }
	routed default || echo "there is no default route"
}

runs_python() {
	/usr/bin/python3 -I -c 'import hashlib, json, subprocess' >/dev/null 2>&1
}

runs_sudo() {
	[ -u /usr/bin/sudo ] && [ "$(stat -c %u /usr/bin/sudo)" = 0 ] && /usr/bin/sudo -V >/dev/null 2>&1
}

runs_sshd() {
	have ssh && have ssh-keygen || return 1
	[ -e "$work/probe" ] || ssh-keygen -q -t ed25519 -N '' -f "$work/probe" || return 1
	printf 'HostKey %s\n' "$work/probe" >"$work/probe_config"
	mkdir -p /run/sshd && chmod 755 /run/sshd
	sshd -t -f "$work/probe_config" >/dev/null 2>&1
}

door_is_open() {
	runs_python && runs_sudo && runs_sshd && derive_host_key || return 1
	[ ! -e /etc/nologin ] && [ ! -e /run/nologin ] || return 1
	[ "$(ssh-keygen -y -P '' -f "$key_file" 2>/dev/null | cut -d' ' -f1,2)" = "$(cat "$work/host_key.pub")" ] || return 1
	sshd -t >/dev/null 2>&1 || return 1 # what runs may be older than what the next start would read
	[ -z "$(network_problem)" ] && [ -z "$(filter_problem)" ] && answers && logs_in
}

# --- repairs ----------------------------------------------------------------------------------------------------------

await_boot() {
	waited=0
	while [ -e /run/cloud-init/enabled ] && [ ! -e /run/cloud-init/result.json ]; do
		# Its jobs are gone without a result where it is broken: then there is nothing to wait for.
		systemctl list-jobs --no-legend 2>/dev/null | grep -q ' cloud-' ||
			[ "$(systemctl show -p ActiveState --value cloud-final.service 2>/dev/null)" = activating ] || break
		[ "$waited" -eq 0 ] && say "waiting for cloud-init"
		[ "$waited" -lt 600 ] || break
		waited=$((waited + 1))
		sleep 1
	done
	# Not until every service runs: one of them may take minutes. A machine that was started to be repaired never has
	# the target.
	waited=0
	while [ "$(systemctl is-system-running 2>/dev/null)" = starting ] && ! systemctl is-active --quiet multi-user.target &&
		[ "$waited" -lt 60 ]; do
		[ "$waited" -eq 0 ] && say "waiting for the host to start"
		waited=$((waited + 1))
		sleep 1
	done
}

apt() {
	timeout 900 env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l UCF_FORCE_CONFFOLD=1 \
		apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 \
		-o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-confdef \
		-o Dpkg::Options::=--force-confmiss "$@" </dev/null >"$work/apt" 2>&1
}

reinstall() {
	say "reinstalling $*"
	apt install --reinstall "$@" && return 0
	timeout 600 dpkg --force-confold --force-confdef --configure -a </dev/null >>"$work/apt" 2>&1
	apt update
	apt install --reinstall "$@" || apt -f install || :
}

# unpack puts a package's files back without its scripts, which may need the very files that are gone.
unpack() {
	(
		cd "$work" || exit 1
		rm -f ./*.deb
		timeout 300 apt-get -q download "$@" >"$work/apt" 2>&1 || {
			apt update
			timeout 300 apt-get -q download "$@" >"$work/apt" 2>&1
		}
		for package in ./*.deb; do
			[ -e "$package" ] && dpkg-deb --fsys-tarfile "$package" | tar -x -p -C / --keep-directory-symlink
		done
		rm -f ./*.deb
	)
}

mend_packages() {
	runs_python && runs_sudo && runs_sshd && return 0
	if ! runs_python; then
		packages=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 'python3*' 'libpython3*' 2>/dev/null |
			awk '$1 == "ii" && $2 ~ /^(lib)?python3(\.[0-9]+)?(-minimal|-stdlib)?$/ { print $2 }')
		if [ -n "$packages" ]; then
			say "putting back the files of python3"
			# shellcheck disable=SC2086 # a list of names
			unpack $packages
			# shellcheck disable=SC2086
			runs_python || reinstall $packages
		else
			reinstall python3
		fi
	fi
	if ! runs_sudo; then
		[ -x /usr/bin/sudo ] && chown root:root /usr/bin/sudo && chmod 4755 /usr/bin/sudo
		runs_sudo || reinstall sudo
	fi
	runs_sshd || reinstall openssh-client openssh-server openssh-sftp-server
	runs_python || fail "python3 does not run and could not be reinstalled: $(tail -n 1 "$work/apt" 2>/dev/null)"
	runs_sudo || fail "sudo does not run and could not be reinstalled: $(tail -n 1 "$work/apt" 2>/dev/null)"
	runs_sshd || fail "sshd does not run and could not be reinstalled: $(tail -n 1 "$work/apt" 2>/dev/null)"
}

# settle ends a change that is armed on the host: putting it back later would take the door away again.
settle() {
	systemctl stop "$timer.timer" >/dev/null 2>&1
	if [ -e "$state/pending" ]; then
		say "putting back a change that nobody confirmed"
		if [ -e "$applier" ]; then
			timeout 300 /usr/bin/python3 -I "$applier" rollback </dev/null >"$work/rollback" 2>&1 ||
				say "it could not be put back; the layers put the host right"
		fi
		rm -rf "$state/pending"
	fi
	rm -f "/etc/systemd/system/timers.target.wants/$timer.timer"
	systemctl stop "$timer.timer" "$timer.service" >/dev/null 2>&1
}

# The applier and this do not work at once, but a lock that somebody keeps does not keep this out.
take_lock() {
	have flock || return 0
	exec 9>>/run/openclaw-deploy.lock
	flock -w 60 9 || say "another run holds the lock; going on without it"
}

mend_host_key() {
	put "$key_file" 600 root:root <"$work/host_key"
	put "$key_file.pub" 644 root:root <"$work/host_key.pub"
	chown root:root /etc/ssh && chmod 755 /etc/ssh
}

mend_account() {
	if ! getent passwd "$admin" >/dev/null; then
		say "making the account $admin"
		useradd -m -s /bin/bash "$admin" >/dev/null 2>&1 || useradd -M -s /bin/bash "$admin" || fail "cannot make $admin"
	fi
	shell=$(getent passwd "$admin" | cut -d: -f7)
	case $shell in
	*/nologin | */false | '') usermod -s /bin/bash "$admin" ;;
	*) [ -x "$shell" ] || usermod -s /bin/bash "$admin" ;;
	esac
	# Not expired, no password that must be changed first, not locked: a key logs in, no password does.
	chage -E -1 -I -1 -M -1 -d "$(($(date +%s) / 86400))" "$admin" || say "the account's ages could not be set"
	case $(getent shadow "$admin" | cut -d: -f2) in
	'' | '!'*) usermod -p '*' "$admin" ;;
	esac
	home=$(getent passwd "$admin" | cut -d: -f6)
	group=$(id -g "$admin")
	case $home in
	/?*) ;;
	*) fail "the home of $admin is not a folder" ;;
	esac
	if [ -L "$home" ] || [ ! -d "$home" ]; then
		aside "$home"
		mkdir -p "$home" && chmod 750 "$home"
	fi
	chown "$admin:$group" "$home" && chmod u+rwx,go-w "$home"
	if [ -L "$home/.ssh" ] || { [ -e "$home/.ssh" ] && [ ! -d "$home/.ssh" ]; }; then
		aside "$home/.ssh"
	fi
	mkdir -p "$home/.ssh" && chown "$admin:$group" "$home/.ssh" && chmod 700 "$home/.ssh"
	printf '%s\n' "$admin_key" | put "$home/.ssh/authorized_keys" 600 "$admin:$group"
	chown "$admin:$group" "$home/.ssh" && chmod 700 "$home/.ssh"
}

# sudo_permits asks sudo itself, as the user: its own files, their owners and modes, all of it. What PAM says is not
# its matter.
sudo_permits() {
	setpriv --reuid="$admin" --regid="$(id -g "$admin")" --init-groups sudo -n true >"$work/sudo" 2>&1 </dev/null ||
		grep -qi 'pam\|account' "$work/sudo"
}

mend_sudo() {
	sudo_permits && return 0
	chown root:root "$main_sudoers" 2>/dev/null && chmod 440 "$main_sudoers"
	if ! visudo -c -q -f "$main_sudoers" >/dev/null 2>&1; then
		# Only the file itself: what it includes is looked at below.
		grep -v '^[@#]include' "$main_sudoers" >"$work/sudoers" 2>/dev/null
		visudo -c -q -f "$work/sudoers" >/dev/null 2>&1 || aside "$main_sudoers"
	fi
	if ! grep -q '^[@#]includedir[[:space:]]*/etc/sudoers.d' "$main_sudoers" 2>/dev/null ||
		! grep -q '^root[[:space:]]' "$main_sudoers"; then
		aside "$main_sudoers"
		put "$main_sudoers" 440 root:root <<-'END'
			Defaults env_reset
			Defaults secure_path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
			root ALL=(ALL:ALL) ALL
			%sudo ALL=(ALL:ALL) ALL
			@includedir /etc/sudoers.d
		END
	fi
	mkdir -p /etc/sudoers.d && chown root:root /etc/sudoers.d && chmod 750 /etc/sudoers.d
	for file in /etc/sudoers.d/*; do
		case ${file##*/} in
		'*' | *.* | *~) continue ;;
		esac
		chown root:root "$file" && chmod 440 "$file"
		visudo -c -q -f "$file" >/dev/null 2>&1 || aside "$file"
	done
	printf '# User rules for %s\n%s ALL=(ALL) NOPASSWD:ALL\n' "$admin" "$admin" | put "$door_sudoers" 440 root:root
	sudo_permits && return 0
	# A rule that sorts after it may take the right away again.
	for file in /etc/sudoers.d/*; do
		case ${file##*/} in
		'*' | *.* | *~ | README | "${door_sudoers##*/}" | 10-openclaw) ;;
		*) aside "$file" ;;
		esac
	done
}

# mend_pam puts back the stack of modules, the narrowest part first, until a login works.
mend_pam() {
	logs_in && return 0
	have pam-auth-update && timeout 60 pam-auth-update --force </dev/null >/dev/null 2>&1 && logs_in && return 0
	for service in sshd sudo; do
		aside "/etc/pam.d/$service"
	done
	put /etc/pam.d/sshd 644 root:root <<-'END'
		@include common-auth
		account required pam_nologin.so
		@include common-account
		session optional pam_loginuid.so
		session optional pam_keyinit.so force revoke
		@include common-session
		session required pam_limits.so
		session required pam_env.so
		@include common-password
	END
	put /etc/pam.d/sudo 644 root:root <<-'END'
		session required pam_limits.so
		@include common-auth
		@include common-account
		@include common-session-noninteractive
	END
	logs_in && return 0
	for service in auth account password session session-noninteractive; do
		aside "/etc/pam.d/common-$service"
	done
	printf 'auth required pam_unix.so\n' | put /etc/pam.d/common-auth 644 root:root
	printf 'account required pam_unix.so\n' | put /etc/pam.d/common-account 644 root:root
	printf 'password required pam_unix.so obscure yescrypt\n' | put /etc/pam.d/common-password 644 root:root
	printf 'session required pam_unix.so\nsession optional pam_systemd.so\n' | put /etc/pam.d/common-session 644 root:root
	printf 'session required pam_unix.so\n' | put /etc/pam.d/common-session-noninteractive 644 root:root
	# Limits and variables of the operator's may be what refuses.
	for file in /etc/security/limits.conf /etc/security/limits.d/* /etc/environment /etc/security/pam_env.conf; do
		logs_in && return 0
		[ -s "$file" ] && aside "$file" && : | put "$file" 644 root:root
	done
}

write_drop_in() {
	# First among what sshd reads, so its values win; the layer that owns the file writes its own over it.
	put "$drop_in" 600 root:root <<-END
		Port $port
		Port $ssh_port
		AddressFamily any
		HostKey $key_file
		AllowUsers $admin claw
		PermitRootLogin no
		PubkeyAuthentication yes
		PasswordAuthentication no
		KbdInteractiveAuthentication no
		AuthenticationMethods any
		AuthorizedKeysFile /etc/ssh/authorized_keys/%u
		UsePAM yes
		StrictModes yes
		ForceCommand none
		ChrootDirectory none
		MaxAuthTries 6
		LoginGraceTime 30
		LogLevel VERBOSE
		KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org
		Ciphers chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes128-gcm@openssh.com,aes256-ctr
		MACs hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com
		HostKeyAlgorithms ssh-ed25519
		PubkeyAcceptedAlgorithms ssh-ed25519,rsa-sha2-512,rsa-sha2-256
		Match User $admin
			AuthorizedKeysFile .ssh/authorized_keys
	END
}

start_sshd() {
	rm -f /etc/ssh/sshd_not_to_be_run
	if systemctl is-active --quiet ssh.socket || systemctl is-enabled --quiet ssh.socket; then
		systemctl disable --now ssh.socket >/dev/null 2>&1
	fi
	systemctl unmask ssh.service >/dev/null 2>&1
	# Stopped before it is enabled: systemd would forget a running one that a socket started, which then keeps the port.
	systemctl stop ssh.service >/dev/null 2>&1
	have ss && for process in $(ss -H -l -t -n -p "sport = :$port" 2>/dev/null |
		grep -o '"sshd",pid=[0-9]*' | cut -d= -f2 | sort -u); do
		kill "$process" 2>/dev/null
	done
	systemctl enable ssh.service >/dev/null 2>&1
	systemctl reset-failed ssh.service >/dev/null 2>&1
	systemctl start ssh.service >"$work/start" 2>&1
}

mend_sshd() {
	[ -e "$config" ] && chown root:root "$config"
	mkdir -p "${drop_in%/*}" && chown root:root "${drop_in%/*}" && chmod 755 "${drop_in%/*}"
	write_drop_in
	if grep -q '^[[:space:]]*Include[[:space:]]*/etc/ssh/sshd_config\.d/\*\.conf' "$config" 2>/dev/null &&
		sshd -t >/dev/null 2>&1; then
		start_sshd
		answers && return 0
	fi
	# Something else in it stands in the way. From here on only this file's drop-in is read.
	aside "$config"
	put "$config" 644 root:root <<-'END'
		Include /etc/ssh/sshd_config.d/*.conf
		KbdInteractiveAuthentication no
		UsePAM yes
		PrintMotd no
		AcceptEnv LANG LC_*
		Subsystem sftp /usr/lib/openssh/sftp-server
	END
	for file in "${drop_in%/*}"/*.conf; do
		[ "$file" = "$drop_in" ] || aside "$file"
	done
	start_sshd
	answers && return 0
	# The unit itself may be overridden, or the daemon's options, or the wrappers' lists refuse everybody.
	aside /etc/systemd/system/ssh.service
	aside /etc/systemd/system/ssh.service.d
	aside /etc/default/ssh
	grep -qs '^[^#]' /etc/hosts.deny && aside /etc/hosts.deny
	systemctl daemon-reload
	start_sshd
	answers
}

lift_bans() {
	have fail2ban-client && fail2ban-client ping >/dev/null 2>&1 &&
		timeout 60 fail2ban-client unban --all >/dev/null 2>&1
}

# flush_legacy empties the older kind of iptables, and whatever else needs no nft.
flush_legacy() {
	for tool in iptables ip6tables; do
		for table in $(legacy_tables "${tool%tables}"); do
			"$tool-legacy" -w 10 -t "$table" -F
			"$tool-legacy" -w 10 -t "$table" -X
			for chain in $("$tool-legacy" -w 10 -t "$table" -S | awk '$1 == "-P" { print $2 }'); do
				"$tool-legacy" -w 10 -t "$table" -P "$chain" ACCEPT
			done
		done
	done
	for table in $(legacy_tables arp); do
		have arptables-legacy && arptables-legacy -t "$table" -F && arptables-legacy -t "$table" -P INPUT ACCEPT &&
			arptables-legacy -t "$table" -P OUTPUT ACCEPT
	done
}

# cidrs_of prints the rule that admits the sources of one family (4 or 6), which nft calls by the second name.
cidrs_of() {
	list=
	for cidr in $cidrs; do
		case $1,$cidr in
		6,*:* | 4,*.*) list="$list${list:+, }$cidr" ;;
		esac
	done
	[ -z "$list" ] || echo "$2 saddr { $list } tcp dport $port accept"
}

# take_filter puts this script's own rules in the place of all that filters packets, whoever made it: which of them
# keeps the administrator out need not be known. They decide alone until the layer firewall has put its own back.
take_filter() {
	say "taking over the packet filter: $1"
	lift_bans
	flush_legacy >/dev/null 2>&1
	if ! have nft; then
		# First aid, so that the package can be fetched.
		for tool in iptables ip6tables; do
			for table in raw mangle nat filter security; do
				"$tool" -w 10 -t "$table" -F && "$tool" -w 10 -t "$table" -X
			done
			"$tool" -w 10 -P INPUT ACCEPT && "$tool" -w 10 -P OUTPUT ACCEPT
		done >/dev/null 2>&1
		reinstall nftables
	fi
	# The agent's user, and those that dial and resolve for it: nothing else bounds what they reach while UFW is off.
	agent=
	for user in openclaw haproxy unbound; do
		getent passwd "$user" >/dev/null && agent="$agent${agent:+, }\"$user\""
	done
	[ -z "$agent" ] || agent="meta skuid { $agent } reject"
	nft -f - <<-END >"$work/nft" 2>&1 || fail "nft refuses the rules: $(head -n 1 "$work/nft")"
		flush ruleset
		table inet $door_table {
			comment "$(door_mark)"
			chain input {
				type filter hook input priority filter; policy drop;
				iifname "lo" accept
				ct state established,related accept
				icmp type { echo-request, destination-unreachable, time-exceeded, parameter-problem } accept
				udp sport 67 udp dport 68 accept
				$(cidrs_of 4 ip)
				$(cidrs_of 6 ip6)
				iifname "wg0" tcp dport $ssh_port accept
				udp dport $wireguard_port accept
			}
			chain forward {
				type filter hook forward priority filter; policy drop;
			}
			chain output {
				type filter hook output priority filter; policy accept;
				$agent
			}
		}
	END
	# Nor does a restart of the host put back what was there, before the layers come. The agent does not start until then.
	systemctl disable nftables.service openclaw.service >/dev/null 2>&1
	[ -e /etc/ufw/ufw.conf ] && sed 's/^ENABLED=.*/ENABLED=no/' /etc/ufw/ufw.conf >"$work/ufw.conf" &&
		put /etc/ufw/ufw.conf 644 root:root <"$work/ufw.conf"
	return 0
}

mend_filter() {
	problem=$(filter_problem)
	[ -z "$problem" ] || take_filter "$problem"
}

mend_network() {
	problem=$(network_problem)
	[ -n "$problem" ] || return 0
	say "mending the network: $problem"
	# Every policy rule goes, then the kernel's three come back: one that refuses may have the same number as theirs. As
	# the kernel's: systemd-networkd takes away those of others when it starts.
	for number in $(ip -4 rule show | cut -d: -f1 | sort -u); do
		while ip -4 rule del pref "$number" 2>/dev/null; do :; done
	done
	ip -4 rule add pref 0 table local protocol kernel
	ip -4 rule add pref 32766 table main protocol kernel
	ip -4 rule add pref 32767 table default protocol kernel
	strays >"$work/strays"
	while read -r type destination table protocol; do
		ip -4 route flush table "$table" type "$type" exact "$destination" proto "$protocol"
	done <"$work/strays"
	ip link set dev lo up
	for name in $(uplinks); do
		[ "$(cat "/sys/class/net/$name/mtu")" -ge "$least_mtu" ] || ip link set dev "$name" mtu "$least_mtu"
		ip link set dev "$name" up
	done
	# As the kernel made them with the address, which stays: others may hang on it.
	unrouted >"$work/unrouted"
	while read -r route; do
		# shellcheck disable=SC2086 # words of a command
		ip -4 route add $route
	done <"$work/unrouted"
	if managed && ! { systemctl is-active --quiet systemd-networkd.service && routed default; }; then
		systemctl unmask systemd-networkd.service systemd-networkd.socket >/dev/null 2>&1
		systemctl enable systemd-networkd.service >/dev/null 2>&1
		systemctl reset-failed systemd-networkd.service >/dev/null 2>&1
		systemctl restart systemd-networkd.service >"$work/networkd" 2>&1
		waited=0
		until routed default || [ "$waited" -ge 30 ]; do
			waited=$((waited + 1))
			sleep 1
		done
	fi
	routed default && return 0
	# Azure's gateway is the first address of the subnet.
	for name in $(uplinks); do
		network=$(ip -4 route show dev "$name" proto kernel scope link | sed -n '1s,/.*,,p')
		[ -n "$network" ] || continue
		ip -4 route add default via "${network%.*}.$((${network##*.} + 1))" dev "$name" && return 0
	done
}

# --- the run ----------------------------------------------------------------------------------------------------------

[ "$(id -u)" = 0 ] || fail "this needs root"
work=$(mktemp -d /run/openclaw-door.XXXXXX) || fail "no room in /run"
way=$work.way # outside: the administrator's sshd reads it as the user
trap 'rm -rf "$work" "$way"' EXIT
trap 'exit 1' HUP INT TERM

read_parameters
await_boot
if door_is_open; then
	say "the bootstrap door is open: nothing was changed"
	exit 0
fi

say "the bootstrap door is not open as declared: repairing"
systemctl stop "$timer.timer" >/dev/null 2>&1
rm -f /etc/nologin /run/nologin
mend_network # before packages, which have to come through
mend_filter
mend_packages
derive_host_key || fail "HOST_KEY is not an OpenSSH private key without a passphrase"
settle
take_lock
mend_host_key
mend_account
mend_sudo
mend_pam
mend_sshd || fail "$(connect_problem)"
lift_bans # of those who were refused meanwhile
mend_network
mend_filter

sshd -t >/dev/null 2>&1 || fail "sshd does not accept its configuration: $(sshd -t 2>&1 | tail -n 1)"
connects || fail "$(connect_problem)"
logs_in || fail "$admin cannot log in and use sudo: $(tail -n 1 "$work/login")"
problem=$(network_problem)
[ -z "$problem" ] || { status=100 && fail "the network is not whole: $problem"; } # ENETDOWN
problem=$(filter_problem)
[ -z "$problem" ] || fail "the packet filter may not admit port $port: $problem"
say "the bootstrap door is open again"
