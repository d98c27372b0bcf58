# SPDX-License-Identifier: GPL-2.0-only
# Decoders against their corpora and random mutations of them (fixed seed).
#
#   make fuzz-replay [VMS_FUZZ_N=1000000] [VMS_FUZZ_SEED=7]
#   make fuzz-libfuzzer T=record SECONDS_MAX=60    the same target under libFuzzer (clang)

FUZZ_STORE = record ctr page wal msg diff cdb etcd reg pr iscsi
fuzz-replay: $(FUZZ_STORE:%=$(B)/tests/fuzz_%)
	@for t in $(FUZZ_STORE); do \
		printf '%-8s ' $$t; \
		find tests/fuzz/corpus/$$t -type f | sort | xargs $(B)/tests/fuzz_$$t || exit 1; \
	done

T ?= record
SECONDS_MAX ?= 60
fuzz-libfuzzer:
	@mkdir -p $(B)/tests $(B)/fuzz-new/$(T)
	clang -std=gnu11 -O1 -g -msse4.2 -mpclmul -D_GNU_SOURCE -DVMS_LIBFUZZER -Iinclude -I. \
		-fsanitize=fuzzer,address,undefined -o $(B)/tests/libfuzzer_$(T) \
		tests/fuzz/fuzz_$(T).c backend/record.c backend/ctr.c backend/meta.c \
		backend/pages.c backend/wal.c backend/fplists.c utils/image/diff.c \
		utils/lib/err.c utils/lib/crc32c.c -lisal -lcrypto
	$(B)/tests/libfuzzer_$(T) -max_total_time=$(SECONDS_MAX) -max_len=65536 \
		$(B)/fuzz-new/$(T) tests/fuzz/corpus/$(T)

.PHONY: fuzz-replay fuzz-libfuzzer
