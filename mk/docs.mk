# SPDX-License-Identifier: GPL-2.0-only
# Documents and samples.
#
#   make conf-sample   print conf/vmstore.conf anew from the key table
conf-sample: $(B)/tests/test_settings
	$(B)/tests/test_settings --sample > conf/vmstore.conf.new
	mv conf/vmstore.conf.new conf/vmstore.conf
.PHONY: conf-sample

# Samples parse, man pages build, what documents name exists.
check-docs: programs $(B)/tests/test_settings
	B=$(B) scripts/check-docs
.PHONY: check-docs
