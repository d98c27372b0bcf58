#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# The tools against a real cluster: what they refuse and why, volumes from create
# to delete with both gateways and a node down, statistics and traces, clean stops.
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "needs scripts/cluster"

cluster_start --partitions 128 --log-size 64M || fail "cluster does not start"
conf=$("$IT_CLUSTER" conf "$IT_DIR/c")
vmstore() { "$B/bin/vmstore" -c "$conf" "$@"; }
ring() { "$B/bin/vmstore-ring" -c "$conf" "$@"; }
node_port() { echo "127.0.0.1:$((IT_PORT + $1))"; }

# ---- ring ----
"$IT_CLUSTER" wait "$IT_DIR/c" 180 || fail "cluster is not well"
ring status > "$IT_DIR/status" || fail "status: exit code $?"
grep -q 'health *ok' "$IT_DIR/status" || fail "health is not ok"
ring status --json | grep -q '"serving": 128' || fail "not all partitions serve"
refuses 1 "holds a cluster already" ring init
refuses 2 "power of two" ring init --partitions 1000
refuses 2 "HOST:PORT" ring join nowhere
refuses 1 "refused" ring join "127.0.0.1:$((IT_PORT + 29))"
refuses 2 "no command" ring explode
# numbers and names of which nothing can be made
refuses 2 "64K to 1T" ring throttle 10E
refuses 2 "64K to 1T" ring set --move-rate 1
refuses 2 "64K to 1T" ring set --move-rate 0
refuses 2 "ten years" ring drain node1 --timeout 18446744073709552
refuses 2 "must be 1 to" ring join "$(node_port 1)" --weight 0
refuses 2 "ten years" ring set --rebuild-after 99999999999h
refuses 2 "must be text" ring zone node1 "$(printf '\377')"
refuses 2 "must be text" ring join "$(node_port 1)" --zone "$(printf 'a\033[2J')"
refuses 2 "give one" vmstore --catalog 127.0.0.1:1 --via 127.0.0.1:1 volume ls
refuses 1 "not an address" "$B/bin/vmstore" --via nowhere volume ls
refuses 1 "no answer from the catalog" vmstore --catalog "127.0.0.1:$((IT_PORT + 29))" volume ls

# ---- a second process of the same node, the folder of another ----
cp "$IT_DIR/c/conf/node1.conf" "$IT_DIR/second.conf"
echo 4711 > "$IT_DIR/pid"
refuses 1 "another process uses this address" "$B/bin/vmstored" -c "$IT_DIR/second.conf" --pid-file "$IT_DIR/pid"
[ "$(cat "$IT_DIR/pid")" = 4711 ] || fail "a node that did not start removed the pid file of the one that runs"
sed -i "s/^listen = .*/listen = 127.0.0.1:$((IT_PORT + 28))/" "$IT_DIR/second.conf"
refuses 1 "running process" "$B/bin/vmstored" -c "$IT_DIR/second.conf"
# a copy of the configuration on another machine: the node that has the name is left alone
sed "s|^dir = .*|dir = $IT_DIR/second|; s|^run_dir = .*|run_dir = $IT_DIR/run1|" "$IT_DIR/second.conf" > "$IT_DIR/copy.conf"
"$B/bin/vmstored" -c "$IT_DIR/copy.conf" > "$IT_DIR/copy.log" 2>&1 &
copy=$!
IT_PIDS="$IT_PIDS $copy"
wait_for 10 grep -q 'waits to be joined' "$IT_DIR/copy.log" || fail "a node with an empty folder: $(cat "$IT_DIR/copy.log")"
sleep 2
! grep 'closed by the peer' "$IT_DIR/c/log/node1.log" || fail "a copy of node1's configuration ends node1's connections"
kill $copy
wait $copy
sed -i 's/^name = .*/name = other/' "$IT_DIR/second.conf"
refuses 1 "belongs to node 'node1'" "$B/bin/vmstored" -c "$IT_DIR/second.conf"
refuses 8 "in use" "$B/bin/vmstored" --fsck "$IT_DIR/c/data/node1"

# ---- volumes ----
vmstore volume create a --size 1G > /dev/null || fail "create"
refuses 1 "exists already" vmstore volume create a --size 1G
refuses 2 "--size" vmstore volume create b
refuses 2 "multiple of 4096" vmstore volume create b --size 1000
refuses 2 "volume name" vmstore volume create ../b --size 1G
ring join "$(node_port 1)" > /dev/null || fail "joining a member again is no error"
ring zone node1 here > /dev/null || fail "zone"
refuses 1 "has a share of the data already" ring replace node1 "$(node_port 2)"
refuses 1 "has a share of the data already" ring replace node1 "$(node_port 2)" --dry-run
refuses 1 "cannot replace itself" ring replace node1 "$(node_port 1)"
! ring status | grep -q leaving && [ "$(ring status | grep -c ' here ')" = 1 ] ||
	fail "a replace that was refused has changed the ring: $(ring status)"
ring zone node1 - > /dev/null || fail "zone -"
vmstore volume resize a 2G > /dev/null || fail "grow"
refuses 1 "--allow-shrink" vmstore volume resize a 1G
vmstore volume resize a 64M --allow-shrink > /dev/null || fail "shrink"
vmstore volume info a --json | grep -q '"size_bytes": 67108864' || fail "size after shrinking"

lun_create t 128 1 || fail "cannot create the LUN"
gw_wait
refuses 1 "open on gateway gw1, gw2" vmstore volume rm t
vmstore volume info t --json | grep -q '"state": "ready"' || fail "a refused rm changed the state"

# ---- statistics and trace ----
vmstore trace t --for 1s > /dev/null || fail "trace --for: exit code $?"
"$B/bin/vmstore" -c "$conf" trace t > "$IT_DIR/trace" &
trace=$!
IT_PIDS="$IT_PIDS $trace"
traced() { gw_ready 1 && gw_ready 2 && [ -s "$IT_DIR/trace" ]; }
wait_for 30 traced || fail "the trace shows nothing"
"$BENCH" verify --fresh --span 16M --seconds 2 --quiet --state "$IT_DIR/state" "$(gw_url 1)" "$(gw_url 2)" ||
	fail "verify"
written() { grep -q ' W ' "$IT_DIR/trace" && grep -q ' F ' "$IT_DIR/trace"; }
wait_for 30 written || fail "the trace shows no writes"
kill -TERM $trace
wait $trace || fail "trace: exit code $?"
for op in R W F; do
	grep -qE "^[0-9]+ $op [0-9]+ [0-9]+\$" "$IT_DIR/trace" || fail "the trace has no line with $op"
done
[ "$(grep -cvE '^[0-9]+ [RWFD] [0-9]+ [0-9]+$' "$IT_DIR/trace")" = 0 ] || fail "the trace has other lines"
refuses 1 "not open" vmstore trace a
vmstore stats --json > "$IT_DIR/stats.json" || fail "stats"
for p in catalog node1 node2 node3 gw1 gw2; do
	grep -q "\"$p\": {" "$IT_DIR/stats.json" || fail "no statistics of $p"
done
"$IT_ROOT/scripts/check-docs" --stats "$IT_DIR/stats.json" || fail "statistics are not documented"
refuses 1 "no process 'nobody'" vmstore stats nobody

# ---- empty-logs: nothing is left in the logs, and all that was written is in containers ----
ring empty-logs > "$IT_DIR/drain" || fail "empty-logs"
# they may have been emptied by themselves, so there is no "before"
ring status --json > "$IT_DIR/drained"
undrained=$(sed -n 's/.*"undrained": \([0-9]*\).*/\1/p' "$IT_DIR/drained" | sort -un | tail -n 1)
[ "$undrained" = 0 ] || {
	grep -B 12 -A 4 -E '"undrained": [1-9]' "$IT_DIR/drained" | head -n 60
	fail "undrained after drain: ${undrained:-no node told}"
}
"$BENCH" verify --check-only --quiet --state "$IT_DIR/state" "$(gw_url 1)" || fail "verify after drain"
proc_kill node3
refuses 1 "node3" ring empty-logs
cluster_start || fail "node3 does not start again"
"$IT_CLUSTER" wait "$IT_DIR/c" || fail "cluster is not well after node3's restart"

# ---- space: all 16 MiB of the test are mapped, and nothing else shows them ----
vmstore du t --json > "$IT_DIR/du" || fail "du: exit code $?"
grep -q '"missing_partitions": 0' "$IT_DIR/du" || fail "du has not counted all"
du_field() { sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" "$IT_DIR/du" | head -n 1; }
[ "$(du_field mapped_bytes)" -gt 8388608 ] && [ "$(du_field mapped_bytes)" -le 16777216 ] ||
	fail "du: mapped $(du_field mapped_bytes)"
[ "$(du_field returns_bytes)" = "$(du_field mapped_bytes)" ] ||
	fail "du: $(du_field mapped_bytes) mapped, $(du_field returns_bytes) would come back"
refuses 1 "no snapshot 't@nix'" vmstore du t@nix

# ---- snapshots, clones, domains: what is refused and why (contents: snap.sh) ----
refuses 2 "VOLUME@SNAP" vmstore snap create t
refuses 1 "no volume 'nix'" vmstore snap create nix@s
vmstore snap create t@s1 t@s2 > /dev/null || fail "snap create while open on both gateways"
refuses 1 "exists already" vmstore snap create t@s1
refuses 1 "open on gateway" vmstore snap rollback t@s1 --yes
refuses 2 "--yes" vmstore snap rollback t@s1
vmstore clone t@s1 t-clone --size 256M > /dev/null || fail "clone"
refuses 1 "clone: t-clone" vmstore snap rm t@s1
refuses 1 "no snapshot matches" vmstore snap rm "t@daily-*"
refuses 1 "no snapshot 't@nix'" vmstore snap rm t@nix
refuses 2 "volume name" vmstore snap rm "@*"
refuses 2 "volume name" vmstore snap rm "*@s1"
refuses 2 "volume name" vmstore snap rm "*@*"
refuses 1 "no volume 'nix'" vmstore snap ls nix
vmstore clone ls t@s1 --json | grep -q '"name": "t-clone"' || fail "clone ls"
[ "$(vmstore clone ls t@s2 | wc -l)" = 1 ] || fail "clone ls of a snapshot without clones"
vmstore snap rm "t@*" --dry-run | grep -q '^t@s2$' || fail "snap rm --dry-run"
refuses 1 "t@s1 is kept" vmstore snap rm "t@*"
[ "$(vmstore snap ls t | wc -l)" = 2 ] || fail "snap rm with a pattern"
vmstore domain create red > /dev/null || fail "domain create"
vmstore volume create r --size 64M --domain red --dedup off > /dev/null || fail "volume in a domain"
refuses 1 "1 volume is in it (r)" vmstore domain rm red
vmstore volume set r dedup=on > /dev/null || fail "volume set"
vmstore volume info r --json | grep -q '"dedup": true' || fail "dedup is not on"
refuses 2 "dedup=on" vmstore volume set r colour=red

# ---- output that nobody takes: told, and nothing of it lands in another file ----
full() { "$@" > /dev/full; }
closed() { "$@" >&-; }
refuses 1 "cannot write to standard output" full vmstore volume ls
refuses 1 "cannot write to standard output" full ring status --json
refuses 1 "cannot write to standard output" full vmstore --help
refuses 1 "cannot write to standard output" closed vmstore export t@s1 "$IT_DIR/closed.raw"
vmstore export t@s1 "$IT_DIR/open.raw" > /dev/null || fail "export"
cmp "$IT_DIR/open.raw" "$IT_DIR/closed.raw" || fail "what was to be told went into the image"
vmstore volume ls | true || fail "a reader that has seen enough"
sed "s/^listen = .*/listen = 127.0.0.1:$((IT_PORT + 28))/; s|^dir = .*|dir = $IT_DIR/cat2|; s|^run_dir = .*|run_dir = $IT_DIR/run2|" \
	"$IT_DIR/c/conf/catalog.conf" > "$IT_DIR/cat2.conf"
"$B/bin/vmstored" --catalog -c "$IT_DIR/cat2.conf" --pid-file "$IT_DIR/cat2.pid" <&- >&- 2>&- &
IT_PIDS="$IT_PIDS $!"
wait_for 10 test -s "$IT_DIR/cat2.pid" || fail "a catalog without standard files does not start"
for i in 0 1 2; do
	[ "$(readlink "/proc/$(cat "$IT_DIR/cat2.pid")/fd/$i")" = /dev/null ] ||
		fail "its number $i is $(readlink "/proc/$(cat "$IT_DIR/cat2.pid")/fd/$i")"
done

# ---- delete: refusals, then with a node down ----
"$IT_CLUSTER" rmlun "$IT_DIR/c" "$IT_IQN" 1 || fail "cannot take LUN 1 away"
wait_for 30 sh -c "'$B/bin/vmstore' -c '$conf' volume info t --json | grep -q '\"open\": \[\]'" ||
	fail "closed on both gateways, but still open in the catalog"
refuses 1 "--snapshots" vmstore volume rm t
refuses 1 "1 clone (t-clone)" vmstore volume rm t --snapshots
proc_kill node2
ring_says_down() {
	rs_rc=0
	rs_out=$(ring status) || rs_rc=$?
	case $rs_rc$rs_out in 3*down*) ;; *) return 1 ;; esac
}
wait_for 30 ring_says_down || fail "ring status with a node down: exit code $rs_rc, $rs_out"
refuses "not all well after 1 s: not running: node2;" "$IT_CLUSTER" wait "$IT_DIR/c" 1
vmstore snap create t@s3 > /dev/null || fail "a snapshot while a node is down"
head -c 1048576 /dev/urandom > "$IT_DIR/image.raw"
vmstore import "$IT_DIR/image.raw" imported > /dev/null || fail "import of a new volume with a node down"
vmstore export imported - | cmp - "$IT_DIR/image.raw" || fail "what was imported with a node down differs"
vmstore volume rm imported > /dev/null || fail "rm of what was imported"
vmstore volume rm t-clone > /dev/null || fail "rm of a clone with a node down"
vmstore volume rm t --snapshots > /dev/null || fail "rm with a node down"
refuses 1 "no volume 't'" vmstore volume info t
cluster_start || fail "node2 does not start again"
"$IT_CLUSTER" wait "$IT_DIR/c" || fail "cluster is not well again"
vmstore volume rm a r > /dev/null || fail "rm of volumes that were never written"
vmstore domain rm red > /dev/null || fail "domain rm"
[ "$(vmstore volume ls | wc -l)" = 1 ] || fail "volumes are left"
[ "$(vmstore snap ls | wc -l)" = 1 ] || fail "snapshots are left"

# ---- what was deleted is given back, to the byte ----
vmstore reclaim --wait --json > "$IT_DIR/reclaim" || fail "reclaim: exit code $?"
grep -q '"done": true' "$IT_DIR/reclaim" || fail "reclaim is not done: $(cat "$IT_DIR/reclaim")"
grep -q '"garbage_bytes": 0,' "$IT_DIR/reclaim" || fail "garbage is left: $(cat "$IT_DIR/reclaim")"

# ---- gateways ----
reached() { vmstore gateway ls | grep -q 'gw2 .*3 of 3'; }
wait_for 30 reached || fail "gateway ls: $(vmstore gateway ls)"
refuses 1 "lives" vmstore gateway forget gw2
refuses 1 "no gateway" vmstore gateway forget gw9
# a script sees a gateway that is down, by the exit code and by name
is_ok() { vmstore status > "$IT_DIR/status"; }
wait_for 30 is_ok || fail "status: $(cat "$IT_DIR/status")"
grep -q 'gateways *2 of 2 up' "$IT_DIR/status" || fail "status: $(cat "$IT_DIR/status")"
proc_kill gw2
# (partitions may change hands still, which is degraded for a moment as well)
is_degraded() {
	vmstore status > "$IT_DIR/status"
	[ $? = 3 ] && grep -q 'gw2 is down' "$IT_DIR/status"
}
wait_for 30 is_degraded || fail "a gateway is down: $(cat "$IT_DIR/status")"
grep -q 'health *degraded' "$IT_DIR/status" && grep -q 'gw2 is down' "$IT_DIR/status" ||
	fail "status: $(cat "$IT_DIR/status")"
vmstore status --json > "$IT_DIR/status" && fail "status --json: exit code 0"
tr -d ' \n' < "$IT_DIR/status" | grep -q '"name":"gw2"[^}]*"state":"down","up":false' ||
	fail "status --json: $(cat "$IT_DIR/status")"
ring status > "$IT_DIR/status"
[ $? = 3 ] && grep -q 'gw2 is down' "$IT_DIR/status" || fail "ring status with a gateway down: $(cat "$IT_DIR/status")"
wait_for 30 vmstore gateway forget gw2 || fail "a dead gateway is not forgotten"
wait_for 30 is_ok || fail "status: $(cat "$IT_DIR/status")"
[ "$(vmstore gateway ls | grep -c gw)" = 1 ] || fail "it is still listed"

# a second one, its configuration a copy: it does not shut out the first, which lives
sed "/^listen/d; s|^run_dir = .*|run_dir = $IT_DIR/run3|" "$IT_DIR/c/conf/gw1.conf" > "$IT_DIR/twin.conf"
mkdir "$IT_DIR/run3"
VMSTORE_CONF=$IT_DIR/twin.conf TGT_IPC_SOCKET=$IT_DIR/run3/tgt "$B/bin/tgtd" -f -C $((IT_CONTROL + 9)) \
	--iscsi "portal=127.0.2.9:$((IT_PORT + 27))" > "$IT_DIR/twin.log" 2>&1 &
twin=$!
IT_PIDS="$IT_PIDS $twin"
wait_for 20 grep -q "gateway 'gw1' runs already" "$IT_DIR/twin.log" || fail "a copy says nothing: $(cat "$IT_DIR/twin.log")"
sleep 1
alive "$(proc_pid gw1)" && vmstore gateway ls | grep -q ' gw1 .* up ' || fail "a copy shut gw1 out: $(vmstore gateway ls)"
proc_kill gw1
wait_for 30 grep -q 'gateway gw1 (.*) is ready' "$IT_DIR/twin.log" || fail "it does not take over: $(cat "$IT_DIR/twin.log")"
kill $twin
wait $twin

# ---- clean stop, check of the folders ----
cluster_stop
for n in catalog node1 node2 node3 gw1 gw2; do
	[ -z "$(proc_pid $n)" ] || fail "$n still runs"
done
grep -h "clean stop took longer" "$IT_DIR"/c/log/*.log && fail "a node did not stop cleanly"
for n in 1 2 3; do
	"$B/bin/vmstored" --fsck "$IT_DIR/c/data/node$n" > "$IT_DIR/fsck" || fail "fsck of node$n: $(tail -n 5 "$IT_DIR/fsck")"
done
say "ok: tools refuse, work, resume; folders are clean"
