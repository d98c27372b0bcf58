# SPDX-License-Identifier: GPL-2.0-only
# tgtd with our SCSI layer and transport over a gateway of RAM (tests/unit/fake_gw.c):
# for testing them with real initiators, without a cluster; tests/it/scsi_fake.sh.
FAKE_OBJ = $(B)/obj/target/bs_vmstore.o $(B)/obj/tests/unit/fake_gw.o
$(B)/obj/target/bs_vmstore.o: CFLAGS_ALL += -isystem $(TGT_TREE)/usr -isystem $(TGT_TREE)/usr/iscsi
$(B)/obj/target/bs_vmstore.o: $(TGT_TREE)/.stamp
$(B)/tests/tgtd-fake: $(call tgt_obj,$(TGTD_UNITS)) $(TGT_GLUE_OBJ) $(FAKE_OBJ) $(TGT_LIBS)
	@mkdir -p $(@D)
	$(CC) $(TGT_SAN) $(LDFLAGS_ALL) -o $@ $(sort $(filter %.o,$^)) \
		-Wl,--start-group $(TGT_LIBS) -Wl,--end-group $(LIBS) -ldl
tgtd-fake: $(B)/tests/tgtd-fake $(B)/bin/tgtadm
all: tgtd-fake
.PHONY: tgtd-fake
