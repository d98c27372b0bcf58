#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# A small guest: Debian's kernel and an initramfs in QEMU (software emulation)
# with the LUN as virtio disk through QEMU's own iSCSI driver and gateway 1. It
# mounts the ext4 in the LUN, reads a file, writes one, syncs and powers off. The
# file is then there through gateway 2.
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
need qemu-system-x86_64 qemu-system-x86
need qemu-img qemu-utils
need busybox busybox-static
need debugfs e2fsprogs
GUEST_MIB=${GUEST_MIB:-64}
GUEST_SECONDS=${GUEST_SECONDS:-400}
kernel=$IT_CACHE/kernel
"$IT_ROOT/scripts/guest-kernel" "$kernel" || skip "no guest kernel (see above)"

# Initramfs: busybox, the modules of a virtio disk with ext4, and what to do.
ram=$IT_DIR/ram
mkdir -p "$ram/bin" "$ram/dev" "$ram/proc" "$ram/sys" "$ram/mnt"
cp "$(command -v busybox)" "$ram/bin/busybox"
version=$(ls "$kernel/modules")
dep=$kernel/modules/$version/modules.dep
: > "$ram/order"
# Dependencies first; modules.dep lists them nearest first.
for m in virtio_pci virtio_blk crc32c_generic ext4; do
	grep -E "(^|/)$m\.ko[^:]*:" "$dep" | head -n 1 | tr -d ':' | tr ' ' '\n' | grep . |
		awk '{l[NR]=$0} END {for (i = NR; i > 0; i--) print l[i]}'
done | awk '!seen[$0]++' | while read -r m; do
	cp "$kernel/modules/$version/$m" "$ram/bin/$(basename "$m")" && basename "$m" >> "$ram/order"
done
[ -s "$ram/order" ] || fail "no modules found under $kernel/modules"
cat > "$ram/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
while read -r m; do
	insmod "/bin/$m" || echo "guest: insmod $m failed"
done < /order
for i in 1 2 3 4 5 6 7 8 9 10; do
	[ -b /dev/vda ] && break
	sleep 1
done
if mount -t ext4 /dev/vda /mnt; then
	if echo "$(cat /mnt/sum)  /mnt/from-host" | sha256sum -c -s; then
		echo "guest: read ok"
	fi
	dd if=/dev/urandom of=/mnt/from-guest bs=64k count=128 2> /dev/null
	sum=$(sha256sum /mnt/from-guest | cut -d' ' -f1)
	echo "$sum" > /mnt/from-guest.sum
	sync
	umount /mnt && echo "guest: wrote $sum"
fi
sync
poweroff -f
INIT
chmod +x "$ram/init"
(cd "$ram" && find . | busybox cpio -o -H newc 2> /dev/null | gzip -1) > "$IT_DIR/initrd" || fail "initramfs"

# The file system that lies in the LUN.
mkdir "$IT_DIR/fs"
head -c $((GUEST_MIB * 262144)) /dev/urandom > "$IT_DIR/fs/from-host"
sha256sum "$IT_DIR/fs/from-host" | cut -d' ' -f1 > "$IT_DIR/fs/sum"
truncate -s "${GUEST_MIB}M" "$IT_DIR/fs.raw"
mke2fs -q -t ext4 -m 0 -d "$IT_DIR/fs" "$IT_DIR/fs.raw" || fail "mke2fs"

cluster_start || fail "cluster does not start"
lun_create guest "$GUEST_MIB" 1 || fail "cannot create the LUN"
gw_wait
qemu-img convert -n -t writeback -f raw -O raw "$IT_DIR/fs.raw" "$(gw_url 1)" || fail "qemu-img convert"

say "guest starts"
timeout "$GUEST_SECONDS" qemu-system-x86_64 -accel tcg -m 256 -display none -no-reboot \
	-serial "file:$IT_DIR/console" -monitor none -nodefaults -net none \
	-kernel "$kernel/vmlinuz" -initrd "$IT_DIR/initrd" \
	-append "console=ttyS0 quiet panic=-1 mitigations=off" \
	-drive "file=$(gw_url 1),if=none,id=d0,format=raw,cache=none" \
	-device virtio-blk-pci,drive=d0 < /dev/null > "$IT_DIR/qemu.out" 2>&1
rc=$?
[ $rc = 0 ] || {
	tail -n 20 "$IT_DIR/qemu.out" "$IT_DIR/console" | cut -c1-200
	fail "QEMU: exit code $rc (124: the guest did not power off within $GUEST_SECONDS s)"
}
grep -a '^guest:' "$IT_DIR/console"
grep -aq '^guest: read ok' "$IT_DIR/console" || fail "the guest read other data than was written"
sum=$(sed -n 's/^guest: wrote \([0-9a-f]\{64\}\).*/\1/p' "$IT_DIR/console")
[ -n "$sum" ] || fail "the guest did not write: $(tail -n 5 "$IT_DIR/console")"

say "read through gateway 2"
qemu-img convert -f raw -O raw "$(gw_url 2)" "$IT_DIR/back.raw" || fail "reading back"
e2fsck -fn "$IT_DIR/back.raw" > "$IT_DIR/fsck.log" 2>&1 || {
	cat "$IT_DIR/fsck.log"
	fail "e2fsck -fn"
}
debugfs -R "dump /from-guest $IT_DIR/from-guest" "$IT_DIR/back.raw" 2> /dev/null
echo "$sum  $IT_DIR/from-guest" | sha256sum -c --quiet || fail "the guest's file differs through gateway 2"
say "ok: the guest's file is there through the other gateway"
