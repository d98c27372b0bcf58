# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Changes of the ring under load, while things die.

# change ARG…: a change of the ring in the background; changed SECONDS: it is complete.
change() {
	say "vmstore-ring $*"
	RING_TIMEOUT=300 ring "$@" > "$OUT/change.log" 2>&1 &
	CHANGE=$!
}
changed() {
	local end=$((SECONDS + $1))
	while kill -0 "$CHANGE" 2> /dev/null; do
		[ $SECONDS -lt $end ] || fail "the change is not complete after $1 s: $(tail -n 3 "$OUT/change.log")"
		load_runs
		sleep 0.3
	done
	wait "$CHANGE" || fail "vmstore-ring: exit code $?: $(tail -n 3 "$OUT/change.log")"
}
has_left() { ring status > "$OUT/status.log" 2>&1 && ! grep -q " $1 " "$OUT/status.log"; }
# Its process is not waited for: it ends when the node has left, and starts no more.
leaves() { # NODE
	wait_for 120 has_left "$1" || fail "$1 is in the ring still: $(ring status | grep "$1")"
	gone "$1"
}
addr() { echo "$(ip_of "$1"):$PORT"; }

scenario ring-join 'a fourth node joins' nodes=4 joined=3
ring_join() {
	change join "$(addr node4)"
	changed 120
	work 3
}

scenario ring-join-killed 'a fourth node joins and dies three times meanwhile' nodes=4 joined=3
ring_join_killed() {
	change join --no-wait "$(addr node4)"
	changed 60
	bounce 3 node4
	well 120
}

scenario ring-join-source-killed 'while a node joins, those that feed it die in turn' nodes=4 joined=3
ring_join_source_killed() {
	change join --no-wait "$(addr node4)"
	changed 60
	bounce 1 node1
	bounce 1 node2
	bounce 1 node3
	well 120
}

scenario ring-join-catalog-killed 'while a node joins, catalog and gateways die' nodes=4 joined=3
ring_join_catalog_killed() {
	promise 8
	change join --no-wait "$(addr node4)"
	changed 60
	bounce 2 catalog
	bounce 2 gw1 gw2
	well 120
}

scenario ring-leave 'a node leaves' nodes=4
ring_leave() {
	change leave node2
	changed 120
	gone node2
	work 3
}

scenario ring-leave-killed 'a node leaves; it, its heirs and the tool die meanwhile' nodes=4
ring_leave_killed() {
	change leave --no-wait node2
	changed 60
	local i
	for i in 1 2; do
		kill_any node2 # which may have left
		bounce 1 node1
		running node2 || start_later node2
		nap 1
	done
	leaves node2
	work 3
}

scenario ring-drain 'a node is drained, serves nothing, and gets its share back' nodes=4
ring_drain() {
	change drain node3
	changed 120
	work 2
	bounce 1 node3
	change undrain node3
	changed 120
	work 3
}

scenario ring-replace 'a new node takes the place of another that runs' nodes=4 joined=3
ring_replace() {
	change replace node1 "$(addr node4)"
	changed 120
	gone node1
	work 3
}

scenario ring-replace-killed 'a new node takes the place of another; both and a third die meanwhile' nodes=4 joined=3
ring_replace_killed() {
	local i
	change replace --no-wait node1 "$(addr node4)"
	changed 60
	for i in 1 2; do
		bounce 1 node4
		bounce 1 node2
		kill_any node1 # which may have left
		nap 1
		start_later node1
		nap 1
	done
	leaves node1
	work 3
}

scenario ring-replace-dead 'a node is dead for good, a new one takes its place' nodes=4 joined=3
ring_replace_dead() {
	kill9 node1
	work 8
	gone node1
	change replace node1 "$(addr node4)"
	changed 120
	work 3
}

scenario ring-back-empty 'a node comes back with an empty disk and takes the place it had'
ring_back_empty() {
	kill9 node2
	work 8
	wipe node2
	rename node2 node2b
	start node2
	work 2
	change replace node2 "$(addr node2)"
	changed 120
	work 3
}

scenario ring-reweight 'weights change while nodes die'
ring_reweight() {
	change reweight --no-wait node1 200 node2 50
	changed 60
	bounce 2 node1 node2 node3
	well 120
	change reweight node1 100 node2 100
	changed 120
}

scenario ring-copies 'two copies become three and two again while nodes die'
ring_copies() {
	change set --copies 3 --no-wait
	changed 60
	bounce 2 node1 node3
	well 120
	change set --copies 2
	changed 120
	work 3
}

scenario ring-copies-five 'one copy becomes five, four and one again; with five, two nodes die at once' nodes=5 copies=1
ring_copies_five() {
	promise 10
	change set --copies 5
	changed 180
	kill9 node2 node4
	work 8
	start node2 node4
	well 120
	change set --copies 4 --no-wait
	changed 60
	bounce 2 node1 node3 node5
	well 120
	change set --copies 1
	changed 120
	work 3
}

scenario ring-power-loss 'power loss of everything, twice, while a node joins and another leaves' nodes=4 joined=3
ring_power_loss() {
	local i
	change join --no-wait "$(addr node4)"
	changed 60
	change leave --no-wait node1
	changed 60
	for i in 1 2; do
		nap 1
		kill_all
		start catalog
		start_later node4 node2 node3 gw1 gw2
		running node1 || start_later node1
		up_within 60 node2 node3 node4 gw1 gw2
		progress 60
	done
	leaves node1
	work 3
}

scenario ring-join-cut 'while a node joins, one of those that feed it does not reach it, then it does not reach another' nodes=4 joined=3
ring_join_cut() {
	change join --no-wait "$(addr node4)"
	changed 60
	say "node1 does not reach node4"
	sever node1 node4
	work 6
	heal
	say "node4 does not reach node2"
	sever node4 node2
	work 6
	heal
	well 120
	work 3
}
