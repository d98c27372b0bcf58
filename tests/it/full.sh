#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Disks that fill up: two nodes on file systems in memory of FULL_MIB (176) each are written
# until they take no more. Nothing that was acknowledged is lost, the nodes start again
# while they are full, everything reads, status and advise say it, deleting a volume makes
# room and writes go on. Needs root, for the mounts (in a namespace of its own).
# shellcheck source=tests/it/lib.sh
if [ "$(id -u)" != 0 ] || ! unshare -m true 2> /dev/null; then
	echo "skipped: needs root to mount small file systems"
	exit 77
fi
[ -n "${FULL_INSIDE:-}" ] || FULL_INSIDE=1 exec unshare -m --propagation private "$0" "$@"
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "only for a cluster"
full_cleanup() { # keeps the exit code for it_cleanup
	full_rc=$?
	umount -l "$IT_DIR/c/data/node1" "$IT_DIR/c/data/node2" 2> /dev/null
	return $full_rc
}
trap 'full_cleanup; it_cleanup' EXIT
FULL_MIB=${FULL_MIB:-176}
for n in 1 2; do
	mkdir -p "$IT_DIR/c/data/node$n"
	mount -t tmpfs -o "size=${FULL_MIB}m" vmstore-full "$IT_DIR/c/data/node$n" || skip "no tmpfs"
done
VMS_THIN_SOFT=80
export VMS_THIN_SOFT
cluster_start --nodes 2 --partitions 16 --gateways 2 --log-size 24M --chunk-cache 16M
conf=$("$IT_CLUSTER" conf "$IT_DIR/c")
ring() { "$B/bin/vmstore-ring" -c "$conf" "$@"; }
vms() { "$B/bin/vmstore" -c "$conf" "$@"; }
lun_create keep 64 1 || fail "cannot create the LUN"
lun_create fill 512 2 || fail "cannot create the LUN"
gw_wait 1
gw_wait 2

state=$IT_DIR/state
"$BENCH" verify --fresh --seconds 2 --span 16M --sessions 2 --depth 2 --state "$state" "$(gw_url 1)" "$(gw_url 2)" \
	> "$IT_DIR/verify.out" 2>&1 || fail "verified load on empty disks: $(tail -n 3 "$IT_DIR/verify.out")"
# until it is refused, and stays so when the logs have been moved into containers
is_full() { ring status | grep -q 'up, full'; }
i=0
until is_full && sleep 2 && is_full && sleep 1 && is_full; do
	i=$((i + 1))
	[ $i -le 20 ] || fail "512 MiB went to disks of $FULL_MIB MiB: $(ring status)"
	"$BENCH" run --idle 0 --warmup 0 --rw write --bs 64k --depth 8 --seconds 4 --seed $i \
		"$(gw_url 1 2)" > "$IT_DIR/fill.out" 2>&1 || grep -q 'DATA PROTECTION' "$IT_DIR/fill.out" ||
		fail "filling: $(tail -n 3 "$IT_DIR/fill.out")"
done
say "full after $i loads: $(grep -o 'WRITE at byte.*' "$IT_DIR/fill.out" | head -n 1)"
vms status | grep -q 'new data is refused' || fail "vmstore status does not say it: $(vms status)"
ring advise | grep -q 'is full' || fail "vmstore-ring advise does not say it: $(ring advise)"
check() {
	for g in 1 2; do
		"$BENCH" verify --check-only --quiet --state "$state" "$(gw_url $g)" ||
			fail "$1: check through gateway $g"
	done
}
check "full"
for n in 1 2; do
	proc_kill "node$n" || fail "node$n cannot be killed"
done
cluster_start || fail "full nodes do not start"
wait_for 30 gw_ready 1 1 || fail "full nodes do not serve after a restart"
# what is left is what collecting and deleting need
for n in 1 2; do
	left=$(df -BK --output=avail "$IT_DIR/c/data/node$n" | tail -n 1 | tr -d ' K')
	say "started again: $((left / 1024)) MiB left on node$n"
	[ "$left" -ge 1024 ] || fail "node$n was filled up to the last KiB: $left"
done
check "restarted while full"
for g in 1 2; do
	"$IT_CLUSTER" tgtadm "$IT_DIR/c" $g --lld iscsi --op delete --mode logicalunit --tid 1 --lun 2 > /dev/null 2>&1
done
wait_for 30 vms volume rm fill || fail "the volume cannot be deleted: $(vms volume rm fill 2>&1)"
not_full() { ! ring status | grep -q 'up, full'; }
wait_for 60 not_full || fail "deleting made no room: $(ring status)"
say "room again: $(df -BM --output=avail "$IT_DIR/c/data/node1" | tail -n 1 | tr -d ' ') on node1"
writes_again() { # what is being collected comes back in pieces
	"$BENCH" run --idle 0 --warmup 0 --rw write --ops 200 --offset 32M "$(gw_url 1)" > "$IT_DIR/run.out" 2>&1
}
wait_for 60 writes_again ||
	fail "writing afterwards: $(tail -n 3 "$IT_DIR/run.out")"
check "room again"
ring scrub start > /dev/null
scrubbed() { # both nodes have ended the round that was asked for
	[ "$(ring scrub --json | grep -c '"fast": false')" = 2 ]
}
wait_for 30 scrubbed || fail "the scrub does not come to its end: $(ring scrub)"
ring scrub || fail "the scrub found something lost"
cluster_stop
for n in 1 2; do
	"$B/bin/vmstore" fsck "$IT_DIR/c/data/node$n" > "$IT_DIR/fsck.out" 2>&1 ||
		fail "fsck of node$n: $(tail -n 5 "$IT_DIR/fsck.out")"
	umount "$IT_DIR/c/data/node$n"
done
say "ok: full disks lost nothing, started, and were emptied"
