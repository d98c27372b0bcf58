#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Targets, LUNs, bindings and accounts belong to the cluster: told to one gateway, they
# hold on all, also on those that were down; nobody is let in before they are there.
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "needs a cluster"
adm() { "$IT_CLUSTER" tgtadm "$IT_DIR/c" "$@"; }
show() { adm "$1" --op show --mode target; }
# What the cluster decides: without sessions, sizes and the gateway's own. Bindings have no
# order: who was told one, and finds that another gateway has written before, has it first.
config() {
	show "$1" | grep -E '^Target|LUN: |store path|vendor|State:|^ {8}[^ ]' | grep -v I_T |
		awk '/^Target/ { t = $2; l = "" } /LUN: / { l = $2 } { print t, l, $0 }' | sort
}
same() { [ "$(config 1)" = "$(config 2)" ]; }
agree() { wait_for 30 same || fail "$1: the gateways differ: $(config 1) // $(config 2)"; }
portal() { "$IT_CLUSTER" portal "$IT_DIR/c" "$1"; }
t=iqn.2026-01.org.example:shared

cluster_start --partitions 64 --log-size 64M || fail "cluster does not start"
adm 1 --op new --mode target --tid 7 -T $t || fail "new target"
adm 1 --op new --mode logicalunit --tid 7 --lun 3 --bstype vmstore --backing-store a --bsopts size=16M || fail "LUN 3"
agree "a target and a LUN"
adm 2 --op new --mode logicalunit --tid 7 --lun 5 --bstype vmstore --backing-store b --bsopts size=16M || fail "LUN 5"
adm 2 --op update --mode target --tid 7 --name MaxBurstLength --value 65536 || fail "a parameter"
agree "a LUN through the other one"
[ "$(show 1 | grep -cE '^ +LUN: [35]$')" = 2 ] || fail "gateway 1 has not both LUNs: $(show 1)"

# ---- what collides is refused, whoever is asked; what is wrong changes nothing ----
refuses "target number 7 is $t" adm 2 --op new --mode target --tid 7 -T ${t}2
refuses "is target number 7" adm 2 --op new --mode target --tid 8 -T $t
refuses "is volume a already" adm 2 --op new --mode logicalunit --tid 7 --lun 3 --bstype vmstore --backing-store c --bsopts size=16M
refuses "LUN 3 of" adm 2 --op new --mode logicalunit --tid 7 --lun 4 --bstype vmstore --backing-store a
refuses "does not exist" adm 2 --op new --mode logicalunit --tid 7 --lun 4 --bstype vmstore --backing-store nonesuch
# without --bstype it is a file
for v in a nonesuch; do
	refuses "there is no file '$v'; a volume of VMStore needs --bstype vmstore" adm 1 --op new --mode logicalunit --tid 7 --lun 4 --backing-store $v
done
truncate -s 16M "$IT_DIR/file"
adm 1 --op new --mode logicalunit --tid 7 --lun 4 --backing-store "$IT_DIR/file" || fail "a LUN of a file"
adm 1 --op delete --mode logicalunit --tid 7 --lun 4 || fail "deleting the LUN of a file"
refuses "no target number 9" adm 1 --op bind --mode target --tid 9 -I ALL
refuses "does not take" adm 1 --op update --mode target --tid 7 --name MaxBurstLength --value x
refuses "can't find the logical unit" adm 1 --op update --mode logicalunit --tid 7 --lun 9 --params vendor_id=X
refuses "scsi_sn of a LUN of VMStore cannot be set" adm 2 --op update --mode logicalunit --tid 7 --lun 3 --params scsi_sn=X
refuses "removable of a LUN of VMStore cannot be set" adm 1 --op update --mode logicalunit --tid 7 --lun 3 --params vendor_id=X,removable=1
refuses "1 to 8 printable" adm 1 --op update --mode logicalunit --tid 7 --lun 3 --params vendor_id=TOOLONGONE
refuses "must be 0 or 1" adm 1 --op update --mode logicalunit --tid 7 --lun 3 --params readonly=yes
agree "after refusals"
[ "$(show 1 | grep -cE '^ +LUN: [0-9]+$')" = 3 ] || fail "a refused LUN is there: $(show 1)"

# ---- accounts: CHAP through both ----
echo 123456789012 | adm 2 --op new --mode account --user host1 --password-file - || fail "an account"
adm 1 --op bind --mode account --tid 7 --user host1 || fail "binding an account"
adm 2 --op bind --mode target --tid 7 -I ALL || fail "binding everybody"
agree "accounts and bindings"
for g in 1 2; do
	! iscsi-inq "iscsi://$(portal $g)/$t/3" > /dev/null 2>&1 || fail "gateway $g lets in without a secret"
	! iscsi-inq "iscsi://host1%123456789013@$(portal $g)/$t/3" > /dev/null 2>&1 || fail "gateway $g takes a wrong secret"
	iscsi-inq "iscsi://host1%123456789012@$(portal $g)/$t/3" > /dev/null || fail "login through gateway $g"
done
# what INQUIRY tells of a LUN, on all gateways
inquires() { # GATEWAY VENDOR PRODUCT REVISION
	[ "$(iscsi-inq "iscsi://host1%123456789012@$(portal "$1")/$t/3" | sed -n 's/^\(Vendor\|Product\|Revision\):[[:blank:]]*//p' |
		sed 's/ *$//' | tr '\n' '|')" = "$2|$3|$4|" ]
}
adm 2 --op update --mode logicalunit --tid 7 --lun 3 --params "vendor_id=ACME,product_id=Boot disk,product_rev=7" || fail "vendor_id"
for g in 1 2; do
	wait_for 30 inquires $g ACME "Boot disk" 7 || fail "gateway $g: $(iscsi-inq "iscsi://host1%123456789012@$(portal $g)/$t/3")"
done
! grep -ra 123456789012 "$IT_DIR/c/data" > /dev/null || fail "the secret lies readable on a disk"
refuses "is bound to target 7" adm 1 --op delete --mode account --user host1
say "one configuration on both gateways"

# ---- mutual CHAP: what the target answers with, told to one gateway, asked of both ----
mutual() { # GATEWAY SECRET: the initiator wants the target to prove that it knows it
	iscsi-inq "iscsi://host1%123456789012@$(portal "$1")/$t/3?target_user=us&target_password=$2" > "$IT_DIR/inq" 2>&1
}
chap() { # GATEWAY SECRET
	p=$(portal "$1")
	"$B/tests/iscsi_chap" --mutual "${p%:*}" "${p#*:}" $t host1 123456789012 us "$2" > "$IT_DIR/chap" 2>&1
}
proves() { # GATEWAY SECRET OTHER-SECRET
	wait_for 30 mutual "$1" "$2" || fail "gateway $1: mutual login: $(cat "$IT_DIR/inq")"
	chap "$1" "$2" || fail "gateway $1: $(cat "$IT_DIR/chap")"
	[ "$(grep -c ^ok "$IT_DIR/chap")" = 6 ] || fail "gateway $1: $(cat "$IT_DIR/chap")"
	# a host that wants another secret of it leaves
	! mutual "$1" "$3" || fail "gateway $1: the initiator takes a target with another secret"
	grep -q 'Authentication failed' "$IT_DIR/inq" || fail "gateway $1: refused for another reason: $(cat "$IT_DIR/inq")"
	! chap "$1" "$3" && [ "$(grep -c "the target's response is wrong" "$IT_DIR/chap")" = 4 ] ||
		fail "gateway $1: with another secret: $(cat "$IT_DIR/chap")"
}
echo target-secret-1 | adm 1 --op new --mode account --user us --password-file - || fail "the target's account"
! mutual 1 target-secret-1 || fail "it proves itself with an account that is not bound"
adm 1 --op bind --mode account --tid 7 --user us --outgoing || fail "binding the target's account"
agree "the target's account"
for g in 1 2; do proves $g target-secret-1 target-secret-2; done
# another secret, told to the catalog; none, told to the other gateway
echo target-secret-3 | "$B/bin/vmstore" -c "$("$IT_CLUSTER" conf "$IT_DIR/c")" target account set us > /dev/null || fail "another secret"
for g in 1 2; do proves $g target-secret-3 target-secret-1; done
adm 2 --op unbind --mode account --tid 7 --user us --outgoing || fail "unbinding the target's account"
agree "no account of the target"
for g in 1 2; do
	! mutual $g target-secret-3 || fail "gateway $g proves itself with an account that is bound no more"
	iscsi-inq "iscsi://host1%123456789012@$(portal $g)/$t/3" > /dev/null || fail "gateway $g: one-way login"
done
for s in 123456789012 target-secret-; do
	! grep -ral -- "$s" "$IT_DIR/c/data" "$IT_DIR/c/log" "$IT_DIR/c/run" || fail "a secret lies readable on a disk or in a log"
	for g in 1 2; do ! adm $g --op show --mode account | grep -- "$s" || fail "gateway $g shows a secret"; done
done
say "mutual CHAP through both gateways"

# ---- a gateway that is down, changes meanwhile, and comes back ----
proc_kill gw2
adm 1 --op delete --mode logicalunit --tid 7 --lun 5 || fail "deleting LUN 5"
adm 1 --op new --mode logicalunit --tid 7 --lun 6 --bstype vmstore --backing-store c --bsopts size=16M || fail "LUN 6"
adm 1 --op new --mode target --tid 9 -T ${t}9 || fail "target 9"
cluster_start || fail "gw2 does not start again"
wait_for 30 iscsi-inq "iscsi://host1%123456789012@$(portal 2)/$t/6" || fail "gateway 2 does not serve what came while it was down"
agree "after a restart"
! show 2 | grep -qE '^ +LUN: 5$' || fail "gateway 2 has kept LUN 5"
# both dead, and the nodes: nobody has to tell them anything again
proc_kill gw1
proc_kill gw2
"$IT_CLUSTER" stop "$IT_DIR/c" > /dev/null || fail "the cluster does not stop"
cluster_start || fail "the gateways do not start again"
# as `make up` does it: what the cluster has already is no failure, however early it is asked for
"$IT_CLUSTER" lun "$IT_DIR/c" $t a 16M 3 || fail "a LUN that the cluster has already"
wait_for 30 iscsi-inq "iscsi://host1%123456789012@$(portal 1)/$t/6" || fail "gateway 1 does not come back by itself"
wait_for 30 iscsi-inq "iscsi://host1%123456789012@$(portal 2)/$t/3" || fail "gateway 2 does not come back by itself"
agree "after both were restarted"
for g in 1 2; do
	wait_for 30 inquires $g ACME "Boot disk" 7 || fail "gateway $g has forgotten it: $(iscsi-inq "iscsi://host1%123456789012@$(portal $g)/$t/3")"
done
adm 1 --op update --mode logicalunit --tid 7 --lun 3 --params vendor_id=,product_id= || fail "vendor_id as it was"
for g in 1 2; do
	wait_for 30 inquires $g VMSTORE "VMStore disk" 7 || fail "gateway $g: not as it was: $(iscsi-inq "iscsi://host1%123456789012@$(portal $g)/$t/3")"
done
say "gateways that were down have it all when they return"

# ---- without the catalog: refused, nothing half done ----
before=$(config 1)
proc_kill catalog
refuses "catalog" adm 1 --op new --mode target --tid 11 -T ${t}11
refuses "catalog" adm 1 --op delete --mode logicalunit --tid 7 --lun 6
cluster_start || fail "the catalog does not start again"
unchanged() { [ "$(config 1)" = "$before" ] && same; }
wait_for 30 unchanged || fail "a change that was not confirmed has left something: $(config 1) // $(config 2), before: $before"
say "a change that the catalog does not confirm is undone"

# ---- many at once through both; all agree ----
(for i in $(seq 20 29); do adm 1 --op new --mode target --tid "$i" -T "$t-$i" || exit 1; done) &
p1=$!
(for i in $(seq 30 39); do adm 2 --op new --mode target --tid "$i" -T "$t-$i" || exit 1; done) &
p2=$!
wait $p1 || fail "targets through gateway 1"
wait $p2 || fail "targets through gateway 2"
agree "20 targets"
n=0
for i in $(seq 40 49); do
	adm 1 --op new --mode target --tid "$i" -T "$t-x$i" 2> /dev/null &
	p1=$!
	adm 2 --op new --mode target --tid "$i" -T "$t-y$i" 2> /dev/null &
	p2=$!
	wait $p1 && n=$((n + 1))
	wait $p2 && n=$((n + 1))
done
[ $n = 10 ] || fail "of 20 requests for 10 numbers $n succeeded"
agree "10 contested numbers"
# one target, asked for several things at once: nobody's is lost, nobody has to repeat
adm 1 --op new --mode target --tid 60 -T "$t-60" || fail "target 60"
ps=""
for i in 1 2 3 4 5; do
	for g in 1 2; do
		adm $g --op new --mode logicalunit --tid 60 --lun $((i * 10 + g)) --bstype vmstore \
			--backing-store many-$i-$g --bsopts size=16M > "$IT_DIR/many-$i-$g" 2>&1 &
		ps="$ps $!"
		adm $g --op bind --mode target --tid 60 -I 192.0.2.$((i * 10 + g)) > "$IT_DIR/bind-$i-$g" 2>&1 &
		ps="$ps $!"
	done
done
n=0
for p in $ps; do wait "$p" && n=$((n + 1)); done
[ $n = 20 ] || fail "of 20 changes of one target at once $n succeeded: $(cat "$IT_DIR"/many-* "$IT_DIR"/bind-*)"
agree "20 changes of one target"
[ "$(show 1 | sed -n "/$t-60\$/,\$p" | grep -cE '^ +LUN: [1-9]')" = 10 ] &&
	[ "$(show 1 | sed -n "/$t-60\$/,\$p" | grep -c '192\.0\.2\.')" = 10 ] ||
	fail "not all of 20 changes hold: $(show 1 | sed -n "/$t-60\$/,\$p")"
# one volume, asked for as a LUN of two targets at the same moment, by tgtadm on both gateways
# and by a tool: one gets it
adm 1 --op new --mode target --tid 61 -T "$t-61" || fail "target 61"
adm 1 --op new --mode target --tid 62 -T "$t-62" || fail "target 62"
adm 1 --op new --mode target --tid 63 -T "$t-63" || fail "target 63"
agree "three targets"
vms() { "$B/bin/vmstore" -c "$("$IT_CLUSTER" conf "$IT_DIR/c")" "$@"; }
for i in 1 2 3 4 5 6 7 8; do vms volume create once-$i --size 16M > /dev/null || fail "volume once-$i"; done
n=0
for i in 1 2 3 4 5 6 7 8; do
	adm 1 --op new --mode logicalunit --tid 61 --lun $i --bstype vmstore --backing-store once-$i > "$IT_DIR/once-$i-1" 2>&1 &
	p1=$!
	adm 2 --op new --mode logicalunit --tid 62 --lun $i --bstype vmstore --backing-store once-$i > "$IT_DIR/once-$i-2" 2>&1 &
	p2=$!
	vms target add-lun "$t-63" once-$i > "$IT_DIR/once-$i-3" 2>&1 &
	p3=$!
	for p in $p1 $p2 $p3; do wait $p && n=$((n + 1)); done
done
[ $n = 8 ] || fail "of 24 requests for 8 volumes $n succeeded: $(cat "$IT_DIR"/once-*)"
[ "$(cat "$IT_DIR"/once-*-[123] | grep -c 'it can be one LUN only\|already; export it once\|being set up by another')" = 16 ] ||
	fail "refused for other reasons: $(cat "$IT_DIR"/once-*)"
[ "$(vms target dump | grep -c '"volume": "once-')" = 8 ] || fail "not 8 LUNs: $(vms target dump)"
agree "8 contested volumes"
refuses "is LUN 11 of" adm 1 --op new --mode logicalunit --tid 7 --lun 9 --bstype vmstore --backing-store many-1-1
adm 2 --op delete --mode target --tid 7 --force || fail "deleting target 7"
agree "a target deleted"

# ---- a target that was deleted does not come back from a file when a gateway starts ----
if perl -MConfig::General -e 1 2> /dev/null; then
	printf '<target %s-old>\n\t<backing-store once-1>\n\t\tbs-type vmstore\n\t\tlun 1\n\t</backing-store>\n</target>\n' $t > "$IT_DIR/targets.conf"
	printf 'incomingdiscoveryuser scout 123456789012\n' >> "$IT_DIR/targets.conf"
	has_old() { show "$1" | grep -q ": $t-old\$"; }
	lacks_kept() { ! show 2 | grep -q ": $t-kept\$"; }
	has_scout() { adm 1 --op show --mode account | grep -q scout; }
	for i in 61 62 63; do adm 2 --op delete --mode target --tid $i --force || fail "deleting target $i"; done
	export TGT_IPC_SOCKET="$IT_DIR/c/run/tgt" PATH="$B/bin:$PATH"
	tgt-admin -C "$IT_CONTROL" -c "$IT_DIR/targets.conf" -e > "$IT_DIR/out" 2>&1 || fail "tgt-admin: $(cat "$IT_DIR/out")"
	wait_for 30 has_old 2 || fail "tgt-admin makes no target: $(cat "$IT_DIR/out")"
	# what its file does not name stays, and what initiators have open elsewhere, too
	adm 1 --op new --mode target --tid 71 -T "$t-kept" && adm 1 --op bind --mode target --tid 71 -I ALL &&
		adm 1 --op new --mode logicalunit --tid 71 --lun 1 --bstype vmstore --backing-store once-2 ||
		fail "target 71"
	agree "target 71"
	grep -v scout "$IT_DIR/targets.conf" > "$IT_DIR/targets2.conf"
	tgt-admin -C "$IT_CONTROL" -c "$IT_DIR/targets2.conf" -e > "$IT_DIR/out" 2>&1 || fail "tgt-admin again: $(cat "$IT_DIR/out")"
	show 1 | grep -q ": $t-kept\$" || fail "tgt-admin -e has deleted a target of the cluster"
	"$B/bin/vmstore-bench" run --idle 0 --warmup 0 --seconds 600 --depth 1 "iscsi://$(portal 2)/$t-kept/1" > "$IT_DIR/bench" 2>&1 &
	open=$!
	is_open() { [ "$(vms gateway ls | awk '$2 == "gw2" { print $5 }')" = 1 ]; }
	wait_for 30 is_open || fail "no session: $(vms gateway ls; cat "$IT_DIR/bench")"
	refuses "has 1 session on gw2: --force" adm 1 --op delete --mode target --tid 71
	show 1 | grep -q ": $t-kept\$" || fail "a target that is in use was deleted"
	adm 1 --op delete --mode target --tid 71 --force || fail "--force does not delete it"
	wait "$open" && fail "the session outlives its target"
	wait_for 10 lacks_kept || fail "the target is still there"
	vms target rm "$t-old" --force > /dev/null || fail "deleting $t-old"
	proc_kill gw1
	cluster_start || fail "gw1 does not start again"
	VMSTORE_CONF=$IT_DIR/c/conf/gw1.conf VMSTORE_TARGETS=$IT_DIR/targets.conf \
		"$IT_ROOT/conf/systemd/vmstore-gateway-targets" -C "$IT_CONTROL" > "$IT_DIR/out" 2>&1 || fail "at the start: $(cat "$IT_DIR/out")"
	grep -q "left out: $t-old" "$IT_DIR/out" || fail "it does not say what it has left out: $(cat "$IT_DIR/out")"
	has_scout || fail "the account for discovery is not there: $(cat "$IT_DIR/out")"
	agree "after a start with targets.conf"
	! has_old 1 && ! vms target show "$t-old" > /dev/null 2>&1 || fail "a deleted target is back"
	say "what was deleted stays deleted"
fi
say "ok: targets, LUNs, bindings and accounts are the cluster's"
