#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# A real disk image: a file system holding IMG_MIB (1024) of the machine's own
# files is written through gateway 1, compared and checked through gateway 2;
# again after kill -9 of every process and a restart.
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-utils
need mke2fs e2fsprogs
IMG_MIB=${IMG_MIB:-1024}
files=$IT_DIR/files
raw=$IT_DIR/image.raw

# Files of /usr, in a fixed order, up to nine tenths of the image.
mkdir "$files"
find /usr -xdev -type f -size -65536k -printf '%s %P\n' 2> /dev/null | sort -k2 |
	awk -v max=$((IMG_MIB * 1048576 * 9 / 10)) '
		{ n = int(($1 + 4095) / 4096) * 4096 + 512; if (sum + n > max) exit
		  sum += n; sub(/^[0-9]+ /, ""); print }' > "$IT_DIR/list"
[ -s "$IT_DIR/list" ] || fail "no files found under /usr"
tar -C /usr -cf - --no-recursion -T "$IT_DIR/list" | tar -C "$files" -xf - || fail "copying files"
say "$(wc -l < "$IT_DIR/list") files, $(du -sm "$files" | cut -f1) MiB"
inodes=$(($(wc -l < "$IT_DIR/list") * 5 / 4 + 4096))
truncate -s "${IMG_MIB}M" "$raw"
mke2fs -q -t ext4 -m 0 -N "$inodes" -d "$files" "$raw" || fail "mke2fs -d"
rm -rf "$files"

cluster_start || fail "cluster does not start"
lun_create image "$IMG_MIB" 1 || fail "cannot create the LUN"
gw_wait

check_through() { # GATEWAY
	say "compare through gateway $1"
	qemu-img compare -f raw -F raw "$raw" "$(gw_url "$1")" ||
		fail "qemu-img compare: the LUN differs through gateway $1"
}

say "write through gateway 1"
qemu-img convert -n -t writeback -f raw -O raw "$raw" "$(gw_url 1)" || fail "qemu-img convert"
check_through 2
say "kill -9 of every process, restart"
cluster_kill
cluster_start || fail "cluster does not start again"
gw_wait
check_through 2
check_through 1
say "read back through gateway 2"
qemu-img convert -T none -f raw -O raw "$(gw_url 2)" "$IT_DIR/back.raw" ||
	qemu-img convert -f raw -O raw "$(gw_url 2)" "$IT_DIR/back.raw" || fail "reading back"
cmp "$raw" "$IT_DIR/back.raw" || fail "what was read back differs"
e2fsck -fn "$IT_DIR/back.raw" > "$IT_DIR/fsck.log" 2>&1 || {
	cat "$IT_DIR/fsck.log"
	fail "e2fsck -fn"
}
say "ok: $IMG_MIB MiB identical through both gateways, before and after the kill; e2fsck clean"
