#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Images in and out: one pattern in every format is imported, exported and compared;
# holes stay holes; imports and exports that were killed go on; what must be refused is.
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "needs scripts/cluster"
need qemu-img qemu-utils
need qemu-nbd qemu-utils

cluster_start --partitions 64 --log-size 64M || fail "cluster does not start"
conf=$("$IT_CLUSTER" conf "$IT_DIR/c")
vmstore() { "$B/bin/vmstore" -c "$conf" "$@"; }
# behind() LOG COMMAND...: in the background; $! is its own process, not a shell's
behind() {
	bh_log=$1
	shift
	"$B/bin/vmstore" -c "$conf" "$@" > "$bh_log" 2>&1 &
}
cd "$IT_DIR" || exit 1

# json NAME FILE: a number out of a JSON object
json() { sed -nE "s/.*\"$1\": ([0-9]+).*/\1/p" "$2" | head -n 1; }
kib() { du -k "$1" | cut -f1; }
same() { cmp "$1" "$2" || fail "$1 and $2 differ"; }

# 64 MiB: random data, zeros that are written, holes, an odd end
{
	head -c 12M /dev/urandom
	head -c 4M /dev/zero
	head -c 5000K /dev/urandom
} > pattern.raw
truncate -s 60M pattern.raw
head -c 1M /dev/urandom >> pattern.raw
truncate -s 64M pattern.raw

# ---- formats, there and back ----
for f in raw qcow2 vmdk vpc vhdx; do
	opts=""
	[ $f = vpc ] && opts="-o force_size=on"
	# shellcheck disable=SC2086
	qemu-img convert -f raw -O $f $opts pattern.raw "in.$f" || fail "qemu-img convert to $f"
	vmstore import "in.$f" "vol-$f" --json > import.json || fail "import of $f"
	grep -q "\"format\": \"$f\"" import.json || fail "in.$f is taken for: $(grep format import.json)"
	[ "$(json read_bytes import.json)" = 67108864 ] || fail "$f: $(cat import.json)"
	[ "$(json zero_bytes import.json)" -ge 40000000 ] || fail "$f: zeros were sent: $(cat import.json)"
	vmstore export "vol-$f" out.raw --overwrite > /dev/null || fail "export of vol-$f"
	same out.raw pattern.raw
	[ "$(kib out.raw)" -le 20000 ] || fail "out.raw takes $(kib out.raw) KiB: holes were filled"
	vmstore export "vol-$f" "out.$f" -O $f --overwrite > /dev/null || fail "export as $f"
	qemu-img compare -q -f $f -F raw "out.$f" pattern.raw || fail "out.$f differs"
	[ "$(kib "out.$f")" -le 34000 ] || fail "out.$f takes $(kib "out.$f") KiB"
	[ ! -e "out.$f.part" ] || fail "out.$f.part is left"
done
for f in vmdk vpc vhdx; do vmstore volume rm vol-$f > /dev/null || fail "rm vol-$f"; done
vmstore export vol-raw - | cmp - pattern.raw || fail "export to a pipe"
vmstore import - piped --size 80M < pattern.raw > /dev/null || fail "import from a pipe"
vmstore export piped out.raw --overwrite > /dev/null || fail "export of what came from a pipe"
[ "$(stat -c %s out.raw)" = 83886080 ] || fail "--size was not kept"
truncate -s 64M out.raw
same out.raw pattern.raw
say "raw, qcow2, vmdk, vpc, vhdx, pipes: identical, sparse"

# ---- what is refused ----
refuses "--size" vmstore import - nosize
refuses "exists already" vmstore import in.raw vol-raw
refuses "--yes" vmstore import in.raw vol-raw --overwrite
refuses "must be raw" vmstore import in.raw new --format cow
refuses "not in qcow2 format" vmstore import in.raw new --format qcow2
# a download that is a page saying "not found": raw, and that is said, unless --format says raw
echo "404" > page.qcow2
vmstore import page.qcow2 page > log 2>&1 && grep -q "page.qcow2 is no qcow2 image by its content" log ||
	fail "a name that is wrong is not told: $(cat log)"
vmstore import page.qcow2 page --format raw --overwrite --yes > log 2>&1 && ! grep -q "by its content" log ||
	fail "--format raw: $(cat log)"
vmstore volume rm page > /dev/null || fail "rm page"
vmstore import out.vhdx page > log 2>&1 && ! grep -q "by its content" log ||
	fail "a name that is right: $(cat log)"
vmstore volume rm page > /dev/null || fail "rm page"
head -c $(($(stat -c %s in.qcow2) / 2)) in.qcow2 > cut.qcow2
refuses "damaged or cut off" vmstore import cut.qcow2 new
qemu-img create -q -f qcow2 -b in.qcow2 -F qcow2 backed.qcow2 || fail "qemu-img create -b"
refuses "--follow" vmstore import backed.qcow2 new
refuses "no volume 'new'" vmstore volume info new
vmstore import backed.qcow2 backed --follow > /dev/null || fail "--follow"
vmstore export backed out.raw --overwrite > /dev/null
same out.raw pattern.raw
refuses "exists already" vmstore export vol-raw out.raw
refuses "no snapshot" vmstore export vol-raw@none x
lun_create used 64 1 || fail "cannot create the LUN"
gw_wait
refuses "open on gateway" vmstore import in.raw used --overwrite --yes
refuses "export a snapshot" vmstore export used x
vmstore export used live.raw --live > /dev/null || fail "--live"

# ---- overwritten: nothing of what was there shines through ----
head -c 30M /dev/urandom > short.raw
vmstore import short.raw piped --overwrite --yes > /dev/null || fail "overwrite"
vmstore export piped out.raw --overwrite > /dev/null || fail "export"
truncate -s 80M short.raw
same out.raw short.raw

# ---- what is there already is not sent again ----
vmstore import pattern.raw again --dedup off > /dev/null || fail "import without dedup"
cp --sparse=always pattern.raw changed.raw
head -c 100K /dev/urandom | dd of=changed.raw bs=1K seek=3000 conv=notrunc 2> /dev/null
for v in again vol-raw; do
	vmstore import changed.raw $v --overwrite --yes --json > import.json || fail "import over $v"
	[ "$(json sent_bytes import.json)" -le 200000 ] || fail "$v: $(cat import.json)"
	[ "$(($(json referenced_bytes import.json) + $(json unchanged_bytes import.json)))" -ge 15000000 ] ||
		fail "$v: $(cat import.json)"
	vmstore export $v out.raw --overwrite > /dev/null || fail "export of $v"
	same out.raw changed.raw
done
vmstore import changed.raw copy --json > import.json || fail "import of what another volume has"
[ "$(json referenced_bytes import.json)" -ge 1000000 ] || fail "nothing was referred to: $(cat import.json)"
vmstore export copy out.raw --overwrite > /dev/null
same out.raw changed.raw

# ---- killed imports and exports go on ----
head -c 96M /dev/urandom > large.raw
behind import.log import large.raw large --limit 8M
# the catalog's file has it that there is something to go on from
kept() { grep -aqrE '"source":"[^"]*large.raw"[^}]*"done":[1-9]' "$IT_DIR/c/data/catalog"; }
wait_for 60 kept || fail "the import keeps nothing to go on from: $(cat import.log)"
kill -9 $!
wait $! 2> /dev/null
vmstore volume ls | grep -q 'large .*importing' || fail "the volume is not marked: $(cat import.log)"
refuses "being imported" vmstore export large x
refuses "another image" vmstore import in.raw large
"$IT_CLUSTER" tgtadm "$IT_DIR/c" 1 --op new --mode logicalunit --tid 1 --lun 9 --bstype vmstore \
	--backing-store large > /dev/null 2>&1 && fail "a gateway exports half an image"
vmstore import large.raw large --json > import.json || fail "the import does not go on"
from=$(json resumed_from_bytes import.json)
[ "$from" -gt 0 ] && [ "$(json read_bytes import.json)" = $((100663296 - from)) ] ||
	fail "began anew: $(cat import.json)"
vmstore snap create large@a > /dev/null || fail "snap create"
behind export.log export large@a out.raw --overwrite --limit 8M
wait_for 60 test -s out.raw.part.state || fail "no checkpoint: $(cat export.log)"
kill -9 $!
wait $! 2> /dev/null
[ -s out.raw.part.state ] || fail "no checkpoint: $(cat export.log)"
vmstore export large@a out.raw --overwrite --resume --json > export.json || fail "export --resume"
[ "$(json resumed_from_bytes export.json)" -gt 0 ] || fail "began anew: $(cat export.json)"
same out.raw large.raw
# of a volume that a killed export has open still
behind export.log export large killed.raw --limit 8M
wait_for 60 test -s killed.raw.part || fail "no export: $(cat export.log)"
refuses "open in another export or import, tool-" vmstore export large other.raw
kill -9 $!
wait $! 2> /dev/null
vmstore volume ls | grep -qE '^large .* ready +1 ' || fail "the killed export has not left the volume open: $(vmstore volume ls)"
vmstore export large killed.raw > /dev/null || fail "an export after one that was killed"
same killed.raw large.raw
# the file that it names changes meanwhile, in what has been read: all is read again
qemu-img create -q -f qcow2 -b large.raw -F raw over.qcow2 || fail "qemu-img create"
behind import.log import over.qcow2 over --follow --limit 8M
kept() { grep -aqrE '"source":"[^"]*over.qcow2"[^}]*"done":[1-9]' "$IT_DIR/c/data/catalog"; }
wait_for 60 kept || fail "the import keeps nothing to go on from: $(cat import.log)"
kill -9 $!
wait $! 2> /dev/null
cp large.raw changed.raw
head -c 100K /dev/urandom | dd of=large.raw bs=4K conv=notrunc 2> /dev/null
vmstore import over.qcow2 over --follow --json > import.json || fail "the import does not go on"
vmstore export over out.raw --overwrite > /dev/null || fail "export of over"
same out.raw large.raw
mv changed.raw large.raw
vmstore volume rm over > /dev/null || fail "rm of over"
# interrupted and thrown away
behind import.log import large.raw gone --limit 8M
begun() { vmstore volume ls | grep -q 'gone .*importing'; }
wait_for 60 begun || fail "the import does not begin: $(cat import.log)"
kill -INT $!
wait $! && fail "an interrupted import ends with 0"
grep -q "the same command goes on" import.log || fail "no hint: $(cat import.log)"
# the second time at once, also while no node answers what is under way
behind import.log import large.raw gone --limit 8M
imports() { vmstore volume info gone --json 2> /dev/null | grep -q importing && grep -q 'going on at' import.log; }
wait_for 60 imports || fail "the import does not go on: $(cat import.log)"
for n in node1 node2 node3; do kill -STOP "$(proc_pid $n)"; done
p=$!
# it has read up to what no node answers: one that has nothing under way ends at the first
read_bytes() { sed -n 's/^rchar: //p' /proc/$p/task/$p/io; }
stands() { was=$(read_bytes) && [ -n "$was" ] && sleep 1 && [ "$was" = "$(read_bytes)" ]; }
wait_for 30 stands || fail "the import goes on without nodes: $(cat import.log)"
kill -INT $p
sleep 0.5
alive $p || fail "the import ended without nodes: $(cat import.log)"
kill -INT $p
gone() { ! alive $p; }
wait_for 30 gone || kill -9 $p
wait $p
rc=$?
for n in node1 node2 node3; do kill -CONT "$(proc_pid $n)"; done
[ $rc = 130 ] || fail "a second SIGINT: exit code $rc: $(cat import.log)"
"$IT_CLUSTER" wait "$IT_DIR/c" || fail "the cluster is not well"
vmstore volume rm gone > /dev/null || fail "rm of a volume that is being imported"
refuses "no volume 'gone'" vmstore volume info gone
say "killed imports and exports go on"
say "ok"
