#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# A LUN changes while two gateways serve it under load: it grows, shrinks (with and
# without snapshots), is write-protected, rolled back. When the command returns it is so
# on both, and each session has been told, once (tests/it/luwatch.c).
# LUCHANGE_KILLS=N  instead: N resizes, each killed at a random moment, under load
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "needs a cluster"
vms="$B/bin/vmstore -c $IT_DIR/c/conf/gw1.conf"
mib() { echo $(($1 << 20)); }
watch() { # OPTIONS -- COMMAND...
	w_opts=""
	while [ "$1" != -- ]; do
		w_opts="$w_opts $1"
		shift
	done
	shift
	pauses_begin
	w_stood=$(stood)
	# shellcheck disable=SC2086
	"$B/tests/luwatch" $w_opts "$(gw_url 1)" "$(gw_url 2)" -- "$@" > "$IT_DIR/watch.log" 2>&1 && return
	# A gateway that stood still, as the machine did, has closed its sessions: they are told that
	# they are new ones, and then what is expected, or not. All else must be as ever, and is.
	[ "$(stood)" -gt "$w_stood" ] && machine_stood &&
		only_new "$(echo "$w_opts" | sed -n 's/.*--expect \([^ ]*\).*/\1/p')" "$IT_DIR/watch.log" ||
		fail "$*: $(cat "$IT_DIR/watch.log")"
	say "not judged what sessions are told, the machine stood still for $stood_ms ms: $*"
}
# Did it, since pauses_begin? A gateway that stood still by itself is no excuse.
machine_stood() {
	pauses_end
	stood_ms=$("$B/tests/tools/pauses" sum "$IT_DIR/pauses" 0 999999999999999) || fail "the pauses of the machine are not known"
	stood_ms=${stood_ms#* }
	[ "$stood_ms" -ge "$STOOD_STILL_MS" ]
}
# Nothing is said to be wrong but that sessions are told they are new, and of each code that is
# expected once at most.
only_new() { # CODES LOG
	grep -q '^luwatch: .* is told:' "$2" &&
		! grep '^luwatch: ' "$2" | grep -qvE " is told: 2900( ($(echo "${1:-none}" | tr , '|')))*\$" &&
		! grep -qE '^luwatch: .* is told:.* ([0-9a-f]{4})( .*)? \1( |$)' "$2"
}
log_of() { printf 'luwatch: session 1 at iscsi://127.0.2.1:1/iqn/1: is told:%s\n' "$@" > "$IT_DIR/told"; }
log_of " 2900 2800 2a09" " 2900" && only_new 2a09,2800 "$IT_DIR/told" || fail "new sessions that are told what they may be"
for t in "" " 2a09" " 2900 2a09 2a09" " 2900 3f0e" " 2900 2a09 2900"; do
	log_of " 2900" "$t"
	! only_new 2a09 "$IT_DIR/told" || fail "it passes that a session is told:$t"
done
stood() { cat "$IT_DIR/c/log"/gw?.log | grep -c 'closing all connections of initiators: this gateway stood still'; }
look() { "$B/tests/luwatch" "$@" "$(gw_url 1)" "$(gw_url 2)" -- || fail "luwatch $*"; }

# Sets the parameter of the LUN and waits until both gateways have it.
cat > "$IT_DIR/lun_readonly" << END
#!/bin/sh
$vms target set $IT_IQN --lun 1 readonly=\$1 || exit 1
n=0
for g in 1 2; do
	until "$IT_CLUSTER" tgtadm "$IT_DIR/c" \$g --op show --mode target | grep -A20 'LUN: 1\$' | grep -q "Readonly: \$2"; do
		n=\$((n + 1))
		[ \$n -lt 100 ] || exit 1
		sleep 0.1
	done
done
END
chmod +x "$IT_DIR/lun_readonly"

cluster_start --partitions 64 || fail "cluster does not start"
lun_create v 64 1 || fail "cannot create the LUN"
gw_wait
# Gives it a product name and waits until both gateways tell it.
cat > "$IT_DIR/lun_product" << END
#!/bin/sh
$vms target set $IT_IQN --lun 1 product_id=\$1 || exit 1
n=0
for url in $(gw_url 1) $(gw_url 2); do
	until iscsi-inq \$url | grep -q "^Product:\${1:-VMStore disk} *\$"; do
		n=\$((n + 1))
		[ \$n -lt 100 ] || exit 1
		sleep 0.1
	done
done
END
chmod +x "$IT_DIR/lun_product"

# ---- under verified load: no command is lost, torn or wrong ----
background "$BENCH" verify --span 16M --state "$IT_DIR/state" --fresh --seconds 100000 \
	--sessions 4 --depth 4 --zero 10 --caw 10 "$(gw_url 1)" "$(gw_url 2)" > "$IT_DIR/verify.out" 2>&1
verify=$!
sleep 1
if [ "${LUCHANGE_KILLS:-0}" -gt 0 ]; then
	i=0
	while [ $i -lt "$LUCHANGE_KILLS" ]; do
		i=$((i + 1))
		[ $i != $((LUCHANGE_KILLS / 2)) ] || $vms snap create v@k > /dev/null || fail "snapshot"
		size=$((24 + $(random_below 100)))
		# shellcheck disable=SC2086
		timeout -s KILL "0.0$(random_below 6)$(random_below 10)" $vms volume resize v ${size}M --allow-shrink > /dev/null 2>&1
		alive $verify || break
		[ $((i % 5)) != 0 ] || {
			# shellcheck disable=SC2086
			$vms volume resize v ${size}M --allow-shrink > /dev/null || fail "kill $i: resize to $size MiB"
			look --bytes "$(mib $size)"
			say "$i killed, $size MiB"
		}
	done
	alive $verify || fail "verify: $(tail -n 5 "$IT_DIR/verify.out")"
	kill -TERM $verify
	wait $verify || fail "verify: exit code $?: $(tail -n 20 "$IT_DIR/verify.out")"
	say "ok: $LUCHANGE_KILLS resizes killed, nothing lost"
	exit 0
fi
# shellcheck disable=SC2086
{
	watch --expect 2a09 --bytes "$(mib 96)" -- $vms volume resize v 96M
	refuses "say --allow-shrink" $vms volume resize v 32M
	watch --bytes "$(mib 96)" -- $vms volume resize v 96M
	watch --expect 2a09 --bytes "$(mib 40)" -- $vms volume resize v 40M --allow-shrink
	watch --expect 2a09 --bytes "$(mib 80)" --block 122880:0 -- $vms volume resize v 80M
	$vms snap create v@s > /dev/null || fail "snapshot"
	watch --expect 2a09 --bytes "$(mib 48)" -- $vms volume resize v 48M --allow-shrink
	say "resized under load"
	alive $verify || fail "verify: $(tail -n 5 "$IT_DIR/verify.out")"
	kill -TERM $verify
	wait $verify || fail "verify: exit code $?: $(tail -n 20 "$IT_DIR/verify.out")"
	for g in 1 2; do
		"$BENCH" verify --check-only --quiet --state "$IT_DIR/state" "$(gw_url $g)" || fail "check through gateway $g"
	done

	# ---- write protection ----
	watch --expect 2a01 --wp 1 -- $vms volume set v read-only=on
	watch --wp 1 -- $vms volume set v read-only=on
	[ "$($vms volume info v --json | tr -d ' ,' | grep read_only)" = '"read_only":true' ] || fail "info: $($vms volume info v --json)"
	watch --expect 2a01 --wp 0 -- $vms volume set v read-only=off
	# of the LUN alone
	watch --expect 2a01 --wp 1 -- "$IT_DIR/lun_readonly" 1 Yes
	watch --wp 1 -- $vms volume resize v 48M
	watch --expect 2a01 --wp 0 -- "$IT_DIR/lun_readonly" 0 No
	say "write-protected and not"
	watch --expect 3f03 --wp 0 -- "$IT_DIR/lun_product" Other
	watch --expect 3f03 --wp 0 -- "$IT_DIR/lun_product" ""
	say "another product name and back"

	# ---- rolled back while it is open ----
	one=iscsi://$("$IT_CLUSTER" portal "$IT_DIR/c" 1)/$IT_IQN/1
	write() { "$B/tests/luwatch" --fill "$1" "$one" -- || fail "writing"; }
	write 65536:11
	$vms snap create v@a > /dev/null || fail "snapshot"
	write 65536:22
	look --block 65536:22
	refuses "open on gateway" $vms snap rollback v@a --yes
	watch --expect 2800 --block 65536:11 --wp 0 -- $vms snap rollback v@a --yes --online
	write 65536:33
	look --block 65536:33
	# to another size
	watch --expect 2800,2a09 --bytes "$(mib 80)" -- $vms snap rollback v@s --yes --online
	look --block 65536:0
	say "rolled back"

	# ---- one gateway stands still: it is shut out, and finds it changed when it wakes up ----
	kill -STOP "$(proc_pid gw2)"
	$vms volume resize v 100M > /dev/null || fail "resize with a gateway that stands still"
	kill -CONT "$(proc_pid gw2)"
	told() { grep -q "shut out while it stood still" "$IT_DIR/c/log/gw2.log"; }
	wait_for 30 told || fail "gateway 2 does not say why it ends: $(tail -n 2 "$IT_DIR/c/log/gw2.log")"
}
back() { cluster_start > /dev/null 2>&1 && gw_ready 2; }
wait_for 30 back || fail "gateway 2 does not come back"
look --bytes "$(mib 100)"
# one is dead, and comes back
proc_kill gw2
# shellcheck disable=SC2086
$vms volume resize v 128M > /dev/null || fail "resize with a dead gateway"
cluster_start > /dev/null || fail "gateway 2 does not start again"
gw_wait
look --bytes "$(mib 128)"
say "ok: changes of a LUN are seen on both gateways, once"
