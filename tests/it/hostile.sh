#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Hostile initiators (tests/hostile) against tgtd over a gateway of RAM, in the sanitizer
# build if there is one: each script gets the answer it deserves, a well-behaved session
# goes on next to it, no sanitizer speaks, and tgtd stops without a leak.
# HOSTILE='SCRIPT…': only those (theme, or theme.name; build/tests/hostile --list).
# HOSTILE_PLAIN=1: the ordinary build.
# HOSTILE_BURSTS=SECONDS: figures instead, for a machine with nothing else on it: the heavy
# scripts once a second, so long each, and the well-behaved session's 99th percentile.
set -u
IT_ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$IT_ROOT" || exit 1
B=${B:-build}
if [ -z "${HOSTILE_PLAIN:-}" ] && [ -x build-asan/tests/tgtd-fake ] && [ -x build-asan/tests/hostile ]; then
	B=build-asan
fi
# shellcheck source=tests/it/fake.sh
. "$IT_ROOT/tests/it/fake.sh"
ADDR=127.0.4.2
IQN=iqn.2011-06.org.vmstore:hostile
show_log() {
	grep -v -E 'bad PDU|out of order|not agreed on' "$dir/tgtd.log" | tail -n 40 | cut -c1-300
}
for p in tests/tgtd-fake tests/hostile bin/tgtadm; do
	built $p hostile
done
ulimit -n 8192 2> /dev/null || ulimit -n "$(ulimit -H -n)"
# memory that was freed is kept for less long, so that its growth means something
start ASAN_OPTIONS="quarantine_size_mb=16:detect_leaks=1:${ASAN_OPTIONS:-}" UBSAN_OPTIONS=print_stacktrace=1 \
	FAKE_PENDING=3 FAKE_STALL="$dir/stall"
[ "$(cat /proc/$pid/oom_score_adj)" = "$(cat /proc/$$/oom_score_adj)" ] || fail "tgtd exempts itself from the OOM killer"
for t in 1 2; do
	target $t "$IQN$t"
done
adm --op new --mode logicalunit --tid 1 --lun 1 --bstype vmstore --backing-store disk \
	--bsopts "conf=$dir/conf;size=256M;write_ack=disk" || fail "new LUN"
adm --op bind --mode target --tid 2 -Q iqn.2011-06.org.vmstore:hostile || fail "bind by name"
echo a-long-secret-1 | adm --op new --mode account --user someone --password-file - || fail "account"
adm --op bind --mode account --tid 2 --user someone || fail "bind account"

# shellcheck disable=SC2086
HOSTILE_STALL="$dir/stall" "$B/tests/hostile" -p "$pid" ${HOSTILE_BURSTS:+-b "$HOSTILE_BURSTS"} -c "${IQN}2" someone a-long-secret-1 "$ADDR" "$PORT" "${IQN}1" 1 ${HOSTILE:-}
scripts=$?
stop
[ $scripts = 0 ] || fail "scripts failed"
echo "ok, $B, tgtd said $(wc -l < "$dir/tgtd.log") lines"
