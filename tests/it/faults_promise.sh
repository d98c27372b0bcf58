#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What tests/faults makes of the times that vmstore-bench verify tells: longer than promised
# is a failure, but for what the machine took from everybody, and scripts/check shows what was
# not judged; a load with the settings that are shipped.
. "$(dirname "$0")/lib.sh"

tool=$B/tests/tools/pauses
[ -x "$tool" ] || skip "$tool is not built"
OUT=$IT_DIR LAB=$IT_DIR BIN=$B/bin root=$IT_ROOT LOAD="" HISTORY="" IQN=iqn CATALOG=embedded NODES=1 GATEWAYS=2
# verdict EXPECTED TEXT 'SETTING…' COMMAND_MS [PAUSE_FROM PAUSE_UNTIL]…: the command ended at 100000
verdict() {
	local want=$1 text=$2 set=$3 ms=$4 rc
	shift 4
	# a process that ends by SIGTERM, in the place of the one that recorded
	printf '%s %s 0\n' "$@" > "$LAB/pauses"
	printf 'stall: iscsi://10.77.0.41:3260/iqn/1 longest 900 ms, until 50000\nstall: any longest 700 ms, until 50000\nstall: one command longest %s ms, until 100000\n' \
		"$ms" > "$OUT/verify.log"
	(
		. "$IT_ROOT/tests/faults/lab.sh"
		. "$IT_ROOT/tests/faults/load.sh"
		eval "$set"
		trap 'exit 0' TERM
		rm -f "$OUT/stands"
		bash -c 'trap "exit 0" TERM; : > "$1"; while :; do sleep 0.02; done' sh "$OUT/stands" &
		PAUSES=$!
		wait_for 30 test -e "$OUT/stands" || fail "nobody to be told to end"
		stalls
	) > "$OUT/said" 2>&1
	rc=$?
	[ $rc = "$want" ] || fail "$ms ms, '$set', pauses '$*': exit code $rc, not $want: $(cat "$OUT/said")"
	grep -q "$text" "$OUT/said" || fail "$ms ms, '$set', pauses '$*': not '$text': $(cat "$OUT/said")"
}
verdict 0 'stall gw1 0.9 any 0.7 command 8.0 s, promised 8$' 'promise 8' 8000 1 1
verdict 1 'promised 8: OVER' 'promise 8' 8001 1 1
verdict 1 'promised 5: OVER' '' 6000 1 1
verdict 1 'promised 5: OVER' '' 6000 80000 80400
# taken off, once where two processors paused, as far as they lie in it
verdict 0 'promised 8$' 'promise 8' 8600 95000 95400 95200 95600
verdict 1 'promised 8: OVER' 'promise 8' 8601 95000 95400 95200 95600
verdict 1 'promised 8: OVER' 'promise 8' 8300 99800 100200
verdict 0 'promised 8$' 'promise 8' 8300 99600 100000
verdict 0 'not judged, the machine stood still for 0.5 s' 'promise 8' 12000 95000 95500
verdict 0 'not judged, the machine stood still for 0.5 s' 'promise 8' 15500 95000 95500
verdict 1 'promised 8: OVER' 'promise 8' 15501 95000 95500
verdict 0 'promised 5$' 'MANY=1' 15000 1 1
verdict 1 'promised 5: OVER' 'MANY=1' 15001 1 1
verdict 0 '(all was down)' 'downtime all was down' 60000 1 1

# a test that passes and has not judged all is seen to: made-up programs in a build folder
mkdir -p "$IT_DIR/b/tests"
printf '#!/bin/sh\n%s\n' 'echo "12:00:00 it: not judged, the machine stood still for 600 ms"; echo ok' > "$IT_DIR/b/tests/test_late"
printf '#!/bin/sh\n%s\n' 'echo ok' > "$IT_DIR/b/tests/test_early"
chmod +x "$IT_DIR/b/tests"/test_*
B=$IT_DIR/b "$IT_ROOT/scripts/check" --no-build --groups unit > "$OUT/said" 2>&1 || fail "scripts/check: $(cat "$OUT/said")"
for said in ' pass late .* s  not judged, the machine stood still for 600 ms$' ' pass early  *[0-9.]* s$' \
	'^late: not judged, the machine stood still for 600 ms$' '^2 passed, 0 failed, 0 skipped$'; do
	grep -q -- "$said" "$OUT/said" || fail "not '$said': $(cat "$OUT/said")"
done

# the settings as they are shipped, the last of equal keys
mkdir -p "$IT_DIR/root/conf"
{
	cat "$IT_ROOT/conf/iscsid-vmstore.conf"
	echo 'node.conn[0].timeo.noop_out_timeout = 4'
} > "$IT_DIR/root/conf/iscsid-vmstore.conf"
# shellcheck disable=SC2034
said=$(. "$IT_ROOT/tests/faults/lab.sh" && . "$IT_ROOT/tests/faults/load.sh" && root=$IT_DIR/root && path_times)
[ "$said" = "--ping-ms 1000 --ping-timeout-ms 4000 --failover-ms 5000 --login-ms 5000" ] || fail "the load would be given: $said"
sed -i '/replacement_timeout/d' "$IT_DIR/root/conf/iscsid-vmstore.conf"
# shellcheck disable=SC2034
! (. "$IT_ROOT/tests/faults/lab.sh" && . "$IT_ROOT/tests/faults/load.sh" && root=$IT_DIR/root && path_times) > "$OUT/said" 2>&1 ||
	fail "no recovery time: $(cat "$OUT/said")"
grep -q 'has no node.session.timeo.replacement_timeout' "$OUT/said" || fail "it says: $(cat "$OUT/said")"

# a processor that gives nobody a turn: a process stands still as long as all its threads do
"$tool" record "$IT_DIR/rec" &
p=$!
# turns that each of its threads has had which want some: the least
turns() {
	local t
	for t in "/proc/$p/task"/*; do
		[ "${t##*/}" = $p ] || sed -n 's/^voluntary_ctxt_switches:[^0-9]*//p' "$t/status"
	done | sort -n | head -n 1
}
has_turns() { [ "$(find "/proc/$p/task" -mindepth 1 -maxdepth 1 | wc -l)" = $(($(nproc) + 1)) ] && [ "$(turns)" -gt "$1" ]; }
wait_for 30 has_turns 3 || fail "pauses record has no thread for each of $(nproc) processors"
kill -STOP $p
sleep 0.7
had=$(turns)
kill -CONT $p
wait_for 30 has_turns "$had" || fail "pauses record does not go on"
kill -TERM $p
wait $p || fail "pauses record: exit code $?"
read -r sum longest < <("$tool" sum "$IT_DIR/rec" 0 999999999999)
{ [ "$longest" -ge 600 ] && [ "$sum" -ge "$longest" ]; } || fail "0.7 s without a turn: told of $sum, $longest ms"
echo nonsense > "$IT_DIR/rec"
! "$tool" sum "$IT_DIR/rec" 0 1 2> "$OUT/said" || fail "nonsense counts as a record"
say "ok"
