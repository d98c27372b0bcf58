#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# kill -9 of any one process, KILLS times (10), at random moments under
# vmstore-bench verify over both gateways; each is started again. At the end
# everything is checked through both gateways.
# KILL_ONLY=NAME  always this process        KILL_SCALE=F  slower machine, sanitizer
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
KILLS=${KILLS:-10}
KILL_SCALE=${KILL_SCALE:-1}
state=$IT_DIR/state

cluster_start || fail "cluster does not start"
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
	# shellcheck disable=SC2046
	set -- $(proc_names)
	shift "$(random_below $#)"
	name=${KILL_ONLY:-$1}
	sleep "$(random_below 3).$(random_below 10)"
	alive $verify || break
	pid=$(proc_pid "$name")
	alive "$pid" || fail "kill $i: $name (pid $pid) does not run any more"
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
grep -E 'WRONG|ERROR|error|checked|verify:' "$IT_DIR/verify.out" | cut -c1-600 | tail -n 30
[ $rc = 0 ] || fail "vmstore-bench verify: exit code $rc (1: wrong data, 3: errors or no progress)"
for g in 1 2; do
	"$BENCH" verify --scale "$KILL_SCALE" --check-only --quiet --state "$state" "$(gw_url $g)" ||
		fail "check through gateway $g"
done
say "ok: $KILLS kills, nothing lost, torn or stale"
