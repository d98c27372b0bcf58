// SPDX-License-Identifier: GPL-2.0-only
#include "utils/lib/fp.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "utils/lib/assert.h"

struct vms_fp {
	EVP_MD *md;	    /* fetched once: looking it up costs as much as hashing */
	EVP_MD_CTX *salted; /* has taken the salt; copied for each chunk */
	EVP_MD_CTX *ctx;
	size_t salt_bytes;
};

struct vms_fp *vms_fp_open(const void *salt, size_t salt_bytes)
{
	struct vms_fp *f = calloc(1, sizeof(*f));

	vms_assert(f && salt_bytes <= VMS_FP_SALT_BYTES_MAX);
	f->md = EVP_MD_fetch(NULL, "SHA256", NULL);
	f->salted = EVP_MD_CTX_new();
	f->ctx = EVP_MD_CTX_new();
	vms_assert(f->md && f->salted && f->ctx);
	f->salt_bytes = salt_bytes;
	vms_assert(EVP_DigestInit_ex2(f->salted, f->md, NULL) == 1);
	if (salt_bytes)
		vms_assert(EVP_DigestUpdate(f->salted, salt, salt_bytes) == 1);
	return f;
}

void vms_fp_close(struct vms_fp *f)
{
	if (!f)
		return;
	EVP_MD_CTX_free(f->ctx);
	EVP_MD_CTX_free(f->salted);
	EVP_MD_free(f->md);
	free(f);
}

void vms_fp_chunk(struct vms_fp *f, const void *data, size_t len_bytes, uint8_t out[VMS_FP_BYTES])
{
	unsigned n = 0;

	if (f->salt_bytes)
		vms_assert(EVP_MD_CTX_copy_ex(f->ctx, f->salted) == 1);
	else
		vms_assert(EVP_DigestInit_ex2(f->ctx, f->md, NULL) == 1);
	vms_assert(EVP_DigestUpdate(f->ctx, data, len_bytes) == 1);
	vms_assert(EVP_DigestFinal_ex(f->ctx, out, &n) == 1 && n == VMS_FP_BYTES);
}
