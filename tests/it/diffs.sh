#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Diffs: a chain of snapshots restored on another volume, with other sizes; what does not
# fit is refused, what is damaged, breaks off or is killed leaves nothing behind.
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "needs scripts/cluster"

cluster_start --partitions 64 --log-size 64M || fail "cluster does not start"
conf=$("$IT_CLUSTER" conf "$IT_DIR/c")
vmstore() { "$B/bin/vmstore" -c "$conf" "$@"; }
cd "$IT_DIR" || exit 1

json() { sed -nE "s/.*\"$1\": ([0-9]+).*/\1/p" "$2" | head -n 1; }
put() { # FILE KIB_AT KIB: random data into a file
	dd if=/dev/urandom of="$1" bs=1K seek="$2" count="$3" conv=notrunc 2> /dev/null
}
is() { # VOLUME[@SNAP] FILE: has this content
	vmstore export "$1" is.raw --overwrite > /dev/null || fail "export of $1"
	cmp is.raw "$2" || fail "$1 is not as $2"
}
state() { vmstore volume ls | sed -nE "s/^$1 .* (ready|importing) .*/\1/p"; }

# ---- three states of a volume: changed here and there, zeroed, larger ----
truncate -s 40M a.raw
put a.raw 0 9000
put a.raw 20000 64
cp --sparse=always a.raw b.raw
put b.raw 400 4    # one chunk
put b.raw 511 2    # over a block's edge, in parts of chunks
put b.raw 30000 5000
dd if=/dev/zero of=b.raw bs=1K seek=2000 count=1000 conv=notrunc 2> /dev/null
cp --sparse=always b.raw c.raw
truncate -s 64M c.raw
put c.raw 50000 3000
put c.raw 100 700
vmstore import a.raw src > /dev/null && vmstore snap create src@a > /dev/null || fail "src@a"
vmstore import b.raw src --overwrite --yes > /dev/null && vmstore snap create src@b > /dev/null || fail "src@b"
vmstore volume resize src 64M > /dev/null || fail "resize"
vmstore import c.raw src --overwrite --yes > /dev/null && vmstore snap create src@c > /dev/null || fail "src@c"

vmstore export-diff --full src@a full.diff --json > full.json || fail "export-diff --full"
vmstore export-diff src@a src@b ab.diff --json > ab.json || fail "export-diff a b"
vmstore export-diff src@b src@c > bc.diff || fail "export-diff to a pipe"
vmstore export-diff src@a src@c ac.diff > /dev/null || fail "export-diff a c"
vmstore export-diff src@c src@a ca.diff > /dev/null || fail "export-diff back"
[ "$(json data_bytes full.json)" -le 9300000 ] || fail "more than the content: $(cat full.json)"
# 4 KiB, 2 parts of chunks on both sides of an edge, 5000 KiB; not what stayed as it was
[ "$(json data_bytes ab.json)" -le 5140000 ] && [ "$(json zero_bytes ab.json)" -le 1024000 ] ||
	fail "more than what changed: $(cat ab.json)"

# ---- restored elsewhere ----
vmstore import-diff full.diff dst > /dev/null || fail "import of the full stream"
is dst@a a.raw
cat ab.diff | vmstore import-diff dst > /dev/null || fail "import of a diff from a pipe"
is dst@b b.raw
refuses "exists already" vmstore import-diff ab.diff dst
refuses "exists already" vmstore import-diff full.diff dst
vmstore import-diff bc.diff dst > /dev/null || fail "import of a diff that makes it larger"
is dst@c c.raw
is dst@b b.raw
is dst@a a.raw
vmstore snap ls dst --json | grep -c origin | grep -qx 3 || fail "snapshots do not tell where they are from"
# in one step, and back to the smaller one
vmstore import-diff full.diff two > /dev/null && vmstore import-diff ac.diff two > /dev/null || fail "a, c"
is two@c c.raw
vmstore volume rm two --snapshots > /dev/null
# a restored chain is a source as well, its diffs fit the first volume's
vmstore export-diff dst@b dst@c bc2.diff > /dev/null || fail "export-diff of restored snapshots"
[ "$(stat -c %s bc.diff)" = "$(stat -c %s bc2.diff)" ] || fail "bc.diff and bc2.diff differ in size"
say "chains are restored"

# ---- what is refused, with nothing changed ----
refuses "begins with a full stream" vmstore import-diff ab.diff none
vmstore volume create empty --size 40M > /dev/null
refuses "does not have" vmstore import-diff ab.diff empty
vmstore import-diff full.diff t > /dev/null || fail "t"
refuses "does not have" vmstore import-diff bc.diff t
put a2.raw 0 1
cp --sparse=always a.raw a2.raw
put a2.raw 12000 8
vmstore import a2.raw t --overwrite --yes > /dev/null
refuses "was changed since" vmstore import-diff ab.diff t
is t a2.raw
[ "$(state t)" = ready ] || fail "t is $(state t) after a refusal"
vmstore import-diff ab.diff t --force > /dev/null || fail "--force"
is t@b b.raw
refuses "no stream" vmstore import-diff a.raw t
refuses "different volumes" vmstore export-diff src@a dst@b x
refuses "no snapshot" vmstore export-diff src@a src@none x

# ---- damaged, cut, killed: taken back ----
cp ab.diff bad.diff
printf 'damage' | dd of=bad.diff bs=1 seek=4000000 conv=notrunc 2> /dev/null
vmstore import-diff full.diff u > /dev/null || fail "u"
refuses "damaged" vmstore import-diff bad.diff u
for cut in 600 3000000; do
	head -c $cut ab.diff | vmstore import-diff u > log 2>&1 && fail "a cut stream was taken"
	grep -q "breaks off" log && grep -q "again as its snapshot a" log || fail "$(cat log)"
	is u a.raw
	[ "$(state u)" = ready ] || fail "u is $(state u)"
done
vmstore import-diff < bad.diff u > log 2>&1 && fail "a damaged stream was taken"
is u a.raw
head -c 3000000 full.diff | vmstore import-diff v > log 2>&1 && fail "a cut full stream was taken"
refuses "no volume 'v'" vmstore volume info v
"$B/bin/vmstore" -c "$conf" import-diff u --limit 512K < ab.diff > log 2>&1 &
importing() { [ "$(state u)" = importing ]; }
wait_for 60 importing || fail "the import does not begin: $(cat log)"
sleep 0.5
kill -9 $!
wait $! 2> /dev/null
[ "$(state u)" = importing ] || fail "u is $(state u) after kill -9: $(cat log)"
refuses "imported" vmstore export u x
refuses "imported" vmstore snap create u@x
cat ab.diff | vmstore import-diff u > log 2>&1 || fail "the import after a kill: $(cat log)"
grep -q "taken back to u@a first" log || fail "nothing was taken back: $(cat log)"
is u@b b.raw
is u@a a.raw
say "damaged, cut and killed streams leave nothing behind"

# ---- the same where the size changes, and the volume has snapshots that must stay ----
killed() { # STREAM VOLUME: an import of it is killed half-way
	"$B/bin/vmstore" -c "$conf" import-diff "$2" --limit 512K < "$1" > log 2>&1 &
	began() { [ "$(state "$2")" = importing ]; }
	wait_for 60 began "$1" "$2" || fail "the import into $2 does not begin: $(cat log)"
	sleep 0.5
	kill -9 $!
	wait $! 2> /dev/null
	[ "$(state "$2")" = importing ] || fail "$2 is $(state "$2") after kill -9: $(cat log)"
}
vmstore export-diff --full src@c fullc.diff > /dev/null && vmstore import-diff fullc.diff w > /dev/null || fail "w"
head -c 900000 ca.diff | vmstore import-diff w > log 2>&1 && fail "a cut stream that makes it smaller was taken"
grep -q "again as its snapshot c" log || fail "a cut stream that makes it smaller: $(cat log)"
is w c.raw
killed ca.diff w
# what it goes back to stays, or nothing would be left but to delete the volume
refuses "import-diff" vmstore snap rm w@c
vmstore import-diff w < ca.diff > log 2>&1 || fail "a smaller volume, after a kill: $(cat log)"
is w@a a.raw
is w@c c.raw
# larger: without --force, as nobody but the import has changed it
vmstore import-diff full.diff x > /dev/null || fail "x"
killed ac.diff x
vmstore import-diff x < ac.diff > log 2>&1 || fail "a larger volume, after a kill: $(cat log)"
is x@c c.raw
is x@a a.raw
# what was interrupted has been taken back, but has not got its size again: its ancestors are
# as many as there may be, so it cannot be made smaller. Nor does that want --force
vmstore import-diff full.diff z > /dev/null || fail "z"
for i in 1 2 3 4 5 6 7 8; do
	vmstore snap create "z@r$i" > /dev/null && vmstore snap rollback "z@r$i" --yes > /dev/null || fail "z@r$i"
done
killed ac.diff z
vmstore import-diff z < ac.diff > log 2>&1 && fail "z has become smaller"
grep -q "taken back to z@a first" log && [ "$(state z)" = ready ] || fail "z is $(state z): $(cat log)"
vmstore import-diff z < ac.diff > log 2>&1 || fail "a volume between two sizes: $(cat log)"
is z@c c.raw
is z@a a.raw
# somebody has made it smaller
vmstore import-diff full.diff y > /dev/null && vmstore volume resize y 8M --allow-shrink > /dev/null || fail "y"
refuses "was changed since" vmstore import-diff ab.diff y
vmstore import-diff ab.diff y --force > log 2>&1 || fail "--force on a smaller volume: $(cat log)"
is y@b b.raw
is y@a a.raw
# an image is being imported into it: that is not taken back, let alone deleted
"$B/bin/vmstore" -c "$conf" import b.raw y --overwrite --yes --limit 512K > log 2>&1 &
began() { [ "$(state y)" = importing ]; }
wait_for 60 began || fail "the import into y does not begin: $(cat log)"
refuses "an image is being imported" vmstore import-diff ac.diff y
kill -9 $!
wait $! 2> /dev/null
refuses "an image is being imported" vmstore import-diff ac.diff y
vmstore import b.raw y --overwrite --yes > log 2>&1 || fail "the image after a kill: $(cat log)"
is y b.raw
is y@a a.raw
say "of other sizes too; snapshots stay"
say "ok"
