#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# A boot storm: the shipped trace is replayed for four clones of one image, half of them
# through each gateway. Each gateway gets each chunk of the image at most once from the
# nodes. Then the memory of a gateway with many open clones, one target each, and a
# session for each.
# BOOT_CLONES (200): of the second part. BOOT_KIB (64): at most so many KiB for each clone
# and as many for its session, beyond what the gateway has anyway.
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "needs scripts/cluster"
need jq jq
need gzip gzip
CLONES=${BOOT_CLONES:-200}
KIB=${BOOT_KIB:-64}
TRACE=$IT_ROOT/utils/bench/traces/debian12.trace.gz

cluster_start || fail "cluster does not start"
conf=$("$IT_CLUSTER" conf "$IT_DIR/c")
vmstore() { "$B/bin/vmstore" -c "$conf" "$@"; }
url() { # GATEWAY NAME
	echo "iscsi://$("$IT_CLUSTER" portal "$IT_DIR/c" "$1")/$IT_IQN-$2/1"
}
# targets FIRST LAST: a target for each clone of these numbers
targets() {
	seq "$1" "$2" | jq -s --arg iqn "$IT_IQN-c" '{version: 1, accounts: [], targets:
		map({name: "\($iqn)\(.)", addresses: ["ALL"], luns: [{lun: 1, volume: "c\(.)"}]})}' > "$IT_DIR/doc"
	vmstore target apply "$IT_DIR/doc" > "$IT_DIR/out" 2>&1 || fail "target apply: $(tail -n 3 "$IT_DIR/out")"
}
clones() { # FIRST LAST
	seq "$1" "$2" | xargs -P 3 -I{} "$B/bin/vmstore" -c "$conf" clone image@gold c{} > "$IT_DIR/out" 2>&1 ||
		fail "clones: $(tail -n 3 "$IT_DIR/out")"
}
ready() { "$BENCH" run --idle 0 --warmup 0 --ops 1 --depth 1 "$1" > /dev/null 2>&1; }

# ---- each chunk comes once ----
vmstore volume create image --size 1104M > /dev/null || fail "no image"
echo '{"version": 1, "accounts": [], "targets": [{"name": "'"$IT_IQN-image"'", "addresses": ["ALL"],
	"luns": [{"lun": 1, "volume": "image"}]}]}' > "$IT_DIR/doc"
vmstore target apply "$IT_DIR/doc" > /dev/null || fail "no target for the image"
wait_for 30 ready "$(url 1 image)" || fail "gateway 1 does not serve the image"
"$BENCH" boot --fill --trace "$TRACE" "$(url 1 image)" || fail "filling the image"
vmstore snap create image@gold > /dev/null || fail "image@gold"
clones 1 4
targets 1 4
for g in 1 2; do
	wait_for 30 ready "$(url $g c4)" || fail "gateway $g does not serve the clones"
done
"$BENCH" boot --trace "$TRACE" --clones 4 --fast --json "$IT_DIR/boot.json" \
	--pid "gw1=$(proc_pid gw1)" --pid "gw2=$(proc_pid gw2)" \
	--counters "'$B/bin/vmstore' -c '$conf' stats --json | jq '{image: ([.[] | (.[\"gateway.chunks_asked\"] // 0) + (.[\"gateway.chunks_lba\"] // 0)] | add * 4096)}'" \
	"$(url 1 c%n)" "$(url 2 c%n)" || fail "the replay"
jq -e '.boot.count == 4 and .cost.cpu_ms_per_boot.gw2 > 0' "$IT_DIR/boot.json" > /dev/null ||
	fail "the figures are not whole: $(cat "$IT_DIR/boot.json")"
# gateway 1 has written the image and may still have it
jq -e '.cost.counters.image / .unique_read_bytes | . >= 0.9 and . <= 2.2' "$IT_DIR/boot.json" > /dev/null ||
	fail "the gateways asked for $(jq .cost.counters.image "$IT_DIR/boot.json") bytes of an image of which a boot reads $(jq .unique_read_bytes "$IT_DIR/boot.json")"

# ---- sessions live while something else runs ----
# It takes longer than a gateway waits for the answer to its ping (T_nop, 1.5 s). Logging in a
# thousand others does so too on a busy machine, and is answered for in the same way.
printf '0 R 0 4096\n1000 R 1048576 4096\n' > "$IT_DIR/one"
"$BENCH" boot --trace "$IT_DIR/one" --clones 2 --counters 'sleep 4; echo {}' "$(url 1 c%n)" > "$IT_DIR/out" 2>&1 ||
	fail "a session is lost while a command runs: $(tail -n 3 "$IT_DIR/out")"

# ---- memory of a gateway ----
rss() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$1/status"; }
gw=$(proc_pid gw1)
clones 5 $((CLONES + 4))
before=$(rss "$gw")
targets 5 $((CLONES + 4))
wait_for 30 ready "$(url 1 c$((CLONES + 4)))" || fail "gateway 1 does not serve the last clone"
"$BENCH" boot --trace "$IT_DIR/one" --clones $((CLONES + 4)) --counters \
	"sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\).*/{\"rss\": \\1}/p' /proc/$gw/status | tee -a '$IT_DIR/rss'" \
	"$(url 1 c%n)" > "$IT_DIR/out" 2>&1 || fail "sessions: $(tail -n 3 "$IT_DIR/out")"
with=$(tail -n 1 "$IT_DIR/rss" | jq .rss)
each=$(((with - before) / CLONES))
say "a gateway with $CLONES open clones and sessions: $before KiB before, $with with them, $each KiB each"
[ $each -le $((2 * KIB)) ] || fail "more than $KIB KiB for a clone and $KIB for its session"
say "ok"
