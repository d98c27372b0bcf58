#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# A whole Debian boots from the LUN: BIOS, GRUB, kernel, systemd, login prompt on
# the serial console, in QEMU (software emulation) through its own iSCSI driver
# and gateway 1. Root logs in, writes a file, syncs, powers off; the file is there
# through gateway 2. The guest's I/O is recorded with `vmstore trace` for
# `vmstore-bench boot` (up to the login prompt: build/cache/boot.trace.gz, as shipped in
# utils/bench/traces, doc/boot-trace.md).
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
need qemu-system-x86_64 qemu-system-x86
need qemu-img qemu-utils
need debootstrap debootstrap
need debugfs e2fsprogs
GUEST_SECONDS=${GUEST_SECONDS:-600}
"$IT_ROOT/scripts/guest-root" "$IT_CACHE/root" || skip "no guest root file system (see above)"
disk=$IT_CACHE/root/disk.raw
mib=$(($(stat -c %s "$disk") / 1048576))

cluster_start || fail "cluster does not start"
lun_create guestfull "$mib" 1 || fail "cannot create the LUN"
gw_wait
say "write the disk ($mib MiB, $(du -sm "$disk" | cut -f1) used) through gateway 1"
qemu-img convert -n -t writeback -f raw -O raw "$disk" "$(gw_url 1)" || fail "qemu-img convert"

trace=""
if [ "$IT_BACKEND" = cluster ]; then
	trace_start guestfull "$IT_DIR/boot.trace" || fail "vmstore trace"
	trace=$IT_DIR/boot.trace
fi
mkfifo "$IT_DIR/tty.in" "$IT_DIR/tty.out"
console=$IT_DIR/console
: > "$console"
say "guest starts"
background timeout "$GUEST_SECONDS" qemu-system-x86_64 -accel tcg -m 512 -display none -no-reboot \
	-monitor none -nodefaults -net none \
	-chardev "pipe,id=tty,path=$IT_DIR/tty" -serial chardev:tty \
	-drive "file=$(gw_url 1),if=none,id=d0,format=raw,cache=none,discard=unmap" \
	-device virtio-blk-pci,drive=d0,bootindex=0 > "$IT_DIR/qemu.out" 2>&1 < /dev/null
qemu=$!
cat "$IT_DIR/tty.out" >> "$console" &
IT_PIDS="$IT_PIDS $!"
exec 3> "$IT_DIR/tty.in"

wait_text() { # TEXT SECONDS
	wt_n=$2
	until grep -aq -- "$1" "$console"; do
		wt_n=$((wt_n - 1))
		if [ $wt_n -le 0 ] || ! alive $qemu; then
			tail -n 15 "$console" "$IT_DIR/qemu.out" | cut -c1-200
			fail "the guest's console never showed '$1'"
		fi
		sleep 1
	done
}

wait_text 'guest login:' "$GUEST_SECONDS"
say "login prompt"
if [ -n "$trace" ]; then
	sleep 1 # what belongs to the boot has been told by now
	{
		echo "# A boot of Debian 12 (BIOS, GRUB, kernel, initramfs, systemd, login prompt) from a"
		echo "# disk of $mib MiB in QEMU (software emulation, virtio-blk, cache=none), recorded at a"
		echo "# VMStore gateway by tests/it/guest_full.sh; the disk is that of scripts/guest-root."
		echo "# Format: doc/boot-trace.md."
		awk '!n++ {t = $1} {$1 -= t; print}' "$trace"
	} | gzip -9n > "$IT_CACHE/boot.trace.gz"
fi
printf 'root\n' >&3
wait_text 'root@guest' 60
# The echo of the command must not look like its result.
cat >&3 <<'CMD'
dd if=/dev/urandom of=/root/from-guest bs=64k count=256 2> /dev/null; sync; echo "SUM""=$(sha256sum < /root/from-guest | cut -c1-64)"; sync
CMD
wait_text 'SUM=[0-9a-f]\{64\}' 120
sum=$(sed -n 's/.*SUM=\([0-9a-f]\{64\}\).*/\1/p' "$console" | head -n 1)
printf 'poweroff\n' >&3
wait $qemu
rc=$?
exec 3>&-
[ $rc = 0 ] || fail "QEMU: exit code $rc (124: not powered off within $GUEST_SECONDS s)"
say "guest wrote $sum and powered off"
if [ -n "$trace" ]; then
	trace_stop
	[ -s "$trace" ] || fail "vmstore trace recorded nothing"
	say "trace: $(wc -l < "$trace") requests, $(awk '$2 == "R" {s += $4} END {print int(s / 1e6)}' "$trace") MB read"
fi

say "read through gateway 2"
qemu-img convert -f raw -O raw "$(gw_url 2)" "$IT_DIR/back.raw" || fail "reading back"
dd if="$IT_DIR/back.raw" of="$IT_DIR/fs.raw" bs=1M skip=1 conv=sparse status=none
truncate -s $((mib - 2))M "$IT_DIR/fs.raw"
rm -f "$IT_DIR/back.raw"
e2fsck -fn "$IT_DIR/fs.raw" > "$IT_DIR/fsck.log" 2>&1 || {
	cat "$IT_DIR/fsck.log"
	fail "e2fsck -fn"
}
debugfs -R "dump /root/from-guest $IT_DIR/from-guest" "$IT_DIR/fs.raw" 2> /dev/null
echo "$sum  $IT_DIR/from-guest" | sha256sum -c --quiet || fail "the guest's file differs through gateway 2"
say "ok: Debian booted from the LUN; its file is there through the other gateway"
