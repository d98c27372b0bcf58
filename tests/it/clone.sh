#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# What grows from snapshots, by its bytes: clones, rollback, shrinking; what is deleted
# beside them; tools killed half-way; everything once more after a restart.
# KILLS (1): tools killed while they make a snapshot, each may cost 10 s
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "needs scripts/cluster"
KILLS=${KILLS:-1}
MIB=24

cluster_start --partitions 64 --log-size 64M || fail "cluster does not start"
conf=$("$IT_CLUSTER" conf "$IT_DIR/c")
vmstore() { "$B/bin/vmstore" -c "$conf" "$@"; }
# SHA-256 of a snapshot, or of a volume that is open nowhere
sum() { vmstore export "$1" - 2> "$IT_DIR/export" | sha256sum | cut -c1-64; }
# is NAME WANTED WHEN
is() {
	is_sum=$(sum "$1")
	[ "$is_sum" = "$2" ] || fail "$3: $1 has other content: $(cat "$IT_DIR/export")"
}
load() { # SECONDS LUN: both gateways
	"$BENCH" verify --span 16M --seconds "$1" --quiet --state "$IT_DIR/state$2" \
		"$(gw_url 1 "$2")" "$(gw_url 2 "$2")" > "$IT_DIR/verify" 2>&1 || fail "verify: $(tail -n 3 "$IT_DIR/verify")"
}
lun_delete() { # VOLUME LUN
	"$IT_CLUSTER" rmlun "$IT_DIR/c" "$IT_IQN" "$2" || fail "cannot take LUN $2 away"
	wait_for 30 sh -c "'$B/bin/vmstore' -c '$conf' volume info $1 --json | grep -q '\"open\": \[\]'" ||
		fail "$1 is closed, but open in the catalog"
}

# ---- contents ----
lun_create v $MIB 2 || fail "cannot create the LUN"
gw_wait 2
"$BENCH" verify --fresh --span 16M --seconds 2 --quiet --state "$IT_DIR/state2" "$(gw_url 1 2)" "$(gw_url 2 2)" \
	> "$IT_DIR/verify" 2>&1 || fail "verify: $(tail -n 3 "$IT_DIR/verify")"
vmstore snap create v@s1 > /dev/null || fail "v@s1"
s1=$(sum v@s1)
load 2 2
vmstore snap create v@s2 > /dev/null || fail "v@s2"
s2=$(sum v@s2)
[ "$s1" != "$s2" ] || fail "two snapshots with writes between them are the same"
vmstore clone v@s1 c1 > /dev/null || fail "clone"
is c1 "$s1" "a new clone"
vmstore snap create c1@s > /dev/null || fail "snapshot of a clone"
vmstore clone c1@s c2 --size 32M > /dev/null || fail "clone of a clone"
[ "$(vmstore export c2 - 2> /dev/null | head -c $((MIB << 20)) | sha256sum | cut -c1-64)" = "$s1" ] ||
	fail "a clone of a clone has other content"
# the clone is written, the volume too: neither shows in the other, nor in a snapshot
lun_create c1 $MIB 3 || fail "cannot export the clone"
gw_wait 3
"$BENCH" run --idle 0 --warmup 0 --seconds 1 --depth 8 --rw write "$(gw_url 1 3)" > /dev/null 2>&1 ||
	fail "writes to the clone"
load 1 2
is v@s1 "$s1" "after the clone was written"
is v@s2 "$s2" "after the volume was written"
is c1@s "$s1" "after its clone's parent was written"
lun_delete c1 3
[ "$(sum c1)" != "$s1" ] || fail "the writes to the clone do not show"
vmstore snap rollback c1@s --yes > /dev/null || fail "rollback of a clone"
is c1 "$s1" "a clone rolled back"

# ---- rollback, to and fro; a rolled back volume is written again ----
lun_delete v 2
v=$(sum v)
for to in s1 s2 s1; do
	vmstore snap rollback v@$to --yes > /dev/null || fail "rollback to $to"
	eval "is v \"\$$to\" 'rolled back to $to'"
done
[ "$v" != "$s1" ] || fail "nothing was written since the snapshot"
lun_create v $MIB 2 || fail "the volume is not served after its rollback"
gw_wait 2
rm -f "$IT_DIR/state2"
"$BENCH" run --idle 0 --warmup 0 --seconds 1 --depth 8 --rw write "$(gw_url 2 2)" > /dev/null 2>&1 ||
	fail "writes after a rollback"
is v@s1 "$s1" "written after a rollback"
is v@s2 "$s2" "written after a rollback"
vmstore snap create v@s3 > /dev/null || fail "v@s3"
s3=$(sum v@s3)
vmstore snap rm v@s2 > /dev/null || fail "rm of a snapshot on a branch that was left"
is v@s3 "$s3" "after another snapshot was deleted"
is v@s1 "$s1" "after another snapshot was deleted"

# ---- tools killed at random ----
i=0
while [ $i -lt "$KILLS" ]; do
	i=$((i + 1))
	"$B/bin/vmstore" -c "$conf" snap create "v@k$i" > /dev/null 2>&1 &
	p=$!
	sleep "0.00$(random_below 10)"
	kill -9 $p 2> /dev/null
	wait $p 2> /dev/null
	vmstore snap ls v | grep -q "v@k$i .*complete" || vmstore snap create "v@k$i" > /dev/null ||
		fail "a snapshot cannot be made after a tool was killed at it"
	gw_ready 1 2 || fail "the volume is not served after a tool was killed"
done
i=0
while [ $i -lt 5 ]; do
	i=$((i + 1))
	for act in "clone v@s1 k$i" "snap rm v@k$i" "volume rm k$i"; do
		[ $i -le "$KILLS" ] || [ "${act#snap}" = "$act" ] || continue
		# shellcheck disable=SC2086
		"$B/bin/vmstore" -c "$conf" $act > /dev/null 2>&1 &
		p=$!
		sleep "0.00$(random_below 10)"
		kill -9 $p 2> /dev/null
		wait $p 2> /dev/null
		# shellcheck disable=SC2086
		out=$(vmstore $act 2>&1) || case $out in
		*"exists already"* | *"there is no"*) ;; # it was done
		*) fail "'$act' after it was killed: $out" ;;
		esac
	done
done
[ "$(vmstore volume ls | grep -c '^k')" = 0 ] || fail "clones are left"
[ "$(vmstore snap ls v | wc -l)" = 3 ] || fail "other snapshots than s1 and s3: $(vmstore snap ls v)"
is v@s1 "$s1" "after tools were killed"
is v@s3 "$s3" "after tools were killed"

# ---- shrink below a snapshot, grow again ----
lun_delete v 2
vmstore volume resize v 8M --allow-shrink > /dev/null || fail "shrink below a snapshot"
is v@s3 "$s3" "after shrinking"
vmstore volume resize v ${MIB}M > /dev/null || fail "grow"
want=$({ vmstore export v@s3 - 2> /dev/null | head -c $((8 << 20)); head -c $(((MIB - 8) << 20)) /dev/zero; } |
	sha256sum | cut -c1-64)
[ "$(sum v)" = "$want" ] || fail "what a shrink cut off came back"

# ---- all of it again after a restart ----
cluster_stop
cluster_start || fail "cluster does not start again"
"$IT_CLUSTER" wait "$IT_DIR/c" || fail "cluster is not well after its restart"
is v@s1 "$s1" "after a restart"
is v@s3 "$s3" "after a restart"
is c1 "$s1" "after a restart"
[ "$(sum v)" = "$want" ] || fail "the shrunk volume after a restart"
vmstore volume rm c2 c1 --snapshots > /dev/null || fail "rm of the clones"
vmstore volume rm v --snapshots > /dev/null || fail "rm of the volume"
say "ok: clones, rollbacks and shrinks show what they should"
