// SPDX-License-Identifier: GPL-2.0-only
/* vmstore fsck: the folder of a stopped storage node. Needs no cluster. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/fsck.h"
#include "utils/lib/progress.h"
#include "utils/tool/cmds.h"

/* "HEX[,HEX...]", where "none" stands for no salt. */
static bool salts_parse(struct vms_fsck_conf *conf, const char *text)
{
	while (*text) {
		size_t len = strcspn(text, ",");
		uint8_t *salt = conf->salt[conf->nsalts];

		if (conf->nsalts == VMS_FSCK_SALTS_MAX)
			return false;
		if (len == 64) {
			for (unsigned i = 0; i < 32; i++)
				if (strspn(text + 2 * i, "0123456789abcdefABCDEF") < 2 ||
				    sscanf(text + 2 * i, "%2hhx", &salt[i]) != 1)
					return false;
			conf->salt_bytes[conf->nsalts] = 32;
		} else if (len != 4 || strncmp(text, "none", 4)) {
			return false;
		}
		conf->nsalts++;
		text += len;
		text += *text == ',';
	}
	return conf->nsalts > 0;
}

static void progress(void *arg, const char *what, uint64_t done, uint64_t total)
{
	static uint64_t told_ms;
	uint64_t now = vms_clock_ms();

	if (!isatty(2) || (what && now - told_ms < 500))
		return;
	told_ms = now;
	if (!what)
		fprintf(stderr, "\r\033[K");
	else if (total)
		fprintf(stderr, "\r\033[K%s: %s, %llu of %llu", (const char *)arg, what,
			(unsigned long long)done, (unsigned long long)total);
	else
		fprintf(stderr, "\r\033[K%s: %s", (const char *)arg, what);
}

static int run(struct cmd_call *c)
{
	struct vms_fsck_conf conf = {.progress = progress, .arg = (void *)c->path};
	const char *salt = NULL;
	const struct vms_opt opts[] = {
		{0, "repair", VMS_OPT_FLAG, &conf.repair, NULL,
		 "rebuild what can be rebuilt from the rest"},
		{0, "deep", VMS_OPT_FLAG, &conf.deep, NULL,
		 "read all chunks, not only those that pages name"},
		{0, "salt", VMS_OPT_STRING, &salt, "HEX[,HEX...]",
		 "with --deep: salts of the dedup domains, or `none`; fingerprints are checked"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	int code;

	if (!cmd_parse(c, opts, &code))
		return code == TOOL_USAGE ? VMS_FSCK_USAGE : code;
	if (salt && (!conf.deep || !salts_parse(&conf, salt))) {
		cmd_usage(c,
			  conf.deep ? "--salt: up to %u times 64 hex digits or `none`, separated "
				      "by commas"
				    : "--salt needs --deep",
			  VMS_FSCK_SALTS_MAX);
		return VMS_FSCK_USAGE;
	}
	return vms_fsck_main(c->path, c->arg[0], &conf, c->t->json);
}

const struct cmd cmd_fsck = {
	.name = "fsck",
	.args = "DIR [--repair] [--deep [--salt HEX[,HEX...]]] [--json]",
	.brief = "check, and repair, the folder of a stopped storage node",
	.about = "Checks log, index and containers of a storage node that does not run. With\n"
		 "--repair what is derived is rebuilt: entries of containers, file headers,\n"
		 "footers; nothing else is ever written. Exit codes: 0 no errors, 1 all repaired,\n"
		 "4 errors are left (5: others repaired), 8 not checked, 16 wrong usage.",
	.alone = true,
	.min = 1,
	.max = 1,
	.run = run,
};
