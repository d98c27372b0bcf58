# SPDX-License-Identifier: GPL-2.0-only
# Fuzz target of the iSCSI layer (tests/fuzz/fuzz_iscsi.c): tgt's objects without tgtd.c
# and without the gateway; the transport is included by the target itself.
FUZZ_ISCSI_TGT = $(call tgt_obj,$(filter-out tgtd log,$(TGTD_UNITS)))
FUZZ_ISCSI_GLUE = $(B)/obj/target/tgt_buf.o $(B)/obj/target/tgt_crc.o
$(B)/obj/tests/fuzz/fuzz_iscsi.o: CFLAGS_ALL += -isystem $(TGT_TREE)/usr -isystem $(TGT_TREE)/usr/iscsi
$(B)/obj/tests/fuzz/fuzz_iscsi.o: $(TGT_TREE)/.stamp
$(B)/tests/fuzz_iscsi: $(B)/obj/tests/fuzz/fuzz_iscsi.o $(FUZZ_ISCSI_TGT) $(FUZZ_ISCSI_GLUE) $(FUZZ_LIBS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) \
		-Wl,--start-group $(FUZZ_LIBS) -Wl,--end-group $(LIBS) -ldl
