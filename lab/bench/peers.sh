#!/bin/sh
# Measures in the lab what it costs to add one peer to 2 and to 250, and prints the figures; the lab has to be there. Its
# peers are afterwards what they were.
set -eu
cd "$(dirname "$0")/../.."

# peers N: the configuration of that many.
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

now() { date +%s%N; }

# up N: `pulumi up` with that many peers; its time in ms.
up() {
	bin/lab pulumi config set peers "$(peers "$1")"
	begin=$(now)
	bin/lab pulumi up --yes --skip-preview >/dev/null
	took=$((($(now) - begin) / 1000000))
}

before=$(bin/lab pulumi config get peers 2>/dev/null || true)
# shellcheck disable=SC2317 # the trap calls it
put_back() {
	if [ -n "$before" ]; then bin/lab pulumi config set peers "$before"; else bin/lab pulumi config rm peers; fi
	bin/lab pulumi up --yes --skip-preview >/dev/null
}
trap put_back EXIT

for count in 2 250; do
	up $count
	echo "pulumi up to $count peers: $took ms"
	for try in 1 2; do
		up $((count + 1))
		echo "pulumi up that adds one to $count (try $try): $took ms"
		up $count
	done
done
