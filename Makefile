# SPDX-License-Identifier: GPL-2.0-only
# VMStore: top-level build. `make help` lists the targets.
#
#   make           build everything into build/bin
#   make up        demo cluster on this machine    make down / clean-data
#   make check     install what tests need, build, run all tests
#
# B=DIR        build folder (default build; sanitizer builds use build-asan)
# SAN=asan     build with AddressSanitizer + UBSan
# TGT_SRC=DIR  build tgt from a tree at hand instead of fetching Debian's source

SHELL := /bin/bash
CC ?= gcc
B ?= $(if $(SAN),build-$(SAN),build)
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.1)

OPT ?= -O2
CFLAGS_ALL = -std=gnu11 $(OPT) -g -Wall -Wextra -Werror -Wno-unused-parameter \
	-Wmissing-prototypes -Wstrict-prototypes -Wshadow=local -Wundef \
	-fno-strict-aliasing -fno-common -fstack-protector-strong \
	-msse4.2 -mpclmul -D_GNU_SOURCE -DVMS_VERSION='"$(VERSION)"' -Iinclude -I. $(CFLAGS)
LDFLAGS_ALL = $(LDFLAGS)
ifeq ($(SAN),asan)
CFLAGS_ALL += -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDFLAGS_ALL += -fsanitize=address,undefined
endif
ifeq ($(SAN),tsan)
CFLAGS_ALL += -fsanitize=thread
LDFLAGS_ALL += -fsanitize=thread
endif

ifeq ($(SAN),fuzz) # make fuzz
CC := clang
CFLAGS_ALL += -fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer \
	-DVMS_LIBFUZZER -Wno-error -Wno-unused-function
LDFLAGS_ALL += -fsanitize=fuzzer,address,undefined
endif

LIBS = -llmdb -ljansson -linih -lcurl -lcrypto -lisal -luring -lpthread -lm

# Sources. Every *.c of a folder belongs to that folder's archive, except the
# files with a main() (MAINS) and those that include tgt's headers (TGT_GLUE).
SIM_MAIN = tests/sim/vmstore-sim.c
MAINS    = backend/vmstored.c $(wildcard utils/vmstore*.c) $(SIM_MAIN)
TGT_GLUE = target/bs_vmstore.c $(wildcard target/iscsi_stream*.c) $(wildcard target/tgt_*.c)
src = $(filter-out $(MAINS) $(TGT_GLUE),$(wildcard $(1)/*.c))
obj = $(patsubst %.c,$(B)/obj/%.o,$(1))

# All archives are named here, not where they are used: prerequisites are expanded as they
# are read, and whoever needs them all has to see them all. utils/bench, utils/tool (what
# vmstore and vmstore-ring share), utils/image (sources, formats, what dedup would save) and
# tests/history (the checker of recorded histories) are for programs and their tests.
LIB_DIRS = utils/lib cluster backend target tests/sim utils/bench utils/tool utils/image tests/history
lib = $(B)/lib/lib$(subst /,_,$(1)).a
LIB_ALL = $(foreach d,$(LIB_DIRS),$(call lib,$(d)))

all: programs tgt

include $(wildcard mk/*.mk)

$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

define libtmpl
$(call lib,$(1)): $(call obj,$(call src,$(1)))
	@mkdir -p $$(@D)
	@rm -f $$@
	ar rcs $$@ $$^
endef
$(foreach d,$(LIB_DIRS),$(eval $(call libtmpl,$(d))))

# Programs: one main file each, linked against the archives.
have_node = $(wildcard backend/node.c)
have_cores = $(and $(wildcard backend/node.c),$(wildcard target/gateway.c))
PROGRAMS = $(foreach m,$(filter-out $(if $(have_node),,backend/vmstored.c) $(if $(have_cores),,$(SIM_MAIN)),$(wildcard $(MAINS))),$(B)/bin/$(notdir $(basename $(m))))
programs: $(PROGRAMS)
define progtmpl
$(B)/bin/$(notdir $(basename $(1))): $(call obj,$(1)) $(LIB_ALL)
	@mkdir -p $$(@D)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $$@ $$< -Wl,--start-group $(LIB_ALL) -Wl,--end-group $(LIBS) $$(LIBS_$(notdir $(basename $(1))))
endef
$(foreach m,$(wildcard $(MAINS)),$(eval $(call progtmpl,$(m))))
LIBS_vmstore-bench = -liscsi
LIBS_vmstore = -lnbd
LIBS_test_advice = -lnbd # has all commands of vmstore in it

# Unit tests: tests/unit/test_X.c, one CUnit program each.
UNIT = $(patsubst tests/unit/%.c,$(B)/tests/%,$(wildcard tests/unit/test_*.c))
$(B)/tests/%: $(B)/obj/tests/unit/%.o $(LIB_ALL)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $< -Wl,--start-group $(LIB_ALL) -Wl,--end-group $(LIBS) $(LIBS_$(notdir $@)) -lcunit
unit: $(UNIT)

# tgt (modified base): mk/tgt.mk overrides nothing here, it only adds `tgt`.
.PHONY: all programs unit tgt clean help
.SECONDARY:

clean:
	rm -rf $(B)

help:
	@sed -n '/^#/!q;s/^# \{0,1\}//p' Makefile

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
