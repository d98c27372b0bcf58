# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Load and verdict of the fault scenarios.
#
#   load_start             vmstore-bench verify over all gateways, in the background, and
#                          beside it, on blocks of its own, a recorder of histories
#   work SECONDS           let it run; fails when the load has ended
#   progress SECONDS       within SECONDS it must be seen to acknowledge operations
#   no_progress SECONDS    for SECONDS nothing may be acknowledged
#   no_writes SECONDS      for SECONDS no write may be acknowledged
#   all_read SECONDS       everything must be answered to readers through each gateway within SECONDS
#   counter NODE NAME      one of its statistics
#   load_stop              ends it; everything is read through each gateway; the history
#                          must be linearizable
#   well SECONDS           until the ring says all is well
#   settled                the sets are as they are wanted; what was before belongs to the start
#                          (a change of a set that is under way waits for the catalog)
#   finish                 load_stop, well, clean stop, fsck of every node
#   promise SECONDS        what users are promised for this scenario; longer is a failure
#                          (stalls says how the machine's own pauses are told apart)
#   downtime WHY           the stall is the scenario's own doing: shown, not judged
#
# The load finds the loss of a path by the settings that are shipped for initiators, and
# waits as long as these say.

PROMISE=5 DOWNTIME=""
promise() { PROMISE=$1; }
downtime() { DOWNTIME=$*; }
# shellcheck source=tests/tools/pauses.sh
. "$root/tests/tools/pauses.sh"

# Seconds, from conf/iscsid-vmstore.conf: the last of two equal keys counts.
iscsid() { # KEY
	sed -n "s/^$(sed 's/[].[]/\\&/g' <<< "$1") *= *\([0-9]*\) *\$/\1/p" "$root/conf/iscsid-vmstore.conf" | tail -n 1 | grep . ||
		fail "conf/iscsid-vmstore.conf has no $1" >&2
}
path_times() {
	local interval timeout recovery login
	interval=$(iscsid 'node.conn[0].timeo.noop_out_interval') && timeout=$(iscsid 'node.conn[0].timeo.noop_out_timeout') &&
		recovery=$(iscsid node.session.timeo.replacement_timeout) && login=$(iscsid 'node.conn[0].timeo.login_timeout') || exit 1
	echo "--ping-ms ${interval}000 --ping-timeout-ms ${timeout}000 --failover-ms ${recovery}000 --login-ms ${login}000"
}

url_of() { echo "iscsi://$(ip_of "$1"):3260/$IQN/1"; }

load_start() {
	local urls=() g times
	times=$(path_times) || exit 1
	"$B/tests/tools/pauses" record "$LAB/pauses" &
	PAUSES=$!
	for g in $(names gw); do urls+=("$(url_of "$g")"); done
	# shellcheck disable=SC2086
	"$BIN/vmstore-bench" verify --fresh --zero 10 --caw 10 --span "$SPAN" --state "$LAB/state" \
		--sessions 6 --depth 4 --seconds 100000 --give-up 150 --home-after 3 --progress 500 $times $LOAD_ARGS "${urls[@]}" \
		> "$OUT/verify.log" 2>&1 &
	LOAD=$!
	# shellcheck disable=SC2086
	"$B/tests/tools/history" record --out "$LAB/history" --ops 0 --sessions 2 --depth 3 \
		--first $HISTORY_FIRST --units 48 --bound-ms 10000 $HISTORY_ARGS "${urls[@]}" > "$OUT/history.log" 2>&1 &
	HISTORY=$!
	# the first moments belong to the start
	progress 60
	sleep 1
	kill -USR1 $LOAD
}

acked() { sed -n 's/^progress [0-9.]* s: \([0-9]*\) .*/\1/p' "$OUT/verify.log" | tail -n 1; }

load_runs() {
	kill -0 "$LOAD" 2> /dev/null || fail "the load ended: $(grep -E 'WRONG|ERROR|verify:|error:' "$OUT/verify.log" | head -n 5)"
}

work() {
	sleep "$1"
	load_runs
}

progress() {
	local a end=$((SECONDS + $1))
	a=$(acked)
	until [ "$(acked)" != "$a" ] && [ -n "$(acked)" ]; do
		load_runs
		[ $SECONDS -lt $end ] || fail "nothing was acknowledged for $1 s"
		sleep 0.2
	done
}

# Until the load has said twice how far it is: the second time it counts all that reached it
# before this began.
told() { grep -c '^progress' "$OUT/verify.log"; }
tell() {
	local n end=$((SECONDS + 30))
	n=$(($(told) + 2))
	until [ "$(told)" -ge $n ]; do
		load_runs
		[ $SECONDS -lt $end ] || fail "the load says nothing for 30 s"
		sleep 0.1
	done
}

no_progress() {
	local a
	sleep 1
	tell
	a=$(acked)
	sleep "$1"
	tell
	[ "$(acked)" = "$a" ] || fail "operations were acknowledged that nobody can know to be right ($a, then $(acked))"
}

writes() { sed -n 's/^progress .* answered, \([0-9]*\) writes$/\1/p' "$OUT/verify.log" | tail -n 1; }
no_writes() {
	local w
	tell
	w=$(writes)
	[ -n "$w" ] || fail "the load tells of no writes"
	sleep "$1"
	tell
	[ "$(writes)" = "$w" ] || fail "writes were acknowledged ($w, then $(writes))"
}

# Readers of their own: those of the load wait behind its writes.
all_read() {
	local g rc
	for g in $(names gw); do
		timeout "$1" "$BIN/vmstore-bench" run --rw read --pattern seq --bs 64k --depth 8 --span "$SPAN" --idle 0 --warmup 0 \
			--ops $((${SPAN%M} * 16)) --seconds 100000 "$(url_of "$g")" > "$OUT/read-$g.log" 2>&1
		rc=$?
		[ $rc = 0 ] || fail "reads through $g: exit code $rc (124: not all were answered in $1 s): $(tail -n 3 "$OUT/read-$g.log")"
	done
}

counter() {
	vmstore stats --json "$1" | grep -oE "\"$2\": *[0-9]+" | grep -oE '[0-9]+$' || fail "$1 has no $2"
}

load_stop() {
	local rc
	[ -n "$LOAD" ] || return 0
	kill -TERM "$LOAD" "$HISTORY"
	wait "$HISTORY"
	rc=$?
	cat "$OUT/history.log"
	[ $rc = 0 ] || [ "${LOAD_ERRORS_OK:-0}" = 1 ] || fail "history record: exit code $rc"
	wait "$LOAD"
	rc=$?
	LOAD=""
	grep -E 'WRONG|ERROR|giving up|^checked|^verify:' "$OUT/verify.log" | cut -c1-500 | tail -n 20
	[ $rc = 0 ] || { [ $rc = 3 ] && [ "${LOAD_ERRORS_OK:-0}" = 1 ] && grep -q '^checked' "$OUT/verify.log"; } ||
		fail "vmstore-bench verify: exit code $rc (1: wrong data, 3: errors or no progress)"
	history_check
	stalls
}

history_check() {
	"$B/tests/tools/history" check "$LAB/history" > "$OUT/history.check" 2>&1
	rc=$?
	head -n 60 "$OUT/history.check"
	[ $rc = 0 ] || {
		cp "$LAB/history" "$OUT/"
		fail "history check: exit code $rc (1: not linearizable)"
	}
}

# Of what vmstore-bench says: "stall: WHAT longest MS ms, until T", of each gateway, of all, of
# one command with its repetitions. Longer than promised is a failure, unless the machine is
# its cause: pauses are measured meanwhile, on each processor, by threads that want a turn
# now and then (tests/tools/pauses.c). Those up to two seconds before it and in it are
# taken off. One of half a second and more may have cost a path or a lease, with the
# times of these on top: then that is said, and what is promised is longer by the time a lost path takes.
stalls() {
	local line ms name end over verdict="" why bad="" text="" paused longest
	kill -TERM "$PAUSES" && wait "$PAUSES" || fail "the pauses of the machine are not known"
	while read -r line; do
		[[ $line =~ ^"stall: "(.*)" longest "([0-9]+)" ms, until "([0-9]+)$ ]] || fail "vmstore-bench verify said: $line"
		name=${BASH_REMATCH[1]#one } ms=${BASH_REMATCH[2]} end=${BASH_REMATCH[3]}
		case $name in iscsi*) name=$(for g in $(names gw); do [ "$(url_of "$g")" != "$name" ] || echo "$g"; done) ;; esac
		text="$text $name $((ms / 1000)).$((ms % 1000 / 100))"
		[ -z "$DOWNTIME" ] || continue
		over=$((ms - PROMISE * 1000))
		# one command may meet several faults, and its initiator waits 5 s by itself each time
		# its path is lost or it is told that nobody knows what became of it
		if [ "$name" = command ] && [ "${MANY:-0}" = 1 ]; then over=$((over - 10000)); fi
		[ $over -gt 0 ] || continue
		read -r paused longest < <(pauses_sum "$LAB/pauses" "$ms" "$end") ||
			fail "the pauses of the machine are not known"
		why="$name took $ms ms, the machine's pauses $paused ms of it, the longest one $longest ms"
		say "$why"
		if [ $over -le "$paused" ]; then
			continue
		elif [ "$longest" -ge $STOOD_STILL_MS ] && [ $over -le $((paused + LOST_PATH_MS)) ]; then
			verdict=${verdict:-"not judged, the machine stood still for $((longest / 1000)).$((longest % 1000 / 100)) s"}
		else
			verdict=OVER bad="$bad; $why"
		fi
	done < <(grep '^stall: ' "$OUT/verify.log")
	[ -n "$text" ] || fail "vmstore-bench verify told of no stall"
	if [ -n "$DOWNTIME" ]; then
		text="$text s ($DOWNTIME)"
	else
		text="$text s, promised $PROMISE${verdict:+: $verdict}"
	fi
	echo "stall$text" | tee "$OUT/stall"
	[ "$verdict" != OVER ] || fail "longer than promised ($PROMISE s)$bad"
}

check_again() { # everything once more, through each gateway
	local g
	for g in $(names gw); do
		"$BIN/vmstore-bench" verify --check-only --quiet --state "$LAB/state" "$(url_of "$g")" >> "$OUT/check.log" 2>&1 ||
			fail "check through $g: $(grep -E 'WRONG|ERROR' "$OUT/check.log" | head -n 3)"
	done
}

ring_well() { ring status > "$OUT/status.log" 2>&1; }
well() { wait_for "${1:-120}" ring_well || fail "not all well after $1 s: $(grep -vE '^ *$' "$OUT/status.log" | tail -n 6)"; }

settled() {
	well 120
	kill -USR1 "$LOAD"
}

fsck_all() {
	local n rc
	for n in $(names node); do
		[ -d "$LAB/data/$n" ] || continue
		"$BIN/vmstore" fsck --deep "$LAB/data/$n" > "$OUT/fsck-$n.log" 2>&1
		rc=$?
		[ $rc = 0 ] || fail "fsck of $n: exit code $rc: $(tail -n 4 "$OUT/fsck-$n.log")"
	done
}

alive() { for a in "$@"; do running "$a" || fail "$a does not run any more: $(tail -n 3 "$OUT/$a.log" | cut -c1-300)"; done; }

finish() {
	# shellcheck disable=SC2046
	alive $(names)
	well "${1:-120}"
	load_stop
	# shellcheck disable=SC2046
	stop_clean $(names gw)
	# shellcheck disable=SC2046
	stop_clean $(names node)
	fsck_all
}
