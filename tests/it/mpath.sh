#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# A gateway is lost under a host with two paths: I/O goes on within 8 s with the settings
# of conf/, nothing acknowledged is lost, nothing late lands (tests/it/mpath_rules.c plays
# open-iscsi and dm-multipath). One gateway is killed, one stands still for longer than
# T_op and goes on, one is restarted cleanly.
# MPATH_SCALE=F  slower machine, sanitizer    MPATH_ARGS='--round-robin'
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "needs two gateways"
MPATH_SCALE=${MPATH_SCALE:-1}
limit=$(awk -v f="$MPATH_SCALE" 'BEGIN { printf "%d", 8000 * f }')
log=$IT_DIR/mpath.log

cluster_start --timing-factor "$MPATH_SCALE" --partitions 128 || fail "cluster does not start"
lun_create mpath 128 1 || fail "cannot create the LUN"
gw_wait
# shellcheck disable=SC2086
background "$B/tests/mpath_rules" --limit "$limit" --poll 1000 --depth 16 ${MPATH_ARGS:-} \
	--iscsid "$IT_ROOT/conf/iscsid-vmstore.conf" --multipath "$IT_ROOT/conf/multipath-vmstore.conf" \
	"$(gw_url 1)" "$(gw_url 2)" > "$log" 2>&1
rules=$!

# How often the log says so.
said() { grep -c -- "$1" "$log"; }
at_least() { [ "$(said "$1")" -ge "$2" ]; }
# said_by SECONDS TEXT COUNT
said_by() {
	wait_for "$1" at_least "$2" "$3" || fail "not '$2' within $1 s: $(tail -n 5 "$log")"
}
# The phase that ends now: no wrong data, answers at its end, no command that took too long
# (mpath_rules knows what that is on a machine that had no time for us).
phase() {
	phases=$((phases + 1))
	kill -USR1 $rules || fail "mpath_rules has ended: $(tail -n 5 "$log")"
	said_by 30 "phase $phases:" 1
	line=$(grep "phase $phases:" "$log")
	say "$1: ${line#*: }"
	! grep -E 'WRONG|ERROR|TOO LONG' "$log" || fail "$1: $(tail -n 20 "$log")"
}
phases=0
killed() {
	k_n=$(($(said "path $1: failed") + 1))
	k_m=$(($(said "path $1: reinstated") + 1))
	proc_kill "gw$1"
	said_by 30 "path $1: failed" $k_n
	cluster_start > /dev/null || fail "gateway $1 does not start again"
	said_by 40 "path $1: reinstated" $k_m
}
# All the time that its writes wait in its sockets and queues the host goes on through the
# other gateway; what this one does when it wakes up must not be seen.
stood_still() {
	k_n=$(($(said "path $1: failed") + 1))
	k_m=$(($(said "path $1: reinstated") + 1))
	s_pid=$(proc_pid "gw$1")
	kill -STOP "$s_pid" || fail "gateway $1 does not run"
	said_by 30 "path $1: failed" $k_n
	sleep 0.5
	kill -CONT "$s_pid"
	said_by 40 "path $1: reinstated" $k_m
}
restarted() {
	k_n=$(($(said "path $1: session is back") + 1))
	"$IT_CLUSTER" restart "$IT_DIR/c" "gw$1" > /dev/null || fail "gateway $1 does not restart"
	said_by 40 "path $1: session is back" $k_n
	sleep 0.5
}
sleep 1
phase "both paths"
killed 1
phase "gateway 1 killed and started again"
stood_still 2
phase "gateway 2 stood still"
restarted 1
phase "gateway 1 restarted"

kill -TERM $rules
wait $rules
rc=$?
tail -n 1 "$log"
[ $rc = 0 ] || fail "mpath_rules: exit code $rc (1: wrong data or errors, 3: too slow): $(tail -n 20 "$log")"
say "ok: a lost gateway costs a pause and nothing else"
