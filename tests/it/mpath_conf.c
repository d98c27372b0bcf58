// SPDX-License-Identifier: GPL-2.0-only
/* The shipped settings of initiators, see mpath_conf.h. */
#include "tests/it/mpath_conf.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct setting {
	const char *key;
	char value[64];
	bool found;
};

/* The key at the start of a line and what is behind it, without blanks and quotes. */
static bool split(char *line, const char *separators, char **key, char **value)
{
	char *end;

	*key = line + strspn(line, " \t");
	if (!**key || **key == '#' || **key == '\n')
		return false;
	*value = *key + strcspn(*key, separators);
	if (**value)
		*(*value)++ = 0;
	*value += strspn(*value, " \t=\"");
	end = *value + strlen(*value);
	while (end > *value && (isspace((unsigned char)end[-1]) || end[-1] == '"'))
		*--end = 0;
	return true;
}

static int load(const char *path, const char *separators, struct setting *s, unsigned n,
		char why[256])
{
	char line[512], *key, *value;
	FILE *f = fopen(path, "re");

	if (!f) {
		snprintf(why, 256, "%s: %s", path, strerror(errno));
		return -1;
	}
	while (fgets(line, sizeof(line), f))
		if (split(line, separators, &key, &value))
			for (unsigned i = 0; i < n; i++)
				if (!strcmp(s[i].key, key)) {
					snprintf(s[i].value, sizeof(s[i].value), "%s", value);
					s[i].found = true;
				}
	fclose(f);
	for (unsigned i = 0; i < n; i++)
		if (!s[i].found) {
			snprintf(why, 256, "%s: %s is missing", path, s[i].key);
			return -1;
		}
	return 0;
}

static int seconds(const struct setting *s, int64_t *ms, char why[256])
{
	char *end;

	*ms = strtoll(s->value, &end, 10) * 1000;
	if (*end || end == s->value || *ms <= 0) {
		snprintf(why, 256, "%s: '%s' is no number of seconds", s->key, s->value);
		return -1;
	}
	return 0;
}

int mpath_conf_load(const char *iscsid, const char *multipath, struct mpath_conf *out,
		    char why[256])
{
	struct setting i[] = {{.key = "node.session.timeo.replacement_timeout"},
			      {.key = "node.conn[0].timeo.noop_out_interval"},
			      {.key = "node.conn[0].timeo.noop_out_timeout"},
			      {.key = "node.conn[0].timeo.login_timeout"}};
	struct setting m[] = {{.key = "fast_io_fail_tmo"},
			      {.key = "no_path_retry"},
			      {.key = "path_selector"},
			      {.key = "path_grouping_policy"},
			      {.key = "path_checker"},
			      {.key = "vendor"},
			      {.key = "polling_interval", .value = "5", .found = true}};

	memset(out, 0, sizeof(*out));
	if (load(iscsid, " \t=", i, sizeof(i) / sizeof(i[0]), why) ||
	    load(multipath, " \t", m, sizeof(m) / sizeof(m[0]), why))
		return -1;
	if (seconds(&i[0], &out->recovery_ms, why) || seconds(&i[1], &out->noop_interval_ms, why) ||
	    seconds(&i[2], &out->noop_timeout_ms, why) || seconds(&i[3], &out->login_ms, why) ||
	    seconds(&m[0], &out->fast_io_fail_ms, why) || seconds(&m[6], &out->polling_ms, why))
		return -1;
	out->no_path_retry = !strcmp(m[1].value, "queue") ? -1 : atoll(m[1].value);
	out->service_time = !strcmp(m[2].value, "service-time 0");
	if (!out->service_time && strcmp(m[2].value, "round-robin 0")) {
		snprintf(why, 256, "path_selector '%s': not known here", m[2].value);
		return -1;
	}
	out->one_group = !strcmp(m[3].value, "multibus");
	out->tur = !strcmp(m[4].value, "tur");
	if (strcmp(m[5].value, "VMSTORE")) {
		snprintf(why, 256, "%s: vendor '%s' instead of VMSTORE", multipath, m[5].value);
		return -1;
	}
	return 0;
}
