#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The demo as `make up`, `make down`, `make clean-data` have it (scripts/demo), in a folder and
# at addresses of its own: what it prints is what a host finds, its data come back, nothing
# is removed without being asked for, and what is taken by others is left to them.
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "needs scripts/cluster"
need iscsi-ls libiscsi-bin
need script bsdutils
cd "$IT_ROOT" || exit 1
export VMSTORE_DEMO_DIR=$IT_DIR/c VMSTORE_DEMO_PORT=$IT_PORT VMSTORE_DEMO_CONTROL=$IT_CONTROL
export VMSTORE_DEMO_PORTALS="127.0.0.2:$((IT_PORT + 20)) 127.0.0.3:$((IT_PORT + 20))"
unset CATALOG FORCE
out=$IT_DIR/out
# What `make up` does when everything is installed and built.
up() { scripts/demo up > "$out" 2>&1; }
demo() { make --no-print-directory B="$B" "$@" > "$out" 2>&1; }
says() { grep -qF -- "$1" "$out" || fail "'$1' is not in: $(cat "$out")"; }
# One that has ended may wait for its parent to notice.
none_left() { # PID…
	for p in "$@"; do
		case $(sed -n 's/^State:[^A-Z]*\(.\).*/\1/p' "/proc/$p/status" 2> /dev/null) in
		'' | Z | X) ;;
		*) fail "process $p is left" ;;
		esac
	done
}
pids() { for n in $("$IT_CLUSTER" names "$IT_DIR/c"); do "$IT_CLUSTER" pid "$IT_DIR/c" "$n"; done; }

# ---- what others have is left to them ----
demo down || fail "down without a demo: $(cat "$out")"
says "nothing to stop"
demo clean-data || fail "clean-data without a demo: $(cat "$out")"
says "nothing to remove"
printf '[cluster]\nrun_dir = %s\n[catalog]\ndir = %s\nlisten = 127.0.0.1:%d\n' "$IT_DIR/other" "$IT_DIR/other" \
	$((IT_PORT + 2)) > "$IT_DIR/other.conf"
background "$B/bin/vmstored" --catalog -c "$IT_DIR/other.conf" 2> "$IT_DIR/other.log"
other=$!
listens() { (exec 3<> "/dev/tcp/127.0.0.1/$((IT_PORT + 2))") 2> /dev/null; }
wait_for 30 listens || fail "the other process does not listen: $(cat "$IT_DIR/other.log")"
up && fail "it starts although a port is taken"
says "127.0.0.1:$((IT_PORT + 2)), where node2 is to listen, is taken by another process"
[ -z "$(ls -A "$IT_DIR/c")" ] || fail "it has begun to start all the same: $(ls "$IT_DIR/c")"
alive $other || fail "the other process has ended"
kill $other
wait $other
echo mine > "$IT_DIR/c/file"
up && fail "it takes a folder that holds other files"
says "holds other files"
[ "$(cat "$IT_DIR/c/file")" = mine ] || fail "a file of others has changed"
rm "$IT_DIR/c/file"
say "what others have is left to them"

# ---- up: what is printed is what is there ----
printed() {
	local p iqn n=0 value
	while read -r p; do
		n=$((n + 1))
		iscsi-ls -s "iscsi://$p" > "$IT_DIR/ls" 2>&1 || fail "discovery at $p: $(cat "$IT_DIR/ls")"
		grep -q "^Target:$iqn_printed Portal:$p," "$IT_DIR/ls" || fail "$p does not offer $iqn_printed: $(cat "$IT_DIR/ls")"
		iscsi-readcapacity16 -s "iscsi://$p/$iqn_printed/1" > "$IT_DIR/ls" 2>&1 || fail "LUN 1 at $p: $(cat "$IT_DIR/ls")"
		[ "$(cat "$IT_DIR/ls")" = $((10 << 30)) ] || fail "LUN 1 is not of 10G: $(cat "$IT_DIR/ls")"
	done < <(sed -n 's/^ *iscsiadm -m discovery -t sendtargets -p //p' "$out")
	[ $n = 2 ] || fail "$n lines of discovery: $(cat "$out")"
	n=0
	while read -r iqn p; do
		n=$((n + 1))
		iscsi-inq "iscsi://$p/$iqn/1" > "$IT_DIR/ls" 2>&1 || fail "no login to $iqn at $p: $(cat "$IT_DIR/ls")"
	done < <(sed -n 's/^ *iscsiadm -m node -T \(.*\) -p \(.*\) --login$/\1 \2/p' "$out")
	[ $n = 2 ] || fail "$n lines of logins: $(cat "$out")"
	value=$(sed -n 's/^node.session.timeo.replacement_timeout = //p' conf/iscsid-vmstore.conf)
	[ "$(grep -c -- "--op update -n node.session.timeo.replacement_timeout -v $value\$" "$out")" = 2 ] ||
		fail "not the recovery time of conf/iscsid-vmstore.conf ($value): $(cat "$out")"
	says "'phy:/dev/disk/by-path/ip-${VMSTORE_DEMO_PORTALS%% *}-iscsi-$iqn_printed-lun-1,xvda,w'"
}
up || fail "up: $(cat "$out")"
iqn_printed=$(sed -n 's/^Target \(.*\), LUN 1 (10G), through two gateways.*/\1/p' "$out")
[ -n "$iqn_printed" ] || fail "no target is named: $(cat "$out")"
printed
url=iscsi://${VMSTORE_DEMO_PORTALS%% *}/$iqn_printed/1
"$BENCH" verify --fresh --span 16M --state "$IT_DIR/state" --ops 2000 --sessions 2 --depth 4 "$url" > "$IT_DIR/verify" 2>&1 ||
	fail "verify: $(cat "$IT_DIR/verify")"
was=$(pids)
CATALOG=etcd up && fail "another catalog for a demo that has one"
says "has the catalog 'embedded'"
up || fail "up of what runs: $(cat "$out")"
says "all processes were running already"
[ "$(pids)" = "$was" ] || fail "up has restarted something"
say "up: two gateways, as printed"

# ---- down, and up again with its data ----
demo down || fail "down: $(cat "$out")"
says "the data stays in $IT_DIR/c"
[ -z "$(pids)" ] || fail "processes are left: $(pids)"
# shellcheck disable=SC2086
none_left $was
demo down || fail "down of what does not run: $(cat "$out")"
up || fail "up again: $(cat "$out")"
printed
"$BENCH" verify --check-only --quiet --state "$IT_DIR/state" "$url" || fail "not the data of before"
say "down, and up again with its data"

# ---- clean-data: asks, and takes nothing but a yes ----
was=$(pids)
demo clean-data < /dev/null && fail "clean-data does not ask"
says "say FORCE=1 to confirm"
FORCE=yes demo clean-data < /dev/null && fail "FORCE=yes is taken"
echo no | script -qec "make --no-print-directory B=$B clean-data" /dev/null > "$out" 2>&1 && fail "no is taken for yes"
says "Remove $IT_DIR/c with all data in it?"
says "nothing removed"
[ "$(pids)" = "$was" ] || fail "something was stopped"
"$BENCH" verify --check-only --quiet --state "$IT_DIR/state" "$url" || fail "data are gone"
echo yes | script -qec "make --no-print-directory B=$B clean-data" /dev/null > "$out" 2>&1 || fail "clean-data: $(cat "$out")"
says "removed the data"
[ ! -e "$IT_DIR/c" ] || fail "the folder is left: $(ls -A "$IT_DIR/c")"
# shellcheck disable=SC2086
none_left $was
say "ok: clean-data asks"
