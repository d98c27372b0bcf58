# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Clocks. Leases count on the boot clock, which runs at the same pace everywhere within
# 1 % and never jumps; the time of day may do what it likes (libfaketime).

faketime_lib() {
	find /usr/lib -name libfaketime.so.1 2> /dev/null | grep . || skip "libfaketime is not installed (Debian package libfaketime)" >&2
}

scenario clock-apart 'boot clocks of all processes are weeks apart'
clock_apart_prepare() {
	local n i=0
	for n in $(names node) $(names gw) catalog; do
		i=$((i + 1))
		wrap "$n" unshare --time --boottime $((i * 700000)) --monotonic $((i * 300000))
	done
}
clock_apart() {
	kill9 node1
	sleep 1
	start node1
	work 4
}

scenario clock-day-jumps 'the time of day of every process jumps by years and days, forth and back'
clock_day_jumps_prepare() {
	local n lib
	lib=$(faketime_lib) || exit 77
	for n in $(names); do
		echo '+0' > "$LAB/run/$n.time"
		preset "$n" "LD_PRELOAD=$lib" "FAKETIME_TIMESTAMP_FILE=$LAB/run/$n.time" \
			FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1
	done
}
clock_day_jumps() {
	local n jump
	promise 1
	settled
	for jump in +400d -3000d +3h -70s +0; do
		for n in $(names); do
			# it is read at any moment
			echo "$jump" > "$LAB/run/$n.time.new"
			mv "$LAB/run/$n.time.new" "$LAB/run/$n.time"
			sleep 0.2
		done
		work 2
	done
}

scenario clock-drift 'boot clocks run half a percent fast and slow; a node and a gateway stand still'
clock_drift_prepare() {
	local n lib
	lib=$(faketime_lib) || exit 77
	for n in node1 gw1; do preset "$n" "LD_PRELOAD=$lib" 'FAKETIME=+0 x1.005'; done
	for n in node2 gw2; do preset "$n" "LD_PRELOAD=$lib" 'FAKETIME=+0 x0.995'; done
}
clock_drift() {
	promise 8
	pause node1
	work 9
	resume node1
	progress 30
	pause gw2
	work 9
	resume gw2
	progress 30
	work 3
}
