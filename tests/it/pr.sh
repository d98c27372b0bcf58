#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Reservations belong to the cluster: what a host reserves through one gateway holds
# through the other, for every class of command, with the right unit attention once; it
# survives the death of a gateway, of a node, and of everything; a dead gateway holds
# nothing up. tests/it/iscsi_pr.c plays the hosts.
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "needs two gateways"
PR=$B/tests/iscsi_pr
[ -x "$PR" ] || skip "$PR is not built"

hosts() {
	"$PR" > "$IT_DIR/hosts.out" || fail "$1"
	say "$1: ok"
}
KILL="$IT_CLUSTER kill $IT_DIR/c"

cluster_start --partitions 128
lun_create pr 64 1 || fail "cannot create the LUN"
gw_wait
u1=$(gw_url 1) u2=$(gw_url 2)

hosts "two hosts, two gateways" << EOS
open a1 $u1 a
open a2 $u2 a
open b1 $u1 b
open b2 $u2 b
a1 caps
a1 keys
a1 register 0 a
a2 register 0 a
b2 register 0 b
b1 keys a a b
b2 full 3
# registrants only, Write Exclusive
a1 reserve a 5
b1 holder a 5
b2 write
a2 write
b1 write = conflict
b1 writesame = conflict
b1 unmap = conflict
b1 caw = conflict
b1 read
b1 register 9 b = conflict
b2 reserve b 1 = conflict
# from the other gateway
b2 preempt b 3 a
a1 tur = ua:2a05
a1 tur
a2 tur = ua:2a05
a2 tur
a1 write = conflict
a2 read = conflict
b1 read = conflict
b2 write
b1 keys b
# through all target ports at once, with another host
b2 clear b
a1 register 0 a all
b1 keys a a
a2 reserve a 1
b1 write = conflict
b2 write = conflict
a1 write = conflict
a2 write
a2 release a 1
b1 register 0 b c
b2 keys a a b b
open c1 $u1 c
c1 reserve b 6
b1 move b bb a 2 = sense:5/2400
c1 move b bb a 2
a2 holder bb 6
a2 release bb 6
b1 tur = ua:2a04
b1 tur
a1 tur = ua:2a04
c1 tur = ua:2a04
a2 clear bb
a1 tur = ua:2a03
a1 tur
b1 tur = ua:2a03
c1 tur = ua:2a03
b2 tur
a1 keys
# RESERVE: of one session, on both gateways
a1 reserve6
a1 write
a2 write = conflict
b2 read = conflict
b2 reserve6 = conflict
b2 register 0 b = conflict
close a1
b2 reserve6 = soon:good
a2 write = conflict
b2 release6
a2 write
EOS

# Whoever dies, it goes on; what was reserved stays.
hosts "a gateway and a node die" << EOS
open a1 $u1 a
open b2 $u2 b
a1 register 0 a
b2 register 0 b
a1 reserve a 1
run $KILL gw1
b2 write = conflict
b2 register b bb
b2 holder a 1
b2 preempt bb 1 a
b2 write
run $IT_CLUSTER start $IT_DIR/c > /dev/null
open c1 $u1 a
c1 write = soon:conflict
c1 keys bb
run $KILL node2
c1 register 0 a = soon:good
b2 keys a bb
b2 write = soon:good
EOS
hosts "RESERVE of a dead gateway ends" << EOS
open a1 $u1 a
open b2 $u2 b
b2 clear bb
a1 tur = ua:2a03
a1 reserve6
b2 write = conflict
run $KILL gw1
b2 write = soon:good
b2 register 0 b
b2 reserve b 3
EOS

cluster_kill
cluster_start # nobody but host b can read now: sessions wait by themselves
hosts "all were killed and started again" << EOS
open a1 $u1 a
open b2 $u2 b
a1 keys b = soon:good
b2 keys b = soon:good
a1 holder b 3
a1 read = conflict
b2 write
b2 abort b 3 b
b2 clear b
a1 write
EOS

# A LUN goes while a session has reserved it, the session ends, the LUN comes back.
hosts "RESERVE ends with its session while there is no LUN" << EOS
open a1 $u1 a
a1 reserve6
run $IT_CLUSTER rmlun $IT_DIR/c $IT_IQN 1
close a1
run $IT_CLUSTER lun $IT_DIR/c $IT_IQN pr 64M 1
open b1 $u1 b
b1 write = soon:good
EOS

# Writes of a host are held at a node that stands still, as primary and as a copy, when another
# host preempts it through the other gateway: when that is answered each has happened, and was
# GOOD, or never will, whatever the node finds in its sockets when it goes on.
lun_create held 256 2 || fail "cannot create LUN 2"
gw_wait 2
# it was killed above, and leads its part of 128 partitions again when it has run for a while
leads() {
	"$B/bin/vmstore-ring" -c "$("$IT_CLUSTER" conf "$IT_DIR/c")" status --json | tr -d ' \n' |
		grep -q '"name":"node2"[^{]*"primaries":[2-9][0-9]'
}
wait_for 60 leads || fail "node2 leads nothing"
h1=$(gw_url 1 2) h2=$(gw_url 2 2) node=$(proc_pid node2)
hosts "PREEMPT AND ABORT with writes at a node that stands still" << EOS
open a1 $h1 a
open b2 $h2 b
a1 register 0 a
b2 register 0 b
a1 reserve a 5
a1 fill 11
run kill -STOP $node
a1 begin 22
b2 abort b 5 a
a1 ended = aborted
b2 agrees a1 11 22
a1 tur = ua:2a05
a1 tur
a1 fill 44 = conflict
b2 holder b 5
b2 keys b
b2 fill 33
run kill -CONT $node
b2 shows 33
a1 shows 33
EOS
cluster_kill
cluster_start
hosts "nothing of them comes back after a restart" << EOS
open a1 $h1 a
open b2 $h2 b
a1 shows 33 = soon:good
b2 shows 33 = soon:good
EOS
say "ok"
