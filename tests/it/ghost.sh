#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Nothing late: a write that a dead path swallowed never overwrites what came over another
# path since (tests/it/ghost.c). All timers are scaled down by GHOST_FACTOR.
#   GHOST_ROUNDS (20)   rounds, each with a write in every stage of its way
#   GHOST_PARTS         `run boundary` (default), `run`, `boundary`
#   GHOST_SEED          repeats the draw (times are those of the machine)
#   GHOST_MUTANT        a defect of the nodes; then a write has to come back. Gateways are
#                       without what makes them send initiators elsewhere when they are cut
#                       off (their defect 41): the nodes' fence is the second line, and is
#                       seen only without the first
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "needs scripts/cluster"

ROUNDS=${GHOST_ROUNDS:-20}
FACTOR=${GHOST_FACTOR:-0.1}
SEED=${GHOST_SEED:-$(random_below 1000000)}
MUTANT=${GHOST_MUTANT:-}
LINKS=$((IT_PORT + 10))  # of the nodes, three
LANES=$((IT_PORT + 22))  # of the initiators, eight
for f in ghost ghost_connect.so; do [ -x "$B/tests/$f" ] || skip "$B/tests/$f is not built"; done

if [ -n "$MUTANT" ]; then
	# the same programs, but for the node's and the gateway's
	[ -x "$B/tests/tgtd_mutant" ] && [ -x "$B/tests/vmstored_mutant" ] || skip "$B/tests/vmstored_mutant is not built"
	mkdir -p "$IT_DIR/b/bin"
	ln -s "$B"/bin/* "$IT_DIR/b/bin/"
	ln -sf "$B/tests/vmstored_mutant" "$IT_DIR/b/bin/vmstored"
	ln -sf "$B/tests/tgtd_mutant" "$IT_DIR/b/bin/tgtd"
	ln -s "$B/tests" "$IT_DIR/b/tests"
	B=$IT_DIR/b
	VMS_NODE_MUTANT=$MUTANT VMS_GW_MUTANT=41
	export B VMS_NODE_MUTANT VMS_GW_MUTANT
fi

# Gateway 1 reaches the nodes through the links of the test.
start_through_links() {
	"$IT_CLUSTER" kill "$IT_DIR/c" gw1
	GHOST_FIRST=$((IT_PORT + 1)) GHOST_LAST=$((IT_PORT + 3)) GHOST_SHIFT=10 \
		LD_PRELOAD=$B/tests/ghost_connect.so \
		"$IT_CLUSTER" start "$IT_DIR/c" > /dev/null || fail "gateway 1 does not start"
}

ghost() { # COMMAND OPTION…
	local cmd=$1 n nodes=()
	shift
	for n in 1 2 3; do
		nodes+=(--node "$((IT_PORT + n)),$((LINKS + n)),$(proc_pid node$n)")
	done
	"$B/tests/ghost" "$cmd" --a "$("$IT_CLUSTER" portal "$IT_DIR/c" 1)" \
		--b "$("$IT_CLUSTER" portal "$IT_DIR/c" 2)" --target "$IT_IQN" --lun 1 \
		--factor "$FACTOR" --seed "$SEED" --a-pid "$(proc_pid gw1)" --lanes "$LANES" \
		"${nodes[@]}" "$@"
}

cluster_start --timing-factor "$FACTOR" --partitions 64 > /dev/null
lun_create ghost 4096 1 || fail "no LUN"
gw_wait
say "factor $FACTOR, seed $SEED${MUTANT:+, node mutant $MUTANT}"

start_through_links
for part in ${GHOST_PARTS:-boundary run}; do
	case $part in
	boundary)
		ghost boundary --rounds 40 ${GHOST_VERBOSE:+--verbose} > "$IT_DIR/boundary" || {
			cat "$IT_DIR/boundary"
			fail "no write came late although it was repeated too early: the test shows nothing"
		}
		say "$(tail -n 1 "$IT_DIR/boundary")"
		;;
	run)
		ghost run --rounds "$ROUNDS" --expect "$IT_DIR/expect" ${GHOST_VERBOSE:+--verbose} \
			${MUTANT:+--first}
		rc=$?
		[ $rc -lt 2 ] || fail "the test could not go on"
		if [ -n "$MUTANT" ]; then
			[ $rc = 1 ] || fail "mutant $MUTANT was not noticed"
			say "a write came back, as it has to with mutant $MUTANT"
			exit 0
		fi
		[ $rc = 0 ] || fail "a write came back"
		say "restart of everything"
		cluster_kill
		cluster_start > /dev/null
		gw_wait
		ghost check --expect "$IT_DIR/expect" || fail "a write came back"
		;;
	esac
done
