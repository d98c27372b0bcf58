#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# `vmstore target`: targets, LUNs, bindings and accounts told to the catalog hold on all
# gateways, also on those that start later; a document applied twice changes nothing the
# second time; what cannot be is refused in words and leaves nothing behind.
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "needs a cluster"
vms() { "$B/bin/vmstore" -c "$("$IT_CLUSTER" conf "$IT_DIR/c")" "$@"; }
tg() { vms target "$@"; }
portal() { "$IT_CLUSTER" portal "$IT_DIR/c" "$1"; }
serves() { iscsi-inq "iscsi://$2$(portal "$1")/$3" > /dev/null 2>&1; } # GATEWAY USER TARGET/LUN
t=iqn.2026-01.org.example:one
u=iqn.2026-01.org.example:two
f=$IT_DIR/doc.json

cluster_start --partitions 64 --log-size 64M || fail "cluster does not start"
for v in a b c; do vms volume create $v --size 16M > /dev/null || fail "volume $v"; done

# ---- with no gateway running ----
proc_kill gw1
proc_kill gw2
tg create $t > /dev/null || fail "create"
tg add-lun $t a > /dev/null && tg add-lun $t b --lun 7 > /dev/null || fail "add-lun"
tg bind $t --address ALL > /dev/null || fail "bind"
refuses "number 1 already" tg create $t
refuses "target number 1 is $t" tg create $u --number 1
refuses "LUN 7 of $t is volume b already" tg add-lun $t c --lun 7
refuses "volume a is LUN 1 of $t already" tg add-lun $t a --lun 9
refuses "there is no volume 'nonesuch'" tg add-lun $t nonesuch
refuses "no snapshot 'a@s'" tg add-lun $t a@s
refuses "LUNs go from 1 to 16383" tg add-lun $t c --lun 20000
refuses "LUNs go from 1 to 16383" tg add-lun $t a --lun 0
# a volume whose name is a number
vms volume create 7 --size 16M > /dev/null && tg add-lun $t 7 --lun 9 > /dev/null || fail "volume 7"
refuses "which one" tg rm-lun $t 7
tg rm-lun $t 9 > /dev/null && vms volume rm 7 > /dev/null || fail "rm-lun 9"
# a snapshot that is a LUN, though nobody has it open
vms snap create a@s > /dev/null && tg add-lun $t a@s --lun 8 > /dev/null || fail "a snapshot as a LUN"
refuses "it is LUN 8 of $t" vms snap rm a@s
tg rm-lun $t 8 > /dev/null && vms snap rm a@s > /dev/null || fail "snap rm after rm-lun"
refuses "has upper case" tg create iqn.2026-01.org.example:One
tg show $t --json | grep -q '"offline": false' && tg show $t --json | grep -q '"redirect": false' ||
	fail "show --json: $(tg show $t --json)"
refuses "no parameter 'MaxBurst'" tg set $t MaxBurst=1
refuses "must be a number" tg set $t MaxBurstLength=x
refuses "no account host1" tg bind $t --user host1
refuses "no target $u" tg rm $u
refuses "has 2 LUNs" tg rm $t
tg create $u --redirect on > /dev/null || fail "create $u"
refuses "volume b is LUN 7 of $t" tg add-lun $u b
[ "$(tg ls --json | grep -c '"tid"')" = 2 ] || fail "ls: $(tg ls)"
cluster_start || fail "gateways do not start"
for g in 1 2; do
	wait_for 30 serves $g "" $t/1 && wait_for 30 serves $g "" $t/7 || fail "gateway $g does not serve $t"
done
say "made while no gateway ran, served by both"

# ---- accounts: never on a command line, sealed in the catalog ----
printf '123456789012\n' | tg account create host1 > /dev/null || fail "account"
printf '999999999999\n' > "$IT_DIR/s" && chmod 644 "$IT_DIR/s"
refuses "can be read by others" tg account create host2 --secret-file "$IT_DIR/s"
chmod 600 "$IT_DIR/s"
tg account create host2 --secret-file "$IT_DIR/s" > /dev/null || fail "account from a file"
printf 'short' > "$IT_DIR/short" && chmod 600 "$IT_DIR/short"
refuses "12 to 255 bytes" tg account create host3 --secret-file "$IT_DIR/short"
refuses "exists" tg account create host1 --secret-file "$IT_DIR/s"
tg bind $t --user host1 > /dev/null || fail "bind user"
refuses "is bound to $t" tg account rm host1
closed() { ! serves "$1" "" $t/1; }
for g in 1 2; do
	wait_for 30 serves $g host1%123456789012@ $t/1 || fail "gateway $g: login with the secret"
	wait_for 30 closed $g || fail "gateway $g lets in without a secret"
done
printf 'abcdefghijkl\n' | tg account set host1 > /dev/null || fail "another secret"
wait_for 30 serves 2 host1%abcdefghijkl@ $t/1 || fail "gateway 2 does not take the new secret"
# one goes, the one that came after it still logs in, and the target can be shown
tg bind $t --user host2 > /dev/null && tg unbind $t --user host1 > /dev/null || fail "another user"
for g in 1 2; do
	wait_for 30 serves $g host2%999999999999@ $t/1 || fail "gateway $g: login of the user that is left"
	"$IT_CLUSTER" tgtadm "$IT_DIR/c" $g --op show --mode target | grep -q 'host2$' || fail "gateway $g: show"
	closed $g || fail "gateway $g lets in without a secret"
done
# an account goes together with its binding, told to gateway 2 at once
kill -STOP "$(proc_pid gw2)"
tg bind $t --user host1 > /dev/null && tg unbind $t --user host2 > /dev/null &&
	tg account rm host2 > /dev/null || fail "the first user again"
kill -CONT "$(proc_pid gw2)"
for g in 1 2; do
	wait_for 30 serves $g host1%abcdefghijkl@ $t/1 || fail "gateway $g: the first user again"
	closed $g || fail "gateway $g lets in without a secret"
done
tg account create host2 --secret-file "$IT_DIR/s" > /dev/null || fail "an account again"
! grep -ra abcdefghijkl "$IT_DIR/c/data/catalog" > /dev/null || fail "the secret lies readable on a disk"
say "accounts"

# ---- documents ----
tg dump > "$f" || fail "dump"
[ "$(tg apply "$f")" = "nothing to change" ] || fail "a dump applied changes something: $(tg apply --dry-run "$f")"
cat > "$f" << END
{"version": 1,
 "targets": [{"name": "$t", "addresses": ["ALL"], "luns": [{"volume": "a"}, {"lun": 3, "volume": "c"}]},
             {"name": "$u", "addresses": ["127.0.0.0/8"], "redirect": false, "users": ["host2"],
              "params": {"MaxBurstLength": "65536"}, "luns": [{"volume": "b"}]}],
 "accounts": [{"user": "host2", "secret_file": "s"}]}
END
before=$(tg dump)
dry=$(tg apply --dry-run "$f") || fail "dry run: $dry"
for line in "- $t: LUN 7, volume b" "+ $t: LUN 3, volume c" "- $t: user host1" "+ $u: LUN 1, volume b" \
	"* $u: MaxBurstLength=65536" "* $u: redirect off" "+ $u: user host2" "+ $u: address 127.0.0.0/8"; do
	echo "$dry" | grep -qxF -- "$line" || fail "dry run does not say '$line': $dry"
done
[ "$(tg dump)" = "$before" ] || fail "a dry run has changed something"
[ "$(tg apply --json --dry-run "$f" | grep -c '"change":')" = 8 ] || fail "not 8 changes: $(tg apply --json --dry-run "$f")"
tg apply "$f" > /dev/null || fail "apply"
[ "$(tg apply "$f")" = "nothing to change" ] || fail "applied twice: $(tg apply --dry-run "$f")"
for g in 1 2; do
	wait_for 30 serves $g host2%999999999999@ $u/1 || fail "gateway $g: b has not moved to $u"
	wait_for 30 serves $g "" $t/3 || fail "gateway $g: no LUN 3"
done
# what is no longer set is as it was, without a restart
nr=$(tg show $u --json | tr -d ' ,' | sed -n 's/^"tid"://p')
says() { "$IT_CLUSTER" tgtadm "$IT_DIR/c" "$1" --op show --mode target --tid "$nr" | grep -qxF "$2"; }
ro() { "$IT_CLUSTER" tgtadm "$IT_DIR/c" "$1" --op show --mode target | sed -n "/ $u\$/,/^Target/p" | grep -c "Readonly: $2"; }
no_ro() { [ "$(ro "$1" Yes)" = 0 ]; }
is_ro() { [ "$(ro "$1" Yes)" = 1 ]; }
tg set $u FirstBurstLength=4096 > /dev/null && tg set $u --lun 1 readonly=1 > /dev/null || fail "set"
for g in 1 2; do
	wait_for 10 says $g MaxBurstLength=65536 && wait_for 10 says $g FirstBurstLength=4096 &&
		wait_for 10 is_ro $g || fail "gateway $g does not have the parameters"
done
refuses "scsi_id of a LUN of VMStore cannot be set" tg set $u --lun 1 scsi_id=x
tg set $u --lun 1 "product_id=Two words" > /dev/null || fail "product_id"
[ "$(tg dump > "$f.p" && tg apply "$f.p")" = "nothing to change" ] || fail "a dump with a product_id changes something"
named() { iscsi-inq "iscsi://host2%999999999999@$(portal "$1")/$u/1" | grep -q '^Product:Two words *$'; }
for g in 1 2; do
	wait_for 10 named $g || fail "gateway $g: $(iscsi-inq "iscsi://host2%999999999999@$(portal $g)/$u/1")"
done
tg set $u --lun 1 product_id= > /dev/null || fail "product_id set back"
tg set $u FirstBurstLength= > /dev/null || fail "set back"
refuses "FirstBurstLength is not set" tg set $u FirstBurstLength=
sed '/"params"/s/"params": {[^}]*}, *//' "$f" > "$f.less"
tg apply "$f.less" | grep -qxF -- "- $u: MaxBurstLength" || fail "apply without parameters"
for g in 1 2; do
	wait_for 10 says $g MaxBurstLength=1048576 && wait_for 10 says $g FirstBurstLength=262144 &&
		wait_for 10 no_ro $g || fail "gateway $g keeps a parameter that is gone"
done
# one thing that cannot be: nothing is done
before=$(tg dump)
sed 's/"volume": "b"/"volume": "a"/' "$f" > "$f.bad"
refuses "volume a is LUN 1 of" tg apply "$f.bad"
sed 's/"redirect"/"redirekt"/' "$f" > "$f.bad"
refuses 'nothing is called "redirekt"' tg apply "$f.bad"
sed 's/"volume": "c"/"volume": "nonesuch"/' "$f" > "$f.bad"
refuses "there is no volume 'nonesuch'" tg apply "$f.bad"
[ "$(tg dump)" = "$before" ] || fail "a refused document has changed something"
# what does not fit into the catalog: nothing is done, and with tgtadm neither
long=$(awk 'BEGIN { for (i = 0; i < 200; i++) printf "x" }')
names() { # N: a document of two targets, the second with so many names
	awk -v n="$1" -v x="$long" -v t="$u" 'BEGIN {
		printf "{\"version\": 1, \"targets\": [{\"name\": \"%s-small\"}, {\"name\": \"%s-big\", \"names\": [", t, t
		for (i = 100; i < 100 + n; i++) printf "%s\"iqn.%s%d\"", (i > 100) ? "," : "", x, i
		print "]}]}"
	}'
}
names 350 > "$f.big"
refuses 1 "$u-big would have more in it than the catalog keeps" tg apply --dry-run "$f.big"
refuses 1 "$u-big would have more in it than the catalog keeps" tg apply "$f.big"
refuses "no target $u-small" tg show $u-small
names 280 | tg apply - > /dev/null || fail "apply of what fits"
tid=$(tg show $u-big --json | sed -n 's/.*"tid": \([0-9]*\).*/\1/p')
for i in $(seq 100 199); do
	out=$("$IT_CLUSTER" tgtadm "$IT_DIR/c" 1 --mode target --op bind --tid "$tid" --initiator-name "iqn.y$long$i" 2>&1) || break
done
case $out in
*"more in it than the catalog keeps"*) ;;
*) fail "tgtadm fills a target: $out" ;;
esac
echo '{"version": 1, "targets": []}' | tg apply --prune - > /dev/null || fail "prune"
[ "$(tg dump | grep -cE '"name"|"user"')" = 0 ] || fail "left after pruning: $(tg dump)"
gone() { ! serves "$1" host2%999999999999@ $u/1; }
wait_for 30 gone 1 && wait_for 30 gone 2 || fail "a gateway serves a target that is gone"
say "documents"

# ---- what one way makes the other sees ----
"$IT_CLUSTER" tgtadm "$IT_DIR/c" 1 --op new --mode target --tid 4 -T $t || fail "tgtadm"
[ "$(tg show $t --json | tr -d ' ,' | grep tid)" = '"tid":4' ] || fail "show: $(tg show $t)"
tg add-lun $t a > /dev/null || fail "add-lun after tgtadm"
has_lun() { "$IT_CLUSTER" tgtadm "$IT_DIR/c" 2 --op show --mode target | grep -q 'LUN: 1$'; }
wait_for 30 has_lun || fail "gateway 2 has no LUN 1"
tg rm --force $t > /dev/null || fail "rm"
say "ok: vmstore target"
