#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# EXTENDED COPY between two LUNs of a target, seen through the other gateway: data that
# is still in the logs, data in containers (copied by address, no byte of it through the
# gateway), ranges that are not aligned; LUNs of other targets cannot be named; ABORT
# TASK, PREEMPT AND ABORT and the deletion of a LUN in the middle.
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
x=$B/tests/xcopy
[ -x "$x" ] || skip "$x is not built (make tgt)"
[ "$IT_BACKEND" = cluster ] || skip "needs a cluster"
mib=${XCOPY_MIB:-32}

stat() { # NAME: sum over the gateways
	"$B/bin/vmstore" -c "$("$IT_CLUSTER" conf "$IT_DIR/c")" stats --json |
		awk -F'[:,]' -v n="\"$1\"" 'index($0, n ":") { s += $2 } END { printf "%.0f\n", s }'
}

cluster_start --gateways 2
lun_create from $((mib + 64)) 1 || fail "cannot create LUN 1"
lun_create to $((mib + 64)) 2 || fail "cannot create LUN 2"
"$IT_CLUSTER" lun "$IT_DIR/c" "$IT_IQN.other" stranger 64M 1 || fail "cannot create the other target"
gw_wait 1
gw_wait 2
from=$(gw_url 1 1) to=$(gw_url 1 2) see=$(gw_url 2 2)
"$x" fill "$from" "$mib" || fail "fill"

"$x" copy "$from" "$to" "$see" "$mib" || fail "copy of what is in the logs"
say "copied from the logs"
"$IT_CLUSTER" drain "$IT_DIR/c" > /dev/null || fail "drain"
n=$(stat gateway.writes_copy)
"$x" fill "$to" 16 > /dev/null || fail "fill"
"$x" copy "$from" "$to" "$see" "$mib" || fail "copy of what is in containers"
n=$(($(stat gateway.writes_copy) - n))
[ "$n" -ge $((mib / 2)) ] || fail "only $n copies by address: the data went through the gateway"
say "copied from containers: $n copies by address"
"$x" shifted "$from" "$to" "$see" || fail "copy of ranges that are not aligned"
"$x" stranger "$from" "$(echo "$from" | sed "s,$IT_IQN,$IT_IQN.other,")" || fail "a LUN of another target"
say "a LUN of another target cannot be named"
"$x" reserved "$from" "$see" || fail "a reserved LUN"
say "a LUN that others have reserved is refused"
"$x" abort "$from" "$to" "$see" "$mib" || fail "abort"
"$x" preempt "$from" "$to" "$see" "$mib" || fail "PREEMPT AND ABORT of the LUN that is written"
"$x" start "$from" "$to" "$mib" > "$IT_DIR/start.log" 2>&1 &
pid=$!
IT_PIDS="$IT_PIDS $pid"
wait_for 30 grep -q ready "$IT_DIR/start.log" || fail "start: $(cat "$IT_DIR/start.log")"
"$IT_CLUSTER" rmlun "$IT_DIR/c" "$IT_IQN" 2 || fail "a LUN that is copied to cannot be taken away"
wait "$pid" || fail "a LUN goes while it is copied to: $(cat "$IT_DIR/start.log")"
gw_ready 1 1 || fail "the other LUN"
say "ended in the middle: by ABORT TASK, PREEMPT AND ABORT, and by taking the LUN away"
say ok
