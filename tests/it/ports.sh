# SPDX-License-Identifier: GPL-2.0-only
# Ports of one test, so that any number of tests run beside each other. Sourced by
# lib.sh and by tests that do without it.
#
# IT_PORT=N            the test uses N to N + 29, whoever else may
# IT_PORTS=FIRST-LAST  else it takes a range of 30 between these (14000-31999) that
#                      nobody listens on and no other test holds
# IT_CONTROL=N         first tgtd control port of a range of 10 (from IT_PORT)
#
# A range is held by a lock on a file of its own, on descriptor 7. What the test starts
# inherits it: the range is free when the last of its processes is gone.

# Does somebody listen on (or use) a port of the 30 from $1 on?
ports_used() {
	cat /proc/net/tcp /proc/net/tcp6 2> /dev/null |
		awk -v first="$1" '
			function hex(s,  i, n) {
				for (i = 1; i <= length(s); i++) n = n * 16 + index("0123456789ABCDEF", substr(s, i, 1)) - 1
				return n
			}
			$2 ~ /:/ { sub(/.*:/, "", $2); p = hex($2); if (p >= first && p < first + 30) used = 1 }
			END { exit !used }'
}

ports_claim() { # sets IT_PORT
	pc_dir=${TMPDIR:-/tmp}/vmstore-ports-$(id -u)
	mkdir -p "$pc_dir" || return 1
	pc_range=${IT_PORTS:-14000-31999}
	pc_ranges=$(((${pc_range#*-} - ${pc_range%-*} + 1) / 30))
	[ "$pc_ranges" -gt 0 ] || {
		echo "IT_PORTS=$pc_range: must be FIRST-LAST, 30 ports or more" >&2
		return 1
	}
	# from a place drawn at random, each once
	pc_n=$(od -An -N2 -tu2 /dev/urandom | tr -d ' ')
	pc_left=$pc_ranges
	while [ "$pc_left" -gt 0 ]; do
		IT_PORT=$((${pc_range%-*} + pc_n % pc_ranges * 30))
		pc_n=$((pc_n + 1)) pc_left=$((pc_left - 1))
		exec 7> "$pc_dir/$IT_PORT"
		flock -n 7 && ! ports_used "$IT_PORT" && return 0
	done
	exec 7>&-
	echo "no 30 free ports in $pc_range" >&2
	return 1
}

[ -n "${IT_PORT:-}" ] || ports_claim || exit 1
IT_CONTROL=${IT_CONTROL:-$(((IT_PORT - 13000) / 3 + 100))}
