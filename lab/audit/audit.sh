#!/bin/sh
# Audits the lab's host and prints the figures: ssh-audit, Lynis, dev-sec's controls. `make audit` runs it; the lab has to
# be there. Scanners are installed on the host and taken away again.
set -eu
cd "$(dirname "$0")/../.."

on() { bin/lab exec vm -- "$@"; }

bin/lab status
# From an address of its own: sshd shuts a scanner out for a while.
scanner=127.9.9.9
# shellcheck disable=SC2317 # the trap calls it
take_away() { on sh -c "ip address del $scanner/8 dev lo 2>/dev/null; apt-get purge -qq -y lynis ssh-audit >/dev/null 2>&1" || true; }
trap take_away EXIT
# Without these two a signal ends dash and nothing is taken away.
trap 'exit 130' INT
trap 'exit 143' TERM
on sh -c "apt-get install -qq -y --no-install-recommends lynis ssh-audit >/dev/null 2>&1; ip address add $scanner/8 dev lo"

# A test that newer releases make: it has sshd shut the scanner out.
without=$(on ssh-audit --help 2>/dev/null | grep -o -e --skip-rate-test || true)

failed=0

# missing WHAT GOT: a scan without a figure has shown nothing.
missing() {
	echo "audit: $1: no figure: \"$2\"" >&2
	failed=1
}

ports=$(on sh -c "ss -Hltn | sed -n 's/.* 0\.0\.0\.0:\(22\|2222\) .*/\1/p' | sort -u")
[ -n "$ports" ] || missing 'ports of sshd' "$ports"
for port in $ports; do
	# shellcheck disable=SC2086 # none or one option
	said=$(on ssh-audit $without -b -p "$port" $scanner || true)
	count() { echo "$said" | grep -c "\[$1\]" || true; }
	echo "ssh-audit, port $port: $(count fail) fail, $(count warn) warn"
	echo "$said" | grep -q '(kex)' || failed=1
	[ "$(count fail)$(count warn)" = 00 ] || failed=1
done
index=$(on sh -c "lynis audit system --quick --no-colors --quiet >/dev/null 2>&1; sed -n 's/^hardening_index=//p' /var/log/lynis-report.dat; rm -f /var/log/lynis*" || true)
echo "lynis: $index of 100"
echo "$index" | grep -q -x '[0-9]\{1,3\}' || missing "Lynis' index" "$index"
exposure=$(on systemd-analyze security --no-pager openclaw.service | tail -n 1 | sed 's/^[^0-9]*//' || true)
echo "openclaw.service: exposure $exposure"
echo "$exposure" | grep -q '^[0-9][0-9.]* ' || missing 'exposure of openclaw.service' "$exposure"
bin/lab exec vm -- sh -s <lab/audit/controls.sh || failed=1
exit $failed
