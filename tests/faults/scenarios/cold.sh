# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Everything stops and starts.

kill_all() {
	downtime 'everything was down'
	# shellcheck disable=SC2046
	kill9 $(names)
}

up_within() { # SECONDS NAME…
	local n s=$1
	shift
	for n in "$@"; do wait_for "$s" is_up "$n" || fail "$n does not serve after $s s"; done
}

scenario cold-power-loss 'power loss of everything (kill -9 of all at once), cold start' short
cold_power_loss() {
	kill_all
	start catalog node1 node2 node3 gw1 gw2
	progress 30
	work 3
}

scenario cold-backwards 'power loss; the catalog comes last, gateways first'
cold_backwards() {
	kill_all
	start_later gw2 gw1
	sleep 1
	start_later node3
	sleep 1
	start_later node2 node1
	sleep 2
	start_later catalog
	up_within 60 catalog node1 node2 node3 gw1 gw2
	progress 30
	work 3
}

scenario cold-slowly 'power loss; nodes come back ten seconds after each other'
cold_slowly() {
	kill_all
	start catalog
	start_later gw1 gw2 node2
	sleep 10
	start_later node1
	sleep 10
	start_later node3
	up_within 60 node1 node2 node3 gw1 gw2
	progress 30
	work 3
}

scenario cold-again 'power loss again while everything starts, four times'
cold_again() {
	local i
	kill_all
	for i in 1 2 3 4; do
		start_later catalog node1 node2 node3 gw1 gw2
		sleep "0.$((RANDOM % 9 + 1))"
		kill_all
	done
	start catalog node1 node2 node3 gw1 gw2
	progress 30
	work 3
}

scenario cold-nodes 'all nodes lose power, the rest runs on'
cold_nodes() {
	downtime 'all nodes were down'
	kill9 node1 node2 node3
	sleep 2
	start node3 node1 node2
	progress 30
	work 3
}

scenario cold-clean 'everything is stopped cleanly and started'
cold_clean() {
	downtime 'everything was down'
	stop_clean gw1 gw2
	stop_clean node1 node2 node3
	stop_clean catalog
	start catalog node2 node3 node1 gw2 gw1
	progress 30
	work 3
}

scenario cold-rolling 'each process is stopped cleanly and started, one after the other'
cold_rolling() {
	local n
	promise 8 # of the gateways; nodes give away what they lead before they stop
	# shellcheck disable=SC2013
	for n in $(names); do
		say "restart $n"
		stop_clean "$n"
		start "$n"
		work 2
	done
}
