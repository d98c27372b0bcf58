# SPDX-License-Identifier: GPL-2.0-only
# One tgtd over a gateway of RAM (tgtd-fake), for tests that need no cluster. Sourced
# once B is set; the test sets ADDR.
#
# built FILE HOW       skips when $B/FILE is not there (make HOW)
# start VAR=VALUE...   tgtd-fake on $ADDR:$PORT, with these in its environment
# target TID NAME      a target for everybody
# stop                 it must end by itself, with 0, and no sanitizer may have spoken
# adm, fail            tgtadm; the end
# $dir                 the test's folder: tgtd.log, and conf for --bsopts

# shellcheck source=tests/it/ports.sh
. "$IT_ROOT/tests/it/ports.sh"
PORT=$IT_PORT CONTROL=$IT_CONTROL
pid=""

fail() {
	echo "FAILED: $*"
	exit 1
}
built() {
	[ -x "$B/$1" ] || { echo "skipped: $B/$1 is not built (make${2:+ $2})"; exit 77; }
}
show_log() {
	tail -n 20 "$dir/tgtd.log"
}
fake_cleanup() {
	rc=$?
	trap '' EXIT INT TERM
	[ -z "$pid" ] || kill -9 "$pid" 2> /dev/null
	case $rc in 0 | 77) ;; *) show_log ;; esac
	rm -rf "$dir"
	exit $rc
}
dir=$(mktemp -d "${TMPDIR:-/tmp}/vmstore-$(basename "$0" .sh).XXXXXX") || exit 1
trap fake_cleanup EXIT
trap 'exit 1' INT TERM
export TGT_IPC_SOCKET="$dir/ipc"
printf '[cluster]\nrun_dir = %s/run\n' "$dir" > "$dir/conf"

adm() {
	"$B/bin/tgtadm" -C "$CONTROL" --lld iscsi "$@"
}
start() {
	env "$@" "$B/tests/tgtd-fake" -f -C "$CONTROL" --iscsi "portal=$ADDR:$PORT" > "$dir/tgtd.log" 2>&1 &
	pid=$!
	n=0
	until adm --op show --mode target > /dev/null 2>&1; do
		n=$((n + 1))
		[ $n -lt 300 ] || fail "tgtd-fake does not answer"
		sleep 0.1
	done
}
target() {
	adm --op new --mode target --tid "$1" -T "$2" || fail "new target"
	adm --op bind --mode target --tid "$1" -I ALL || fail "bind"
}
stop() {
	kill "$pid" || fail "tgtd-fake died"
	n=0
	while kill -0 "$pid" 2> /dev/null; do
		n=$((n + 1))
		[ $n -lt 300 ] || fail "tgtd-fake does not stop on SIGTERM within 30 s"
		sleep 0.1
	done
	wait "$pid"
	end=$?
	pid=""
	if grep -E -A30 'ERROR: (Address|Leak|Undefined)|runtime error|assertion failed' "$dir/tgtd.log" |
		cut -c1-200 | head -n 60 | grep .; then
		fail "a sanitizer or an assertion spoke"
	fi
	[ $end = 0 ] || fail "tgtd-fake ended with $end"
}
