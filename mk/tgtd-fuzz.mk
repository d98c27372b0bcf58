# SPDX-License-Identifier: GPL-2.0-only
# Programs that look into the iSCSI transport and link tgt's objects without tgtd.c and
# without the gateway: its fuzz target, the tests of the loop's turns, of task
# management, of who has no session, and of what sessions may take.
STREAM_TGT = $(call tgt_obj,$(filter-out tgtd log,$(TGTD_UNITS)))
STREAM_GLUE = $(patsubst %.c,$(B)/obj/%.o,$(wildcard target/iscsi_stream*.c)) $(B)/obj/target/tgt_buf.o $(B)/obj/target/tgt_crc.o $(B)/obj/target/tgt_late.o
STREAM_MAINS = $(B)/obj/tests/fuzz/fuzz_iscsi.o $(B)/obj/tests/unit/test_iscsi_turn.o \
	$(B)/obj/tests/unit/test_iscsi_tmf.o $(B)/obj/tests/unit/test_iscsi_guest.o \
	$(B)/obj/tests/unit/test_iscsi_reads.o $(B)/obj/tests/unit/test_iscsi_pings.o
$(STREAM_MAINS): CFLAGS_ALL += -isystem $(TGT_TREE)/usr -isystem $(TGT_TREE)/usr/iscsi
$(STREAM_MAINS): $(TGT_TREE)/.stamp
$(B)/tests/fuzz_iscsi: $(B)/obj/tests/fuzz/fuzz_iscsi.o $(STREAM_TGT) $(STREAM_GLUE) $(FUZZ_LIBS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) \
		-Wl,--start-group $(FUZZ_LIBS) -Wl,--end-group $(LIBS) -ldl
$(B)/tests/test_iscsi_tmf: LDFLAGS_ALL += -Wl,--wrap=malloc,--wrap=calloc # memory that is out
$(B)/tests/test_iscsi_guest: LDFLAGS_ALL += -Wl,--wrap=param_index_by_name
$(B)/tests/test_iscsi_reads: LDFLAGS_ALL += -Wl,--wrap=target_cmd_queue,--wrap=iscsi_turn_ends,--wrap=sendmsg
$(B)/tests/test_iscsi_pings: LDFLAGS_ALL += -Wl,--wrap=tgt_buf_alloc
STREAM_TESTS = turn tmf guest reads pings
$(STREAM_TESTS:%=$(B)/tests/test_iscsi_%): $(B)/tests/%: $(B)/obj/tests/unit/%.o $(STREAM_TGT) $(STREAM_GLUE) $(LIB_ALL)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) \
		-Wl,--start-group $(LIB_ALL) -Wl,--end-group $(LIBS) -ldl -lcunit
