# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The laboratory of the fault scenarios: a network of its own, one namespace per
# process, and the processes. Runs only inside the sandbox that `run` makes (its own
# network, mounts and process ids), so nothing outside can be hit or be in the way,
# and everything ends with the sandbox.
#
# Processes: catalog (or etcd1 etcd2 etcd3), node1 …, gw1 …. The load and the tools
# run in the sandbox's own namespace, which is called `client` where cuts are named.
#
#   start NAME…          start, wait until it serves        start_later NAME…   do not wait
#   kill9 NAME…          kill -9                            stop_clean NAME…    SIGTERM, wait
#   kill_any NAME         kill -9, should it run still
#   pause NAME…          SIGSTOP                            resume NAME…        SIGCONT
#   running NAME         does it run?                       names [KIND]        all there are
#   sever A B            what A sends to B is lost (silently: frames go to nobody)
#   sever_both A B        both ways                          isolate A           from everyone
#   heal                 all cuts end                       heal_one A          those of A end
#   plug_out A, plug_in A   the cable of A
#   preset NAME VAR=VALUE…  environment of its next starts
#   wrap NAME COMMAND…      put before its command line at its next starts
#   small_disk NAME SIZE    its data lie on a file system of SIZE
#   wipe NAME               its data are gone (it must not run)
#   rename NAME OTHER       it calls itself so from its next start on
#   gone NAME               it belongs to the cluster no more

NET=10.77.0
PORT=7600

say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*"; }
fail() {
	say "FAILED: $*"
	exit 1
}
skip() {
	echo "skipped: $*"
	exit 77
}

# ---- names and addresses ----

names() {
	local i
	case ${1:-} in '' | catalog)
		if [ "$CATALOG" = etcd ]; then echo "etcd1 etcd2 etcd3"; else echo catalog; fi
		;;
	esac
	case ${1:-} in '' | node)
		for ((i = 1; i <= NODES; i++)); do [[ " ${GONE:-} " == *" node$i "* ]] || echo "node$i"; done
		;;
	esac
	case ${1:-} in '' | gw) for ((i = 1; i <= GATEWAYS; i++)); do echo "gw$i"; done ;; esac
}

last_octet() {
	case $1 in
	client) echo 1 ;;
	catalog) echo 10 ;;
	etcd*) echo $((10 + ${1#etcd})) ;;
	node*) echo $((20 + ${1#node})) ;;
	gw*) echo $((40 + ${1#gw})) ;;
	esac
}

ip_of() { echo "$NET.$(last_octet "$1")"; }
mac_of() { printf '02:00:0a:4d:00:%02x\n' "$(last_octet "$1")"; }

catalog_addr() {
	if [ "$CATALOG" = etcd ]; then
		echo "etcd:$(ip_of etcd1):2379,$(ip_of etcd2):2379,$(ip_of etcd3):2379"
	else
		echo "$(ip_of catalog):$PORT"
	fi
}

# ---- network ----

# Neighbours are fixed from the start: no ARP, and a cut is a neighbour whose frames
# go to an address that nobody has.
net_up() {
	local n
	mount -t tmpfs none /run || return 1
	ip link set lo up
	ip link add br0 type bridge && ip link set br0 address "$(mac_of client)" up &&
		ip addr add "$(ip_of client)/24" dev br0 || return 1
	for n in $(names); do net_add "$n" || return 1; done
}

net_add() { # NAME
	local n=$1
	ip netns add "$n" &&
		ip link add "v-$n" type veth peer name e0 netns "$n" &&
		ip link set "v-$n" master br0 up &&
		ip -n "$n" link set lo up &&
		ip -n "$n" link set e0 address "$(mac_of "$n")" &&
		ip -n "$n" addr add "$(ip_of "$n")/24" dev e0 &&
		ip -n "$n" link set e0 up || return 1
	NET_NAMES="${NET_NAMES:-} $n"
	heal
}

neigh() { # AT TO MAC
	local dev=e0 ns=(-n "$1")
	[ "$1" != client ] || dev=br0 ns=()
	ip "${ns[@]}" neigh replace "$(ip_of "$2")" lladdr "$3" dev $dev nud permanent
}

sever() { neigh "$1" "$2" 02:00:00:00:de:ad; }
sever_both() {
	sever "$1" "$2"
	sever "$2" "$1"
}
isolate() {
	local o
	for o in client $NET_NAMES; do [ "$o" = "$1" ] || sever_both "$1" "$o"; done
}
heal_one() {
	local o
	for o in client $NET_NAMES; do
		[ "$o" != "$1" ] || continue
		neigh "$1" "$o" "$(mac_of "$o")"
		neigh "$o" "$1" "$(mac_of "$1")"
	done
}
heal() {
	local o
	for o in $NET_NAMES; do heal_one "$o"; done
}
plug_out() { ip link set "v-$1" down; }
plug_in() { ip link set "v-$1" up; }

# ---- configuration ----

conf_of() { echo "$LAB/conf/$1.conf"; }

write_conf() { # NAME
	local n=$1 common
	mkdir -p "$LAB/conf" "$LAB/run" "$LAB/data"
	common="[cluster]
catalog = $(catalog_addr)
run_dir = $LAB/run
log_level = ${VMS_LOG_LEVEL:-info}
"
	case $n in
	catalog) printf '%s\n[catalog]\ndir = %s\nlisten = %s\n' "$common" "$LAB/data/catalog" \
		"$(ip_of catalog):$PORT" ;;
	node*) printf '%s\n[node]\nname = %s\ndir = %s\nlisten = %s\nlog_size = %s\n' "$common" "$n" \
		"$LAB/data/$n" "$(ip_of "$n"):$PORT" "$LOG_SIZE" |
		sed "s/^name = $n\$/name = $(cat "$LAB/run/$n.name" 2> /dev/null || echo "$n")/" ;;
	gw*) printf '%s\n[gateway]\nname = %s\nchunk_cache = %s\nthin_soft_threshold = 0\n' "$common" "$n" "$CHUNK_CACHE" ;;
	*) printf '%s\n' "$common" ;;
	esac > "$(conf_of "$n")"
}

preset() {
	local n=$1
	shift
	printf '%s\n' "$@" > "$LAB/run/$n.env"
}
rename() { echo "$2" > "$LAB/run/$1.name"; }
wrap() {
	local n=$1
	shift
	printf '%s\n' "$@" > "$LAB/run/$n.wrap"
}
small_disk() {
	mkdir -p "$LAB/data/$1"
	mount -t tmpfs -o "size=$2" none "$LAB/data/$1"
}
wipe() {
	[ -z "$(pid_of "$1")" ] || fail "wipe: $1 runs"
	find "$LAB/data/$1" -mindepth 1 -delete
}

gone() {
	GONE="${GONE:-} $1"
	kill_any "$1"
}

# ---- processes ----

pid_of() {
	local pid
	pid=$(cat "$LAB/run/$1.pid" 2> /dev/null) || return 0
	case $(sed -n 's/^State:[[:space:]]*//p' "/proc/$pid/status" 2> /dev/null) in
	'') ;;
	# a dead process may have threads that still hold its sockets
	Z*) [ "$(find "/proc/$pid/task" -maxdepth 1 -mindepth 1 2> /dev/null | wc -l)" -le 1 ] || echo "$pid" ;;
	*) echo "$pid" ;;
	esac
}
running() { [ -n "$(pid_of "$1")" ]; }

# Runs COMMAND in the namespace of NAME; its pid and no other is in run/NAME.pid, when this
# returns.
spawn() { # NAME COMMAND…
	local n=$1 env=() wrap=() child
	shift
	[ ! -f "$LAB/run/$n.env" ] || mapfile -t env < "$LAB/run/$n.env"
	[ ! -f "$LAB/run/$n.wrap" ] || mapfile -t wrap < "$LAB/run/$n.wrap"
	# shellcheck disable=SC2016
	nsenter --net="/run/netns/$n" env "${env[@]}" "${wrap[@]}" \
		sh -c 'echo $$ > "$0"; exec "$@"' "$LAB/run/$n.pid" "$@" >> "$OUT/$n.log" 2>&1 < /dev/null &
	child=$!
	disown $child
	until [ -s "$LAB/run/$n.pid" ]; do
		kill -0 $child 2> /dev/null || break
		sleep 0.01
	done
}

wait_for() { # SECONDS COMMAND…
	local end=$((SECONDS + $1))
	shift
	until "$@" > /dev/null 2>&1; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.05
	done
}

adm() { # gwN ARG…
	local n=$1
	shift
	TGT_IPC_SOCKET=$LAB/run/tgt timeout 30 "$BIN/tgtadm" -C "${n#gw}" --lld iscsi "$@"
}

start_later() {
	local n
	for n in "$@"; do
		running "$n" && fail "start: $n runs"
		rm -f "$LAB/run/$n.pid" "$LAB/run/$n.up"*
		write_conf "$n"
		case $n in
		catalog) spawn "$n" "$BIN/vmstored" --catalog -c "$(conf_of "$n")" --pid-file "$LAB/run/$n.up" ;;
		node*) VMS_DISK_FAULT=@$LAB/run/$n.faults spawn "$n" "$BIN/vmstored" -c "$(conf_of "$n")" --pid-file "$LAB/run/$n.up" ;;
		etcd*) start_etcd "$n" ;;
		gw*)
			rm -f "$LAB/run/tgt.${n#gw}" "$LAB/run/tgt.${n#gw}.lock"
			VMSTORE_CONF=$(conf_of "$n") TGT_IPC_SOCKET=$LAB/run/tgt \
				spawn "$n" "$BIN/tgtd" -f -C "${n#gw}" --iscsi "portal=$(ip_of "$n"):3260"
			serve_luns "$n" >> "$OUT/$n.log" 2>&1 &
			disown $!
			;;
		esac
	done
}

start_etcd() { # NAME
	local n=$1 i all=""
	command -v etcd > /dev/null || skip "etcd is not installed (Debian package etcd-server)"
	for i in 1 2 3; do all="$all,etcd$i=http://$(ip_of "etcd$i"):2380"; done
	spawn "$n" env ETCD_UNSUPPORTED_ARCH=amd64 etcd --name "$n" --data-dir "$LAB/data/$n" \
		--heartbeat-interval 100 --election-timeout 1000 --pre-vote \
		--listen-peer-urls "http://$(ip_of "$n"):2380" \
		--initial-advertise-peer-urls "http://$(ip_of "$n"):2380" \
		--listen-client-urls "http://$(ip_of "$n"):2379" \
		--advertise-client-urls "http://$(ip_of "$n"):2379" \
		--initial-cluster "${all#,}" --initial-cluster-state new --initial-cluster-token faults
}

etcd_ctl() {
	ETCDCTL_API=3 timeout 10 etcdctl --dial-timeout 2s \
		--endpoints "$(for i in 1 2 3; do printf 'http://%s:2379,' "$(ip_of "etcd$i")"; done | sed 's/,$//')" "$@"
}
etcd_up() { ETCDCTL_API=3 timeout 5 etcdctl --endpoints "http://$(ip_of "$1"):2379" endpoint health; }
etcd_says_leader() {
	local n
	for n in etcd1 etcd2 etcd3; do
		ETCDCTL_API=3 timeout 5 etcdctl --endpoints "http://$(ip_of "$n"):2379" endpoint status -w json 2> /dev/null |
			grep -oE '"(member_id|leader)":[0-9]+' | sort -u | cut -d: -f2 | sort | uniq -d | grep -q . && {
			echo "$n"
			return 0
		}
	done
	return 1
}
# They may be about to choose one.
leader_of_etcd() { wait_for 30 etcd_says_leader && etcd_says_leader; }

# LUN 1 belongs to the cluster: the first gateway that runs makes it, the others find it.
# A gateway lets nobody in before it has its LUNs. Ends with the process it began with.
serve_luns() { # gwN
	local n=$1 i pid
	pid=$(pid_of "$n")
	wait_for 60 adm "$n" --op show --mode sys || return 1
	for ((i = 0; i < 600; i++)); do
		[ -n "$pid" ] && [ "$(pid_of "$n")" = "$pid" ] || return 1
		adm "$n" --op show --mode target 2> /dev/null | grep -qE '^ +LUN: 1$' && break
		{
			adm "$n" --op new --mode target --tid 1 -T "$IQN"
			adm "$n" --op bind --mode target --tid 1 -I ALL
			adm "$n" --op new --mode logicalunit --tid 1 --lun 1 --bstype vmstore --backing-store "$VOLUME" \
				--bsopts "size=$VOLUME_SIZE;write_ack=$WRITE_ACK"
		} > /dev/null 2>&1
		sleep 0.2
	done
	touch "$LAB/run/$n.up.$pid"
}

is_up() {
	case $1 in
	etcd*) etcd_up "$1" ;;
	gw*) running "$1" && [ -e "$LAB/run/$1.up.$(pid_of "$1")" ] ;;
	*) [ -e "$LAB/run/$1.up" ] && running "$1" ;;
	esac
}

start() {
	local n
	start_later "$@"
	for n in "$@"; do
		wait_for 60 is_up "$n" || fail "$n does not serve: $(tail -n 3 "$OUT/$n.log" | cut -c1-300)"
	done
}

# The process ids are those of the sandbox: nothing outside it can be hit.
signal() { # SIGNAL NAME…
	local s=$1 n pids=()
	shift
	for n in "$@"; do
		[ -n "$(pid_of "$n")" ] || fail "$n does not run: it ended by itself"
		pids+=("$(pid_of "$n")")
	done
	kill "-$s" "${pids[@]}"
}
kill9() {
	local n
	say "kill -9 $*"
	signal KILL "$@"
	for n in "$@"; do while running "$n"; do sleep 0.01; done; done
}
# It may be ending by itself, or have done so.
kill_any() { # NAME
	local pid
	pid=$(pid_of "$1")
	[ -z "$pid" ] || kill -9 "$pid" 2> /dev/null
	while running "$1"; do sleep 0.01; done
}
pause() {
	say "SIGSTOP $*"
	signal STOP "$@"
}
resume() {
	say "SIGCONT $*"
	signal CONT "$@"
}
stop_clean() {
	local n
	signal TERM "$@"
	for n in "$@"; do
		wait_for 60 not running "$n" || fail "$n does not stop on SIGTERM"
	done
}
not() { ! "$@"; }

ring() { timeout "${RING_TIMEOUT:-120}" "$BIN/vmstore-ring" -c "$LAB/conf/client.conf" "$@" < /dev/null; }
vmstore() { timeout 120 "$BIN/vmstore" -c "$LAB/conf/client.conf" "$@" < /dev/null; }

lab_up() {
	local i list=()
	mkdir -p "$LAB" && mount -t tmpfs -o size=16g none "$LAB" && mount -t tmpfs none /dev/shm || fail "no tmpfs"
	net_up || fail "the network cannot be made"
	mkdir -p "$LAB/run"
	write_conf client
	declare -F prepare > /dev/null && prepare
	# shellcheck disable=SC2046
	start $(names catalog)
	# shellcheck disable=SC2046
	start $(names node)
	ring init --partitions "$PARTITIONS" --copies "$COPIES" > "$OUT/init.log" 2>&1 || fail "ring init: $(tail -n 2 "$OUT/init.log")"
	for ((i = 1; i <= JOINED; i++)); do list+=("$(ip_of "node$i"):$PORT"); done
	ring join "${list[@]}" > "$OUT/join.log" 2>&1 || fail "ring join: $(tail -n 2 "$OUT/join.log")"
	# shellcheck disable=SC2046
	start $(names gw)
}
