#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# make install: what it puts where, units that systemd takes and that start without
# files an admin need not have, a second time without touching what was edited.
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
need make make
need scdoc scdoc

dest=$IT_DIR/dest
make_it() { # install or uninstall
	make -C "$IT_ROOT" B="${B#"$IT_ROOT"/}" DESTDIR="$dest" PREFIX=/usr SYSCONFDIR=/etc "$1" > "$IT_DIR/log" 2>&1 ||
		fail "make $1: $(tail -n 5 "$IT_DIR/log")"
}
make_it install
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
# where bash-completion looks for them (tests/it/completion.sh: what it offers)
for f in vmstore vmstore-ring; do
	grep -qE "^complete .* $f( |\$)" "$dest/usr/share/bash-completion/completions/$f" || fail "no completion of $f"
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
		sed -i "s|=/usr/sbin/|=$dest/usr/sbin/|; s|=-/usr/lib/|=-$dest/usr/lib/|" "$IT_DIR/$f.service"
	done
	systemd-analyze --man=no verify "$IT_DIR"/*.service > "$IT_DIR/verify" 2>&1
	! grep -E "^$IT_DIR|Unknown|Failed to" "$IT_DIR/verify" || fail "systemd does not take a unit"
fi
# Behind the start of a gateway: what targets.conf has for its tgtd, and never the targets
# themselves, which are the cluster's (tests/it/config.sh does it with a real one).
post=$dest$(sed -n "s/^ExecStartPost=-//p" "$units/vmstore-gateway.service")
[ -x "$post" ] || fail "the gateway's unit has no ExecStartPost=- that is installed"
mkdir "$IT_DIR/stub"
printf '#!/bin/sh\nexit 0\n' > "$IT_DIR/stub/tgtadm"
# shellcheck disable=SC2016
printf '#!/bin/sh\necho "asked $*" >> "$STUB"\n[ "$1" = -C ] && shift 2\ncat "$2" >> "$STUB"\n' > "$IT_DIR/stub/tgt-admin"
chmod +x "$IT_DIR/stub/tgtadm" "$IT_DIR/stub/tgt-admin"
after() { # FILE ARG...: what it says goes to said, what tgt-admin gets to got
	af_file=$1
	shift
	: > "$IT_DIR/got"
	STUB=$IT_DIR/got PATH="$IT_DIR/stub:$PATH" VMSTORE_CONF=$IT_DIR/gw.conf VMSTORE_TARGETS=$af_file \
		"$post" "$@" > "$IT_DIR/said" 2>&1 || fail "$af_file: $(cat "$IT_DIR/said")"
}
cp "$dest/etc/vmstore/gateway.conf" "$IT_DIR/gw.conf"
cat > "$IT_DIR/targets.conf" << END
# of an earlier time
include /etc/tgt/conf.d/*.conf
default-driver iscsi
  <Target iqn.2026-01.org.example:gone>
	backing-store vm1
  </target>
incomingdiscoveryuser scout 123456789012
END
after "$IT_DIR/nonesuch"
[ ! -s "$IT_DIR/got" ] || fail "without a file tgt-admin runs"
after "$IT_DIR/targets.conf" -C 2
grep -q '^asked -C 2 ' "$IT_DIR/got" && grep -q '^incomingdiscoveryuser scout' "$IT_DIR/got" &&
	grep -q '^default-driver' "$IT_DIR/got" || fail "tgt-admin is not told what is the tgtd's own: $(cat "$IT_DIR/got")"
! grep -Eiq 'target iqn|backing-store|^include' "$IT_DIR/got" || fail "tgt-admin is told targets: $(cat "$IT_DIR/got")"
grep -q 'left out:.*iqn.2026-01.org.example:gone' "$IT_DIR/said" || fail "nothing is said: $(cat "$IT_DIR/said")"
sed '/discovery/d; /default/d' "$IT_DIR/targets.conf" > "$IT_DIR/only.conf"
after "$IT_DIR/only.conf"
[ ! -s "$IT_DIR/got" ] || fail "targets alone: $(cat "$IT_DIR/got")"
sed -i 's/^#* *shared_config.*/shared_config = off/' "$IT_DIR/gw.conf"
grep -qx 'shared_config = off' "$IT_DIR/gw.conf" || fail "no shared_config in gateway.conf"
after "$IT_DIR/targets.conf"
sed 1d "$IT_DIR/got" | cmp -s - "$IT_DIR/targets.conf" || fail "a tgtd with targets of its own does not get them all: $(cat "$IT_DIR/got")"

# ---- again ----
echo '# mine' >> "$dest/etc/vmstore/vmstored.conf"
make_it install
tail -n 1 "$dest/etc/vmstore/vmstored.conf" | grep -qx '# mine' || fail "make install replaced an edited configuration"

# ---- and away ----
: > "$dest/usr/sbin/another"
: > "$dest/etc/vmstore/secrets.key"
make_it uninstall
[ "$(cd "$dest" && find . ! -type d | sort | tr '\n' ' ')" = "./etc/vmstore/secrets.key ./etc/vmstore/vmstored.conf ./usr/sbin/another " ] ||
	fail "make uninstall leaves $(cd "$dest" && find . ! -type d)"
grep -q 'vmstored.conf was edited' "$IT_DIR/log" || fail "nothing is said of the file that stays"
rm "$dest/etc/vmstore/secrets.key" "$dest/etc/vmstore/vmstored.conf"
make_it install
make_it uninstall
make_it uninstall
left=$(cd "$dest" && find . -name '*vmstore*')
[ -z "$left" ] || fail "make uninstall leaves $left"
say "ok: programs, pages, samples, units, completion, and all of it away again"
