# SPDX-License-Identifier: GPL-2.0-only
# Tests.
#
#   make check          install what tests need, build, run all, within minutes
#   make check GROUPS='unit docs' TESTS='ring*'   some groups, some tests
#   make check-long     the full counts (hours)
#   make check-asan     unit and simulator tests in a sanitizer build
#   make check-deps     who includes what
#   make check-model OPS=2000000 [SEED=7]   the real engine against an oracle in memory
#   make check-scsi, check-kill, check-image, check-images, check-diffs, check-guest   one real-process test
#   make check-faults [NAMES='crash-node cut-node-long']   scenarios of tests/faults, all or some
#   make check-mutants  every deliberate defect of tests/mutants is caught by a test
#   make sim SEEDS=1..10000
#   make lint, make format
check:
	B=$(B) scripts/check $(if $(GROUPS),--groups '$(GROUPS)') $(if $(TESTS),--tests '$(TESTS)')
check-long:
	B=$(B) scripts/check --long
check-deps:
	scripts/check-deps
# The bug zoo: every deliberate defect must be caught (tests/mutants).
check-mutants: $(B)/bin/vmstore-sim unit programs tgt
	B=$(B) scripts/mutants

OPS ?= 2000000
SEED ?= 1
check-model: $(B)/tests/test_model
	VMS_MODEL_OPS=$(OPS) VMS_MODEL_SEED=$(SEED) $<

ASAN_SEEDS ?= 1..50
check-asan:
	$(MAKE) SAN=asan unit $(if $(wildcard tests/sim/vmstore-sim.c),build-asan/bin/vmstore-sim)
	B=build-asan scripts/check --no-build --groups 'unit sim' --seeds $(ASAN_SEEDS)

check-scsi check-kill check-image check-images check-diffs check-guest: check-%:
	B=$(B) tests/it/$*.sh

check-faults:
	B=$(B) tests/faults/run $(if $(NAMES),$(NAMES),--all)

# The shipped settings of initiators.
$(B)/tests/test_initiator_conf: $(B)/obj/tests/it/mpath_conf.o
$(B)/tests/test_initiator_conf: LIBS += $(B)/obj/tests/it/mpath_conf.o

# Fuzz targets: programs that replay tests/fuzz/corpus/NAME.
FUZZ = $(patsubst tests/fuzz/%.c,$(B)/tests/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_LIBS := $(foreach d,utils/image tests/sim target backend cluster utils/lib,$(call lib,$(d)))
$(B)/tests/fuzz_%: $(B)/obj/tests/fuzz/fuzz_%.o $(FUZZ_LIBS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $< -Wl,--start-group $(FUZZ_LIBS) -Wl,--end-group $(LIBS)
unit: $(FUZZ)

# Man pages
MAN = $(patsubst doc/man/%.scd,$(B)/man/%,$(wildcard doc/man/*.scd))
$(B)/man/%: doc/man/%.scd
	@mkdir -p $(@D)
	@command -v scdoc > /dev/null || \
		{ echo 'scdoc, which makes the manual pages, is missing: scripts/install-deps install' >&2; exit 1; }
	scdoc < $< > $@.new
	@mv $@.new $@
man: $(MAN)

# lint fails on code that `make format` would change.
lint:
	scripts/lint
format:
	clang-format -i $(shell git ls-files '*.c' '*.h')

.PHONY: check-faults check check-long check-model check-mutants check-deps check-asan check-scsi check-kill check-image \
	check-guest man lint format

$(B)/tests/tools/history: LIBS += -liscsi

# Preloaded into nodes by tests/faults.
$(B)/tests/lmdb_fail.so: tests/faults/preload/lmdb_fail.c
	@mkdir -p $(@D)
	$(CC) -O2 -Wall -Wextra -Werror -shared -fPIC -o $@ $< -ldl
unit: $(B)/tests/lmdb_fail.so

# Programs that measure or help tests: tests/tools/X.c, one program each.
TEST_TOOLS = $(patsubst tests/tools/%.c,$(B)/tests/tools/%,$(wildcard tests/tools/*.c))
$(B)/tests/tools/%: $(B)/obj/tests/tools/%.o $(LIB_ALL)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $< -Wl,--start-group $(LIB_ALL) -Wl,--end-group $(LIBS)
unit: $(TEST_TOOLS)
