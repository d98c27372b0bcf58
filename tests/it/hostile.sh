#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Hostile initiators (tests/hostile) against tgtd over a gateway of RAM, in the sanitizer
# build if there is one: each script gets the answer it deserves, a well-behaved session
# goes on next to it, no sanitizer speaks, and tgtd stops without a leak.
# HOSTILE='SCRIPT…': only those (theme, or theme.name; build/tests/hostile --list).
set -u
IT_ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$IT_ROOT" || exit 1
B=${B:-build}
if [ -z "${HOSTILE_PLAIN:-}" ] && [ -x build-asan/tests/tgtd-fake ] && [ -x build-asan/tests/hostile ]; then
	B=build-asan
fi
CONTROL=${IT_CONTROL:-41}
PORT=${IT_PORT:-13540}
ADDR=127.0.4.2
IQN=iqn.2011-06.org.vmstore:hostile
pid=""

fail() {
	echo "FAILED: $*"
	exit 1
}
for p in tests/tgtd-fake tests/hostile bin/tgtadm; do
	[ -x "$B/$p" ] || { echo "skipped: $B/$p is not built (make hostile)"; exit 77; }
done
dir=$(mktemp -d "${TMPDIR:-/tmp}/vmstore-hostile.XXXXXX") || exit 1
ulimit -n 8192 2> /dev/null || ulimit -n "$(ulimit -H -n)"
export TGT_IPC_SOCKET="$dir/ipc"
cleanup() {
	rc=$?
	trap '' EXIT INT TERM
	[ -z "$pid" ] || kill -9 "$pid" 2> /dev/null
	[ $rc = 0 ] || { grep -v -E 'bad PDU|out of order|not agreed on' "$dir/tgtd.log" | tail -n 40 | cut -c1-300; }
	rm -rf "$dir"
	exit $rc
}
trap cleanup EXIT
trap 'exit 1' INT TERM

adm() {
	"$B/bin/tgtadm" -C "$CONTROL" --lld iscsi "$@"
}
printf '[cluster]\nrun_dir = %s/run\n' "$dir" > "$dir/conf"
# memory that was freed is kept for less long, so that its growth means something
ASAN_OPTIONS="quarantine_size_mb=16:detect_leaks=1:${ASAN_OPTIONS:-}" UBSAN_OPTIONS=print_stacktrace=1 \
	FAKE_PENDING=3 FAKE_STALL="$dir/stall" "$B/tests/tgtd-fake" -f -C "$CONTROL" --iscsi "portal=$ADDR:$PORT" > "$dir/tgtd.log" 2>&1 &
pid=$!
n=0
until adm --op show --mode target > /dev/null 2>&1; do
	n=$((n + 1))
	[ $n -lt 200 ] || fail "tgtd-fake does not answer"
	sleep 0.1
done
[ "$(cat /proc/$pid/oom_score_adj)" = "$(cat /proc/$$/oom_score_adj)" ] || fail "tgtd exempts itself from the OOM killer"
for t in 1 2; do
	adm --op new --mode target --tid $t -T "$IQN$t" || fail "new target"
	adm --op bind --mode target --tid $t -I ALL || fail "bind"
done
adm --op new --mode logicalunit --tid 1 --lun 1 --bstype vmstore --backing-store disk \
	--bsopts "conf=$dir/conf;size=256M;write_ack=disk" || fail "new LUN"
adm --op bind --mode target --tid 2 -Q iqn.2011-06.org.vmstore:hostile || fail "bind by name"
echo a-long-secret-1 | adm --op new --mode account --user someone --password-file - || fail "account"
adm --op bind --mode account --tid 2 --user someone || fail "bind account"

# shellcheck disable=SC2086
HOSTILE_STALL="$dir/stall" "$B/tests/hostile" -p "$pid" -c "${IQN}2" someone a-long-secret-1 "$ADDR" "$PORT" "${IQN}1" 1 ${HOSTILE:-}
rc=$?
kill "$pid" || fail "tgtd-fake died"
n=0
while kill -0 "$pid" 2> /dev/null; do
	n=$((n + 1))
	[ $n -lt 150 ] || fail "tgtd-fake does not stop on SIGTERM"
	sleep 0.1
done
wait "$pid"
end=$?
pid=""
if grep -E -A30 'ERROR: (Address|Leak|Undefined)|runtime error|assertion failed' "$dir/tgtd.log" | cut -c1-200 | head -n 60 | grep .; then
	fail "a sanitizer or an assertion spoke"
fi
[ $end = 0 ] || fail "tgtd-fake ended with $end"
[ $rc = 0 ] || fail "scripts failed"
echo "ok, $B, tgtd said $(wc -l < "$dir/tgtd.log") lines"
