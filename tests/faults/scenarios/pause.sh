# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Processes that stand still (SIGSTOP) and then go on as if nothing had happened.

scenario pause-node-short 'a node stands still for 1 s, shorter than any lease'
pause_node_short() {
	pause node2
	work 1
	resume node2
	work 3
}

scenario pause-node-blinks 'a node stands still for a moment, thirty times'
pause_node_blinks() {
	local i
	for ((i = 0; i < 30; i++)); do
		signal STOP node1
		sleep "0.$((RANDOM % 5))"
		signal CONT node1
		sleep "0.$((RANDOM % 3))"
	done
	work 2
}

scenario pause-node-long 'a node stands still far longer than leases: the rest goes on without it, it finds its way back' short
pause_node_long() {
	pause node2
	work 12
	resume node2
	progress 20
	work 3
}

scenario pause-nodes-in-turn 'each node stands still for 8 s in turn'
pause_nodes_in_turn() {
	local n
	for n in node1 node2 node3; do
		pause "$n"
		work 8
		resume "$n"
		progress 20
		well 60
	done
}

scenario pause-gateway-short 'a gateway stands still for 1 s'
pause_gateway_short() {
	promise 8
	pause gw1
	work 1
	resume gw1
	work 3
}

scenario pause-gateway-long 'a gateway stands still longer than its lease: what it has cached is worth nothing when it goes on' short
pause_gateway_long() {
	promise 8
	pause gw1
	work 9
	resume gw1
	work 4
}

scenario pause-catalog 'the catalog stands still for 12 s: I/O does not notice'
pause_catalog() {
	promise 1
	settled
	pause catalog
	work 12
	resume catalog
	work 2
}

scenario pause-all-nodes 'all nodes stand still for 6 s at once'
pause_all_nodes() {
	downtime 'all nodes stood still'
	pause node1 node2 node3
	work 6
	resume node1 node2 node3
	progress 30
	work 3
}

scenario pause-everything 'the whole cluster stands still for 8 s, as a suspended machine does'
pause_everything() {
	downtime 'everything stood still'
	# shellcheck disable=SC2046
	pause $(names)
	work 8
	# shellcheck disable=SC2046
	resume $(names)
	progress 30
	work 3
}

scenario pause-node-and-kill 'a node stands still while another one dies and comes back'
pause_node_and_kill() {
	downtime 'two of three nodes were away'
	pause node1
	sleep 1
	kill9 node2
	sleep 1
	start_later node2
	sleep 3
	resume node1
	wait_for 60 is_up node2 || fail "node2 does not serve"
	progress 30
	work 3
}
