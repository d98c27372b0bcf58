# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Nodes that stay away, and come back.

scenario away-long 'a node is dead for 20 s: others take over within 5 s; it comes back stale and catches up'
away_long() {
	kill9 node2
	work 20
	start node2
	work 5
}

scenario away-each 'each node is dead for 8 s in turn, the next one only when all is well'
away_each() {
	local n
	for n in node3 node1 node2; do
		kill9 $n
		work 8
		start $n
		well 60
	done
}

scenario away-and-back-often 'a node comes back and dies again while it catches up, six times'
away_and_back_often() {
	local i
	for i in 1 2 3 4 5 6; do
		kill9 node1
		work 4
		start node1
		nap 2
	done
}

scenario away-other-dies 'a node is back and catching up when the other one dies: nobody may answer with old data'
away_other_dies() {
	downtime 'the last good copies were away'
	kill9 node1
	work 8
	start_later node1
	sleep 0.5
	kill9 node2
	work 6
	start node2
	wait_for 30 is_up node1 || fail "node1 does not serve"
	progress 60
	work 3
}

scenario away-succession 'node1 dies, node2 goes on alone and dies, node1 comes back alone: it must not serve' nodes=2
away_succession() {
	downtime 'the last good copies were away'
	kill9 node1
	progress 20
	work 5
	kill9 node2
	sleep 1
	start_later node1
	no_progress 12
	start node2
	wait_for 30 is_up node1 || fail "node1 does not serve"
	progress 60
	work 3
}

scenario away-two-of-three 'three copies: two nodes die at once, the third goes on alone' copies=3
away_two_of_three() {
	promise 10
	ring set --min-copies 1 > /dev/null || fail "ring set"
	kill9 node1 node2
	work 15
	start node1 node2
	progress 30
	work 3
}

scenario away-one-after-other 'three copies: two nodes die one after the other' copies=3
away_one_after_other() {
	promise 5
	ring set --min-copies 1 > /dev/null || fail "ring set"
	kill9 node1
	work 8
	kill9 node2
	work 8
	start node2
	work 4
	start node1
	work 4
}

scenario away-below-minimum 'three copies, two wanted at least: with one left writes wait, reads go on' copies=3
away_below_minimum() {
	downtime 'fewer copies than the minimum'
	ring set --min-copies 2 > /dev/null || fail "ring set"
	kill9 node1 node2
	work 6
	all_read 30
	no_writes 3
	start node1
	progress 30
	work 3
	start node2
	work 3
}

scenario away-memory-mode 'volumes acknowledged from memory: a node is lost for good a while, nothing acknowledged is lost' ack=memory
away_memory_mode() {
	kill9 node2
	work 12
	start node2
	well 60
	kill9 node3
	work 8
	start node3
	work 3
}

scenario away-gateway-too 'a node and a gateway die at once and stay away'
away_gateway_too() {
	promise 8
	kill9 node1 gw1
	work 15
	start node1 gw1
	work 4
}

scenario away-catalog-too 'a node dies while the catalog is away: who takes over waits for it, nobody decides alone'
away_catalog_too() {
	downtime 'the catalog was away'
	kill9 catalog
	work 2
	kill9 node3
	work 8
	start catalog
	progress 30
	work 6
	start node3
	work 4
}

scenario away-at-cold-start 'power loss of all; one node stays away: the others serve without it'
away_at_cold_start() {
	kill_all
	start_later catalog node1 node3 gw1 gw2
	up_within 60 catalog node1 node3 gw1 gw2
	progress 60
	work 6
	start node2
	work 4
}
