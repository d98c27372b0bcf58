#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# One LUN through two gateways: iscsi-test-cu, whole suite with --dataloss, with two URLs
# and through the second gateway alone: 0 failed. Then what the suite does not look at:
# identity and ports (tests/it/two_paths.c), WRITE ATOMIC from both sides at once, commands
# that are ended through the other gateway (tests/it/iscsi_tas.c).
# SCSI_TEST=FAMILY[.SUITE[.TEST]]: only those.
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
need iscsi-test-cu libiscsi-bin
two=$B/tests/two_paths
[ -x "$two" ] || skip "$two is not built (make tgt)"
[ "$IT_BACKEND" = cluster ] || skip "needs two gateways"

suite() { # NAME URL...
	name=$1
	shift
	out=$IT_DIR/out
	iscsi-test-cu --dataloss --Verbose-scsi ${SCSI_TEST:+--test="$SCSI_TEST"} "$@" > "$out" 2>&1
	# shellcheck disable=SC2046
	set -- $(awk '$1 == "tests" && NF >= 6 {print $3, $5}' "$out")
	[ $# = 2 ] || fail "$name: no run summary; last lines: $(tail -n 3 "$out")"
	if [ "$2" != 0 ]; then
		grep -E '\[FAILED\]|^ *[0-9]+\. .*\.c:[0-9]+' "$out" | awk '!seen[$0]++' | head -n 60
		fail "$name: $2 of $1 tests failed"
	fi
	[ "$1" -gt 0 ] || fail "$name: no test ran"
	say "$name: $1 tests ran, 0 failed, $(awk '/^Suite: /{s=$2} /^ *Test: /{t=$2}
		/\[SKIPPED\]/ && !((s, t) in d) {d[s, t]; n++} END {print n + 0}' "$out") skipped in part or whole"
}

cluster_start --gateways 2
lun_create scsi 1024 1 || fail "cannot create the LUN"
gw_wait 1
# The suite has a session on each gateway and attends to one of them at a time: what a machine
# takes from it is answered for with the other one's pings (these: tgt_base.sh, mpath.sh).
"$B/bin/vmstore" -c "$("$IT_CLUSTER" conf "$IT_DIR/c")" target set "$IT_IQN" nop_interval=10 nop_count=6 > /dev/null ||
	fail "no other pings"
patient() { "$IT_CLUSTER" tgtadm "$IT_DIR/c" "$1" --op show --mode target --tid 1 | grep -qxF nop_interval=10; }
for g in 1 2; do wait_for 30 patient $g || fail "gateway $g has no other pings"; done
tas=$B/tests/iscsi_tas
[ -x "$tas" ] || skip "$tas is not built (make tgt)"
"$tas" "$("$IT_CLUSTER" portal "$IT_DIR/c" 1)" "$("$IT_CLUSTER" portal "$IT_DIR/c" 2)" "$IT_IQN" 1 || fail "commands that the other gateway ends"
"$two" identity "$(gw_url 1)" "$(gw_url 2)" || fail "the LUN is not the same through both gateways"
suite "two URLs" "$(gw_url 1)" "$(gw_url 2)"
suite "the second gateway" "$(gw_url 2)"
[ -n "${SCSI_TEST:-}" ] || {
	"$two" atomic "$(gw_url 1)" "$(gw_url 2)" "${ATOMIC_WRITES:-300}" || fail "WRITE ATOMIC is not atomic"
	"$two" reset "$(gw_url 1)" "$(gw_url 2)" "${RESETS:-10}" || fail "resets through the other gateway"
	"$two" halves "$(gw_url 1)" "$(gw_url 2)" "${ATOMIC_WRITES:-300}" || fail "no mixture of two WRITEs was seen: the test above shows nothing"
}
say ok
