#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Memory of a storage node is bounded by its configuration (doc/operations.md, "Memory of a
# node"): two nodes with small logs and small limits get many times their logs in random,
# small and large writes, duplicates, zeros, snapshots and reads of many sessions. At no
# moment a node's own memory (RssAnon: without the index, which it maps) is above what the
# formula says, and later rounds take hardly more than the first. NODE_MEMORY_ROUNDS (2)
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "only for a cluster"
ROUNDS=${NODE_MEMORY_ROUNDS:-2}
LOG=16 HOOKS=4 LISTS=4 # MiB
VOL=128

cluster_start --nodes 2 --partitions 64 --gateways 2 --log-size ${LOG}M --chunk-cache 16M
for n in 1 2; do
	printf 'dedup_hooks_memory = %dM\ndedup_lists_memory = %dM\n' $HOOKS $LISTS \
		>> "$IT_DIR/c/conf/node$n.conf"
	"$IT_CLUSTER" restart "$IT_DIR/c" node$n || fail "node $n does not start again"
done
conf=$("$IT_CLUSTER" conf "$IT_DIR/c")
vms() { "$B/bin/vmstore" -c "$conf" "$@"; }
lun_create m $VOL 1 || fail "cannot create the LUN"
gw_wait 1

own() { sed -n 's/^RssAnon:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$1/status" 2> /dev/null; }
pids="$(proc_pid node1) $(proc_pid node2)"
# The most that either node has had since the file was removed, ten times a second.
watch_nodes() {
	while sleep 0.1; do
		for p in $pids; do
			k=$(own "$p")
			m=$(cat "$IT_DIR/most" 2> /dev/null)
			[ "${k:-0}" -le "${m:-0}" ] || echo "$k" > "$IT_DIR/most"
		done
	done
}
load() { # NAME OPTIONS… URL
	l_what=$1
	shift
	"$BENCH" run --idle 0 --warmup 0 --seconds 60 "$@" > "$IT_DIR/out" 2>&1 ||
		fail "$l_what: $(tail -n 3 "$IT_DIR/out")"
}

rest=0
for p in $pids; do
	k=$(own "$p")
	[ "${k:-0}" -gt 0 ] || skip "this kernel does not tell RssAnon"
	[ "$k" -le $rest ] || rest=$k
done
background watch_nodes
r=0
first=0
while [ $r -lt "$ROUNDS" ]; do
	r=$((r + 1))
	load "random writes" --rw write --bs 4k --depth 32 --ops 12000 --seed $r "$(gw_url 1)"
	load "small writes" --rw write --bs 512 --depth 32 --ops 12000 --seed $r "$(gw_url 2)"
	load "large writes" --rw write --pattern seq --bs 512k --depth 4 --ops 200 --data dup:50 \
		--seed $r "$(gw_url 2)"
	vms snap create "m@s$r" > "$IT_DIR/out" 2>&1 || fail "snapshot: $(cat "$IT_DIR/out")"
	load "zeros" --rw write --bs 64k --depth 32 --ops 2000 --data zero --seed $r "$(gw_url 1)"
	load "mixed" --rw mix:30 --bs 16k --sessions 64 --depth 4 --ops 6000 --seed $r \
		"$(gw_url 1)" "$(gw_url 2)"
	most=$(cat "$IT_DIR/most")
	say "round $r: $rest KiB at rest, at most $most KiB so far"
	[ $first -gt 0 ] || first=$most
done
bound=$(((2 * LOG + HOOKS + LISTS + 48) * 1024))
[ "$most" -le $bound ] || fail "a node took $most KiB; its configuration allows $bound KiB"
# 16 MiB: what all commands of these loads together need when a node stands still
[ "$most" -le $((first + 16384)) ] || fail "it grows: $first KiB in the first round, $most KiB in $ROUNDS"
say "ok"
