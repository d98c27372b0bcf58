# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Long histories, recorded and checked apart from the load. Those of all other scenarios
# are checked too; these ask few units from many sides.

scenario history-crashes 'a long history while any process dies at any moment' history=long
history_crashes() {
	promise 8
	while [ "$(wc -l < "$LAB/history")" -lt "${HISTORY_LINES:-220000}" ]; do
		# shellcheck disable=SC2046
		bounce 1 $(names)
		work 2
	done
}

scenario history-hot 'a long history on eight chunks, half of it zeros and COMPARE AND WRITE; nodes die' history=hot
history_hot() {
	while [ "$(wc -l < "$LAB/history")" -lt "${HISTORY_LINES:-220000}" ]; do
		bounce 1 node1 node2 node3
		work 3
	done
}

scenario history-calm 'a long history without any fault' history=hot
history_calm() {
	while [ "$(wc -l < "$LAB/history")" -lt "${HISTORY_LINES:-220000}" ]; do work 1; done
}
