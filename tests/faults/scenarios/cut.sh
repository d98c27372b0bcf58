# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Networks that lose everything between some, one way or both.

scenario cut-node-short 'a node hears and says nothing for 1 s'
cut_node_short() {
	say "isolate node2"
	isolate node2
	work 1
	heal
	work 3
}

scenario cut-node-long 'a node is cut off far longer than leases' short
cut_node_long() {
	say "isolate node3"
	isolate node3
	work 12
	heal
	progress 30
	work 3
}

scenario cut-node-deaf 'a node hears nobody, everyone hears it'
cut_node_deaf() {
	local o
	say "nobody reaches node1"
	for o in client $(names); do [ "$o" = node1 ] || sever "$o" node1; done
	work 12
	heal
	progress 30
	work 3
}

scenario cut-node-mute 'a node hears everyone, nobody hears it'
cut_node_mute() {
	local o
	say "node1 reaches nobody"
	for o in client $(names); do [ "$o" = node1 ] || sever node1 "$o"; done
	work 12
	heal
	progress 30
	work 3
}

scenario cut-two-nodes 'two nodes do not see each other, everyone else sees both'
cut_two_nodes() {
	say "node1 and node2 are cut"
	sever_both node1 node2
	work 12
	heal
	progress 30
	work 3
}

scenario cut-two-nodes-oneway 'what node1 sends to node2 is lost, nothing else is'
cut_two_nodes_oneway() {
	say "node1 does not reach node2"
	sever node1 node2
	work 12
	heal
	progress 30
	work 3
}

scenario cut-gateway-from-node 'a gateway does not see one node, which everyone else sees'
cut_gateway_from_node() {
	promise 8
	say "gw1 and node2 are cut"
	sever_both gw1 node2
	work 12
	heal
	progress 30
	work 3
}

scenario cut-gateway-mute 'nodes hear nothing of a gateway, which hears them'
cut_gateway_mute() {
	local n
	promise 8
	say "gw1 reaches no node"
	for n in $(names node); do sever gw1 "$n"; done
	work 12
	heal
	progress 30
	work 3
}

scenario cut-gateway-deaf 'a gateway hears nothing of the nodes, which hear it'
cut_gateway_deaf() {
	local n
	promise 8
	say "no node reaches gw2"
	for n in $(names node); do sever "$n" gw2; done
	work 12
	heal
	progress 30
	work 3
}

scenario cut-gateway-inside 'a gateway is cut from the cluster, initiators still reach it: it must say nothing stale'
cut_gateway_inside() {
	local n
	promise 8
	say "gw1 is cut from nodes and catalog"
	for n in $(names node) $(names catalog); do sever_both gw1 "$n"; done
	work 12
	heal
	progress 30
	work 3
}

scenario cut-gateway 'a gateway is cut from everyone, its initiators too'
cut_gateway() {
	promise 8
	say "isolate gw1"
	isolate gw1
	work 12
	heal
	progress 30
	work 3
}

scenario cut-initiators 'initiators and a gateway do not see each other, the cluster sees both: sessions move'
cut_initiators() {
	promise 8
	say "client and gw2 are cut"
	sever_both client gw2
	work 12
	heal
	progress 30
	work 3
}

scenario cut-initiators-deaf 'all that a gateway answers is lost, what it is asked arrives: nothing of it may land late'
cut_initiators_deaf() {
	promise 8
	say "gw1 does not reach client"
	sever gw1 client
	work 12
	heal
	progress 30
	work 3
}

scenario cut-initiators-mute 'all that initiators ask one gateway is lost, and arrives in the end where they still try'
cut_initiators_mute() {
	promise 8
	say "client does not reach gw1"
	sever client gw1
	work 12
	heal
	progress 30
	work 3
}

scenario cut-catalog 'nobody reaches the catalog for 15 s: I/O does not notice'
cut_catalog() {
	promise 1
	settled
	say "isolate catalog"
	isolate catalog
	work 15
	heal
	work 3
}

scenario cut-catalog-from-node 'one node does not reach the catalog, everything else works'
cut_catalog_from_node() {
	promise 1
	settled
	say "node2 and catalog are cut"
	sever_both node2 catalog
	work 12
	heal
	work 3
}

scenario cut-catalog-from-gateway 'one gateway does not reach the catalog, everything else works'
cut_catalog_from_gateway() {
	promise 1
	settled
	say "gw1 and catalog are cut"
	sever_both gw1 catalog
	work 12
	heal
	work 3
}

scenario cut-catalog-deaf 'the catalog hears nobody, everyone would hear it'
cut_catalog_deaf() {
	local o
	promise 1
	settled
	say "nobody reaches the catalog"
	for o in client $(names); do [ "$o" = catalog ] || sever "$o" catalog; done
	work 12
	heal
	work 3
}

scenario cut-catalog-mute 'the catalog does what it is told and nobody hears it; a node dies: who takes over waits for it'
cut_catalog_mute() {
	local o
	downtime 'the catalog was away'
	say "the catalog reaches nobody"
	for o in client $(names); do [ "$o" = catalog ] || sever catalog "$o"; done
	work 2
	kill9 node2
	work 8
	heal
	progress 30
	work 4
	start node2
	work 3
}

scenario cut-cable 'the cable of a node is pulled out and in again four times'
cut_cable() {
	local i
	for i in 1 2 3 4; do
		plug_out node2
		sleep "$((RANDOM % 3)).5"
		plug_in node2
		sleep "$((RANDOM % 3)).5"
	done
	progress 30
	work 3
}

scenario cut-everything 'all cables are out for 6 s'
cut_everything() {
	local n
	downtime 'there was no network'
	for n in $(names); do plug_out "$n"; done
	sleep 6
	for n in $(names); do plug_in "$n"; done
	progress 60
	work 3
}
