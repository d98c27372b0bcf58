#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# What vmstore-bench counts, over a gateway of RAM (tgtd-fake): when --settle runs, that a
# LUN of `compare` has the load that was said for it alone, flushes of a file beside LUNs, what
# is judged; and the pictures of such figures.
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

# flushes take part in the rounds; a sum is judged by the medians of the same field (each is
# told with six digits)
PEER=$url bench compare --rounds 2 --idle 0 --warmup 0 --ops 50 --seconds 0.2 --title "read4k-x: a row" --lun "a=$url" \
	--flush "f=$dir/flush" --want "p50_us:a<=4.5*a+2*f+1" --want "p50_us:a>=1000*a+1*f" --want "iops:f/a>=0" \
	--json "$dir/json" || fail "compare --flush: $(cat "$dir/out")"
[ "$(stat -c %s "$dir/flush")" = 67108864 ] || fail "the file of flushes has $(stat -c %s "$dir/flush") bytes"
jq -e '.luns as $l | ([.luns | keys[]] == ["a", "f", "peer"]) and .luns.f.p50_us.median > 0 and
	([.luns.f.runs[] | .ops > 0 and .bytes == .ops * 4096] | all) and ([.wants[].met] == [true, false, true]) and
	(.wants[0].limit as $is | 4.5 * $l.a.p50_us.median + 2 * $l.f.p50_us.median + 1 |
		($is - . | fabs) < 0.00002 * .)' "$dir/json" > "$dir/jq" ||
	fail "figures with flushes: $(cat "$dir/json")"
for bad in 'p50_us:a<=4.5*' 'p50_us:a<=x*a' 'p50_us:a<=2*nobody' 'p50_us:a<=2*a+' 'p50_us:a<=1+1+1+1+1' 'p50_us:a<=2a'; do
	bench compare --lun "a=$url" --want "$bad"
	[ $? = 2 ] || fail "--want '$bad' was taken: $(cat "$dir/out")"
done
bench compare --rounds 1 --seconds 0.1 --flush "f=$dir" && fail "a folder was flushed"
echo "ok: flushes, judgements"

jq '{rounds: 2, seconds: 0.1, medium: "a test", rows: [.]}' "$dir/json" > "$dir/all.json"
scripts/bench-plots "$dir/all.json" "$dir/plots" > "$dir/out" 2>&1 || fail "bench-plots: $(cat "$dir/out")"
if command -v gnuplot > /dev/null; then
	for p in wants latency-reads rate-reads; do
		grep '</svg>' "$dir/plots/$p.svg" > /dev/null || fail "$p.svg is no picture: $(cat "$dir/out")"
	done
	grep -F 'p50_us:a<=4.5*a+2*f+1' "$dir/plots/wants.svg" | grep -v '^$' > /dev/null ||
		grep -F 'p50_us:a&lt;=4.5*a+2*f+1' "$dir/plots/wants.svg" > /dev/null || fail "wants.svg does not tell what is wanted"
	[ ! -e "$dir/plots/cpu-writes.svg" ] || fail "a picture of rows that there are not"
	echo "ok: pictures"
else
	grep 'gnuplot is missing' "$dir/out" > /dev/null || fail "bench-plots without gnuplot says: $(cat "$dir/out")"
	echo "ok: no pictures without gnuplot, which is said"
fi
stop
