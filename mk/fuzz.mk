# SPDX-License-Identifier: GPL-2.0-only
# Decoders, and what handles what others send, against their corpora (make check replays
# them) and on from there.
#
#   make fuzz [T="record msg"] [SECONDS_MAX=60]        under libFuzzer (clang), each so long
#   make fuzz-replay [VMS_FUZZ_N=1000000] [VMS_FUZZ_SEED=7]   random mutations, fixed seed
#
# What make fuzz finds on its way lies in build-fuzz/new/NAME.

T ?= $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
SECONDS_MAX ?= 60

fuzz:
	$(MAKE) SAN=fuzz fuzz-run

fuzz-run: $(T:%=$(B)/tests/fuzz_%)
	@for t in $(T); do \
		echo "---- $$t"; mkdir -p $(B)/new/$$t; \
		$(B)/tests/fuzz_$$t -max_total_time=$(SECONDS_MAX) -max_len=65536 -rss_limit_mb=4096 \
			-artifact_prefix=$(B)/new/ $(B)/new/$$t tests/fuzz/corpus/$$t || exit 1; \
	done

fuzz-replay: $(T:%=$(B)/tests/fuzz_%)
	@for t in $(T); do \
		printf '%-8s ' $$t; \
		find tests/fuzz/corpus/$$t -type f | sort | xargs $(B)/tests/fuzz_$$t || exit 1; \
	done

.PHONY: fuzz fuzz-run fuzz-replay
