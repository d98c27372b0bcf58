# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# What is made of the pauses of the machine (pauses.c), by all who judge a time. Sourced by
# tests/it/lib.sh and tests/faults/load.sh; $B is the build folder.
#
# pauses_sum FILE MS UNTIL: ms of all pauses and of the longest one, in the MS until then and
# the two seconds before these: what takes long may have its cause there.

# Pauses as long as this make a path or a node pass for lost that is not: the shortest of
# their times is 1 s.
STOOD_STILL_MS=500
# Until pings have found a path lost, and the initiator has given it up.
LOST_PATH_MS=7000

pauses_sum() {
	"$B/tests/tools/pauses" sum "$1" $(($3 - $2 - 2000)) "$3"
}
