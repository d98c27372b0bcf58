# SPDX-License-Identifier: GPL-2.0-only
# Completion of vmstore and vmstore-ring for bash. Commands and options are what the
# program's own --help says, so they are never older than the program; names of volumes,
# snapshots, targets, gateways, domains and nodes are asked from the cluster, which has two
# seconds to answer (VMSTORE_COMPLETE_SECONDS). Needs bash 4; the package bash-completion loads it by itself.
# tests/it/completion.sh compares it with --help and with a cluster.

# What "--option" takes, such as FILE; empty: nothing, or there is no such option.
_vmstore_takes() { # OPTION < HELP
	sed -n '/^Options:/,/^$/p' | grep -E -m 1 -e "^ +(-[a-zA-Z], )?$1( |$)|^ +$1, --" |
		sed -nE 's/^ +(-[a-zA-Z], )?--[a-z0-9-]+ ([^ ]+)( .*)?$/\2/p'
}

# The words of a usage that are no options' values: "NAME VOLUME SNAP", one a line.
_vmstore_args() { # < HELP
	awk '
		/^$/ { exit }
		{ sub(/^usage:/, ""); gsub(/[]|[@.(),:]+/, " ")
			for (i = 1; i <= NF; i++)
				if ($i ~ /^[A-Z]+$/ && $(i - 1) !~ /^-/) print $i }'
}

# Names that the cluster knows, of a volume|snap|target|gateway|domain|node.
_vmstore_names() { # KIND; the program and its options that say where the cluster is: _vmstore_p
	local prog=${_vmstore_p[0]} other=vmstore column=1 cmd=("$1" ls)

	case $1 in
	gateway) column=2 ;;
	node) other=vmstore-ring column=2 cmd=(status) ;;
	esac
	[[ $prog != */* ]] || other=${prog%/*}/$other
	timeout "${VMSTORE_COMPLETE_SECONDS:-2}" "$other" "${_vmstore_p[@]:1}" "${cmd[@]}" 2> /dev/null < /dev/null |
		awk -v c=$column -v nodes="$1" '
			nodes == "node" && !on { on = $1 == "node" && $2 == "name"; next }
			nodes == "node" && $1 !~ /^[0-9]+$/ { exit }
			nodes != "node" && NR == 1 { next }
			NF >= c { print $c }'
}

_vmstore() {
	local line=${COMP_LINE:0:COMP_POINT} _vmstore_p=() w cur prev help known value kind i=1
	local path=() breaks want=""

	COMPREPLY=()
	# Split at blanks alone: bash would also at '@', ':' and '=', which are in names of ours.
	read -ra w <<< "$line"
	[[ $line != *[[:blank:]] ]] || w+=("")
	cur=${w[-1]} prev=${w[-2]-} _vmstore_p=("${w[0]}")

	help=$("${w[0]}" --help 2> /dev/null < /dev/null) || return 0
	# The program's own options, then down the commands as far as they are written.
	while ((i < ${#w[@]} - 1)); do
		if [[ ${w[i]} == -* ]]; then
			value=$(_vmstore_takes "${w[i]}" <<< "$help")
			if ((!${#path[@]})) && [[ -n $value ]] && ((i + 1 < ${#w[@]} - 1)); then
				_vmstore_p+=("${w[i]}" "${w[i + 1]}")
			fi
			((i += ${#value} ? 2 : 1))
			continue
		fi
		known=$(sed -n '/^Commands,/,/^$/s/^  \([a-z-]*\) .*/\1/p' <<< "$help")
		[[ -n $known ]] || break
		grep -qxF -e "${w[i]}" <<< "$known" || return 0 # no such command
		path+=("${w[i]}")
		help=$("${w[0]}" "${path[@]}" --help 2> /dev/null < /dev/null) || return 0
		((i++))
	done

	known=$(sed -n '/^Commands,/,/^$/s/^  \([a-z-]*\) .*/\1/p' <<< "$help")
	value=""
	[[ $prev != -* ]] || value=$(_vmstore_takes "$prev" <<< "$help")
	if [[ -n $value ]]; then
		kind=$value
		# "--dedup on|off" stands in the usage, NAME behind --domain is a domain's
		[[ $prev != --domain ]] || kind=DOMAIN
		[[ $prev != -O && $prev != --format ]] || want="raw qcow2 vmdk vpc vhdx"
		want+=" $(sed '/^$/q' <<< "$help" | grep -oE -m 1 -e "$prev [a-z]+(\|[a-z]+)+" |
			sed 's/.* //; s/|/ /g; 2,$d')"
	elif [[ $cur == -* ]]; then
		kind=""
		want=$(sed -n '/^Options:/,/^$/p' <<< "$help" | grep -oE -e '^ +(-[a-zA-Z], )?--[a-z][a-z0-9-]*' |
			sed 's/.*--/--/')
	elif [[ -n $known ]]; then
		kind="" want=$known
	else
		kind=$(_vmstore_args <<< "$help")
		case "${w[0]##*/} ${path[*]}" in
		"vmstore clone") want=ls ;;
		"vmstore-ring throttle") want=none ;;
		"vmstore-ring scrub") want="status start pause resume" ;;
		esac
	fi
	for value in $kind; do
		case $value in
		FILE | IMAGE | DIR | PATH)
			compopt -o filenames 2> /dev/null
			mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "$cur")
			;;
		VOLUME) want+=" $(_vmstore_names volume)" ;;
		SNAP | A | B) want+=" $(_vmstore_names snap)" ;;
		NODE) want+=" $(_vmstore_names node)" ;;
		DOMAIN) want+=" $(_vmstore_names domain)" ;;
		NAME)
			case ${path[*]} in
			*\ create) ;; # one that is not there yet
			volume\ *) want+=" $(_vmstore_names volume)" ;;
			target\ *) want+=" $(_vmstore_names target)" ;;
			gateway\ *) want+=" $(_vmstore_names gateway)" ;;
			domain\ *) want+=" $(_vmstore_names domain)" ;;
			esac
			;;
		esac
	done
	mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -W "$want" -- "$cur" | sort -u)

	# bash replaces what is behind the last of its own separators.
	breaks=${COMP_WORDBREAKS//[^@:=]/}
	if [[ -n $breaks && $cur == *[$breaks]* ]]; then
		prev=${cur%"${cur##*[$breaks]}"}
		COMPREPLY=("${COMPREPLY[@]#"$prev"}")
	fi
}
complete -F _vmstore vmstore vmstore-ring
