# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Disks that fail, fill up or rot. Calls fail by the switch of backend/disk_fault.c, which
# is in the process; LMDB's own by a preloaded library (tests/faults/lmdb_fail.c).

# fault NODE LIST: from now on; an empty list ends them.
fault() {
	say "faults of $1: ${2:-none}"
	printf '%s' "$2" > "$LAB/run/$1.faults"
	signal HUP "$1"
}
was_hit() { # NODE: calls failed since it was told which
	local n
	n=$(counter "$1" disk.faults) || fail "$1 tells of no faults: $n"
	say "faults of $1: $n calls were hit"
	[ "$n" -gt 0 ] || fail "no call of $1 was hit"
}
heal_disk() { : > "$LAB/run/$1.faults"; }

# The node must end by itself: it cannot know any more what is on its disk.
ends_itself() { # NODE
	wait_for 30 not running "$1" || fail "$1 goes on after a failed write"
	say "$1 ended: $(tail -n 1 "$OUT/$1.log" | cut -c1-160)"
	heal_disk "$1"
	work 1
	start "$1"
	progress 30
	work 3
}

scenario disk-log-write 'a write to the log fails: the node ends, nothing is lost' short
disk_log_write() {
	fault node2 log_write:3:eio
	ends_itself node2
}

scenario disk-log-sync 'an fsync of the log fails once: it must not be trusted again'
disk_log_sync() {
	fault node1 log_sync:5:eio
	ends_itself node1
}

scenario disk-log-full 'the log cannot be written for want of space'
disk_log_full() {
	fault node3 log_write:2:enospc
	ends_itself node3
}

scenario disk-container-write 'a write to a container fails'
disk_container_write() {
	fault node2 ctr_write:1:eio
	RING_TIMEOUT=4 ring empty-logs > /dev/null 2>&1 &
	ends_itself node2
}

scenario disk-container-sync 'an fsync of a container fails once'
disk_container_sync() {
	fault node2 ctr_sync:1:eio
	RING_TIMEOUT=4 ring empty-logs > /dev/null 2>&1 &
	ends_itself node2
}

scenario disk-index-commit 'a commit of the index fails'
disk_index_commit() {
	fault node1 commit:1:eio
	RING_TIMEOUT=4 ring empty-logs > /dev/null 2>&1 &
	ends_itself node1
}

scenario disk-crash-points 'nodes end at the most delicate calls, one after the other'
disk_crash_points() {
	local f n
	for f in log_write:7 log_sync:3 ctr_write:2 ctr_sync:1 commit:1 commit:3 ctr_write:9; do
		n=node$((RANDOM % 3 + 1))
		fault $n $f:crash
		RING_TIMEOUT=4 ring empty-logs > /dev/null 2>&1 &
		wait_for 20 not running $n || {
			say "$n did not come to $f"
			kill_any $n
		}
		heal_disk $n
		start $n
		progress 30
		work 1
	done
}

scenario disk-read-errors 'a node cannot read its containers: others answer'
disk_read_errors() {
	RING_TIMEOUT=4 ring empty-logs > /dev/null 2>&1
	fault node1 ctr_read:1+:eio
	work 6
	was_hit node1
	fault node1 ''
	work 2
}

scenario disk-read-rot 'all that a node reads from its containers is wrong for a while: the others answer instead'
disk_read_rot() {
	RING_TIMEOUT=4 ring empty-logs > /dev/null 2>&1
	fault node2 ctr_read:1+:flip
	work 6
	was_hit node2
	fault node2 ''
	work 2
}

# Flips a bit in every N-th KiB of the containers of a node that does not run.
rot() { # NODE N
	local f size at n=0
	for f in $(find "$LAB/data/$1/c" -type f -size +64k | sort); do
		size=$(stat -c %s "$f")
		for ((at = 70000 + RANDOM; at < size; at += $2 * 1024)); do
			printf "\\x$(printf %02x $((0x$(od -An -tx1 -j $at -N 1 "$f" | tr -d ' ') ^ 4)))" |
				dd of="$f" bs=1 seek=$at conv=notrunc status=none
			n=$((n + 1))
		done
	done < <(find "$LAB/data/$1/c" -type f -size +100k | sort)
	say "$n bits of $1 flipped"
	[ $n -gt 0 ] || fail "there was nothing to flip"
}

# The scrub of all nodes has ended the round that was asked for.
scrubbed() { [ "$(ring scrub --json | grep -c '"fast": false')" = "$1" ]; }
scrub_sum() { ring scrub --json | sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" | awk '{s += $1} END {print s + 0}'; }

all_mended() {
	local damaged
	damaged=$(scrub_sum damaged)
	[ "$damaged" -gt 0 ] && [ "$damaged" = "$(scrub_sum repaired)" ]
}

scenario disk-rot 'bits of two nodes rot while they are down, one after the other: mended from the rest, nothing lost'
disk_rot() {
	local n
	for n in node2 node3; do
		RING_TIMEOUT=6 ring empty-logs > /dev/null 2>&1
		kill9 $n
		rot $n 800
		start $n
		progress 30
		ring scrub start > /dev/null
		wait_for 60 scrubbed 3 || fail "the scrub does not end: $(ring scrub)"
		say "$n: $(scrub_sum damaged) damaged, $(scrub_sum repaired) repaired, $(scrub_sum lost) lost"
		wait_for 30 all_mended || fail "not all is repaired: $(ring scrub)"
		[ "$(scrub_sum lost)" = 0 ] || fail "something is lost: $(ring scrub)"
	done
	work 2
}

scenario disk-small 'the disk of a node is full: it refuses writes, starts, lets all be read, and goes on when there is room' log=32M
disk_small_prepare() { small_disk node3 84m; }
disk_small() {
	local n
	downtime 'a disk was full'
	LOAD_ERRORS_OK=1
	work 15
	say "node3 has $(df -BM --output=avail "$LAB/data/node3" | tail -n 1 | tr -d ' ') left"
	alive node3
	n=$(counter node3 node.nospc) || fail "node3 tells of no refused writes: $n"
	say "$n writes were refused"
	[ "$n" -gt 0 ] || fail "the disk was not full"
	say "it starts though it is full"
	kill9 node3
	start node3
	all_read 60
	mount -o remount,size=1g "$LAB/data/node3"
	progress 60
	work 3
}

# LMDB's own calls, as its disk would fail them.
lmdb_prepare() {
	[ -f "$B/tests/lmdb_fail.so" ] || skip "$B/tests/lmdb_fail.so is not built"
	preset node2 "LD_PRELOAD=$B/tests/lmdb_fail.so" "LMDB_FAIL=$LAB/run/node2.lmdb"
}
lmdb_fails() { # write | sync
	echo "$1" > "$LAB/run/node2.lmdb"
	say "LMDB's $1 fails on node2"
	RING_TIMEOUT=4 ring empty-logs > /dev/null 2>&1 &
	wait_for 30 not running node2 || fail "node2 goes on after LMDB's $1 failed"
	rm "$LAB/run/node2.lmdb"
	start node2
	progress 30
	work 3
}

scenario disk-lmdb-write 'a write of LMDB fails: the node ends, nothing is lost'
disk_lmdb_write_prepare() { lmdb_prepare; }
disk_lmdb_write() { lmdb_fails write; }

scenario disk-lmdb-sync 'an fsync of LMDB fails: the node ends, nothing is lost'
disk_lmdb_sync_prepare() { lmdb_prepare; }
disk_lmdb_sync() { lmdb_fails sync; }
