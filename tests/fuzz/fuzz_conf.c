// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target of configuration files: the grammar, and every key of every program. What
 * is refused is refused with a sentence; what is taken is within the keys' limits.
 */
#include "tests/fuzz/driver.h"
#include "utils/lib/assert.h"
#include "utils/lib/settings.h"

static const char *const foreign[] = {"other", NULL};

static void limits(const void *conf)
{
	for (const struct vms_conf_key *k = vms_settings_keys; k->section; k++) {
		uint64_t v;

		if (k->type != VMS_CONF_U64 && k->type != VMS_CONF_SIZE &&
		    k->type != VMS_CONF_DURATION)
			continue;
		memcpy(&v, (const char *)conf + k->offset, sizeof(v));
		vms_assert(v >= k->min && (!k->max || v <= k->max));
		vms_assert(!k->multiple || v % k->multiple == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vms_settings s;
	struct vms_errmsg e = {""};
	char *text = malloc(size + 1);
	int rc;

	vms_assert(text);
	memcpy(text, data, size);
	text[size] = 0;
	memset(&s, 0, sizeof(s));
	rc = vms_conf_parse(vms_settings_keys, foreign, "fuzz", text, &s, &e);
	vms_assert(rc ? rc == VMS_E_CONFIG && e.text[0] : !e.text[0]);
	if (!rc)
		limits(&s);
	vms_conf_free(vms_settings_keys, &s);
	free(text);
	return 0;
}

static size_t fuzz_seed(unsigned i, uint8_t *out)
{
	static const char *const seeds[] = {
		"[cluster]\ncatalog = 127.0.0.1:7600\nrun_dir = /run/vmstore\nlog_level = debug\n"
		"catalog_timeout = 5s\n[node]\nname = n1\ndir = /d\nlisten = [::1]:7601\nzone = a\n"
		"weight = 100\nlog_size = 1G\nio_engine = threads\ndedup_background = off\n",
		"[cluster]\ncatalog = etcd:10.0.0.1:2379,10.0.0.2:2379 10.0.0.3:2379\n"
		"catalog_prefix = /v/\ncatalog_ca = system\n; comment\n[other]\nany = thing\n",
		"[gateway]\nname = g-1.x\nchunk_cache = 256M\npage_cache=64M\nslots = 1024\n"
		"outstanding = 64M\nreadahead = 0\nthin_soft_threshold = 80\nconnections = 16\n"
		"weak_chap = no\nshared_config = 1\nportals = 1.2.3.4:3260 [2001:db8::1]:3260\n",
		"[catalog]\ndir = /c\nlisten = 0.0.0.0:1\nindex_size = 16M\n# x\n\n  [node]  \n"
		"generation_age = 10min\ncontainer_size = 4K\n",
	};
	size_t n;

	if (i >= sizeof(seeds) / sizeof(seeds[0]))
		return 0;
	n = strlen(seeds[i]);
	memcpy(out, seeds[i], n);
	return n;
}
