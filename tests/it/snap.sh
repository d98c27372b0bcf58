#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Snapshots of a volume that is written through two gateways: each is a consistent cut,
# its read-only LUN shows the same through both gateways and for ever, whatever happens
# to the volume, to a gateway or to a node meanwhile.
# SNAPS (8): snapshots taken under load
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "needs scripts/cluster"
need iscsi-inq libiscsi-bin
SNAPS=${SNAPS:-8}
LANES=8
cut=$B/tests/cut
[ -x "$cut" ] || skip "$cut is not built (make)"

cluster_start --partitions 64 --log-size 64M || fail "cluster does not start"
conf=$("$IT_CLUSTER" conf "$IT_DIR/c")
vmstore() { "$B/bin/vmstore" -c "$conf" "$@"; }
adm() { "$IT_CLUSTER" tgtadm "$IT_DIR/c" "$@"; }

new_lun() { # GATEWAY LUN VOLUME [BSOPTS]
	adm "$1" --op new --mode logicalunit --tid 1 --lun "$2" --bstype vmstore \
		--backing-store "$3" ${4:+--bsopts "$4"}
}
writers_start() {
	"$cut" write "$(gw_url 1)" "$(gw_url 2)" $LANES > "$IT_DIR/cut.out" 2>&1 &
	writers=$!
	IT_PIDS="$IT_PIDS $writers"
	sleep 1
	alive $writers || fail "the writers do not start: $(cat "$IT_DIR/cut.out")"
}
writers_stop() {
	kill -TERM $writers
	wait $writers || fail "the writers failed: $(grep '^cut:' "$IT_DIR/cut.out" || tail -n 5 "$IT_DIR/cut.out")"
}

# ---- consistent cuts under load ----
lun_create v 128 1 || fail "cannot create the LUN"
gw_wait
writers_start
i=0
while [ $i -lt "$SNAPS" ]; do
	i=$((i + 1))
	vmstore snap create "v@s$i" || fail "snapshot $i"
	sleep "0.$(random_below 10)"
done
writers_stop
: > "$IT_DIR/seen0"
i=0
while [ $i -lt "$SNAPS" ]; do
	i=$((i + 1))
	lun_create "v@s$i" 0 $((10 + i)) || fail "cannot export v@s$i"
	"$cut" check "$(gw_url $((1 + i % 2)) $((10 + i)))" $LANES > "$IT_DIR/seen$i" ||
		fail "v@s$i is no consistent cut: $(cat "$IT_DIR/seen$i")"
	# what one shows the next one shows too, or something later
	[ $i = 1 ] || paste -d' ' "$IT_DIR/seen$((i - 1))" "$IT_DIR/seen$i" |
		awk '$5 < $2 || $6 < $3 { bad = 1 } END { exit bad }' ||
		fail "v@s$i is older than v@s$((i - 1))"
done
awk '{ n += $2 } END { exit n == 0 }' "$IT_DIR/seen$SNAPS" || fail "the snapshots are empty"
say "$SNAPS snapshots under load are consistent cuts"

# ---- the LUN ----
lun=$((10 + SNAPS))
snap=v@s$SNAPS
adm 2 --op show --mode target | awk -v l="LUN: $lun" '$0 ~ l "$" { on = 1 } on && /Readonly: Yes/ { ok = 1; exit }
	END { exit !ok }' || fail "tgtd does not call LUN $lun read-only"
for g in 1 2; do
	iscsi-inq -e 1 -c 128 "$(gw_url $g $lun)" > "$IT_DIR/id$g" || fail "INQUIRY through gateway $g"
done
cmp -s "$IT_DIR/id1" "$IT_DIR/id2" || fail "the snapshot's identity differs between the gateways"
iscsi-inq -e 1 -c 128 "$(gw_url 1 1)" | cmp -s - "$IT_DIR/id1" && fail "the snapshot has its volume's identity"
if command -v iscsi-test-cu > /dev/null; then
	iscsi-test-cu --dataloss --test=SCSI.ReadOnly "$(gw_url 1 $lun)" > "$IT_DIR/ro" 2>&1
	awk '$1 == "tests" { ran = $3; failed = $5 } END { exit !(ran > 0 && failed == 0) }' "$IT_DIR/ro" ||
		fail "a write to the snapshot is not refused as it should be: $(tail -n 15 "$IT_DIR/ro")"
fi
refuses "there is no snapshot" new_lun 1 9 v@none
refuses "is a snapshot" new_lun 1 9 v@none size=1G
refuses "already" new_lun 1 9 "$snap"
refuses "it is LUN $lun of $IT_IQN" vmstore snap rm "$snap"
"$IT_CLUSTER" rmlun "$IT_DIR/c" "$IT_IQN" 11 || fail "deleting LUN 11"
vmstore snap rm v@s1 || fail "snap rm after its LUNs are gone"

# ---- targets.conf ----
if perl -MConfig::General -e 1 2> /dev/null; then
	vmstore snap create v@conf > /dev/null || fail "snapshot of an idle volume"
	cat > "$IT_DIR/targets.conf" <<- END
		<target $IT_IQN-conf>
			<backing-store v@conf>
				bs-type vmstore
				lun 5
			</backing-store>
		</target>
	END
	ctl=$((IT_CONTROL + 1))
	TGT_IPC_SOCKET=$IT_DIR/c/run/tgt "$B/bin/tgt-admin" -C $ctl -c "$IT_DIR/targets.conf" \
		--update "$IT_IQN-conf" > "$IT_DIR/tgt-admin" 2>&1 || fail "tgt-admin: $(cat "$IT_DIR/tgt-admin")"
	"$cut" check "iscsi://$("$IT_CLUSTER" portal "$IT_DIR/c" 2)/$IT_IQN-conf/5" $LANES > "$IT_DIR/seen_conf" ||
		fail "the snapshot of targets.conf: $(cat "$IT_DIR/tgt-admin")"
	TGT_IPC_SOCKET=$IT_DIR/c/run/tgt "$B/bin/tgt-admin" -C $ctl --delete "$IT_IQN-conf" > /dev/null 2>&1 ||
		fail "tgt-admin --delete"
else
	say "without targets.conf (Debian package libconfig-general-perl)"
fi

# ---- a snapshot never changes ----
unchanged() { # WHEN
	for g in 1 2; do
		for u in 2 $((SNAPS / 2)) "$SNAPS"; do
			"$cut" check "$(gw_url $g $((10 + u)))" $LANES > "$IT_DIR/again" && cmp -s "$IT_DIR/again" "$IT_DIR/seen$u" ||
				fail "$1: v@s$u through gateway $g shows something else: $(cat "$IT_DIR/again")"
		done
	done
}
writers_start
unchanged "while the volume is written"
proc_kill gw1
vmstore snap create v@killed || fail "a snapshot with a gateway killed"
cluster_start || fail "gw1 does not start again"
wait_for 30 gw_ready 1 $lun || fail "gateway 1 does not serve the snapshot after its restart"
sleep 1
vmstore snap create v@back || fail "a snapshot after the gateway's restart"
proc_kill node2
cluster_start || fail "node2 does not start again"
"$IT_CLUSTER" wait "$IT_DIR/c" || fail "cluster is not well again"
vmstore snap create v@node || fail "a snapshot after a node's restart"
writers_stop
unchanged "after a gateway and a node were killed"
n=$SNAPS
for s in killed back node; do
	n=$((n + 1))
	lun_create v@$s 0 $((10 + n)) || fail "cannot export v@$s"
	"$cut" check "$(gw_url 2 $((10 + n)))" $LANES > "$IT_DIR/seen$n" ||
		fail "v@$s is no consistent cut: $(cat "$IT_DIR/seen$n")"
done
cluster_stop
cluster_start || fail "cluster does not start again"
gw_wait $lun
unchanged "after everything was stopped and started"
say "ok: $n snapshots, all of them consistent and unchanged"
