#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# What a join moves, in bytes: a fourth node comes to three that hold 256 MiB twice, in 4,096
# pieces far from each other. It has to take a quarter of what is stored; all nodes together
# may send a quarter more than that for it, pages and headers included, and none of what moves
# goes anywhere else. Counted by the nodes (node.moved_bytes, node.learnt_bytes), so how fast
# it goes does not matter. Nothing is written meanwhile: what writes add is no part of a join.
# JOIN_MIB (256): data written
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "needs scripts/cluster"
need jq jq
MIB=${JOIN_MIB:-256}
PERCENT=125 # of the ideal, at most

cluster_start --partitions 64 --log-size 64M > /dev/null
conf=$("$IT_CLUSTER" conf "$IT_DIR/c")
ring() { "$B/bin/vmstore-ring" -c "$conf" "$@"; }
sum() { # COUNTER [NODE]: of all nodes, or of one
	"$B/bin/vmstore" -c "$conf" stats --json 2> "$IT_DIR/err" |
		jq --arg k "$1" --arg n "${2:-node}" '[to_entries[] | select(.key | startswith($n)) | .value[$k] // 0] | add'
}
healthy() { ring status > "$IT_DIR/status" 2>&1; }
# Are copies only where they should be, and has that been so for a while?
settled() {
	healthy || return 1
	s_now="$(sum node.moved_bytes) $(sum node.copies_deleted)"
	[ "$s_now" = "$s_last" ] && s_same=$((s_same + 1)) || s_same=0
	s_last=$s_now
	[ "$s_same" -ge 5 ]
}
at_rest() { # WHAT
	s_last="" s_same=0
	wait_for 120 settled || fail "$1: $(cat "$IT_DIR/status")"
}

lun_create join 16384 1 || fail "no LUN"
gw_wait
"$BENCH" run --idle 0 --warmup 0 --seconds 600 --ops $((MIB * 16)) --bs 64k --depth 8 --rw write "$(gw_url 1)" \
	> "$IT_DIR/out" 2>&1 || fail "writing: $(tail -n 2 "$IT_DIR/out")"
"$IT_CLUSTER" drain "$IT_DIR/c" > "$IT_DIR/out" 2>&1 || fail "drain: $(tail -n 2 "$IT_DIR/out")"
at_rest "before"
sent=$(sum node.moved_bytes)
# what the containers of all nodes take; index and log not counted
stored=$(find "$IT_DIR"/c/data/node*/c -type f -printf '%b\n' | awk '{ n += $1 } END { print n * 512 }')
data=$((MIB * 1048576 * 2))
# pieces that were drawn twice are stored once
[ "$stored" -ge $((data / 100 * 90)) ] && [ "$stored" -le $((data / 100 * 115)) ] ||
	fail "$stored bytes are stored, of $data"

set -- $("$IT_CLUSTER" add "$IT_DIR/c") || fail "no new node"
ring join "$2" --timeout 120 > "$IT_DIR/join" 2>&1 || fail "join: $(cat "$IT_DIR/join")"
at_rest "join"
moved=$(($(sum node.moved_bytes) - sent))
took=$(sum node.learnt_bytes "$1")
ideal=$((stored / 4))
say "$stored bytes are stored; ideal $ideal; $moved sent ($((moved * 100 / ideal)) %), $took of them to $1"
[ "$moved" -le $((ideal / 100 * PERCENT)) ] || fail "$moved bytes moved, more than $PERCENT % of $ideal"
[ "$took" -ge $((ideal / 100 * 80)) ] || fail "$1 has taken $took bytes only, of $ideal"
[ $((moved - took)) -le $((ideal / 100 * 5)) ] || fail "$((moved - took)) bytes went elsewhere than to $1"
