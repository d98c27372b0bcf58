#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# The ring changes under a verified load through both gateways: a node joins, is
# drained, leaves, is replaced while it is dead; weights and copies change; tools are
# interrupted and nodes killed in the middle. Each procedure of doc/operations.md that
# changes the ring. At the end everything is read through both gateways and checked on
# each node's disk.
# RING_PART='grow shrink failures'  what of it   RING_ROUNDS=N  the changes N times (1)
# RING_MIB=N  size of the volume (64)
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "needs scripts/cluster"
RING_PART=${RING_PART:-grow shrink failures}
RING_ROUNDS=${RING_ROUNDS:-1}
RING_MIB=${RING_MIB:-64}
state=$IT_DIR/state
t_start=$(date +%s)

cluster_start --partitions 32 --log-size 256M || fail "cluster does not start"
conf=$("$IT_CLUSTER" conf "$IT_DIR/c")
ring() { "$B/bin/vmstore-ring" -c "$conf" "$@"; }
cluster() {
	c_cmd=$1
	shift
	"$IT_CLUSTER" "$c_cmd" "$IT_DIR/c" "$@"
}
healthy() { ring status > "$IT_DIR/status" 2>&1; }
well() { # WHAT
	wait_for 90 healthy || fail "$1: the ring is not well after 90 s: $(cat "$IT_DIR/status")"
}
# Number of copies that a node is an up-to-date member of.
copies_of() { # NODE
	ring status --json | awk -v n="\"name\": \"$1\"," '
		index($0, n) { found = 1 }
		found && /"replicas":/ { gsub(/[^0-9]/, ""); print; exit }'
}
load_on() {
	alive "$verify" || fail "$1: the load has stopped: $(tail -n 3 "$IT_DIR/verify.out" | cut -c1-400)"
}
step() {
	load_on "$1"
	say "$(($(date +%s) - t_start)) s: $1"
}

lun_create ring "$RING_MIB" 1 || fail "cannot create the LUN"
gw_wait
background "$BENCH" verify --state "$state" --fresh --span "$((RING_MIB / 2))M" --seconds 100000 \
	--sessions 4 --depth 2 "$(gw_url 1)" "$(gw_url 2)" > "$IT_DIR/verify.out" 2>&1
verify=$!
sleep 2

new=""
grow() {
	# ---- refusals change nothing ----
	refuses 1 "would be left for 2 copies" ring leave "$n1" "$n2" --no-wait
	refuses 1 "need as many nodes" ring set --copies 5
	refuses 1 "no node 'nobody'" ring drain nobody
	well "before"

	# ---- a fourth node, which starts after its join ----
	step "join"
	set -- $(cluster add) || fail "no new node"
	new=$1 addr=$2
	# neither configuration nor catalog is known: a node is asked, and a gateway
	"$B/bin/vmstore-ring" --via "127.0.0.1:$((IT_PORT + ${n1#node}))" join --dry-run "$addr" > "$IT_DIR/dry" ||
		fail "join --dry-run"
	grep -q 'copies of partitions move' "$IT_DIR/dry" || fail "join --dry-run shows nothing: $(cat "$IT_DIR/dry")"
	proc_kill "$new"
	"$B/bin/vmstore-ring" --via "127.0.0.1:$((IT_PORT + 19))" join --wait-start 120 \
		--timeout 120 "$addr" > "$IT_DIR/join" 2>&1 &
	join=$!
	sleep 1
	cluster_start > /dev/null
	wait $join || fail "join: $(cat "$IT_DIR/join")"
	well "join"
	held=$(copies_of "$new")
	[ "$held" -ge 14 ] && [ "$held" -le 18 ] || fail "$new holds $held copies of 64 instead of 16"

	# ---- drained; the tool is stopped, a node killed in the middle ----
	step "drain, with an interrupted tool and a killed node"
	ring drain "$n2" > "$IT_DIR/drain" 2>&1 &
	tool=$!
	sleep 0.5
	kill -INT $tool 2> /dev/null
	wait $tool
	proc_kill "$n3"
	sleep 1
	cluster_start > /dev/null
	ring drain "$n2" --timeout 120 > "$IT_DIR/drain" 2>&1 || fail "drain: $(cat "$IT_DIR/drain")"
	[ "$(copies_of "$n2")" = 0 ] || fail "$n2 holds copies after drain"
	ring status | grep -q "$n2.*drained" || fail "status does not show that $n2 is drained"
	ring advise | grep -q "vmstore-ring undrain $n2" || fail "advise does not tell how to go on"
	ring undrain "$n2" --timeout 120 > "$IT_DIR/undrain" 2>&1 || fail "undrain: $(cat "$IT_DIR/undrain")"
	well "undrain"

}

shrink() {
	if [ -z "$new" ]; then
		set -- $(cluster add) || fail "no new node"
		new=$1
		ring join "$2" --timeout 120 > /dev/null || fail "join"
	fi

	# ---- shares, copies ----
	step "reweight, copies"
	before=$(copies_of "$n2")
	ring reweight "$n2" 300 --timeout 120 > /dev/null || fail "reweight"
	[ "$(copies_of "$n2")" -gt "$before" ] || fail "a heavier node holds no more: $before copies"
	ring reweight "$n2" 100 --no-wait > /dev/null || fail "reweight back"
	ring set --copies 3 --timeout 120 > /dev/null || fail "set --copies 3"
	ring status --json | grep -q '"missing_copies": 0' || fail "copies are missing after set --copies 3"
	ring set --copies 2 --timeout 120 > /dev/null || fail "set --copies 2"
	well "copies"

	# ---- leaves; a change that is taken back ----
	step "leave, cancel"
	ring leave "$n3" --no-wait > /dev/null || fail "leave --no-wait"
	ring cancel --timeout 120 > /dev/null || fail "cancel"
	well "cancel"
	ring leave "$new" --timeout 120 > "$IT_DIR/leave" 2>&1 || fail "leave: $(cat "$IT_DIR/leave")"
	wait_for 30 sh -c "[ -z \"\$('$IT_CLUSTER' pid '$IT_DIR/c' $new)\" ]" || fail "$new runs after it has left"
	refuses 1 "no longer, in the ring" "$B/bin/vmstored" -c "$IT_DIR/c/conf/$new.conf"
	cluster remove "$new" || fail "remove"
	well "leave"

	# ---- a dead node is replaced: its disk is gone ----
	step "replace a dead node"
	proc_kill "$n2"
	sleep 1
	set -- $(cluster add) || fail "no new node"
	new=$1 addr=$2
	ring replace "$n2" "$addr" --timeout 120 > "$IT_DIR/replace" 2>&1 || fail "replace: $(cat "$IT_DIR/replace")"
	cluster remove "$n2" || fail "remove"
	well "replace"
	n2=$new new=""
}

load_off() {
	load_on "the end"
	kill -TERM $verify
	wait $verify
	rc=$?
	grep -E 'WRONG|ERROR|error|checked|verify:' "$IT_DIR/verify.out" | cut -c1-600 | tail -n 10
	[ $rc = 0 ] || fail "vmstore-bench verify: exit code $rc (1: wrong data, 3: errors or no progress)"
}
check() { # WHAT
	for g in 1 2; do
		"$BENCH" verify --check-only --quiet --state "$state" "$(gw_url $g)" || fail "$1: check through gateway $g"
	done
}
holds() { [ "$(copies_of "$1")" -gt 0 ]; }
rebuilt() { ring status --json | grep -q '"missing_copies": 0'; }
is_out() { ring status | grep -q "$1 .*out"; }
beyond_reach() {
	ring status > "$IT_DIR/status" 2>&1
	[ $? = 4 ]
}

failures() {
	# ---- a node that is away too long, and is back ----
	step "rebuild after a delay"
	set -- $(cluster add) || fail "no new node"
	ring join "$2" --timeout 120 > /dev/null || fail "join of a spare node"
	ring set --rebuild-after 2s > /dev/null || fail "set --rebuild-after"
	proc_kill "$n3"
	"$B/bin/vmstore" -c "$conf" volume create during --size 64M > "$IT_DIR/create" 2>&1 ||
		fail "volume create with a node down: $(cat "$IT_DIR/create")"
	wait_for 60 is_out "$n3" || fail "$n3 is not out: $(ring status)"
	wait_for 90 rebuilt || fail "copies of $n3 are not made anew: $(ring status)"
	refuses 3 "$n3 is taken for lost" ring advise
	cluster_start > /dev/null
	wait_for 60 holds "$n3" || fail "$n3 holds nothing after it is back: $(ring status)"
	well "$n3 is back"

	# ---- a node whose disk was emptied comes back under its own name ----
	step "an emptied node"
	proc_kill "$n3"
	rm -rf "$IT_DIR/c/data/$n3"
	cluster_start > /dev/null
	addr=127.0.0.1:$((IT_PORT + ${n3#node}))
	advised() { ring advise | grep -q "vmstore-ring join $addr"; }
	wait_for 30 advised || fail "advise does not tell to join an emptied node: $(ring advise)"
	# it is a member of sets until the others have dropped it
	copies_wait() {
		ring status > "$IT_DIR/status" 2>&1
		! grep -q '^moving' "$IT_DIR/status" && grep -q '^waiting  *[1-9]' "$IT_DIR/status"
	}
	wait_for 30 copies_wait ||
		fail "status does not say that copies wait for $n3: $(cat "$IT_DIR/status")"
	ring join --dry-run "$addr" > "$IT_DIR/dry" || fail "join --dry-run of an emptied node"
	! grep -q new1 "$IT_DIR/dry" || fail "join --dry-run takes an emptied node for another one: $(cat "$IT_DIR/dry")"
	ring join --wait-start 60 --timeout 120 "$addr" > "$IT_DIR/again" 2>&1 ||
		fail "join of an emptied node: $(cat "$IT_DIR/again")"
	grep -q "is again node" "$IT_DIR/again" || fail "join of an emptied node says: $(cat "$IT_DIR/again")"
	well "$n3 was emptied"
	ring set --rebuild-after never > /dev/null || fail "set --rebuild-after never"
	load_off

	# ---- more nodes down than copies: only what they had stops, and says so ----
	say "$(($(date +%s) - t_start)) s: more nodes down than copies"
	proc_kill "$n1"
	proc_kill "$n2"
	wait_for 40 beyond_reach || fail "nothing is said to be out of reach: $(cat "$IT_DIR/status")"
	ring advise > "$IT_DIR/advise"
	[ $? = 4 ] && grep -q 'cannot be reached' "$IT_DIR/advise" || fail "advise: $(cat "$IT_DIR/advise")"
	refuses 1 "only copy" ring give-up "$n1"
	refuses 1 "only copy" ring leave "$n1" --fewer-copies
	lost=$(ring give-up "$n1" 2>&1 | sed -n 's/.*(the first is \([0-9]*\)).*/\1/p')
	refuses 1 "give-up NODE" ring mark-lost "$lost" --lose-data --without "$n1,$n2"
	refuses 3 "cannot be reached" ring mark-lost
	cluster_start > /dev/null
	well "all are back"
	check "all are back"

	# ---- power loss of everything ----
	say "$(($(date +%s) - t_start)) s: everything is killed"
	cluster_kill
	cluster_start > /dev/null
	well "cold start"
	gw_wait
	check "cold start"
}

n1=node1 n2=node2 n3=node3
r=0
while [ $r -lt "$RING_ROUNDS" ]; do
	r=$((r + 1))
	case $RING_PART in *grow*) grow ;; esac
	case $RING_PART in *shrink*) shrink ;; esac
done
case $RING_PART in
*failures*) failures ;;
*)
	load_off
	check "the end"
	;;
esac
cluster_stop
for n in $(proc_names | grep '^node'); do
	"$B/bin/vmstored" --fsck "$IT_DIR/c/data/$n" > "$IT_DIR/fsck" || fail "fsck of $n: $(tail -n 5 "$IT_DIR/fsck")"
done
say "ok: $(($(date +%s) - t_start)) s; the ring changed under load, nothing lost or stale"
