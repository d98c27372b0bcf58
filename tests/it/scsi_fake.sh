#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# The SCSI layer and the transport alone: tgtd over a gateway of RAM (tgtd-fake),
# no cluster. iscsi-test-cu, whole suite with --dataloss: 0 failed, with commands
# that end at once, in later turns, and mixed; then what the suite does not look
# at: errors of tgtadm, a LUN removed under load, stopping.
# SCSI_TEST=FAMILY[.SUITE[.TEST]]: only those.
set -u
IT_ROOT=$(cd "$(dirname "$0")/../.." && pwd)
B=${B:-build}
case $B in /*) ;; *) B=$IT_ROOT/$B ;; esac
# shellcheck source=tests/it/fake.sh
. "$IT_ROOT/tests/it/fake.sh"
ADDR=127.0.4.1
IQN=iqn.2011-06.org.vmstore:fake
command -v iscsi-test-cu > /dev/null || { echo "skipped: iscsi-test-cu not found (Debian package libiscsi-bin)"; exit 77; }
built tests/iscsi_raw
built tests/tgtd-fake tgtd-fake

lun() { # LUN VOLUME BSOPTS
	adm --op new --mode logicalunit --tid 1 --lun "$1" --bstype vmstore \
		--backing-store "$2" --bsopts "conf=$dir/conf;$3"
}
serve() { # VAR=VALUE...
	start "$@"
	target 1 "$IQN"
}
suite() { # LUN
	iscsi-test-cu --dataloss --Verbose-scsi ${SCSI_TEST:+--test="$SCSI_TEST"} "iscsi://$ADDR:$PORT/$IQN/$1" \
		> "$dir/out" 2>&1
	line=$(awk '$1 == "tests" && NF >= 6 {print $3, $5}' "$dir/out")
	# shellcheck disable=SC2086
	set -- $line
	[ $# = 2 ] || fail "no summary: $(tail -n 3 "$dir/out")"
	[ "$2" = 0 ] || { grep -B2 -A4 -E '^ +[0-9]+\. ' "$dir/out"; fail "$2 of $1 tests failed"; }
	[ "$1" -gt 0 ] || fail "no test ran"
	echo "ok: $1 tests, 0 failed"
}
refused() { # WORDS COMMAND...: must fail and say why
	words=$1
	shift
	! out=$("$@" 2>&1) || fail "'$*' succeeded"
	case $out in *"$words"*) ;; *) fail "'$*' says '$out', not '$words'" ;; esac
}

for p in 3 0 1; do
	echo "--- every op pending with FAKE_PENDING=$p"
	serve FAKE_PENDING=$p
	lun 1 disk "size=1G;write_ack=disk" || fail "new LUN"
	suite 1
	stop
	[ -z "${QUICK:-}" ] || break
done

echo "--- errors are told"
serve FAKE_PENDING=3 FAKE_ERROR_LBA=800
refused "does not exist" lun 1 nothing ""
refused "unknown option 'sice'" lun 1 disk "sice=1G"
refused "write_ack=fast" lun 1 disk "size=1G;write_ack=fast"
refused "multiple of 4K" lun 1 disk "size=1000"
refused "conf=" lun 1 disk "size=1G;conf"
refused "volume" lun 1 "a b" "size=1G"
lun 1 disk "size=64M" || fail "new LUN"
refused "already" lun 2 disk "size=64M"
refused "the same for all" adm --op new --mode logicalunit --tid 1 --lun 2 --bstype vmstore \
	--backing-store other --bsopts "size=64M;conf=/nonexistent"
if command -v qemu-io > /dev/null; then
	url=iscsi://$ADDR:$PORT/$IQN/1
	qemu-io -f raw -c 'write -P 7 0 1M' "$url" > /dev/null 2>&1 || fail "write"
	qemu-io -f raw -c 'read -P 7 0 256k' "$url" 2>&1 | grep -q 'read 262144' || fail "read"
	qemu-io -f raw -c 'read 384k 64k' "$url" 2>&1 | grep -qi 'error' || fail "a medium error is not told"
	echo "--- a LUN goes while it is used"
	lun 2 other "size=64M" || fail "second LUN"
	for i in 1 2 3; do
		(
			n=0
			while [ $n -lt 200 ]; do
				qemu-io -f raw -c 'aio_write -P 1 0 1M' -c 'aio_read 0 1M' -c aio_flush \
					"iscsi://$ADDR:$PORT/$IQN/2" > /dev/null 2>&1 || break
				n=$((n + 1))
			done
		) &
		load="${load:-} $!"
	done
	sleep 1
	adm --op delete --mode logicalunit --tid 1 --lun 2 || fail "delete under load"
	# shellcheck disable=SC2086
	wait $load
	kill -0 "$pid" || fail "tgtd-fake died"
	qemu-io -f raw -c 'read -P 7 0 4k' "$url" 2>&1 | grep -q 'read 4096' || fail "the other LUN"
fi

echo "--- a snapshot is a write-protected LUN with the contents of its volume"
refused "is a snapshot" lun 3 disk@s "size=64M"
refused "is a snapshot" lun 3 disk@s "write_ack=disk"
refused "snapshot name" lun 3 disk@ ""
refused "does not exist" lun 3 nothing@s ""
lun 3 disk@s "" || fail "new LUN"
adm --op show --mode target | grep -A20 'LUN: 3' | grep -q 'Readonly: Yes' || fail "tgtd does not call it read-only"
SCSI_TEST=SCSI.ReadOnly suite 3
! grep -q SKIPPED "$dir/out" || fail "the test was skipped"
if command -v qemu-io > /dev/null; then
	qemu-io -r -f raw -c 'read -P 7 0 4k' "iscsi://$ADDR:$PORT/$IQN/3" 2>&1 | grep -q 'read 4096' || fail "read of the snapshot"
fi

echo "--- a write-protected LUN"
adm --op update --mode logicalunit --tid 1 --lun 1 --params readonly=1 || fail "readonly=1"
refused_param() { # TEXT PARAMS
	out=$(adm --op update --mode logicalunit --tid 1 --lun 1 --params "$2" 2>&1) && fail "$2 was taken"
	case $out in *"$1"*) ;; *) fail "$2: '$1' is not in: $out" ;; esac
}
refused_param "comes from the volume's UUID" scsi_sn=X
refused_param "make it anew" path=other
refused_param "has no parameter 'nonesuch'" nonesuch=1
adm --op update --mode logicalunit --tid 1 --lun 1 --params vendor_id=ACME || fail "vendor_id"
iscsi-inq "iscsi://$ADDR:$PORT/$IQN/1" | grep -q 'ACME' || fail "INQUIRY tells another vendor"
SCSI_TEST=SCSI.ReadOnly suite 1
! grep -q SKIPPED "$dir/out" || fail "the test was skipped"
stop

echo "--- space gets short"
export FAKE_WARNINGS="$dir/warnings"
serve FAKE_PENDING=0
lun 1 disk "size=64M" || fail "new LUN"
"$B/tests/iscsi_raw" "$ADDR" "$PORT" "$IQN" 1 thin-warning || fail "warnings"
stop
unset FAKE_WARNINGS

echo "ok"
