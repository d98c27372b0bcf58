#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# A node joins from a machine (a network namespace) that knows a gateway and nothing else,
# also when that gateway knows the catalog as 127.0.0.1 of its own machine.
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "needs scripts/cluster"
need ip iproute2
[ "$(id -u)" = 0 ] || skip "needs root for a network namespace"
n=$(($$ % 250 + 1)) m=$(($$ / 250 % 250))
here=10.$n.$m.1 there=10.$n.$m.2 ns=vmsvia$$
via_cleanup() {
	ip netns del $ns 2> /dev/null
	ip link del vmsv$$ 2> /dev/null
}
ip netns add $ns 2> /dev/null || skip "network namespaces are not allowed here"
trap 'via_rc=$?; via_cleanup; (exit $via_rc); it_cleanup' EXIT
ip link add vmsv$$ type veth peer name vmsw$$ && ip link set vmsw$$ netns $ns &&
	ip addr add $here/30 dev vmsv$$ && ip link set vmsv$$ up &&
	ip -n $ns addr add $there/30 dev vmsw$$ && ip -n $ns link set vmsw$$ up &&
	ip -n $ns link set lo up || skip "no pair of network devices"
far() { ip netns exec $ns "$@"; }
gateway=$here:$((IT_PORT + 19))

cluster_start --host $here --partitions 64 --log-size 64M || fail "cluster does not start"
cat > "$IT_DIR/far.conf" << END
[cluster]
catalog = $here:$IT_PORT
run_dir = $IT_DIR/farrun
[node]
name = far
dir = $IT_DIR/far
listen = $there:7601
log_size = 16M
END
ip netns exec $ns "$B/bin/vmstored" -c "$IT_DIR/far.conf" > "$IT_DIR/far.log" 2>&1 &
IT_PIDS="$IT_PIDS $!"
far "$B/bin/vmstore-ring" --via "$gateway" join --wait-start 1min --timeout 2min "$there:7601" ||
	fail "join by way of a gateway: $(cat "$IT_DIR/far.log")"
holds() { far "$B/bin/vmstore-ring" --via "$gateway" status --json | grep -q '"name": "far"'; }
holds || fail "status by way of a gateway"

# ---- 127.0.0.1 of the gateway's machine ----
sed -i "s/^listen = .*/listen = 0.0.0.0:$IT_PORT/" "$IT_DIR/c/conf/catalog.conf"
sed -i "s/^catalog = .*/catalog = 127.0.0.1:$IT_PORT/" "$IT_DIR/c/conf/gw1.conf"
"$IT_CLUSTER" restart "$IT_DIR/c" catalog > /dev/null || fail "the catalog does not start again"
"$IT_CLUSTER" restart "$IT_DIR/c" gw1 > /dev/null || fail "gw1 does not start again"
wait_for 20 holds || fail "a gateway whose catalog is on its own machine: $(far "$B/bin/vmstore-ring" --via "$gateway" status 2>&1)"
"$B/bin/vmstore-ring" --via "$gateway" set > /dev/null || fail "the same on that machine"
say "ok: a node joined through a gateway"
