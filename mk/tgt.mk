# SPDX-License-Identifier: GPL-2.0-only
# tgt as modified base.
#
#   make tgt         tgtd, tgtadm, tgt-admin in $(B)/bin
#   make tgt-stock   tgtd, tgtadm with Debian's patches only, in $(B)/stock
#                    (what the benchmarks compare with)
#
# Debian's source package is fetched once into $(TGT_DL), or TGT_SRC=DIR names a
# tree at hand. $(B)/tgt-base holds it with Debian's patches, $(B)/tgt-src with
# target/patches on top. tgt's own Makefile is not used: it decides by what is
# installed, and our objects and archives have to go into the same program.

TGT_DL ?= $(if $(SAN),build,$(B))/dl
TGT_BASE := $(B)/tgt-base
TGT_TREE := $(B)/tgt-src
TGT_VERSION := 1.0.85

TGT_CORE = tgtd mgmt target scsi log driver util work concat_buf parser \
	spc sbc mmc osd scc smc ssc libssc bs bs_rdwr bs_ssc bs_null bs_sg
TGT_ISCSI = $(addprefix iscsi/,conn param session iscsid target chap sha1 md5 \
	transport isns)

# iscsi/iscsi_tcp.c gives way to target/iscsi_stream*.c, libcrc32c.c to
# target/tgt_crc.c.
TGT_GLUE_SRC = $(wildcard $(TGT_GLUE))
TGTD_UNITS = $(TGT_CORE) $(TGT_ISCSI)
STOCK_UNITS = $(TGT_CORE) $(TGT_ISCSI) iscsi/iscsi_tcp libcrc32c bs_sheepdog

TGT_CFLAGS = -std=gnu11 $(OPT) -g -fno-strict-aliasing -Wall -Wstrict-prototypes \
	-Wno-stringop-truncation -Wno-format-truncation -Wno-address-of-packed-member \
	-fstack-protector-strong -msse4.2 -mpclmul -D_GNU_SOURCE -DUSE_SIGNALFD -DUSE_TIMERFD \
	-DTGT_VERSION='"$(TGT_VERSION)"' -DBSDIR='"/usr/lib/tgt/backing-store"'
TGT_SAN = $(filter -fsanitize%,$(CFLAGS_ALL))

tgt: $(B)/bin/tgtd $(B)/bin/tgtadm $(B)/bin/tgt-admin
tgt-stock: $(B)/stock/tgtd $(B)/stock/tgtadm
.PHONY: tgt-stock

# A different TGT_SRC than last time means a different base.
ifneq ($(strip $(TGT_SRC)),$(strip $(shell cat $(TGT_BASE)/.from 2>/dev/null)))
$(shell rm -f $(TGT_BASE)/.stamp)
endif

$(TGT_BASE)/.stamp: scripts/fetch-tgt
	scripts/fetch-tgt $(TGT_BASE) $(TGT_DL) $(TGT_SRC)
	@echo "$(TGT_SRC)" > $(TGT_BASE)/.from
	@touch $@

$(TGT_TREE)/.stamp: $(TGT_BASE)/.stamp scripts/patch-tgt $(wildcard target/patches/*)
	scripts/patch-tgt $(TGT_BASE) target/patches $(TGT_TREE)
	@touch $@

# Files of the trees come into being with the stamps, headers too (those that are
# there already: the first build compiles everything).
$(wildcard $(TGT_TREE)/usr/*.h $(TGT_TREE)/usr/iscsi/*.h): $(TGT_TREE)/.stamp ;
$(wildcard $(TGT_BASE)/usr/*.h $(TGT_BASE)/usr/iscsi/*.h): $(TGT_BASE)/.stamp ;
$(addprefix $(TGT_TREE)/usr/,$(addsuffix .c,$(TGTD_UNITS) tgtadm)): $(TGT_TREE)/.stamp ;
$(addprefix $(TGT_BASE)/usr/,$(addsuffix .c,$(STOCK_UNITS) tgtadm)): $(TGT_BASE)/.stamp ;

$(B)/obj/tgt/%.o: $(TGT_TREE)/usr/%.c
	@mkdir -p $(@D)
	$(CC) $(TGT_CFLAGS) $(TGT_SAN) -I$(TGT_TREE)/usr -Itarget -MMD -MP -c -o $@ $<

$(B)/obj/tgt-stock/%.o: $(TGT_BASE)/usr/%.c
	@mkdir -p $(@D)
	$(CC) $(TGT_CFLAGS) -I$(TGT_BASE)/usr -MMD -MP -c -o $@ $<

# Our files that include tgt's headers: our flags, tgt's headers as system
# headers (their warnings are not ours), rebuilt whenever the tree changes.
TGT_GLUE_OBJ = $(patsubst %.c,$(B)/obj/%.o,$(TGT_GLUE_SRC))
$(TGT_GLUE_OBJ): CFLAGS_ALL += -isystem $(TGT_TREE)/usr -isystem $(TGT_TREE)/usr/iscsi
$(TGT_GLUE_OBJ): $(TGT_TREE)/.stamp

tgt_obj = $(addprefix $(B)/obj/tgt/,$(addsuffix .o,$(1)))
stock_obj = $(addprefix $(B)/obj/tgt-stock/,$(addsuffix .o,$(1)))

# What a gateway is made of.
TGT_LIBS := $(foreach d,target cluster utils/lib,$(call lib,$(d)))

$(B)/bin/tgtd: $(call tgt_obj,$(TGTD_UNITS)) $(TGT_GLUE_OBJ) $(TGT_LIBS)
	@mkdir -p $(@D)
	$(CC) $(TGT_SAN) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) \
		-Wl,--start-group $(TGT_LIBS) -Wl,--end-group $(LIBS) -ldl

$(B)/bin/tgtadm: $(call tgt_obj,tgtadm concat_buf)
	@mkdir -p $(@D)
	$(CC) $(TGT_SAN) $(LDFLAGS_ALL) -o $@ $^

$(B)/bin/tgt-admin: $(TGT_TREE)/.stamp
	@mkdir -p $(@D)
	install -m 755 $(TGT_TREE)/scripts/tgt-admin $@

$(B)/stock/tgtd: $(call stock_obj,$(STOCK_UNITS))
	@mkdir -p $(@D)
	$(CC) -o $@ $^ -lpthread -ldl

$(B)/stock/tgtadm: $(call stock_obj,tgtadm concat_buf)
	@mkdir -p $(@D)
	$(CC) -o $@ $^

# Raw initiators for tests/it/tgt_base.sh, gateways.sh, scsi_paths.sh and syscalls.sh.
$(B)/tests/iscsi_raw $(B)/tests/iscsi_chap $(B)/tests/iscsi_gate $(B)/tests/iscsi_tas $(B)/tests/iscsi_burst: $(B)/tests/iscsi_%: tests/it/iscsi_%.c \
		tests/it/iscsi_ini.c tests/it/iscsi_ini.h
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(filter %.c,$^) -lisal -lcrypto
tgt: $(B)/tests/iscsi_raw $(B)/tests/iscsi_chap $(B)/tests/iscsi_gate $(B)/tests/iscsi_tas $(B)/tests/iscsi_burst

# Writers whose writes depend on each other, for tests/it/snap.sh.
$(B)/tests/cut: tests/it/cut.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $< -liscsi
tgt: $(B)/tests/cut

# Hosts that reserve, for tests/it/pr.sh.
$(B)/tests/iscsi_pr: tests/it/iscsi_pr.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $< -liscsi
tgt: $(B)/tests/iscsi_pr

# A host's rules over two gateways, for tests/it/mpath.sh.
$(B)/tests/mpath_rules: tests/it/mpath_rules.c tests/it/mpath_conf.c tests/it/mpath_conf.h
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(filter %.c,$^) -liscsi
tgt: $(B)/tests/mpath_rules

# What initiators see of changes of their LUN, for tests/it/luchange.sh.
$(B)/tests/luwatch: tests/it/luwatch.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $< -liscsi
tgt: $(B)/tests/luwatch
# One LUN through two gateways, for tests/it/scsi_paths.sh.
$(B)/tests/two_paths: tests/it/two_paths.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $< -liscsi
tgt: $(B)/tests/two_paths

# Writes that a dead path swallowed, for tests/it/ghost.sh: the test with its network, and
# what is preloaded into the gateway that is to use it.
$(B)/tests/ghost: tests/it/ghost.c tests/it/ghost_net.c tests/it/ghost_net.h \
		tests/it/iscsi_ini.c tests/it/iscsi_ini.h
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(filter %.c,$^) -lisal -lcrypto -lpthread
$(B)/tests/ghost_connect.so: tests/it/ghost_connect.c
	@mkdir -p $(@D)
	$(CC) -O2 -Wall -Wextra -Werror -shared -fPIC -o $@ $< -ldl
tgt: $(B)/tests/ghost $(B)/tests/ghost_connect.so

# A storage node with one of the defects of tests/mutants: VMS_NODE_MUTANT=N.
$(B)/obj/tests/vmstored_node_mutant.o: backend/vmstored_node.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -DVMS_TEST_MUTANTS -MMD -c -o $@ $<
$(B)/tests/vmstored_mutant: $(call obj,backend/vmstored.c) $(B)/obj/tests/vmstored_node_mutant.o $(LIB_ALL)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) -Wl,--start-group $(LIB_ALL) -Wl,--end-group $(LIBS)
# A gateway with one of them: VMS_GW_MUTANT=N.
$(B)/obj/tests/gw_posix_mutant.o: target/gw_posix.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -DVMS_TEST_MUTANTS -MMD -c -o $@ $<
$(B)/obj/tests/iscsi_stream_tx_mutant.o: target/iscsi_stream_tx.c $(TGT_TREE)/.stamp
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -isystem $(TGT_TREE)/usr -isystem $(TGT_TREE)/usr/iscsi -DVMS_TEST_MUTANTS -MMD -c -o $@ $<
$(B)/tests/tgtd_mutant: $(call tgt_obj,$(TGTD_UNITS)) $(filter-out %/iscsi_stream_tx.o,$(TGT_GLUE_OBJ)) \
		$(B)/obj/tests/iscsi_stream_tx_mutant.o $(B)/obj/tests/gw_posix_mutant.o $(TGT_LIBS)
	@mkdir -p $(@D)
	$(CC) $(TGT_SAN) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) \
		-Wl,--start-group $(TGT_LIBS) -Wl,--end-group $(LIBS) -ldl
tgt: $(B)/tests/vmstored_mutant $(B)/tests/tgtd_mutant

# EXTENDED COPY between two LUNs, for tests/it/xcopy.sh.
$(B)/tests/xcopy: tests/it/xcopy.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $< -liscsi
tgt: $(B)/tests/xcopy
