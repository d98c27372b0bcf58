#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# kill -9 of any one process, KILLS times (10), at random moments under
# vmstore-bench verify over both gateways; each is started again. At the end
# everything is checked through both gateways.
# KILL_ONLY=NAME  always this process        KILL_SCALE=F  slower machine, sanitizer
# KILL_DEAD=S     nodes only, and they stay away for 4 to 4+S seconds, killed or standing
#                 still (SIGSTOP): the others have to leave them out, I/O to go on within
#                 5 s, `vmstore status` to say so, and all copies to be there again before
#                 the next one goes
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
KILLS=${KILLS:-10}
KILL_SCALE=${KILL_SCALE:-1}
KILL_DEAD=${KILL_DEAD:-0}
state=$IT_DIR/state

status_json() { "$B/bin/vmstore" -c "$("$IT_CLUSTER" conf "$IT_DIR/c")" status --json; }
# no partition counts on a node that is down, and none is without any
left_out() {
	status_json | tr -d ' \n' | grep -q '"degraded":0,"down":0'
}
all_well() { [ "$(status_json | sed -n 's/.*"health": "\(.*\)".*/\1/p')" = ok ]; }

# One node away for a while: $1 name, $2 kill or stop.
node_away() {
	na_pid=$(proc_pid "$1")
	if [ "$2" = stop ]; then
		kill -STOP "$na_pid" || fail "$1 does not run"
	else
		proc_kill "$1"
	fi
	wait_for 30 left_out || fail "$1 is away and is not left out: $(status_json | grep -A9 partition_states)"
	all_well && fail "a node is away and vmstore status says ok"
	na_n=$((4 + $(random_below "$KILL_DEAD")))
	while [ $na_n -gt 0 ] && alive "$verify"; do
		na_n=$((na_n - 1))
		sleep 1
	done
	[ "$2" != stop ] || kill -CONT "$na_pid"
	cluster_start || fail "$1 does not start again"
	wait_for 90 all_well || fail "$1 is back and not all copies are there: $(status_json | grep -A9 partition_states)"
}

# with 1024, making all copies again takes longer than a test may
if [ "$KILL_DEAD" = 0 ]; then cluster_start; else cluster_start --partitions 32; fi ||
	fail "cluster does not start"
lun_create kill 128 1 || fail "cannot create the LUN"
gw_wait
opts="--scale $KILL_SCALE --span 64M --state $state"
# Stock tgt neither orders overlapping commands nor keeps chunks whole.
[ "$IT_BACKEND" = cluster ] || opts="$opts --no-overlap --atomic block"
[ "$IT_BACKEND" != cluster ] || opts="$opts --fresh --zero 10 --caw 10"
# shellcheck disable=SC2086
background "$BENCH" verify $opts --seconds 100000 --sessions 6 --depth 4 \
	"$(gw_url 1)" "$(gw_url 2)" > "$IT_DIR/verify.out" 2>&1
verify=$!
sleep 2
i=0
while [ $i -lt "$KILLS" ]; do
	i=$((i + 1))
	names=$(proc_names)
	[ "$KILL_DEAD" = 0 ] || names=$(proc_names | grep '^node')
	# shellcheck disable=SC2086
	set -- $names
	shift "$(random_below $#)"
	name=${KILL_ONLY:-$1}
	sleep "$(random_below 3).$(random_below 10)"
	alive $verify || break
	pid=$(proc_pid "$name")
	alive "$pid" || fail "kill $i: $name (pid $pid) does not run any more"
	if [ "$KILL_DEAD" != 0 ]; then
		how=kill
		[ "$(random_below 2)" = 0 ] || how=stop
		say "$how $i of $KILLS: $name (pid $pid)"
		node_away "$name" $how
		continue
	fi
	proc_kill "$name"
	say "kill $i of $KILLS: $name (pid $pid)"
	sleep "0.$(random_below 10)"
	cluster_start || fail "kill $i: $name does not start again"
	sleep 1
done
if alive $verify; then
	sleep 2
	kill -TERM $verify
fi
wait $verify
rc=$?
grep -E 'WRONG|ERROR|error|checked|verify:|stall:' "$IT_DIR/verify.out" | cut -c1-600 | tail -n 30
[ $rc = 0 ] || fail "vmstore-bench verify: exit code $rc (1: wrong data, 3: errors or no progress)"
if [ "$KILL_DEAD" != 0 ]; then
	stall=$(sed -n 's/^stall: one command longest \([0-9]*\) ms.*/\1/p' "$IT_DIR/verify.out")
	awk -v s="${stall:-999999}" -v f="$KILL_SCALE" 'BEGIN { exit !(s <= 5000 * f) }' ||
		fail "a command took ${stall:-?} ms"
fi
for g in 1 2; do
	"$BENCH" verify --scale "$KILL_SCALE" --check-only --quiet --state "$state" "$(gw_url $g)" ||
		fail "check through gateway $g"
done
say "ok: $KILLS kills, nothing lost, torn or stale"
