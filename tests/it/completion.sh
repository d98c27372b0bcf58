#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Completion for bash: of every command of vmstore and vmstore-ring it offers what --help
# lists, no less and no more; names come from a cluster, and with none it is quiet.
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$IT_BACKEND" = cluster ] || skip "needs scripts/cluster"

# shellcheck source=conf/completion/vmstore.bash
. "$IT_ROOT/conf/completion/vmstore.bash"
complete -p vmstore vmstore-ring > /dev/null || fail "nothing is registered"
compopt() { :; } # only of use when bash itself completes
unset VMSTORE_CONF
export VMSTORE_COMPLETE_SECONDS=60 # of a machine that may be slow

# offers LINE: what TAB at its end gives, one a line, in front of what bash keeps
offers() {
	COMP_LINE=$1 COMP_POINT=${#1} COMPREPLY=()
	_vmstore
	((!${#COMPREPLY[@]})) || printf '%s\n' "${COMPREPLY[@]}" | sort
}
is() { # LINE EXPECTED...
	local line=$1 got
	shift
	got=$(offers "$line" | tr '\n' ' ')
	[ "${got% }" = "$*" ] || fail "'$line' offers '${got% }' instead of '$*'"
}

# ---- as --help has it ----
commands=0
walk() { # WORD...: "$@" --help and everything below
	local help subs opts s
	help=$("$@" --help < /dev/null 2> "$IT_DIR/err") || fail "$*: no --help"
	[ ! -s "$IT_DIR/err" ] || fail "$* --help does more than to help: $(cat "$IT_DIR/err")"
	grep -q '  print the version$' <<< "$(tail -n 1 <<< "$help")" || [ "${help%Commands,*}" != "$help" ] ||
		fail "$* --help does more than to help: $(tail -n 1 <<< "$help")"
	commands=$((commands + 1))
	opts=$(sed -n 's/^ *\(-[a-zA-Z], \)\{0,1\}\(--[a-z0-9-]*\).*/\2/p' <<< "$help" | sort -u | tr '\n' ' ')
	# shellcheck disable=SC2086
	is "$* --" $opts
	subs=$(sed '1,/^Commands,/d; /^$/,$d' <<< "$help" | awk '{ print $1 }' | sort | tr '\n' ' ')
	[ -n "$subs" ] || return 0
	# shellcheck disable=SC2086
	is "$* " $subs
	for s in $subs; do
		offers "$* $s" | grep -qxF -e "$s" || fail "'$* $s' does not offer itself"
		walk "$@" "$s"
	done
}
walk "$B/bin/vmstore"
walk "$B/bin/vmstore-ring"
[ $commands -gt 60 ] || fail "only $commands commands were compared"
V=$B/bin/vmstore R=$B/bin/vmstore-ring
is "$V volume nonesuch "
is "$V volume create a --dedup " off on
is "$V volume create a --write-ack d" disk
is "$R scrub p" pause
mkdir "$IT_DIR/f"
: > "$IT_DIR/f/one.conf"
is "$V -c $IT_DIR/f/" "$IT_DIR/f/one.conf"
is "$V -c $IT_DIR/f/one.conf vol" volume
is "$V import $IT_DIR/f/o" "$IT_DIR/f/one.conf"
# no cluster: nothing, and nothing on the terminal
printf '[cluster]\ncatalog = 127.0.0.1:1\nrun_dir = %s\n' "$IT_DIR/f" > "$IT_DIR/f/one.conf"
said=$(offers "$V -c $IT_DIR/f/one.conf snap create " 2>&1)
[ -z "$said" ] || fail "without a cluster: $said"

# ---- names ----
cluster_start --partitions 64 --log-size 64M || fail "cluster does not start"
C="-c $("$IT_CLUSTER" conf "$IT_DIR/c")"
# shellcheck disable=SC2086
{
	"$V" $C volume create vm1 --size 8M && "$V" $C volume create pool/vm2 --size 8M &&
		"$V" $C snap create vm1@day1 vm1@day2 pool/vm2@night && "$V" $C domain create dept &&
		"$V" $C target create iqn.2026-01.org.example:one
} > /dev/null || fail "nothing to complete"
is "$V $C snap create " pool/vm2 pool/vm2@night vm1 vm1@day1 vm1@day2
is "$V $C volume rm p" pool/vm2
is "$V $C volume create "
is "$V $C volume create a --domain de" dept
is "$V $C gateway drain " gw1 gw2
is "$R $C leave " node1 node2 node3
is "$V $C target show iqn.2026-01.org.example:o" one # bash keeps the rest
is "$V $C clone vm1@" day1 day2
is "$V $C clone l" ls
COMP_WORDBREAKS=${COMP_WORDBREAKS//[@:]/}
is "$V $C clone vm1@" vm1@day1 vm1@day2
is "$V $C target show iqn.2026-01.org.example:o" iqn.2026-01.org.example:one
say "ok: $commands commands as --help has them, names of a cluster"
