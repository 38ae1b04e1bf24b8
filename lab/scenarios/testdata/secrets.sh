#!/bin/sh
# Looks for the text on its standard input where somebody could read it who is not meant to:
#
#     sh secrets.sh journal|arguments|environment|files [plant]
#
# Ends with 9 where the text stands there, with 0 where it does not, with another status where the search itself failed.
# With plant it puts the text there first: the twin, which has to end with 9. An entry of the journal stays.
set -u
umask 077
# No search looks here, and only the shell's own variables and this folder hold the text.
at=$(mktemp -d /run/secrets.XXXXXX) && cat >"$at/wanted" || exit 3
twin=''
# shellcheck disable=SC2317 # the trap calls it
take_away() {
	[ -z "$twin" ] || kill "$twin"
	rm -rf "$at" /var/tmp/secrets-twin
}
trap take_away EXIT

# found FILE: ends with the verdict on what a place shows.
found() {
	grep -c -F -f "$at/wanted" "$1"
	case $? in
	0) exit 9 ;;
	1) exit 0 ;;
	esac
	exit 3
}

# runs NAME: waits until the twin is that program, and no longer a copy of this shell.
runs() {
	until grep -q -x "$1" "/proc/$twin/comm"; do sleep 0.1; done
}

plant=${2:-}
case $1 in
journal)
	# Into the machine's own and into the agent's: a twin that only one of them shows is not found.
	if [ -n "$plant" ]; then
		logger -t secrets -f "$at/wanted" && systemd-run --quiet --wait --property=LogNamespace=openclaw logger -t secrets -f "$at/wanted" || exit 3
	fi
	journalctl --sync && journalctl --namespace=openclaw --sync && journalctl --namespace='*' --no-pager -o cat >"$at/shown" || exit 3
	[ -z "$plant" ] || [ "$(grep -c -F -f "$at/wanted" "$at/shown")" = 2 ] || exit 3
	found "$at/shown"
	;;
arguments)
	if [ -n "$plant" ]; then
		python3 -c 'import time; time.sleep(300)' "$(cat "$at/wanted")" >/dev/null 2>&1 &
		twin=$!
		runs python3
	fi
	for process in /proc/[0-9]*; do
		{ tr '\0' ' ' <"$process/cmdline"; echo; } 2>/dev/null
	done >"$at/shown"
	found "$at/shown"
	;;
environment) # of processes of others than the service's user, whose it may be
	if [ -n "$plant" ]; then
		TWIN=$(cat "$at/wanted") sleep 300 >/dev/null 2>&1 &
		twin=$!
		runs sleep
	fi
	for process in /proc/[0-9]*; do
		[ "$(stat -c %U "$process" 2>/dev/null)" = openclaw ] || { tr '\0' '\n' <"$process/environ"; echo; } 2>/dev/null
	done >"$at/shown"
	found "$at/shown"
	;;
files) # that anybody reads
	if [ -n "$plant" ]; then
		cp "$at/wanted" /var/tmp/secrets-twin && chmod 644 /var/tmp/secrets-twin || exit 3
	fi
	find /etc /var /home /opt /usr/local /backups /root -xdev -type f -perm -o=r -size -2M -print0 >"$at/names" 2>"$at/faults"
	# The names tell, not xargs' status: of several greps, one that finds nothing decides it.
	xargs -0 -r grep -l -F -f "$at/wanted" <"$at/names" >"$at/shown" 2>>"$at/faults"
	[ $? -lt 124 ] || exit 3
	# A file may go while it is looked for.
	if grep -v ': No such file or directory$' "$at/faults" >&2; then exit 3; fi
	cat "$at/shown"
	[ ! -s "$at/shown" ] || exit 9
	;;
*) exit 2 ;;
esac
