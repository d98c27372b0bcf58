# SPDX-License-Identifier: GPL-2.0-only
# The demo cluster on this machine, and installation.
#
#   make up            install packages, build, start the demo, show how to use it
#   make up CATALOG=etcd   the same with five nodes and the catalog on an etcd of three
#   make down          stop it; its data stays
#   make clean-data    remove its data (asks; FORCE=1 does not)
#   make install       PREFIX=/usr/local DESTDIR=
#   make uninstall     takes away what install put there, with the same PREFIX and DESTDIR;
#                      files of /etc/vmstore that were edited stay
export CATALOG VMSTORE_DEMO_DIR VMSTORE_DEMO_PORTALS VMSTORE_DEMO_PORT VMSTORE_DEMO_CONTROL FORCE

up:
	@scripts/install-deps build $(if $(filter etcd,$(CATALOG)),etcd)
	@$(MAKE) --no-print-directory all
	@B=$(B) scripts/demo up
down:
	@B=$(B) scripts/demo down
clean-data:
	@B=$(B) scripts/demo clean-data
.PHONY: up down clean-data install uninstall

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
COMPLETIONDIR ?= $(PREFIX)/share/bash-completion/completions
BIN_FILES = vmstore-bench
SBIN_FILES = vmstore vmstored vmstore-ring tgtd tgtadm tgt-admin
CONF_FILES = $(notdir $(wildcard conf/*.conf))

# Another system than Debian may have what is needed under other names.
install:
	@command -v scdoc > /dev/null || scripts/install-deps build install
	@$(MAKE) --no-print-directory all man
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(UNITDIR) \
		$(DESTDIR)$(SYSCONFDIR)/vmstore $(DESTDIR)$(PREFIX)/share/doc/vmstore/conf \
		$(DESTDIR)$(PREFIX)/lib/vmstore $(DESTDIR)$(COMPLETIONDIR)
	install -m 755 $(addprefix $(B)/bin/,$(BIN_FILES)) $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(addprefix $(B)/bin/,$(SBIN_FILES)) $(DESTDIR)$(PREFIX)/sbin
	install -m 755 conf/systemd/vmstore-gateway-targets $(DESTDIR)$(PREFIX)/lib/vmstore
	install -m 644 $(addprefix conf/,$(CONF_FILES)) $(DESTDIR)$(PREFIX)/share/doc/vmstore/conf
	install -m 644 conf/completion/vmstore.bash $(DESTDIR)$(COMPLETIONDIR)/vmstore
	ln -sf vmstore $(DESTDIR)$(COMPLETIONDIR)/vmstore-ring
	for f in vmstore catalog vmstored gateway; do \
		[ -e $(DESTDIR)$(SYSCONFDIR)/vmstore/$$f.conf ] || \
		install -m 644 conf/$$f.conf $(DESTDIR)$(SYSCONFDIR)/vmstore/$$f.conf || exit 1; \
	done
	for f in conf/systemd/*.service; do \
		sed 's|@PREFIX@|$(PREFIX)|g; s|@SYSCONFDIR@|$(SYSCONFDIR)|g' $$f \
		> $(DESTDIR)$(UNITDIR)/$$(basename $$f) || exit 1; \
	done
	for f in $(MAN); do \
		s=$${f##*.}; \
		install -D -m 644 $$f $(DESTDIR)$(PREFIX)/share/man/man$$s/$$(basename $$f) || exit 1; \
	done

# Folders that are others' too stay, those of VMStore go when nothing is left in them.
uninstall:
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/bin/,$(BIN_FILES)) \
		$(addprefix $(DESTDIR)$(PREFIX)/sbin/,$(SBIN_FILES)) \
		$(DESTDIR)$(PREFIX)/lib/vmstore/vmstore-gateway-targets \
		$(addprefix $(DESTDIR)$(PREFIX)/share/doc/vmstore/conf/,$(CONF_FILES)) \
		$(addprefix $(DESTDIR)$(COMPLETIONDIR)/,vmstore vmstore-ring) \
		$(addprefix $(DESTDIR)$(UNITDIR)/,$(notdir $(wildcard conf/systemd/*.service)))
	for f in $(notdir $(MAN)); do \
		rm -f $(DESTDIR)$(PREFIX)/share/man/man$${f##*.}/$$f || exit 1; \
	done
	for f in vmstore catalog vmstored gateway; do \
		f=$(DESTDIR)$(SYSCONFDIR)/vmstore/$$f.conf; \
		if cmp -s conf/$${f##*/} $$f; then rm -f $$f || exit 1; \
		elif [ -e $$f ]; then echo "$$f was edited: it stays"; fi; \
	done
	for d in $(PREFIX)/share/doc/vmstore/conf $(PREFIX)/share/doc/vmstore $(PREFIX)/lib/vmstore \
		$(SYSCONFDIR)/vmstore; do \
		[ ! -d $(DESTDIR)$$d ] || rmdir --ignore-fail-on-non-empty $(DESTDIR)$$d || exit 1; \
	done

# One sample per process, cut out of conf/vmstore.conf.
#   make conf-split
conf-split:
	@for f in catalog:catalog:'the catalog: vmstored --catalog -c catalog.conf' \
		vmstored:node:'a storage node: vmstored -c vmstored.conf' \
		gateway:gateway:'a gateway: VMSTORE_CONF=gateway.conf tgtd'; do \
		IFS=: read -r file section what text <<< "$$f"; \
		{ echo '# SPDX-License-Identifier: GPL-2.0-only'; \
		echo "# VMStore, for $$what$${text:+:$$text}"; \
		echo '# Every key with its default; see vmstore.conf(5).'; echo; \
		awk -v s="[$$section]" '/^\[/ { on = $$0 == s || $$0 == "[cluster]" } on' conf/vmstore.conf; } \
		> conf/$$file.conf; done
.PHONY: conf-split
