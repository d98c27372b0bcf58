#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# make install: what it puts where, units that systemd takes and that start without
# files an admin need not have, a second time without touching what was edited.
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
need make make
need scdoc scdoc

dest=$IT_DIR/dest
install() {
	make -C "$IT_ROOT" B="${B#"$IT_ROOT"/}" DESTDIR="$dest" PREFIX=/usr SYSCONFDIR=/etc install > "$IT_DIR/log" 2>&1 ||
		fail "make install: $(tail -n 5 "$IT_DIR/log")"
}
install
for f in sbin/vmstored sbin/vmstore sbin/vmstore-ring sbin/tgtd sbin/tgtadm sbin/tgt-admin bin/vmstore-bench; do
	[ -x "$dest/usr/$f" ] || fail "$f is not installed"
done
for f in vmstored.8 tgtd.8 vmstore.8 vmstore-ring.8 vmstore.conf.5 vmstore-bench.1; do
	[ -s "$dest/usr/share/man/man${f##*.}/$f" ] || fail "no manual page $f"
done
# what each program reads when it is told nothing, or by its unit
for f in vmstore catalog vmstored gateway; do
	[ -s "$dest/etc/vmstore/$f.conf" ] || fail "no /etc/vmstore/$f.conf"
done
"$dest/usr/sbin/vmstore" --version > /dev/null || fail "the installed program does not run"

# ---- units ----
units=$dest/usr/lib/systemd/system
! grep -rn '@' "$units" || fail "a unit with a place that was not filled in"
# the journal's files exist in this root as they would in /
sed -n 's/^Exec[A-Za-z]*=-*\(\/[^ ]*\).*/\1/p; s/.* -c \(\/[^ ]*\.conf\).*/\1/p; s/^Environment=VMSTORE_CONF=//p' "$units"/*.service |
	sort -u | while read -r f; do
	[ -e "$dest$f" ] || [ "$f" = /bin/sh ] || fail "a unit names $f, which is not installed"
done || exit 1
if command -v systemd-analyze > /dev/null; then
	for f in vmstored vmstore-catalog vmstore-gateway; do
		cp "$units/$f.service" "$IT_DIR/$f.service"
		sed -i "s|=/usr/sbin/|=$dest/usr/sbin/|" "$IT_DIR/$f.service"
	done
	systemd-analyze --man=no verify "$IT_DIR"/*.service > "$IT_DIR/verify" 2>&1
	! grep -E "^$IT_DIR|Unknown|Failed to" "$IT_DIR/verify" || fail "systemd does not take a unit"
fi
# Behind the start of a gateway: nothing to tell tgtd is no failure.
post=$(sed -n "s/^ExecStartPost=-\/bin\/sh -c '\(.*\)'$/\1/p" "$units/vmstore-gateway.service")
[ -n "$post" ] || fail "the gateway's unit has no ExecStartPost=- of the expected form"
if [ ! -e /etc/tgt/targets.conf ]; then
	sh -c "$post" || fail "without /etc/tgt/targets.conf the gateway's unit fails"
fi

# ---- again ----
echo '# mine' >> "$dest/etc/vmstore/vmstored.conf"
install
tail -n 1 "$dest/etc/vmstore/vmstored.conf" | grep -qx '# mine' || fail "make install replaced an edited configuration"
say "ok: programs, pages, samples, units"
