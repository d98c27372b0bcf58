# SPDX-License-Identifier: GPL-2.0-only
# Benchmarks.
#
#   make bench            our LUN beside stock tgt: table, build/bench.json, pictures in
#                         build/bench
#   make bench BENCH_SECONDS=10 BENCH_ROUNDS=5

BENCH_SECONDS ?= 3
BENCH_ROUNDS ?= 3
bench: all tgt-stock
	-scripts/install-deps bench
	B=$(B) scripts/bench --seconds $(BENCH_SECONDS) --rounds $(BENCH_ROUNDS) \
		--json $(B)/bench.json --plots $(B)/bench $(BENCH_ARGS)
.PHONY: bench
