#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# The embedded catalog is lost with its folder and made anew from the copies that nodes keep,
# step by step as doc/operations.md has it. (On etcd: etcd.sh.)
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "needs scripts/cluster"
state=$IT_DIR/state
conf=$IT_DIR/c/conf/gw1.conf
ring() { "$B/bin/vmstore-ring" -c "$conf" "$@"; }
vmstore() { "$B/bin/vmstore" -c "$conf" "$@"; }
check() {
	"$BENCH" verify --check-only --quiet --state "$state" "$(gw_url 1)" "$(gw_url 2)" || fail "check: $1"
}
addresses="127.0.0.1:$((IT_PORT + 1)) 127.0.0.1:$((IT_PORT + 2)) 127.0.0.1:$((IT_PORT + 3))"

cluster_start --nodes 3 --partitions 64 --log-size 64M || fail "cluster does not start"
"$IT_CLUSTER" wait "$IT_DIR/c" 180 || fail "the cluster is not well"
lun_create v 64 1 || fail "no LUN"
gw_wait
background "$BENCH" verify --span 32M --state "$state" --fresh --seconds 100000 --sessions 2 --depth 4 \
	"$(gw_url 1)" "$(gw_url 2)" > "$IT_DIR/verify.out" 2>&1
verify=$!
vmstore snap create v@before > /dev/null || fail "snap create"
vmstore volume create last --size 1M > /dev/null || fail "volume create"
copied() { [ "$(grep -l '"volume/last"' "$IT_DIR"/c/data/node?/catalog.copy | wc -l)" = 3 ]; }
wait_for 60 copied || fail "not all nodes have a copy of the catalog"
was=$(vmstore volume ls --json; vmstore target dump; vmstore snap ls v)

# ---- lost: I/O goes on; an empty one, and nodes that still run ----
proc_kill catalog
rm -rf "$IT_DIR/c/data/catalog"
alive $verify || fail "I/O has ended with the catalog: $(tail -n 5 "$IT_DIR/verify.out")"
kill -TERM $verify
wait $verify || fail "verify without a catalog: $(tail -n 5 "$IT_DIR/verify.out")"
check "without a catalog"
for g in gw1 gw2; do
	p=$(proc_pid $g)
	kill -TERM "$p"
	gone() { ! alive "$p"; }
	wait_for 60 gone || fail "$g does not stop"
done
"$IT_CLUSTER" restart "$IT_DIR/c" catalog || fail "an empty catalog does not start"
# shellcheck disable=SC2086
refuses "runs with the state of the lost catalog: restart it first" ring restore-catalog $addresses
say "an empty catalog beside running nodes"

# ---- restored ----
for n in node1 node2 node3; do proc_kill $n; done
for n in node1 node2 node3; do "$IT_CLUSTER" restart "$IT_DIR/c" $n || fail "$n does not start"; done
# shellcheck disable=SC2086
ring restore-catalog --dry-run $addresses > "$IT_DIR/out" 2>&1 || fail "--dry-run: $(cat "$IT_DIR/out")"
grep -q '^would restore [0-9]* keys from the copy of node node[123]' "$IT_DIR/out" || fail "--dry-run: $(cat "$IT_DIR/out")"
# shellcheck disable=SC2086
refuses "not complete without node3" ring restore-catalog ${addresses% *}
# what a node has in its log counts: one that cannot be read is not passed over
proc_kill node3
cp "$IT_DIR/c/data/node3/log" "$IT_DIR/log"
head -c 2097152 /dev/urandom | dd of="$IT_DIR/c/data/node3/log" conv=notrunc status=none
"$IT_CLUSTER" restart "$IT_DIR/c" node3 || fail "node3 does not start"
# shellcheck disable=SC2086
refuses "node node3 does not know all sets that it was in" ring restore-catalog $addresses
proc_kill node3
dd if="$IT_DIR/log" of="$IT_DIR/c/data/node3/log" conv=notrunc status=none
rm "$IT_DIR/log"
"$IT_CLUSTER" restart "$IT_DIR/c" node3 || fail "node3 does not start again"
# none of these has changed anything: it is still empty, so it is filled now
# shellcheck disable=SC2086
ring restore-catalog $addresses > "$IT_DIR/out" 2>&1 || fail "restore-catalog: $(cat "$IT_DIR/out")"
# shellcheck disable=SC2086
ring restore-catalog $addresses > "$IT_DIR/out" 2>&1 && fail "restored twice: $(cat "$IT_DIR/out")"
cluster_start || fail "the gateways do not start"
"$IT_CLUSTER" wait "$IT_DIR/c" || fail "the cluster is not well after restore-catalog"
gw_wait
check "after restore-catalog"
is=$(vmstore volume ls --json; vmstore target dump; vmstore snap ls v)
[ "$was" = "$is" ] || fail "not what was there: $is // $was"
say "restored from the nodes' copies"

# ---- and it is a catalog as any: changes, data, another start ----
vmstore volume create more --size 1M > /dev/null || fail "a volume after restore-catalog"
vmstore snap create v@after > /dev/null || fail "a snapshot after restore-catalog"
vmstore export v@before "$IT_DIR/before.raw" > /dev/null || fail "the snapshot of before cannot be read"
vmstore clone v@before c > /dev/null || fail "a clone after restore-catalog"
# numbers are handed out above those of the copy: not above what there is room for
added=$("$IT_CLUSTER" add "$IT_DIR/c") || fail "a node more: $added"
ring join --timeout 60 "${added#* }" > "$IT_DIR/out" 2>&1 || fail "join after restore-catalog: $(cat "$IT_DIR/out")"
"$BENCH" verify --span 32M --state "$state" --ops 2000 --sessions 2 --depth 4 "$(gw_url 1)" "$(gw_url 2)" \
	> "$IT_DIR/verify.out" 2>&1 || fail "verify after restore-catalog: $(tail -n 5 "$IT_DIR/verify.out")"
cluster_kill
cluster_start || fail "the cluster does not start again"
"$IT_CLUSTER" wait "$IT_DIR/c" || fail "the cluster is not well after another start"
gw_wait
check "after another start"
vmstore volume info more > /dev/null || fail "what was made after restore-catalog is gone"

# ---- copies of before the sets changed: node1 has nothing of what they say it leads ----
addresses="$addresses ${added#* }"
nodes="node1 node2 node3 node4"
for n in $nodes; do cp "$IT_DIR/c/data/$n/catalog.copy" "$IT_DIR/c/data/$n/catalog.was" || fail "$n has no copy"; done
ring drain node1 --timeout 120 > "$IT_DIR/out" 2>&1 || fail "drain: $(cat "$IT_DIR/out")"
"$BENCH" verify --span 32M --state "$state" --ops 2000 --sessions 2 --depth 4 "$(gw_url 1)" "$(gw_url 2)" \
	> "$IT_DIR/verify.out" 2>&1 || fail "verify after drain: $(tail -n 5 "$IT_DIR/verify.out")"
cluster_kill
rm -rf "$IT_DIR/c/data/catalog"
for n in $nodes; do mv "$IT_DIR/c/data/$n/catalog.was" "$IT_DIR/c/data/$n/catalog.copy"; done
for p in catalog $nodes; do "$IT_CLUSTER" restart "$IT_DIR/c" $p || fail "$p does not start"; done
# shellcheck disable=SC2086
ring restore-catalog $addresses > "$IT_DIR/out" 2>&1 || fail "restore-catalog of old copies: $(cat "$IT_DIR/out")"
cluster_start || fail "the gateways do not start"
"$IT_CLUSTER" wait "$IT_DIR/c" || fail "the cluster is not well after old copies were restored"
gw_wait
check "after old copies were restored"
say "ok"
