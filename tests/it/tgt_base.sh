#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# tgt as modified base, without a cluster: one tgtd with a null and a file LUN.
#
# Discovery and portal group tag, the transport with a real initiator (qemu-img,
# digests off and on), libiscsi's iSCSI-layer tests, a raw initiator that
# misbehaves (tests/it/iscsi_raw.c), abort and reset, tgt-admin, management
# errors, and a clean end on SIGTERM, with and without sessions.
#
#   TGT_ADDR=IP      address (127.0.1.20); ports: tests/it/ports.sh
# Exit status: 0 passed, 77 skipped, 1 failed.
set -u
cd "$(dirname "$0")/../.." || exit 1
B=${B:-build}
case $B in /*) ;; *) B=$PWD/$B ;; esac
addr=${TGT_ADDR:-127.0.1.20}
# shellcheck source=tests/it/ports.sh
. tests/it/ports.sh
port=$IT_PORT ctl=$IT_CONTROL
iqn=iqn.2011-06.org.vmstore:tgt-base
pid=
dir=$(mktemp -d "${TMPDIR:-/tmp}/vmstore-tgt-base.XXXXXX") || exit 1
img=/dev/shm/$(basename "$dir").img
export TGT_IPC_SOCKET=$dir/ipc

cleanup() {
	[ -z "$pid" ] || kill -9 "$pid" 2> /dev/null
	rm -rf "$dir" "$img"
}
trap cleanup EXIT
trap 'exit 1' INT TERM HUP

fail() {
	echo "FAILED: $*"
	[ ! -f "$dir/log" ] || { echo "--- end of tgtd's log:"; tail -n 15 "$dir/log"; }
	exit 1
}
skip() {
	echo "skipped: $*"
	exit 77
}
ok() { echo "ok $*"; }

for c in iscsi-ls iscsi-test-cu qemu-img; do
	command -v $c > /dev/null || skip "$c not found (Debian packages libiscsi-bin, qemu-utils)"
done
for p in bin/tgtd bin/tgtadm bin/tgt-admin tests/iscsi_raw tests/iscsi_chap; do
	[ -x "$B/$p" ] || skip "$B/$p is not built (make tgt)"
done

adm() { "$B/bin/tgtadm" -C "$ctl" --lld iscsi "$@"; }
# in_use TID: until somebody has logged in there
in_use() {
	local n=300
	until adm --op show --mode target | awk -v t="$1:" '/^Target/ { on = $2 == t } on && /Connection:/ { found = 1 } END { exit !found }'; do
		n=$((n - 1))
		[ $n -gt 0 ] || fail "nobody logs in at target $1"
		sleep 0.1
	done
}

start() {
	"$B/bin/tgtd" -f -C "$ctl" --iscsi "tpgt=7,portal=$addr:$port" > "$dir/log" 2>&1 &
	pid=$!
	local n=300
	until adm --op show --mode system > /dev/null 2>&1; do
		n=$((n - 1))
		[ $n -gt 0 ] && kill -0 "$pid" 2> /dev/null || fail "tgtd does not answer"
		sleep 0.1
	done
	adm --op new --mode target --tid 1 -T $iqn &&
		adm --op new --mode logicalunit --tid 1 --lun 1 --bstype null --backing-store none &&
		adm --op new --mode logicalunit --tid 1 --lun 2 --backing-store "$img" &&
		adm --op bind --mode target --tid 1 -I ALL || fail "setting up the target"
}

# stop: SIGTERM; exit status 0 within 30 s
stop() {
	local rc n=300
	kill -TERM "$pid"
	while kill -0 "$pid" 2> /dev/null; do
		n=$((n - 1))
		[ $n -gt 0 ] || fail "tgtd still runs 30 s after SIGTERM ($1)"
		sleep 0.1
	done
	wait "$pid"
	rc=$?
	pid=
	[ $rc = 0 ] || fail "exit status $rc after SIGTERM ($1)"
	grep -E 'AddressSanitizer|runtime error|LeakSanitizer' "$dir/log" && fail "sanitizer report ($1)"
	[ ! -e "$TGT_IPC_SOCKET.$ctl" ] || fail "the management socket is left behind"
	ok "SIGTERM $1"
}

url=iscsi://$addr:$port/$iqn
truncate -s 256M "$img" || skip "no room in /dev/shm"
start

# a misspelt bstype is named, and those that there are
adm --op new --mode logicalunit --tid 1 --lun 9 --bstype nope --backing-store none 2> "$dir/out" &&
	fail "bstype 'nope' was taken"
grep -q "no bstype 'nope'.*known are:.*vmstore" "$dir/out" && grep -q null "$dir/out" ||
	fail "an unknown bstype: '$(cat "$dir/out")'"

# --- discovery ---
out=$(iscsi-ls "iscsi://$addr:$port") || fail "iscsi-ls"
[[ $out == *"$iqn Portal:$addr:$port,7"* ]] || fail "discovery says '$out'"
for i in $(seq 2 120); do
	adm --op new --mode target --tid $((i + 1)) \
		-T "iqn.2011-06.org.vmstore:a-name-that-makes-the-answer-long-enough-for-many-pdus-$i" &&
		adm --op bind --mode target --tid $((i + 1)) -I ALL || fail "target $i"
done
n=$(iscsi-ls "iscsi://$addr:$port" | grep -c a-name-that)
[ "$n" = 119 ] || fail "discovery lists $n of 119 long names"
for i in $(seq 2 120); do
	adm --op delete --mode target --tid $((i + 1)) || fail "delete target $i"
done
# an initiator must be on both lists when there are both
adm --op bind --mode target --tid 1 -Q iqn.2011-06.org.vmstore:somebody-else || fail bind
[ -z "$(iscsi-ls "iscsi://$addr:$port" 2> /dev/null | grep "$iqn")" ] || fail "name list not kept"
adm --op unbind --mode target --tid 1 -Q iqn.2011-06.org.vmstore:somebody-else || fail unbind
# a list of one address family admits nobody of the other
if adm --op new --mode portal --param "portal=[::1]:$port" 2> /dev/null; then
	adm --op unbind --mode target --tid 1 -I ALL &&
		adm --op bind --mode target --tid 1 -I 0.0.0.0/1 || fail bind
	[ -z "$(iscsi-ls "iscsi://[::1]:$port" 2> /dev/null | grep "$iqn")" ] ||
		fail "an IPv4 list admits an IPv6 initiator"
	adm --op bind --mode target --tid 1 -I ::1 || fail bind
	iscsi-ls "iscsi://[::1]:$port" 2> /dev/null | grep -q "$iqn" || fail "::1 is not admitted by its own address"
	adm --op unbind --mode target --tid 1 -I ::1 &&
		adm --op unbind --mode target --tid 1 -I 0.0.0.0/1 &&
		adm --op bind --mode target --tid 1 -I ALL &&
		adm --op delete --mode portal --param "portal=[::1]:$port" || fail "taking the IPv6 portal away"
else
	echo "no IPv6 here: address families are not looked at"
fi
ok discovery

# --- CHAP ---
secret=123456789012
adm --op new --mode account --user someone --password short 2> "$dir/out" && fail "a short secret was taken"
grep -q '12 to 255' "$dir/out" || fail "a short secret: '$(cat "$dir/out")'"
echo $secret > "$dir/secret"
chmod 644 "$dir/secret"
adm --op new --mode account --user someone --password-file "$dir/secret" 2> /dev/null &&
	fail "a secret that others can read was taken"
chmod 600 "$dir/secret"
adm --op new --mode account --user someone --password-file "$dir/secret" &&
	echo theirsecret12 | adm --op new --mode account --user us --password-file - &&
	adm --op bind --mode account --tid 1 --user someone &&
	adm --op bind --mode account --tid 1 --user us --outgoing || fail account
iscsi-inq "$url/1" > /dev/null 2>&1 && fail "login without CHAP"
iscsi-inq "iscsi://someone%$secret@${url#iscsi://}/1" > /dev/null || fail "login with CHAP"
"$B/tests/iscsi_chap" "$addr" "$port" $iqn someone $secret us theirsecret12 > "$dir/chap" ||
	fail "CHAP: $(grep FAILED "$dir/chap")"
grep -q $secret "$dir/log" && fail "the secret is in the log"
adm --op unbind --mode account --tid 1 --user someone &&
	adm --op unbind --mode account --tid 1 --user us --outgoing || fail "unbind account"
ok "CHAP, $(grep -c ^ok "$dir/chap") scenarios"

# --- data through a real initiator ---
head -c 64M /dev/urandom > "$dir/data"
qemu-img convert -n -f raw -O raw "$dir/data" "$url/2" || fail "qemu-img convert"
qemu-img compare -f raw -F raw "$dir/data" "$url/2" > /dev/null || fail "qemu-img compare"
cmp -n $((64 << 20)) "$dir/data" "$img" || fail "the file differs"
ok qemu-img

# --- libiscsi's tests of the iSCSI layer ---
iscsi-test-cu --dataloss -t iSCSI "$url/2" > "$dir/cu" 2>&1
awk '$1 == "tests" && $5 == 0 { good = 1 } END { exit !good }' "$dir/cu" ||
	{ grep -A3 'had failures' "$dir/cu"; fail "iscsi-test-cu -t iSCSI"; }
ok "iscsi-test-cu, $(awk '$1 == "tests" { print $4 }' "$dir/cu") tests of the iSCSI layer"

# --- an initiator that misbehaves ---
rss() { awk '/VmRSS/ { print $2 }' "/proc/$pid/status"; }
"$B/tests/iscsi_raw" "$addr" "$port" $iqn 2 | sed 's/^/  /'
[ "${PIPESTATUS[0]}" = 0 ] || fail "raw initiator"
"$B/tests/iscsi_raw" "$addr" "$port" $iqn 1 window slow-reader vanish many > "$dir/raw" ||
	fail "raw initiator on the null store: $(cat "$dir/raw")"
case $B in *asan*) ;; *)
	[ "$(rss)" -lt 300000 ] || fail "tgtd has grown to $(rss) KiB"
	;;
esac
ok "raw initiator"

# --- management ---
out=$(adm --op new --mode logicalunit --tid 1 --lun 9 --bstype nonesuch --backing-store x 2>&1) &&
	fail "an unknown bstype was taken"
head -c 20 /dev/zero > "$dir/junk"
n=$(adm --op show --mode target | grep -c 'LUN:')
[ "$n" = 3 ] || fail "$n LUNs instead of 3"
# a target that is in use goes with --force only, and tgtd stays
adm --op new --mode target --tid 2 -T $iqn-2 &&
	adm --op new --mode logicalunit --tid 2 --lun 1 --bstype null --backing-store none &&
	adm --op bind --mode target --tid 2 -I ALL || fail "target 2"
"$B/tests/iscsi_raw" "$addr" "$port" $iqn-2 1 silence > /dev/null 2>&1 &
raw=$!
in_use 2
adm --op delete --mode target --tid 2 2> /dev/null && fail "a target in use was deleted"
adm --op delete --mode target --tid 2 --force || adm --op delete --mode target --tid 2 --force ||
	fail "delete --force"
kill $raw 2> /dev/null
wait $raw 2> /dev/null
adm --op delete --mode logicalunit --tid 1 --lun 1 || fail "delete LUN 1"
iscsi-ls -s "iscsi://$addr:$port" | grep -q 'Lun:2 ' || fail "LUN 2 is gone too"

# --- parameters can be taken back; iSNS is off; others' processes are not obeyed ---
adm --op show --mode target --tid 1 > "$dir/before" || fail "show --tid"
adm --op update --mode target --tid 1 --name MaxBurstLength --value 65536 &&
	adm --op update --mode target --tid 1 --name HeaderDigest --value CRC32C || fail "update"
adm --op show --mode target --tid 1 | cmp -s - "$dir/before" && fail "update changes nothing"
for p in MaxBurstLength HeaderDigest; do
	adm --op update --mode target --tid 1 --name $p --value '' || fail "$p is not taken back"
done
adm --op show --mode target --tid 1 | diff "$dir/before" - || fail "parameters are not as they were"
adm --op show --mode sys | grep -q 'iSNS=Off' || fail "iSNS is on: $(adm --op show --mode sys)"
if [ "$(id -u)" = 0 ] && command -v setpriv > /dev/null; then
	mkdir -m 711 "$dir/bin" && cp "$B/bin/tgtadm" "$dir/bin/" && chmod 711 "$dir" || fail "copy of tgtadm"
	sock=$(find "$dir" -name 'ipc*' -type s)
	chmod 777 "$sock" || fail "no socket in $dir"
	"$dir/bin/tgtadm" -C "$ctl" --op show --mode sys > /dev/null || fail "the copy of tgtadm does not work"
	! setpriv --reuid=65534 --regid=65534 --clear-groups "$dir/bin/tgtadm" -C "$ctl" --op delete --mode target --tid 1 \
		--force > "$dir/out" 2>&1 || fail "another user is obeyed"
	adm --op show --mode target --tid 1 > /dev/null || fail "another user was obeyed: $(cat "$dir/out")"
fi
ok "parameters, iSNS, whom the management socket obeys"

if perl -MConfig::General -e 1 2> /dev/null; then
	adm --op new --mode logicalunit --tid 1 --lun 5 --bstype null --backing-store some/name \
		--bsopts 'size=1G;x=y' || fail "LUN 5"
	adm --op update --mode logicalunit --tid 1 --lun 5 --params readonly=1 || fail "LUN 5 read-only"
	adm --op new --mode target --tid 9 -T $iqn-some || fail "target 9"
	for a in 10.0.0.0/8 fd00::/16; do
		adm --op bind --mode target --tid 9 --initiator-address $a || fail "bind $a"
	done
	adm --op bind --mode target --tid 9 --initiator-name iqn.2026-01.x:host || fail "bind a name"
	adm --op new --mode target --tid 10 -T $iqn-nobody || fail "target 10"
	"$B/bin/tgt-admin" -C "$ctl" --dump > "$dir/conf" || fail "tgt-admin --dump"
	for w in 'readonly 1' 'initiator-address 10.0.0.0/8' 'initiator-address fd00::/16' \
		'initiator-name iqn.2026-01.x:host' 'initiator-address 0.0.0.0/32'; do
		[ "$(grep -cF "$w" "$dir/conf")" = 1 ] || fail "tgt-admin --dump has no $w: $(cat "$dir/conf")"
	done
	! "$B/bin/tgt-admin" -C $((ctl + 99)) --dump > "$dir/out" 2>&1 || fail "a dump of no tgtd: $(cat "$dir/out")"
	grep -q 'bsopts size=1G;x=y' "$dir/conf" || fail "tgt-admin --dump has no bsopts"
	"$B/bin/tgt-admin" -C "$ctl" --delete ALL > "$dir/out" 2>&1 || fail "tgt-admin --delete"
	"$B/bin/tgt-admin" -C "$ctl" -c "$dir/conf" -e > "$dir/out" 2>&1 || fail "tgt-admin -e: $(cat "$dir/out")"
	"$B/bin/tgt-admin" -C "$ctl" --dump | diff - "$dir/conf" || fail "the dump does not make the same target"
	ok "tgt-admin"
else
	echo "  without tgt-admin (Debian package libconfig-general-perl)"
fi

# --- the end ---
# a session that is busy: commands in flight on the file LUN
while "$B/tests/iscsi_raw" "$addr" "$port" $iqn 2 slow-reader; do :; done > /dev/null 2>&1 &
raw=$!
in_use 1
stop "with a busy session"
wait $raw
start
stop "idle"
echo "passed"
