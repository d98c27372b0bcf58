#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# tests/faults/run: of one build folder no scenario runs twice at a time; the second run says
# so, names the first and leaves its logs alone. Another scenario may, and the same one later.
. "$(dirname "$0")/lib.sh"

NAME=crash-node OTHER=crash-gateway
# a build folder of its own: the programs are there, nothing of them is to run for long
mkdir -p "$IT_DIR/b/faults/$NAME"
ln -s "$B/bin" "$IT_DIR/b/bin"
ln -s "$B/tests" "$IT_DIR/b/tests"
echo mine > "$IT_DIR/b/faults/$NAME/scenario.log"
run() { B=$IT_DIR/b FAULTS_LIMIT=1 "$IT_ROOT/tests/faults/run" "$@" > "$IT_DIR/out" 2>&1; }

exec 7<> "$IT_DIR/b/faults/$NAME.lock"
flock -n 7 || fail "the lock is taken"
echo 4711 >&7
run "$OTHER" "$NAME"
rc=$?
[ $rc != 77 ] || skip "$(tail -n 1 "$IT_DIR/out")"
[ $rc = 2 ] || fail "a scenario that runs already: exit code $rc: $(cat "$IT_DIR/out")"
grep -q "'$NAME' runs already in $IT_DIR/b, by process 4711" "$IT_DIR/out" || fail "it says: $(cat "$IT_DIR/out")"
[ "$(cat "$IT_DIR/b/faults/$NAME/scenario.log")" = mine ] || fail "the logs of the first run are gone"
[ ! -e "$IT_DIR/b/faults/$OTHER" ] || fail "it ran what was free before it refused"

run "$OTHER" # ends by its limit
grep -q "^FAIL $OTHER" "$IT_DIR/out" || fail "another scenario does not run: $(cat "$IT_DIR/out")"
exec 7>&-
run "$NAME"
grep -q "^FAIL $NAME" "$IT_DIR/out" || fail "it does not run afterwards: $(cat "$IT_DIR/out")"
say "ok"
