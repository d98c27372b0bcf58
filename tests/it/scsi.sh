#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# iscsi-test-cu, whole suite with --dataloss, through one gateway on a LUN that
# only it exports: 0 failed. Every skip is printed with its reason;
# doc/scsi-support.md lists them all. SCSI_TEST=FAMILY[.SUITE[.TEST]]: only those.
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
need iscsi-test-cu libiscsi-bin
out=$IT_DIR/out

if [ "$IT_BACKEND" = cluster ]; then
	cluster_start --gateways 1
else
	cluster_start
fi
lun_create scsi 1024 1 || fail "cannot create the LUN"
wait_for 30 gw_ready 1 || fail "gateway 1 does not serve the LUN"
iscsi-test-cu --dataloss --Verbose-scsi ${SCSI_TEST:+--test="$SCSI_TEST"} "$(gw_url 1)" > "$out" 2>&1
rc=$?
[ "${IT_KEEP:-0}" != 1 ] || cp "$out" "$IT_DIR/scsi.out"

# Reasons follow their test's line; print test and reason once each.
awk '/^Suite: /{suite=$2} /^ *Test: /{test=$2; seen=0}
	/\[SKIPPED\]/{ sub(/.*\[SKIPPED\] */, ""); key=suite "." test
		if (!(key in done)) { done[key]=1; n++; print "skip " key ": " $0 } }
	END { print n+0 " tests skipped in part or whole" }' "$out"
awk '/Run Summary/,/Elapsed/' "$out"
set -- $(awk '$1 == "tests" && NF >= 6 {print $3, $5} $1 == "tests" && NF < 6 {print $3, $5}' "$out")
[ $# = 2 ] || fail "no run summary: exit code $rc; last lines: $(tail -n 3 "$out")"
if [ "$2" != 0 ]; then
	# The suite's own notes and CUnit's failed assertions, once each.
	grep -E '\[FAILED\]|^ *[0-9]+\. .*\.c:[0-9]+' "$out" | awk '!seen[$0]++' | head -n 60
	fail "$2 of $1 tests failed"
fi
[ "$1" -gt 0 ] || fail "no test ran"
say "ok: $1 tests ran, 0 failed"
