#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Copies are made at a very low limit, with small logs, while initiators write all the time:
# the copies end, and no command takes longer than 5 s.
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "needs scripts/cluster"
state=$IT_DIR/state

cluster_start --partitions 8 --log-size 64M || fail "cluster does not start"
conf=$("$IT_CLUSTER" conf "$IT_DIR/c")
ring() { "$B/bin/vmstore-ring" -c "$conf" "$@"; }

lun_create throttle 64 1 || fail "cannot create the LUN"
gw_wait
ring throttle 1M || fail "throttle 1M"
pauses_begin
background "$BENCH" verify --state "$state" --fresh --span 64M --seconds 100000 --write 100 \
	--sessions 4 --depth 8 --command-ms 20000 "$(gw_url 1)" "$(gw_url 2)" > "$IT_DIR/verify.out" 2>&1
verify=$!
sleep 4
t=$(date +%s)
ring set --copies 3 --timeout 120 > "$IT_DIR/set" 2>&1 || fail "copies are not made: $(cat "$IT_DIR/set")"
took=$(($(date +%s) - t))
alive "$verify" || fail "the load has stopped: $(tail -n 3 "$IT_DIR/verify.out" | cut -c1-400)"
kill -TERM $verify
wait $verify || fail "vmstore-bench verify: $(grep -v ' 0 wrong' "$IT_DIR/verify.out" | cut -c1-400)"
# shellcheck disable=SC2046
set -- $(sed -n 's/^stall: one command longest \([0-9]*\) ms, until \([0-9]*\)$/\1 \2/p' "$IT_DIR/verify.out")
longest=${1:-}
within "a command" "$longest" "${2:-}" 5000
ring status --json | grep -q '"missing_copies": 0' || fail "copies are missing: $(ring status)"
cluster_stop
for n in node1 node2 node3; do
	"$B/bin/vmstored" --fsck "$IT_DIR/c/data/$n" > "$IT_DIR/fsck" || fail "fsck of $n: $(tail -n 5 "$IT_DIR/fsck")"
done
say "ok: copies made in $took s at a limit of 1 MiB/s; no command took longer than $longest ms"
