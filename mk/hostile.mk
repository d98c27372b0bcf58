# SPDX-License-Identifier: GPL-2.0-only
# Hostile initiators (tests/hostile) and what they need: tests/it/hostile.sh runs them
# against tgtd-fake, best in a sanitizer build (make SAN=asan hostile).
HOSTILE_SRC = $(wildcard tests/hostile/*.c) tests/it/iscsi_ini.c
$(B)/tests/hostile: $(patsubst %.c,$(B)/obj/%.o,$(HOSTILE_SRC))
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $^ -lisal -lcrypto
hostile: $(B)/tests/hostile $(B)/tests/tgtd-fake $(B)/bin/tgtadm
all: $(B)/tests/hostile
.PHONY: hostile
