#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# System calls of a gateway that reads from its cache: strace writes all of them down while a
# raw initiator sends bursts of 32 reads, over one session and over eight. In each turn of the
# loop there is one wait, and each descriptor is read from at most once and written to at most
# once, so a turn with N connections that have something to say or to be told is 1 + 2 N calls
# at most; nothing else is called. A burst is one receive and one send, none for each command.
# Then the same with a gateway that sends each answer by itself (gateway mutant 63), which
# has to be noticed.
# SYSCALLS_MUTANT=N: only the latter, with that mutant
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "needs scripts/cluster"
need strace strace
MUTANT=${SYSCALLS_MUTANT:-63}
DEPTH=32
SPAN=4096 # chunks
for f in iscsi_burst tgtd_mutant; do [ -x "$B/tests/$f" ] || skip "$B/tests/$f is not built"; done

# What strace has written, to the figures `commands turns calls of-initiators rest worst`;
# every turn that does too much is told, and the exit status is 1 then.
cat > "$IT_DIR/turns.awk" << 'EOF_AWK'
function turn_ends(  d, ready) {
	for (d in touched) {
		ready++
		if (got[d] > 1 || put[d] > 1)
			wrong = wrong "\n  turn " turns ": " d ": " got[d] + 0 " receives, " put[d] + 0 " sends"
	}
	if (n > 1 + 2 * ready)
		wrong = wrong "\n  turn " turns ": " n " calls with " ready + 0 " descriptors:" text
	if (ready > worst)
		worst = ready
	split("", touched)
	split("", got)
	split("", put)
	n = 0
	text = ""
}
!/^[0-9]+ +[a-z][a-z0-9_]*\(/ { next } # ends of calls that are told in two lines, signals
{
	calls++
	name = $2
	sub(/\(.*/, "", name)
	fd = $0
	sub(/^[^(]*\(/, "", fd)
	sub(/>+[,) ].*/, "", fd)
}
name == "epoll_wait" {
	turn_ends()
	turns++
	n = 1
	next
}
{ text = text " " name }
name ~ /^(recv|recvfrom|recvmsg|read|readv)$/ { got[fd]++ }
name ~ /^(send|sendto|sendmsg|write|writev|timerfd_settime)$/ { put[fd]++ }
name !~ /^(recv|recvfrom|recvmsg|read|readv|send|sendto|sendmsg|write|writev|timerfd_settime)$/ {
	rest++ # counted on its own: memory, for instance
	names[name]++
	next
}
{
	n++
	touched[fd] = 1
	if (index(fd, "[" portal "->"))
		initiators++
}
END {
	turn_ends()
	print turns + 0, calls + 0, initiators + 0, rest + 0, worst + 0
	for (name in names)
		others = others " " name " " names[name]
	if (wrong != "")
		print "more than one receive and one send of a connection in a turn:" substr(wrong, 1, 600)
	# pings come by time, not by commands: one send and one receive each
	many = initiators - 2 * pings > commands / 8
	if (many)
		print initiators " calls for " commands " commands and " pings " pings, more than one for 8"
	if (rest > 32)
		print rest " calls that belong to no connection:" others
	exit wrong != "" || many || rest > 32
}
EOF_AWK

attached() { # PID
	for t in "/proc/$1/task"/*/status; do
		[ "$(sed -n 's/^TracerPid:[^0-9]*//p' "$t")" = "$tracer" ] || return 1
	done
}
# has WORD been said, or has who says it ended?
says() {
	! alive "$burst" || grep "^$1" "$IT_DIR/burst.out" > /dev/null
}
# measure SESSIONS ROUNDS: 0, or 1 and what is wrong in $IT_DIR/figures
measure() {
	portal=$("$IT_CLUSTER" portal "$IT_DIR/c" 1)
	gw=$(proc_pid gw1)
	rm -f "$IT_DIR/go" "$IT_DIR/burst.out"
	mkfifo "$IT_DIR/go"
	exec 9<> "$IT_DIR/go"
	# (what runs in the background has no input but what it opens)
	# shellcheck disable=SC2016
	background sh -c 'in=$1 && shift && exec "$@" < "$in"' sh "$IT_DIR/go" "$B/tests/iscsi_burst" \
		"${portal%:*}" "${portal#*:}" "$IT_IQN" 1 "$1" $DEPTH "$2" $SPAN > "$IT_DIR/burst.out" 2>&1
	burst=$!
	wait_for 60 says ready && alive "$burst" || fail "no bursts: $(cat "$IT_DIR/burst.out")"
	background strace -f -yy -s 0 -o "$IT_DIR/trace" -p "$gw" 2> "$IT_DIR/strace.err"
	tracer=$!
	wait_for 20 attached "$gw" || {
		! grep -q 'not permitted' "$IT_DIR/strace.err" || skip "strace may not attach: $(cat "$IT_DIR/strace.err")"
		fail "strace does not attach: $(cat "$IT_DIR/strace.err")"
	}
	echo go >&9
	wait_for 120 says done && alive "$burst" || fail "the bursts do not end: $(cat "$IT_DIR/burst.out")"
	kill -INT "$tracer"
	wait "$tracer"
	echo stop >&9
	exec 9>&-
	wait "$burst" || fail "bursts: $(cat "$IT_DIR/burst.out")"
	commands=$(sed -n 's/^done \([0-9]*\) .*/\1/p' "$IT_DIR/burst.out")
	pings=$(sed -n 's/^done [0-9]* //p' "$IT_DIR/burst.out")
	[ "$commands" = $(($1 * $2 * DEPTH)) ] || fail "$commands commands"
	awk -v portal="$portal" -v commands="$commands" -v pings="$pings" -f "$IT_DIR/turns.awk" "$IT_DIR/trace" > "$IT_DIR/figures"
	rc=$?
	# shellcheck disable=SC2046
	set -- "$1" $(head -n 1 "$IT_DIR/figures")
	say "$commands reads over $1 sessions: $2 turns, $3 calls, $4 of them for initiators, $5 of no connection, up to $6 descriptors in a turn"
	[ "$4" -gt 0 ] || fail "nothing was seen of the initiators"
	return $rc
}

cluster_start --partitions 64 > /dev/null
lun_create syscalls 64 1 || fail "no LUN"
gw_wait
"$BENCH" run --idle 0 --warmup 0 --ops $((SPAN / 128)) --bs 512k --pattern seq --rw write --span $((SPAN * 4))k "$(gw_url 1)" \
	> "$IT_DIR/out" 2>&1 || fail "filling the LUN: $(tail -n 2 "$IT_DIR/out")"
if [ -z "${SYSCALLS_MUTANT:-}" ]; then
	measure 1 60 || fail "one session: $(cat "$IT_DIR/figures")"
	measure 8 12 || fail "eight sessions: $(cat "$IT_DIR/figures")"
fi

# the same programs, but for gateway 1
mkdir -p "$IT_DIR/b/bin"
ln -s "$B"/bin/* "$IT_DIR/b/bin/"
ln -sf "$B/tests/tgtd_mutant" "$IT_DIR/b/bin/tgtd"
proc_kill gw1
B=$IT_DIR/b VMS_GW_MUTANT=$MUTANT "$IT_CLUSTER" start "$IT_DIR/c" > /dev/null || fail "gateway 1 does not start"
gw_wait
measure 1 8 && fail "mutant $MUTANT was not noticed"
say "noticed, as it has to be with mutant $MUTANT: $(sed -n '2,$p' "$IT_DIR/figures" | tr -s '\n ' ' ' | cut -c1-300)"
