// SPDX-License-Identifier: GPL-2.0-only
#include "utils/tool/domain.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "utils/lib/assert.h"

int domain_name_check(const char *name, struct vms_errmsg *msg)
{
	size_t n = strlen(name);

	if (!n || n > 63)
		return vms_fail(msg, VMS_E_INVAL,
				"domain name \"%.80s\": a name has 1 to 63 characters", name);
	for (const char *p = name; *p; p++)
		if (!isalnum((unsigned char)*p) && !(p > name && strchr("._-", *p)))
			return vms_fail(msg, VMS_E_INVAL,
					"domain name \"%s\": letters and digits, behind the first "
					"also '.', '_', '-'",
					name);
	return 0;
}

static void key_of(char *out, const char *name)
{
	snprintf(out, VMS_CAT_KEY_BYTES_MAX, "domain/%s", name);
}

int domain_create(struct tool *t, const char *name, struct vms_errmsg *msg)
{
	char key[VMS_CAT_KEY_BYTES_MAX], val[100];
	struct vms_cat_cmp cmp = {key, 0};
	struct vms_cat_op op = {key, val, 0};
	struct vms_errmsg ignored;
	uint8_t salt[32];
	struct tool_kvs kv;
	int rc = domain_name_check(name, msg), n;

	if (rc)
		return rc;
	vms_assert(getrandom(salt, sizeof(salt), 0) == sizeof(salt));
	key_of(key, name);
	n = snprintf(val, sizeof(val), "{\"salt\":\"");
	for (unsigned i = 0; i < sizeof(salt); i++)
		n += snprintf(val + n, sizeof(val) - (size_t)n, "%02x", salt[i]);
	snprintf(val + n, sizeof(val) - (size_t)n, "\"}");
	rc = tool_txn(t, &cmp, 1, &op, 1, msg);
	if (!tool_txn_again(rc))
		return rc;
	/* ours, when an answer was lost? */
	n = tool_get(t, key, &kv, &ignored);
	if (!n && kv.n)
		rc = strcmp(kv.d[0].val, val)
			     ? vms_fail(msg, VMS_E_EXIST, "domain '%s' exists already", name)
			     : 0;
	tool_kvs_free(&kv);
	return rc;
}

int domain_salt(struct tool *t, const char *name, uint8_t salt[32], uint64_t *mod_revision,
		struct vms_errmsg *msg)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct tool_kvs kv;
	const char *hex;
	json_t *j = NULL;
	int rc = domain_name_check(name, msg);

	if (rc)
		return rc;
	key_of(key, name);
	rc = tool_get(t, key, &kv, msg);
	if (!rc && !kv.n)
		rc = vms_fail(
			msg, VMS_E_NOENT,
			"there is no dedup domain '%s'; vmstore domain ls lists them, vmstore "
			"domain create makes one",
			name);
	if (!rc) {
		*mod_revision = kv.d[0].mod_revision;
		j = json_loads(kv.d[0].val, 0, NULL);
		hex = json_string_value(json_object_get(j, "salt"));
		if (!hex || strlen(hex) != 64)
			rc = VMS_E_CORRUPT;
		for (unsigned i = 0; !rc && i < 32; i++)
			if (sscanf(hex + 2 * i, "%2hhx", &salt[i]) != 1)
				rc = VMS_E_CORRUPT;
		if (rc)
			vms_fail(msg, rc, "catalog key %s: not a salt of 64 hex digits", key);
	}
	json_decref(j);
	tool_kvs_free(&kv);
	return rc;
}

int domain_remove(struct tool *t, const char *name, struct vms_errmsg *msg)
{
	char key[VMS_CAT_KEY_BYTES_MAX], names[160] = "";
	struct vms_cat_cmp cmp = {key, 0};
	struct vms_cat_op op = {key, NULL, 0};
	unsigned users = 0;
	struct tool_kvs kv;
	uint8_t salt[32];
	int rc = domain_salt(t, name, salt, &cmp.mod_revision, msg);

	if (rc)
		return rc;
	/* A volume that is made in it meanwhile compares the domain's revision. */
	rc = tool_range(t, "volume/", &kv, msg);
	for (size_t i = 0; !rc && i < kv.n; i++) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[i]);
		struct vms_cat_volume v;
		size_t at = strlen(names);

		rc = vms_cat_volume_decode(&c, &v, msg);
		if (rc || strcmp(v.domain, name))
			continue;
		if (++users <= 3)
			snprintf(names + at, sizeof(names) - at, "%s%.40s", at ? ", " : "", v.name);
	}
	tool_kvs_free(&kv);
	if (rc)
		return rc;
	if (users)
		return vms_fail(
			msg, VMS_E_BUSY, "domain '%s' cannot be deleted: %u volume%s in it (%s%s)",
			name, users, users > 1 ? "s are" : " is", names, users > 3 ? ", ..." : "");
	key_of(key, name);
	return tool_txn(t, &cmp, 1, &op, 1, msg);
}
