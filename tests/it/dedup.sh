#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# How much of what an exact index of 4 KiB chunks finds is stored once: images are
# written through the gateways into a cluster of three nodes and two copies, each
# brought to rest before the next, and the chunks that drains put into containers are
# counted; then what is stored for one copy when the background phase has been over
# them (vmstore du). What is stored is read back; an import of an image that is there sends
# fingerprints instead of data.
#
# DEDUP_SET=small|release|family   which images (images-lib.sh)
# DEDUP_PARTITIONS=N               of the cluster (64)
# DEDUP_JSON=FILE                  figures as JSON
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/it/images-lib.sh
. "$IT_ROOT/tests/it/images-lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "needs scripts/cluster"
need qemu-img qemu-utils
DEDUP_SET=${DEDUP_SET:-small}
# The marks are those of the release set. In small, a look at whether it works at all,
# the lists of what there is are hardly cached before it is over, tables are nearly empty,
# and the background phase overtakes the drains; what both find together must hold there too.
IT_LOG=256M marks=95 upgraded=98 index=0.4 again=5
[ "$DEDUP_SET" != small ] || IT_LOG=64M marks=70 upgraded=70 index=2 again=25

images=$(images_of "$DEDUP_SET") || exit $?
cluster_start --partitions "${DEDUP_PARTITIONS:-64}" --log-size $IT_LOG
"$IT_CLUSTER" wait "$IT_DIR/c" 180 || fail "cluster is not well"
conf=$("$IT_CLUSTER" conf "$IT_DIR/c")
vmstore() { "$B/bin/vmstore" -c "$conf" "$@"; }
stat_sum() { # NAME: over the nodes
	vmstore stats --json | awk -F'[:,]' -v n="\"$1\"" 'index($0, n ":") { s += $2 } END { printf "%.0f\n", s }'
}
field() { sed -n "s/.*\"$1\": *\\([0-9.]*\\).*/\\1/p"; }

# What an exact index says, by file: chunks that are no zeros, and chunks not met before.
# shellcheck disable=SC2086
vmstore estimate --json $images > "$IT_DIR/exact.json" || fail "vmstore estimate"
grep -q '"exact": true' "$IT_DIR/exact.json" || fail "vmstore estimate had to sample: more memory is needed"
awk -F'[:,]' '
	/"distinct_bytes"/ { d = $2 } /"duplicate_bytes"/ { u = $2 } /"added_bytes"/ { a = $2 }
	/"name"/ { printf "%.0f %.0f\n", (d + u) / 4096, a / 4096 }' "$IT_DIR/exact.json" > "$IT_DIR/exact"

want() { # WHAT VALUE OP LIMIT
	if awk -v a="$2" -v b="$4" -v o="$3" 'BEGIN { exit !(o == ">=" ? a + 0 >= b + 0 : a + 0 <= b + 0) }'; then
		say "$1: $2 ($3 $4): met"
	else
		say "$1: $2 ($3 $4): NOT MET"
		missed=1
	fi
}
missed=0 lun=0 total=0 unique=0 before=0 found_all=0 dup_all=0
: > "$IT_DIR/table"
for f in $images; do
	name=$(basename "$f" .raw)
	lun=$((lun + 1))
	read -r chunks added <<- END
		$(sed -n "${lun}p" "$IT_DIR/exact")
	END
	lun_create "$name" $(($(stat -c %s "$f") >> 20)) $lun || fail "cannot create the LUN"
	gw_wait $lun
	t0=$(date +%s%N)
	qemu-img convert -n -t writeback -f raw -O raw "$f" "$(gw_url $((lun % 2 + 1)) $lun)" || fail "qemu-img convert"
	"$IT_CLUSTER" drain "$IT_DIR/c" > /dev/null || fail "drain"
	ms=$((($(date +%s%N) - t0) / 1000000))
	stored=$(($(stat_sum node.drained_chunks) / 2))
	new=$((stored - before))
	before=$stored
	total=$((total + chunks))
	unique=$((unique + added))
	found=$((chunks - new)) dup=$((chunks - added))
	found_all=$((found_all + found)) dup_all=$((dup_all + dup))
	share=$(awk -v a=$found -v b=$dup 'BEGIN { printf "%.2f", b ? 100 * a / b : 100 }')
	echo "$name $chunks $added $new $share $ms" >> "$IT_DIR/table"
	case $DEDUP_SET/$name in
	*/a-shuffled | */b) want "$name: drains find of its duplicates, percent" "$share" '>=' $marks ;;
	*/a-upgraded) want "$name: drains find of its duplicates, percent" "$share" '>=' $upgraded ;;
	esac
done
hooks=$(stat_sum dedup.hook_bytes)
bytes=$(awk -v h="$hooks" -v u=$unique 'BEGIN { printf "%.3f", h / u }')
ratio=$(awk -v t=$total -v s="$before" 'BEGIN { printf "%.2f", t / s }')
exact=$(awk -v t=$total -v s=$unique 'BEGIN { printf "%.2f", t / s }')
share=$(awk -v a=$found_all -v b=$dup_all 'BEGIN { printf "%.2f", 100 * a / b }')
echo "image           chunks   new to an exact index   stored by drains   found %   ms"
awk '{ printf "%-14s %8d %23d %18d %9s %6d\n", $1, $2, $3, $4, $5, $6 }' "$IT_DIR/table"
say "set: $total chunks, $unique distinct, $before stored by drains: $share % of the duplicates, $ratio to 1 (exact: $exact)"
[ "${hooks:-0}" -gt 0 ] || fail "no statistics of the sparse index"
want "sparse index, bytes per distinct chunk" "$bytes" '<=' $index
counters() { # what the nodes count
	vmstore stats --json | sed -n 's/^ *"\(\(dedup\|match\)\.[a-z_]*\)": \([0-9]*\),*$/\1 \3/p' |
		awk '{ s[$1] += $2 } END { for (i in s) printf "  %s %.0f\n", i, s[i] }' | sort
}
counters

# The second phase works behind everybody else's back: it gets its time.
t0=$(date +%s)
while :; do
	vmstore du --json > "$IT_DIR/du.json" || fail "vmstore du"
	[ "$(sed -n '/"cluster"/,$p' "$IT_DIR/du.json" | field mapped_bytes)" = $((total * 4096)) ] ||
		fail "vmstore du counts $(sed -n '/"cluster"/,$p' "$IT_DIR/du.json" | field mapped_bytes) mapped bytes instead of $((total * 4096))"
	stored2=$(sed -n '/"cluster"/,$p' "$IT_DIR/du.json" | field stored_bytes)
	both=$(awk -v t=$total -v u=$unique -v s="$stored2" 'BEGIN { printf "%.3f", 100 * (t - s / 4096) / (t - u) }')
	phase_s=$(($(date +%s) - t0))
	awk -v b="$both" 'BEGIN { exit !(b >= 99.9) }' && break
	[ $phase_s -lt "${DEDUP_PHASE_S:-240}" ] || break
	sleep 1
done
say "background: $((stored2 / 4096)) chunks are stored after $phase_s s"
want "both phases find of the duplicates, percent" "$both" '>=' 99.5
[ "$DEDUP_SET" != family ] ||
	want "chunks written for each one stored" \
		"$(awk -v t=$total -v s="$stored2" 'BEGIN { printf "%.2f", t / (s / 4096) }')" '>=' 10

# What is stored is what was written.
lun=0
for f in $images; do
	lun=$((lun + 1))
	qemu-img compare -f raw -F raw "$f" "$(gw_url $((lun % 2 + 1)) $lun)" > "$IT_DIR/compare" ||
		fail "$f differs: $(tail -n 1 "$IT_DIR/compare")"
done
say "$lun images read back identical"

# The last one once more: 32 bytes of fingerprint and 12 of the piece per chunk.
vmstore import --json "$f" again > "$IT_DIR/import" || fail "vmstore import"
sent=$(field sent_bytes < "$IT_DIR/import") named=$(field referenced_bytes < "$IT_DIR/import")
rewrite=$(awk -v s="$sent" -v r="$named" 'BEGIN { printf "%.2f", 100 * (s + r / 4096 * 44) / (s + r) }')
counters
want "import of an image that is stored: sent of its bytes, percent" "$rewrite" '<=' $again
lun_create again $(($(stat -c %s "$f") >> 20)) 99 || fail "cannot export the imported volume"
gw_wait 99
qemu-img compare -f raw -F raw "$f" "$(gw_url 1 99)" > "$IT_DIR/compare" ||
	fail "the imported volume differs: $(tail -n 1 "$IT_DIR/compare")"

if [ -n "${DEDUP_JSON:-}" ]; then
	{
		printf '{"set": "%s", "partitions": %s, "images": [\n' "$DEDUP_SET" "${DEDUP_PARTITIONS:-64}"
		awk '{ printf "%s  {\"name\": \"%s\", \"chunks\": %d, \"distinct\": %d, \"stored\": %d, \"found_percent\": %s, \"ms\": %d}",
			NR > 1 ? ",\n" : "", $1, $2, $3, $4, $5, $6 }' "$IT_DIR/table"
		printf '\n], "chunks": %d, "distinct": %d, "stored_by_drains": %d, "found_percent": %s, "ratio": %s, "index_bytes_per_chunk": %s, "both_phases_percent": %s, "background_s": %s, "import_again_percent": %s}\n' \
			$total $unique "$before" "$share" "$ratio" "$bytes" "$both" "$phase_s" "$rewrite"
	} > "$DEDUP_JSON"
fi
[ $missed = 0 ] || fail "a figure is missed"
say "ok"
