#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Tools on two machines that have one host name: two gateways, neither in the other's way.
# A machine is a namespace with a name, a machine-id and a run_dir of its own.
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "needs scripts/cluster"
need unshare util-linux
[ "$(id -u)" = 0 ] || skip "needs root for namespaces"

cluster_start --partitions 64 --log-size 64M || fail "cluster does not start"
cd "$IT_DIR" || exit 1
for m in 1 2; do
	cp -a /etc etc$m || fail "no copy of /etc"
	rm -f etc$m/machine-id # it may be a link
	echo "${m}d1219c7c4c5404aaa1f6d2a48adfda4" > etc$m/machine-id
	sed "s|^run_dir = .*|run_dir = $IT_DIR/run$m|" "$("$IT_CLUSTER" conf "$IT_DIR/c")" > conf$m
done
on() { # MACHINE COMMAND…: `vmstore COMMAND` there, by one process
	on_m=$1
	shift
	# shellcheck disable=SC2016
	exec unshare --mount --uts --propagation private sh -c '
		hostname onename && mount --bind "$1/etc$2" /etc || exit 99
		[ ! -e /var/lib/dbus ] || mount -t tmpfs none /var/lib/dbus || exit 99
		m=$2 dir=$1 prog=$3
		shift 3
		exec "$prog" -c "$dir/conf$m" "$@"' sh "$IT_DIR" "$on_m" "$B/bin/vmstore" "$@"
}
(on 1 volume ls) > /dev/null 2>&1
[ $? != 99 ] || skip "namespaces are not allowed here"

head -c 40M /dev/urandom > pattern.raw
for m in 1 2; do (on $m import pattern.raw v$m) > /dev/null || fail "import on machine $m"; done

# Both at once: a gateway that takes the name of another shuts it out.
for m in 1 2; do
	on $m export v$m out$m.raw --limit 8M > export$m.log 2>&1 &
	eval "pid$m=$!"
	IT_PIDS="$IT_PIDS $!"
	wait_for 60 test -s out$m.raw.part || fail "no export on machine $m: $(cat export$m.log)"
done
(on 1 gateway ls) > ls || fail "gateway ls: $(cat ls)"
# shellcheck disable=SC2154
alive "$pid1" && alive "$pid2" || fail "one has ended: $(cat export1.log export2.log)"
[ "$(grep -cE ' tool-onename-[0-9a-f]{8}-1 .* v[12]$' ls)" = 2 ] || fail "not two tools: $(cat ls)"
wait "$pid1" || fail "the first export: $(cat export1.log)"
wait "$pid2" || fail "the second export: $(cat export2.log)"
for m in 1 2; do cmp pattern.raw out$m.raw || fail "export on machine $m"; done
say "two machines of one name export at the same time"

# Without a machine-id the name is that of earlier versions. What such a tool, killed, has
# left open is this machine's still when it has an id.
mv etc1/machine-id id
on 1 export v1 killed.raw --limit 8M > export1.log 2>&1 &
pid1=$!
IT_PIDS="$IT_PIDS $!"
wait_for 60 test -s killed.raw.part || fail "no export: $(cat export1.log)"
(on 2 gateway ls) > ls
grep -qE ' tool-onename-1 .* v1$' ls || fail "no tool without an id: $(cat ls)"
kill -9 $pid1
wait $pid1 2> /dev/null
mv id etc1/machine-id
(on 1 export v1 killed.raw) > export1.log 2>&1 || fail "an export after one that was killed: $(cat export1.log)"
cmp pattern.raw killed.raw || fail "export after one that was killed"
say "ok"
