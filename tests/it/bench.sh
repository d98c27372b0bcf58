#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# What vmstore-bench counts, over a gateway of RAM (tgtd-fake): when --settle runs, and that a
# LUN of `compare` has the load that was said for it alone.
set -u
IT_ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$IT_ROOT" || exit 1
B=${B:-build}
# shellcheck source=tests/it/fake.sh
. "$IT_ROOT/tests/it/fake.sh"
ADDR=127.0.4.3
IQN=iqn.2011-06.org.vmstore:bench-test
built tests/tgtd-fake tgtd-fake
built bin/vmstore-bench
built bin/tgtadm
start FAKE_PENDING=3
target 1 "$IQN"
adm --op new --mode logicalunit --tid 1 --lun 1 --bstype vmstore --backing-store disk \
	--bsopts "conf=$dir/conf;size=16M;write_ack=disk" || fail "new LUN"
url=iscsi://$ADDR:$PORT/$IQN/1

bench() { "$B/bin/vmstore-bench" "$@" > "$dir/out" 2>&1; }
# settled N OPTION…: --settle runs N times, its last run counts
settled() {
	: > "$dir/settled"
	n=$1
	shift
	bench run --idle 0 --ops 50 --depth 4 --rw write --settle "echo x >> '$dir/settled'" --json "$dir/json" "$@" "$url" ||
		fail "run $*: $(cat "$dir/out")"
	[ "$(wc -l < "$dir/settled")" = "$n" ] || fail "$*: --settle ran $(wc -l < "$dir/settled") times, not $n"
	[ "$(jq '.ops >= 50 and .settle_seconds > 0' "$dir/json")" = true ] || fail "$*: $(cat "$dir/json")"
}
command -v jq > /dev/null || { echo "skipped: jq not found (Debian package jq)"; exit 77; }
settled 1 --warmup 0
settled 2 --warmup 0.1
settled 2 --warmup 0 --prefill
settled 2 --warmup 0.1 --prefill
bench run --idle 0 --warmup 0.1 --ops 50 --settle false "$url" && fail "a settle command that failed was taken"
echo "ok: --settle"

bench compare --rounds 1 --idle 0 --warmup 0 --ops 50 --sessions 3 --lun "a=$url" --lun "b=$url" --sessions-of b=2 \
	--rw-of a=write --lun "c=$url" --path "c=$url" --split-of c --json "$dir/json" || fail "compare: $(cat "$dir/out")"
got=$(jq -c '[.luns[] | .runs[0].load | [.sessions, .write_percent, .split]]' "$dir/json")
[ "$got" = '[[3,100,false],[2,0,false],[3,0,true]]' ] || fail "loads of three LUNs: $got"
for bad in b=0 b=x b=5000 d=1 b; do
	bench compare --lun "a=$url" --lun "b=$url" --sessions-of "$bad"
	[ $? = 2 ] || fail "--sessions-of $bad was taken"
	grep 'sessions-of wants NAME=N' "$dir/out" > /dev/null || fail "--sessions-of $bad: $(cat "$dir/out")"
done
echo "ok: loads of single LUNs"
stop
