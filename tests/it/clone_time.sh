#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# How long snapshot and clone of a 1 TiB volume take that two gateways have open and that is
# being written: 50 ms at most, and no longer than for 1 GiB.
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "needs scripts/cluster"

cluster_start || fail "cluster does not start"
conf=$("$IT_CLUSTER" conf "$IT_DIR/c")
vmstore() { "$B/bin/vmstore" -c "$conf" "$@"; }

lun_create big $((1024 * 1024)) 1 || fail "cannot create a LUN of 1 TiB"
lun_create small 1024 4 || fail "cannot create a LUN of 1 GiB"
gw_wait 1
gw_wait 4
took() { # FILE: quartile, median and largest of the microseconds in it, in ms
	sed -n 's/.*"us": \([0-9]*\).*/\1/p' "$1" | sort -n |
		awk '{ v[NR] = $1 / 1000 }
			END { printf "%.1f %.1f %.1f", v[int((NR + 3) / 4)], v[int((NR + 1) / 2)], v[NR] }'
}
for l in 1 4; do
	"$BENCH" run --idle 0 --warmup 0 --seconds 6 --depth 4 --rw write "$(gw_url 1 $l)" > /dev/null 2>&1 &
	IT_PIDS="$IT_PIDS $!"
done
for i in 1 2 3 4 5 6 7 8 9; do
	for v in big small; do
		vmstore snap create "$v@s$i" --json >> "$IT_DIR/snap_$v" || fail "snapshot of the $v volume"
		vmstore clone "$v@s$i" "$v-c$i" --json >> "$IT_DIR/clone_$v" || fail "clone of the $v volume"
	done
done
for what in snap clone; do
	# shellcheck disable=SC2046
	set -- $(took "$IT_DIR/${what}_big") $(took "$IT_DIR/${what}_small")
	say "$what, two gateways: 1 TiB $2 ms (quartile $1, at most $3), 1 GiB $5 ms (quartile $4, at most $6); goal: 50"
	awk -v b="$1" 'BEGIN { exit !(b < 50) }' || fail "$what of 1 TiB takes more than 50 ms"
	# a thousand times as long is what work for each extent would cost; the machine may cost ten
	awk -v b="$1" -v s="$4" 'BEGIN { exit !(b > 0 && b < 50 * s) }' ||
		fail "$what of 1 TiB takes $1 ms, of 1 GiB $4: it grows with the volume"
done
say "ok"
