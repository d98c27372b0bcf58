# SPDX-License-Identifier: GPL-2.0-only
# tgtd with our SCSI layer and transport over a gateway of RAM (tests/unit/fake_gw.c):
# for testing them with real initiators, without a cluster; tests/it/scsi_fake.sh.
$(B)/tests/tgtd-fake: $(call tgt_obj,$(TGTD_UNITS)) $(TGT_GLUE_OBJ) $(B)/obj/tests/unit/fake_gw.o $(TGT_LIBS)
	@mkdir -p $(@D)
	$(CC) $(TGT_SAN) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) \
		-Wl,--start-group $(TGT_LIBS) -Wl,--end-group $(LIBS) -ldl
tgtd-fake: $(B)/tests/tgtd-fake $(B)/bin/tgtadm
all: tgtd-fake
.PHONY: tgtd-fake
