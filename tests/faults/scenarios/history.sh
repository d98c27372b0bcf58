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
