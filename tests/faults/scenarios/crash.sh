# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Processes that die. Nodes that stay away: away.sh; everything at once: cold.sh.

pick() { # one of its arguments
	local n=$((RANDOM % $#))
	shift $n
	echo "$1"
}
nap() { sleep "$((RANDOM % ($1 + 1))).$((RANDOM % 10))"; } # 0 to $1+1 seconds

# bounce TIMES NAME…: one of them dies and is started again, again and again.
bounce() {
	local times=$1 i n
	shift
	[ "$times" = 1 ] || MANY=1
	for ((i = 0; i < times; i++)); do
		n=$(pick "$@")
		kill9 "$n"
		sleep "0.$((RANDOM % 10))"
		start "$n"
		nap 1
		load_runs
	done
}

scenario crash-node 'kill -9 of a node, started again at once: nothing lost' short
crash_node() {
	kill9 node2
	sleep 0.3
	start node2
	work 4
}

scenario crash-node-often 'one node dies eight times at random moments'
crash_node_often() { bounce 8 node1; }

scenario crash-nodes-in-turn 'each node dies in turn'
crash_nodes_in_turn() {
	local n
	for n in $(names node); do
		bounce 1 "$n"
		work 4
	done
}

scenario crash-while-starting 'a node dies again and again while it starts'
crash_while_starting() {
	local i
	kill9 node2
	for ((i = 0; i < 6; i++)); do
		start_later node2
		sleep "0.$((RANDOM % 6))"
		kill9 node2
	done
	start node2
	work 5
}

scenario crash-gateway 'kill -9 of a gateway: the other one goes on, it comes back' short
crash_gateway() {
	promise 8
	kill9 gw1
	work 3
	start gw1
	work 4
}

scenario crash-gateway-often 'gateways die six times, either of them'
crash_gateway_often() {
	promise 8
	bounce 6 gw1 gw2
}

scenario crash-gateways-both 'both gateways die at once'
crash_gateways_both() {
	promise 8
	kill9 gw1 gw2
	start gw1 gw2
	work 6
}

scenario crash-gateways-two-of-three 'two of three gateways die at once, the third goes on alone' gateways=3
crash_gateways_two_of_three() {
	promise 8
	kill9 gw1 gw3
	work 8
	start gw3 gw1
	work 4
}

scenario crash-node-and-gateway 'a node and a gateway die at once'
crash_node_and_gateway() {
	promise 8
	kill9 node3 gw2
	sleep 0.5
	start node3 gw2
	work 5
}

scenario crash-catalog 'the catalog dies: I/O goes on without it' short
crash_catalog() {
	promise 1
	settled
	kill9 catalog
	work 10
	start catalog
	work 2
}

scenario crash-catalog-often 'the catalog dies eight times'
crash_catalog_often() {
	promise 1
	settled
	bounce 8 catalog
}

scenario crash-node-and-catalog 'a node and the catalog die at once, the node is back first'
crash_node_and_catalog() {
	kill9 node1 catalog
	start_later node1
	work 2
	start catalog
	wait_for 30 is_up node1 || fail "node1 does not serve"
	progress 20
	work 3
}

scenario crash-gateway-and-catalog 'a gateway and the catalog die at once'
crash_gateway_and_catalog() {
	promise 8
	kill9 gw1 catalog
	work 4
	start catalog gw1
	work 3
}

scenario crash-anything 'fifteen times any process dies at any moment'
crash_anything() {
	promise 8
	# shellcheck disable=SC2046
	bounce 15 $(names)
}

scenario crash-memory-mode 'volumes acknowledged from memory: one node after the other dies, nothing is lost' ack=memory
crash_memory_mode() {
	local n
	for n in node1 node2 node3 node1; do
		bounce 1 "$n"
		work 6
		well # what loses all its copies at once may lose what was acknowledged from memory
	done
}
