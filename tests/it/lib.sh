# SPDX-License-Identifier: GPL-2.0-only
# Common functions of the tests with real processes. Sourced by each of them.
#
# The tests reach the cluster only through the functions below, so that they run
# against either of:
#   IT_BACKEND=cluster  scripts/cluster: three vmstored, the catalog, two tgtd
#   IT_BACKEND=tgt      one plain tgtd with a file in RAM, which is both gateways
#                       (for working on the tests; IT_TGT_DIR: where it lies)
#
# IT_PORT, IT_PORTS, IT_CONTROL  see ports.sh: tests run beside each other
# TMPDIR      its data lie there (/dev/shm when IT_RAM_KIB, 6 GiB, are free there, else /tmp)
# IT_KEEP=1                      keep the test's folder

set -u
IT_ROOT=$(cd "$(dirname "$0")/../.." && pwd)
B=${B:-build}
case $B in /*) ;; *) B=$IT_ROOT/$B ;; esac
IT_NAME=$(basename "$0" .sh)

# shellcheck source=tests/it/ports.sh
. "$IT_ROOT/tests/it/ports.sh"
# shellcheck source=tests/tools/pauses.sh
. "$IT_ROOT/tests/tools/pauses.sh"
IT_IQN=iqn.2011-06.org.vmstore:$(echo "$IT_NAME" | tr _ -)
IT_RAM_KIB=${IT_RAM_KIB:-6291456}
IT_CACHE=${IT_CACHE:-$IT_ROOT/build/cache}
IT_PIDS="" IT_FAILED="" IT_PAUSES=""
BENCH=$B/bin/vmstore-bench
# ext4 tools live here for other users than root
PATH=$PATH:/usr/sbin:/sbin
export PATH

if [ -z "${IT_BACKEND:-}" ]; then
	IT_BACKEND=tgt
	[ ! -x "$IT_ROOT/scripts/cluster" ] || IT_BACKEND=cluster
fi

say() {
	printf '%s %s: %s\n' "$(date +%H:%M:%S)" "$IT_NAME" "$*"
}

fail() {
	IT_FAILED="FAILED: $*"
	say "$IT_FAILED"
	exit 1
}

skip() {
	echo "skipped: $*"
	exit 77
}

# need COMMAND PACKAGE
need() {
	command -v "$1" > /dev/null || skip "$1 not found (Debian package $2)"
}

# refuses [CODE] TEXT COMMAND...: it fails, with that exit code, and says TEXT
refuses() {
	case $1 in
	'' | *[!0-9]*) rf_code='' ;;
	*) rf_code=$1 && shift ;;
	esac
	rf_text=$1
	shift
	rf_out=$("$@" 2>&1 < /dev/null)
	rf_rc=$?
	[ $rf_rc != 0 ] || fail "$*: was not refused"
	[ $rf_rc = "${rf_code:-$rf_rc}" ] || fail "$*: exit code $rf_rc instead of $rf_code: $rf_out"
	case $rf_out in
	*"$rf_text"*) ;;
	*) fail "$*: '$rf_text' is not in: $rf_out" ;;
	esac
}

# background COMMAND...: start it, remember it for cleanup; its pid is in $!
background() {
	"$@" &
	IT_PIDS="$IT_PIDS $!"
}

alive() {
	[ -n "$1" ] && kill -0 "$1" 2> /dev/null
}

# Of this shell's children; the number of one that has ended may be another's by now.
is_child() { # PID
	[ "$(sed -n 's/^PPid:[^0-9]*//p' "/proc/$1/status" 2> /dev/null)" = $$ ]
}

wait_for() { # SECONDS COMMAND...
	wf_n=$(($1 * 10))
	shift
	while ! "$@" > /dev/null 2>&1; do
		wf_n=$((wf_n - 1))
		[ $wf_n -gt 0 ] || return 1
		sleep 0.1
	done
}

random_below() { # N: 0..N-1
	rb=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')
	echo $((rb % $1))
}

it_cleanup() {
	it_rc=$?
	trap '' EXIT INT TERM HUP
	for it_p in $IT_PIDS; do
		! is_child "$it_p" || kill "$it_p" 2> /dev/null
	done
	if [ $it_rc -ne 0 ] && [ $it_rc -ne 77 ] && [ -d "$IT_DIR/c" ]; then
		echo "--- end of the processes' logs:"
		find "$IT_DIR" -name '*.log' -size +0 | sort | while read -r it_f; do
			echo "--- ${it_f#"$IT_DIR"/}"
			tail -n 6 "$it_f" | cut -c1-300
		done
		# once more: who sees the end of a log only is to see why
		[ -z "$IT_FAILED" ] || say "$IT_FAILED"
	fi
	# its data go now, unless they are kept: nothing is to be stopped cleanly for that
	[ "${IT_KEEP:-0}" = 1 ] || cluster_kill > /dev/null 2>&1
	cluster_stop > /dev/null 2>&1
	for it_p in $IT_PIDS; do
		! is_child "$it_p" || kill -9 "$it_p" 2> /dev/null
		wait "$it_p" 2> /dev/null # nothing is written into the folder that goes now
	done
	if [ "${IT_KEEP:-0}" = 1 ]; then
		echo "kept: $IT_DIR"
	else
		rm -rf "$IT_DIR"
	fi
	exit $it_rc
}

# Where its data lie: in RAM when there is plenty, so that tests neither wait for this
# machine's disk nor for each other; killed processes lose nothing there either.
it_ram_kib=$(df -Pk /dev/shm 2> /dev/null | awk 'NR == 2 { print $4 }')
it_free_kib=$(sed -n 's/^MemAvailable: *\([0-9]*\).*/\1/p' /proc/meminfo)
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] && [ "${it_ram_kib:-0}" -ge "$IT_RAM_KIB" ] &&
	[ "${it_free_kib:-0}" -ge $((IT_RAM_KIB + IT_RAM_KIB / 2)) ]; then
	it_tmp=/dev/shm
else
	it_tmp=${TMPDIR:-/tmp}
fi
IT_DIR=$(mktemp -d "$it_tmp/vmstore-it-$IT_NAME.XXXXXX") || exit 1
trap it_cleanup EXIT
trap 'exit 1' INT TERM HUP

# ---- the cluster ----
# cluster_start [OPTION…]    start what is not running (fresh, or with its data); the
#                            options are those of scripts/cluster start
# cluster_stop               stop cleanly
# proc_names                 names of its processes
# proc_pid NAME              pid, empty when it does not run
# proc_kill NAME             kill -9
# cluster_kill               kill -9 of every process
# lun_create NAME MIB LUN    volume NAME as LUN number LUN on every gateway
# gw_url N [LUN]             iscsi:// URL through gateway N (1, 2)
# gw_ready N [LUN]           does it serve the LUN?

if [ "$IT_BACKEND" = tgt ]; then
	IT_TGT_DIR=${IT_TGT_DIR:-}
	if [ -z "$IT_TGT_DIR" ]; then
		for it_d in "$B/stock" "$B/bin" /usr/sbin; do
			[ -x "$it_d/tgtd" ] && IT_TGT_DIR=$it_d && break
		done
	fi
	[ -n "$IT_TGT_DIR" ] || skip "no tgtd: build it (make tgt-stock) or set IT_TGT_DIR"

	it_adm() {
		TGT_IPC_SOCKET=$IT_DIR/tgt "$IT_TGT_DIR/tgtadm" -C "$IT_CONTROL" --lld iscsi "$@"
	}

	it_export() {
		it_adm --op new --mode target --tid 1 -T "$IT_IQN" || return 1
		it_adm --op bind --mode target --tid 1 -I ALL || return 1
		[ ! -f "$IT_DIR/luns" ] || while read -r it_lun it_file; do
			it_adm --op new --mode logicalunit --tid 1 --lun "$it_lun" -b "$it_file" || return 1
		done < "$IT_DIR/luns"
	}

	cluster_start() {
		alive "$(proc_pid gw1)" && return 0
		mkdir -p "$IT_DIR/c"
		(
			cd "$IT_DIR/c" || exit 1
			export TGT_IPC_SOCKET="$IT_DIR/tgt"
			exec "$IT_TGT_DIR/tgtd" -f -C "$IT_CONTROL" \
				--iscsi "portal=127.0.2.1:$IT_PORT" >> tgtd.log 2>&1
		) &
		echo $! > "$IT_DIR/c/gw1.pid"
		wait_for 30 it_adm --op show --mode target || fail "tgtd does not answer: $(tail -n 3 "$IT_DIR/c/tgtd.log")"
		it_export
	}

	proc_names() { echo gw1; }
	proc_pid() { cat "$IT_DIR/c/$1.pid" 2> /dev/null; }
	proc_kill() {
		it_p=$(proc_pid "$1")
		kill -9 "$it_p" 2> /dev/null
		wait "$it_p" 2> /dev/null
		rm -f "$IT_DIR/c/$1.pid"
	}
	cluster_kill() { proc_kill gw1; }
	cluster_stop() { # stock tgtd ignores SIGTERM
		cluster_kill
		[ ! -f "$IT_DIR/luns" ] || while read -r it_lun it_file; do
			rm -f "$it_file"
		done < "$IT_DIR/luns"
	}
	lun_create() {
		it_file=/dev/shm/$(basename "$IT_DIR")-$1
		truncate -s "${2}M" "$it_file" || return 1
		echo "$3 $it_file" >> "$IT_DIR/luns"
		it_adm --op new --mode logicalunit --tid 1 --lun "$3" -b "$it_file"
	}
	gw_url() { echo "iscsi://127.0.2.1:$IT_PORT/$IT_IQN/${2:-1}"; }
else
	# scripts/cluster keeps everything of this cluster under one folder.
	VMS_PORT=$IT_PORT
	VMS_CONTROL=$IT_CONTROL
	# how full this machine's disk is must not show in the tests
	VMS_THIN_SOFT=${VMS_THIN_SOFT:-0}
	export B VMS_PORT VMS_CONTROL VMS_THIN_SOFT
	IT_CLUSTER=$IT_ROOT/scripts/cluster

	cluster_start() {
		"$IT_CLUSTER" start "$IT_DIR/c" "$@" || fail "scripts/cluster start"
	}
	cluster_stop() {
		[ ! -d "$IT_DIR/c" ] || "$IT_CLUSTER" stop "$IT_DIR/c"
	}
	proc_names() { "$IT_CLUSTER" names "$IT_DIR/c"; }
	proc_pid() { "$IT_CLUSTER" pid "$IT_DIR/c" "$1"; }
	proc_kill() { "$IT_CLUSTER" kill "$IT_DIR/c" "$1"; }
	cluster_kill() { "$IT_CLUSTER" kill "$IT_DIR/c"; }
	lun_create() { "$IT_CLUSTER" lun "$IT_DIR/c" "$IT_IQN" "$1" "${2}M" "$3"; }
	gw_url() { echo "iscsi://$("$IT_CLUSTER" portal "$IT_DIR/c" "$1")/$IT_IQN/${2:-1}"; }
fi

# trace_start VOLUME FILE, trace_stop: record the requests of a volume.
trace_start() {
	"$B/bin/vmstore" -c "$("$IT_CLUSTER" conf "$IT_DIR/c")" trace "$1" > "$2" 2> "$IT_DIR/trace.log" &
	IT_TRACE=$!
	IT_PIDS="$IT_PIDS $IT_TRACE"
	sleep 1
	alive $IT_TRACE
}
trace_stop() {
	kill "$IT_TRACE" 2> /dev/null
	wait "$IT_TRACE" 2> /dev/null
}

# pauses_begin: from now on it is written down when this machine gave nobody a turn.
# pauses_end: it is in $IT_DIR/pauses, that since the last beginning.
# within WHAT MS UNTIL LIMIT: that long it took at most, until then, and no longer than it may;
# of what is beyond the limit the machine's pauses are taken off, and one of half a second and
# more may have cost a path, with the times of that on top: not judged, as in
# tests/faults/load.sh (stalls), which says why; scripts/check shows it. After the first of them
# nothing is written.
pauses_begin() {
	[ -x "$B/tests/tools/pauses" ] || fail "$B/tests/tools/pauses is not built (make unit)"
	[ -z "$IT_PAUSES" ] || { kill -TERM "$IT_PAUSES" && wait "$IT_PAUSES"; }
	"$B/tests/tools/pauses" record "$IT_DIR/pauses" &
	IT_PAUSES=$!
	IT_PIDS="$IT_PIDS $IT_PAUSES"
}
pauses_end() {
	[ -z "$IT_PAUSES" ] || { kill -TERM "$IT_PAUSES" && wait "$IT_PAUSES"; } || fail "the pauses of the machine are not known"
	IT_PAUSES=""
}
within() {
	[ "${2:-x}" -le "$4" ] 2> /dev/null && return
	[ -n "$2" ] && [ -n "$3" ] || fail "$1: nobody tells how long"
	pauses_end
	# shellcheck disable=SC2046
	set -- "$@" $(pauses_sum "$IT_DIR/pauses" "$2" "$3")
	[ $# = 6 ] || fail "the pauses of the machine are not known"
	say "$1: $2 ms, the machine's pauses $5 ms of it, the longest one $6 ms"
	[ $(($2 - $4)) -gt "$5" ] || return 0
	[ "$6" -ge "$STOOD_STILL_MS" ] && [ $(($2 - $4)) -le $(($5 + LOST_PATH_MS)) ] || fail "$1: $2 ms, more than $4"
	say "not judged, the machine stood still for $6 ms"
}

gw_ready() {
	"$BENCH" run --idle 0 --warmup 0 --ops 1 --depth 1 "$(gw_url "$1" "${2:-1}")" > /dev/null 2>&1
}

gw_wait() { # both gateways serve LUN $1 within 60 s
	wait_for 60 gw_ready 1 "${1:-1}" || fail "gateway 1 does not serve LUN ${1:-1}"
	wait_for 60 gw_ready 2 "${1:-1}" || fail "gateway 2 does not serve LUN ${1:-1}"
}

[ -x "$BENCH" ] || skip "$BENCH is not built"
