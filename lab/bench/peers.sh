#!/bin/sh
# Measures what it costs to add a peer to a few and to 250. The lab has to be there (`bin/lab up`; LAB=NAME: that one):
#
#     lab/bench/peers.sh [RUNS]
#
# RUNS is how often each is measured, 1 to 5 (5). Each figure is a whole `pulumi up --skip-preview` in seconds, as min, median
# and max of the runs. Fails where the median beside 250 is more than 2 s above that beside 2. The stack's peers are
# afterwards what they were.
set -eu
cd "$(dirname "$0")/../.."

runs=${1:-5}
case $runs in [1-5]) ;; *)
	echo "lab/bench/peers.sh: $runs runs: expected 1 to 5" >&2
	exit 2
	;;
esac
bound=2000 # ms
times=$(mktemp -d)

# peers N: the configuration of that many. The VPN's /24 has room for 252.
peers() {
	i=0
	printf '{'
	while [ $i -lt "$1" ]; do
		[ $i = 0 ] || printf ,
		printf '"p%d":{"address":"10.100.0.%d"}' $i $((i + 2))
		i=$((i + 1))
	done
	printf '}'
}

pulumi() {
	if ! bin/lab pulumi "$@" >"$times/log" 2>&1; then
		cat "$times/log" >&2
		echo "lab/bench/peers.sh: pulumi $1 failed" >&2
		exit 1
	fi
}

now() { date +%s%N; }

# up N: `pulumi up` with that many peers; its time in ms.
up() {
	pulumi config set peers "$(peers "$1")"
	begin=$(now)
	pulumi up --yes --skip-preview
	took=$((($(now) - begin) / 1000000))
}

# adds COUNT: the peer that makes it that many is added, and those after it; prints the figures, leaves the median.
adds() {
	up $(($1 - 1))
	: >"$times/ms"
	more=0
	while [ $more -lt "$runs" ]; do
		up $(($1 + more))
		echo "$took" >>"$times/ms"
		more=$((more + 1))
	done
	sort -n -o "$times/ms" "$times/ms"
	median=$(sed -n "$(((runs + 1) / 2))p" "$times/ms")
	awk -v what="pulumi up that adds one of $1 peers" -v median="$median" \
		'NR == 1 { min = $1 } END { printf "%s: %.1f / %.1f / %.1f s (min / median / max of %d)\n", what, min / 1000, median / 1000, $1 / 1000, NR }' "$times/ms"
}

before=$(bin/lab pulumi config get peers 2>/dev/null || true)
# shellcheck disable=SC2317 # the trap calls it
put_back() {
	if [ -n "$before" ]; then pulumi config set peers "$before"; else pulumi config rm peers; fi
	pulumi up --yes --skip-preview
	rm -rf "$times"
}
trap put_back EXIT

# 248 to 252 are as good as 250.
adds 2
few=$median
adds $((253 - runs))
if [ $((median - few)) -gt $bound ]; then
	echo "lab/bench/peers.sh: one of 250 takes $((median - few)) ms longer than one of 2: expected at most $bound ms" >&2
	exit 1
fi
