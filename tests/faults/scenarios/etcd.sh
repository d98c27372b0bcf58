# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The catalog on etcd, three members; leases of etcd's leader are 1 s here.

scenario etcd-member 'an etcd member that does not lead dies, for good a while' catalog=etcd
etcd_member() {
	local n leader
	promise 1
	settled
	leader=$(leader_of_etcd) || fail "etcd has no leader"
	for n in etcd1 etcd2 etcd3; do [ "$n" = "$leader" ] || break; done
	kill9 "$n"
	work 8
	start "$n"
	work 2
}

scenario etcd-leader 'the leader of etcd dies' catalog=etcd
etcd_leader() {
	local leader
	promise 1
	settled
	leader=$(leader_of_etcd) || fail "etcd has no leader"
	kill9 "$leader"
	work 8
	start "$leader"
	work 2
}

scenario etcd-leader-and-node 'the leader of etcd and a node die in the same moment' catalog=etcd
etcd_leader_and_node() {
	local leader
	promise 12
	leader=$(leader_of_etcd) || fail "etcd has no leader"
	kill9 "$leader" node2
	work 16
	start "$leader" node2
	work 4
}

scenario etcd-leader-paused 'the leader of etcd stands still for 10 s and believes it still leads; a node dies meanwhile' catalog=etcd
etcd_leader_paused() {
	local leader
	promise 12
	leader=$(leader_of_etcd) || fail "etcd has no leader"
	pause "$leader"
	sleep 1
	kill9 node1
	work 10
	resume "$leader"
	start node1
	work 4
}

scenario etcd-leader-cut 'the leader of etcd is cut from the other members, everyone else reaches it; a node dies' catalog=etcd
etcd_leader_cut() {
	local n leader
	promise 12
	leader=$(leader_of_etcd) || fail "etcd has no leader"
	for n in etcd1 etcd2 etcd3; do [ "$n" = "$leader" ] || sever_both "$leader" "$n"; done
	sleep 1
	kill9 node3
	work 12
	heal
	start node3
	work 4
}

scenario etcd-majority-paused 'two members of etcd stand still for 12 s: nothing can be decided, I/O goes on' catalog=etcd
etcd_majority_paused() {
	local leader n other=""
	promise 1
	settled
	leader=$(leader_of_etcd) || fail "etcd has no leader"
	for n in etcd1 etcd2 etcd3; do [ "$n" = "$leader" ] || other=$n; done
	pause "$leader" "$other"
	work 12
	resume "$leader" "$other"
	work 3
}

scenario etcd-join 'a node joins while members of etcd die and stand still' catalog=etcd nodes=4 joined=3
etcd_join() {
	local leader n
	promise 12
	change join --no-wait "$(addr node4)"
	changed 60
	leader=$(leader_of_etcd) || fail "etcd has no leader"
	kill9 "$leader"
	work 2
	start "$leader"
	work 1
	n=$(leader_of_etcd) || fail "etcd has no leader"
	pause "$n"
	work 4
	resume "$n"
	work 1
	well 120
}

scenario etcd-all 'all etcd members die at once: I/O goes on without them' catalog=etcd
etcd_all() {
	promise 1
	settled
	kill9 etcd1 etcd2 etcd3
	work 10
	start_later etcd1 etcd2 etcd3
	up_within 30 etcd1 etcd2 etcd3
	work 3
}

scenario etcd-power-loss 'power loss of everything, etcd too; cold start' catalog=etcd
etcd_power_loss() {
	kill_all
	start_later node1 gw1 etcd3 node2 gw2 node3
	sleep 2
	start_later etcd1 etcd2
	up_within 60 etcd1 etcd2 etcd3 node1 node2 node3 gw1 gw2
	progress 60
	work 3
}

scenario etcd-rolling 'each etcd member dies in turn, nodes and gateways too' catalog=etcd
etcd_rolling() {
	local n
	promise 12
	for n in etcd1 node1 etcd2 gw1 etcd3 node2; do
		bounce 1 $n
		work 3
	done
}
