// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target of what the catalog holds about targets and accounts: a record that is
 * taken encodes to itself, can be changed, and has steps to and from nothing; a document
 * that is taken makes records that are taken, and making them again changes nothing; a
 * sealed secret is opened with the key it was sealed with, or not at all.
 */
#include <jansson.h>

#include "include/err.h"
#include "target/reg_doc.h"
#include "target/registry.h"
#include "target/secret.h"
#include "tests/fuzz/driver.h"
#include "utils/lib/assert.h"

static const uint8_t key[VMS_SECRET_KEY_BYTES] = {1, 2, 3};

static int count(void *arg, const struct vms_reg_step *s)
{
	vms_assert(s->tid >= 1 && s->tid <= VMS_REG_TID_MAX);
	(*(unsigned *)arg)++;
	return 0;
}

static void record(const char *text)
{
	struct vms_errmsg e;
	json_t *r = vms_reg_decode(text, "fuzz", &e), *again;
	char *a, *b;
	unsigned to = 0, from = 0, same = 0;

	if (!r)
		return;
	a = vms_reg_encode(r);
	again = vms_reg_decode(a, "fuzz", &e);
	vms_assert(again);
	b = vms_reg_encode(again);
	vms_assert(!strcmp(a, b));
	vms_assert(!vms_reg_steps(NULL, r, count, &to) && to > 0);
	vms_assert(!vms_reg_steps(r, NULL, count, &from) && from > 0);
	vms_assert(!vms_reg_steps(r, again, count, &same) && same == 0);
	if (!vms_reg_add_lun(again, vms_reg_free_lun(again), "fuzz-volume", &e))
		vms_assert(!vms_reg_check(again, "fuzz", &e));
	(void)vms_reg_bind(again, VMS_REG_NAMES, "iqn.fuzz", &e);
	(void)vms_reg_unbind(again, VMS_REG_NAMES, "iqn.fuzz", &e);
	vms_assert(!vms_reg_check(again, "fuzz", &e));
	free(a);
	free(b);
	json_decref(r);
	json_decref(again);
}

static void document(const char *text)
{
	json_t *doc = json_loads(text, 0, NULL), *x;
	struct vms_errmsg e;
	char line[800];
	size_t i, k;

	json_array_foreach (vms_reg_doc_check(doc, &e) ? NULL : json_object_get(doc, "targets"), i,
			    x) {
		json_t *r = vms_reg_doc_target(x, NULL, 7, &e), *again, *diff, *d;

		if (!r)
			continue;
		vms_assert(!vms_reg_check(r, "fuzz", &e));
		again = vms_reg_doc_target(x, r, 8, &e);
		vms_assert(again && json_equal(r, again));
		diff = vms_reg_diff(r, again);
		vms_assert(!json_array_size(diff));
		json_decref(diff);
		diff = vms_reg_diff(NULL, r);
		vms_assert(json_array_size(diff));
		json_array_foreach (diff, k, d)
			vms_reg_diff_text(d, line, sizeof(line));
		json_decref(diff);
		json_decref(again);
		json_decref(r);
	}
	json_decref(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), secret[VMS_SECRET_BYTES_MAX + 1];
	struct vms_errmsg e;

	memcpy(text, data, size);
	text[size] = 0;
	record(text);
	document(text);
	if (!vms_secret_open(key, "u", text, secret, &e))
		vms_assert(!strcmp(secret, "123456789012")); /* nobody else has the key */
	free(text);
	return 0;
}

static size_t fuzz_seed(unsigned i, uint8_t *out)
{
	static const uint8_t nonce[VMS_SECRET_NONCE_BYTES] = {9};
	struct vms_errmsg e;
	json_t *r;
	char *text;
	size_t n;

	if (i == 2) {
		strcpy((char *)out,
		       "{\"version\":1,\"targets\":[{\"name\":\"iqn.2026-01.org.example:d\","
		       "\"addresses\":[\"ALL\"],\"params\":{\"MaxBurstLength\":\"65536\"},\"luns\":"
		       "["
		       "{\"volume\":\"a\"},{\"lun\":3,\"volume\":\"b\",\"params\":{\"online\":"
		       "\"1\"}}]}],"
		       "\"accounts\":[{\"user\":\"u\",\"secret_file\":\"s\"}]}");
		return strlen((char *)out);
	}
	if (i > 1)
		return 0;
	if (i) {
		vms_assert(!vms_secret_seal(key, nonce, "u", "123456789012", (char *)out, &e));
		return strlen((char *)out);
	}
	r = vms_reg_new("iqn.2026-01.org.example:disks", 7);
	vms_assert(!vms_reg_add_lun(r, 1, "vm1", &e) && !vms_reg_add_lun(r, 5, "pool/x@s", &e) &&
		   !vms_reg_set_lun_param(r, 5, "vendor_id", "X", &e) &&
		   !vms_reg_bind(r, VMS_REG_ADDRESSES, "192.0.2.0/24", &e) &&
		   !vms_reg_bind(r, VMS_REG_USERS, "host1", &e) &&
		   !vms_reg_set_user_out(r, "us", &e) &&
		   !vms_reg_set_param(r, "MaxBurstLength", "65536", &e));
	text = vms_reg_encode(r);
	n = strlen(text);
	memcpy(out, text, n);
	free(text);
	json_decref(r);
	return n;
}
