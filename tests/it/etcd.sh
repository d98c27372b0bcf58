#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# The catalog on a real etcd of three members, with TLS: the cases that every catalog
# has; vmstore-bench verify while members are killed and stopped, the leader too, also
# together with a node (I/O goes on within 12 s), and the configuration is changed; a catalog that is lost and restored from the nodes'
# copies; the move from the embedded catalog under load.
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "needs scripts/cluster"
need etcd etcd-server
need etcdctl etcd-client
need openssl openssl
state=$IT_DIR/state
conf=$IT_DIR/c/conf/gw1.conf
ring() { "$B/bin/vmstore-ring" -c "$conf" "$@"; }
vmstore() { "$B/bin/vmstore" -c "$conf" "$@"; }
cl() { "$IT_CLUSTER" "$@"; }

load_start() { # verified load through both gateways
	background "$BENCH" verify --span 64M --state "$state" --fresh --seconds 100000 --sessions 4 \
		--depth 4 "$(gw_url 1)" "$(gw_url 2)" > "$IT_DIR/verify.out" 2>&1
	verify=$!
	pauses_begin
	sleep 1
}
load_end() { # MS: the longest time without an answer
	alive $verify && kill -TERM $verify
	wait $verify
	le_rc=$?
	grep -E 'WRONG|error|verify:|any longest' "$IT_DIR/verify.out" | cut -c1-300 | tail -n 5
	[ $le_rc = 0 ] || fail "vmstore-bench verify: exit code $le_rc"
	# shellcheck disable=SC2046
	set -- "$1" $(sed -n 's/^stall: any longest \([0-9]*\) ms, until \([0-9]*\)$/\1 \2/p' "$IT_DIR/verify.out")
	within "nothing was done" "${2:-}" "${3:-}" "$1"
}
check() {
	"$BENCH" verify --check-only --quiet --state "$state" "$(gw_url 1)" || fail "check: $1"
}
leader() {
	wait_for 30 cl leader "$IT_DIR/c" || fail "etcd has no leader"
	cl leader "$IT_DIR/c"
}
address_of() { echo "127.0.0.1:$((IT_PORT + 21 + ${1#etcd}))"; } # MEMBER
# Both name each member that is down; exit code CODE.
named() { # CODE COMMAND MEMBER...
	nm_code=$1 nm_cmd=$2
	shift 2
	ring "$nm_cmd" > "$IT_DIR/named" 2>&1
	nm_rc=$?
	[ $nm_rc = "$nm_code" ] || fail "$nm_cmd with $* down: exit code $nm_rc: $(cat "$IT_DIR/named")"
	for nm in "$@"; do
		grep -q "$(address_of "$nm") does not answer" "$IT_DIR/named" ||
			fail "$nm_cmd does not name $nm: $(cat "$IT_DIR/named")"
	done
}
# A change of the configuration goes through within so many seconds.
changes() { # SECONDS WHAT
	ch_t0=$(date +%s%N)
	vmstore volume create "v$ch_t0" --size 1M > "$IT_DIR/create.out" 2>&1 ||
		fail "no volume can be created ($2): $(cat "$IT_DIR/create.out")"
	ch_ms=$((($(date +%s%N) - ch_t0) / 1000000))
	say "$2: a change took $ch_ms ms"
	[ $ch_ms -le $(($1 * 1000)) ] || fail "$2: a change took $ch_ms ms"
}

# ---- the engine ----
cluster_start --catalog etcd --etcd-tls yes --nodes 3 --partitions 16 --log-size 64M
tls=$IT_DIR/c/tls
VMS_ETCD=127.0.0.1:$((IT_PORT + 22)),127.0.0.1:$((IT_PORT + 23)),127.0.0.1:$((IT_PORT + 24)) \
	VMS_ETCD_CA=$tls/ca.crt VMS_ETCD_CERT=$tls/client.crt VMS_ETCD_KEY=$tls/client.key \
	"$B/tests/test_catalog_etcd" > "$IT_DIR/unit.out" 2>&1 || {
	cat "$IT_DIR/unit.out"
	fail "the cases that every catalog has"
}
say "the cases that every catalog has: $(awk '/asserts/ { print $3 }' "$IT_DIR/unit.out") checks"
chmod o+r "$tls/client.key"
ring status > "$IT_DIR/out" 2>&1 && fail "a key that all can read was taken"
grep -q 'chmod o=' "$IT_DIR/out" || fail "no word of the key: $(cat "$IT_DIR/out")"
chmod o= "$tls/client.key"

# ---- who knows only a process: where etcd is, and what a configuration has to add ----
printf '[cluster]\n' > "$IT_DIR/via.conf"
sed -n '/^catalog_/p' "$conf" >> "$IT_DIR/via.conf"
for port in 1 19; do # a node, a gateway
	"$B/bin/vmstore-ring" --via "127.0.0.1:$((IT_PORT + port))" status > "$IT_DIR/out" 2>&1 && fail "etcd without its authority"
	grep -q 'wants TLS: a configuration has to say catalog_ca' "$IT_DIR/out" ||
		fail "--via does not say what is missing: $(cat "$IT_DIR/out")"
	"$B/bin/vmstore-ring" -c "$IT_DIR/via.conf" --via "127.0.0.1:$((IT_PORT + port))" status > "$IT_DIR/out" 2>&1 ||
		fail "--via with an etcd: $(cat "$IT_DIR/out")"
done

# ---- members fail under load ----
lun_create etcd 128 1 || fail "cannot create the LUN"
gw_wait
load_start
changes 10 "all members well"
l=$(leader)
cl kill "$IT_DIR/c" "$l"
changes 10 "leader $l killed"
cl start "$IT_DIR/c" > /dev/null || fail "$l does not start again"
l=$(leader)
pid=$(proc_pid "$l")
kill -STOP "$pid"
changes 12 "leader $l stopped"
kill -CONT "$pid"
l=$(leader)
for n in etcd1 etcd2 etcd3; do
	[ $n = "$l" ] || {
		cl kill "$IT_DIR/c" $n
		break
	}
done
changes 10 "follower $n killed"
named 3 status "$n"
grep -q '2 of 3 members answer; none more may be lost' "$IT_DIR/named" || fail "status: $(cat "$IT_DIR/named")"
named 3 advise "$n"
grep -q 'systemctl start etcd' "$IT_DIR/named" || fail "advise: $(cat "$IT_DIR/named")"
cl start "$IT_DIR/c" > /dev/null || fail "$n does not start again"
# a node and the leader in the same moment: others take over
l=$(leader)
cl kill "$IT_DIR/c" "$l" &
cl kill "$IT_DIR/c" node2
wait $!
say "$l, which led, and node2 killed together"
sleep 4
alive $verify || fail "the load ended when $l and node2 were killed"
cl start "$IT_DIR/c" > /dev/null || fail "$l or node2 does not start again"
cl wait "$IT_DIR/c" || fail "not well again after $l and node2 were killed"
# nobody decides anything without a majority; I/O goes on
l=$(leader)
for n in etcd1 etcd2 etcd3; do [ $n = "$l" ] || break; done
cl kill "$IT_DIR/c" $n
cl kill "$IT_DIR/c" "$l"
named 1 advise $n "$l"
grep -q 'without a majority' "$IT_DIR/named" || fail "advise: $(cat "$IT_DIR/named")"
vmstore volume create lost --size 1M > /dev/null 2>&1 && fail "a change without a majority of etcd"
alive $verify || fail "the load ended without a majority of etcd"
cl start "$IT_DIR/c" > /dev/null || fail "etcd does not start again"
changes 15 "both started again"
# 12 s are promised; this machine may be busy
load_end 12000
check "after members failed"

# ---- the catalog is lost, with all of etcd ----
vmstore volume create last --size 1M > /dev/null || fail "no volume can be created"
copied() { [ "$(grep -l '"volume/last"' "$IT_DIR"/c/data/node?/catalog.copy | wc -l)" = 3 ]; }
wait_for 60 copied || fail "not all nodes have a copy of the catalog"
cluster_kill
rm -rf "$IT_DIR/c/data/etcd1" "$IT_DIR/c/data/etcd2" "$IT_DIR/c/data/etcd3"
cl start "$IT_DIR/c" > "$IT_DIR/start.out" 2>&1 &
starting=$!
nodes="127.0.0.1:$((IT_PORT + 1)) 127.0.0.1:$((IT_PORT + 2)) 127.0.0.1:$((IT_PORT + 3))"
# shellcheck disable=SC2086
wait_for 30 ring restore-catalog --dry-run $nodes || fail "restore-catalog --dry-run"
ring restore-catalog "${nodes% *}" > "$IT_DIR/out" 2>&1 && fail "restored without a member of a set"
# shellcheck disable=SC2086
ring restore-catalog ${nodes% *} > "$IT_DIR/out" 2>&1 && fail "restored without node3"
grep -q 'not complete without node3' "$IT_DIR/out" || fail "restore names no node: $(cat "$IT_DIR/out")"
# shellcheck disable=SC2086
ring restore-catalog $nodes || fail "restore-catalog"
wait $starting || fail "the cluster does not come up: $(cat "$IT_DIR/start.out")"
cl wait "$IT_DIR/c" || fail "the cluster is not well after restore-catalog"
gw_wait
check "after restore-catalog"
changes 10 "restored"
cluster_stop
rm -rf "$IT_DIR/c" "$state"

# ---- from embedded to etcd ----
IT_CLUSTER_OPTS="--nodes 3 --partitions 16 --log-size 64M"
# shellcheck disable=SC2086
cluster_start $IT_CLUSTER_OPTS
cp "$IT_DIR/c/conf/gw1.conf" "$IT_DIR/old.conf"
lun_create etcd 128 1 || fail "cannot create the LUN"
gw_wait
load_start
cl move-catalog "$IT_DIR/c" > "$IT_DIR/move.out" 2>&1 || fail "move-catalog: $(cat "$IT_DIR/move.out")"
sed -n 1p "$IT_DIR/move.out"
changes 10 "moved"
# three nodes restart together, and none can give away what it leads: 4 s or so; one after the
# other it took 10 s
load_end 8000
check "after the move"
# the old catalog, and who still asks it
"$B/bin/vmstored" --catalog -c "$IT_DIR/c/conf/catalog.conf" > "$IT_DIR/old.log" 2>&1 &
IT_PIDS="$IT_PIDS $!"
wait_for 30 grep -q 'has moved to etcd' "$IT_DIR/old.log" || fail "the old catalog says nothing of the move"
"$B/bin/vmstore" -c "$IT_DIR/old.conf" volume create old --size 1M > "$IT_DIR/out" 2>&1 &&
	fail "the old catalog took a change"
grep -q 'has moved: set catalog = etcd:' "$IT_DIR/out" || fail "the old catalog does not tell where to: $(cat "$IT_DIR/out")"
say "ok"
