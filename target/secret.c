// SPDX-License-Identifier: GPL-2.0-only
/* CHAP secrets as the catalog keeps them, see secret.h. */
#include <openssl/evp.h>
#include <string.h>

#include "target/secret.h"

#define VERSION	  1
#define HEAD	  (1 + VMS_SECRET_NONCE_BYTES)
#define TAG_BYTES 16

static int gcm(EVP_CIPHER_CTX *c, int enc, const uint8_t *key, const uint8_t *nonce,
	       const char *user, const uint8_t *in, int n, uint8_t *out, uint8_t *tag)
{
	static const uint8_t version = VERSION;
	int len;

	return EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, key, nonce, enc) == 1 &&
	       EVP_CipherUpdate(c, NULL, &len, &version, 1) == 1 &&
	       EVP_CipherUpdate(c, NULL, &len, (const uint8_t *)user, (int)strlen(user)) == 1 &&
	       EVP_CipherUpdate(c, out, &len, in, n) == 1 &&
	       (enc || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, tag) == 1) &&
	       EVP_CipherFinal_ex(c, out + len, &len) == 1 &&
	       (!enc || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, tag) == 1);
}

int vms_secret_seal(const uint8_t key[VMS_SECRET_KEY_BYTES],
		    const uint8_t nonce[VMS_SECRET_NONCE_BYTES], const char *user,
		    const char *secret, char out[VMS_SECRET_TEXT_MAX], struct vms_errmsg *msg)
{
	uint8_t b[HEAD + VMS_SECRET_BYTES_MAX + TAG_BYTES];
	size_t n = strlen(secret);
	EVP_CIPHER_CTX *c;
	int ok;

	if (!n || n > VMS_SECRET_BYTES_MAX)
		return vms_fail(msg, VMS_E_INVAL, "a secret has 1 to %u bytes",
				VMS_SECRET_BYTES_MAX);
	c = EVP_CIPHER_CTX_new();
	if (!c)
		return vms_fail(msg, VMS_E_NOMEM, "out of memory");
	b[0] = VERSION;
	memcpy(b + 1, nonce, VMS_SECRET_NONCE_BYTES);
	ok = gcm(c, 1, key, nonce, user, (const uint8_t *)secret, (int)n, b + HEAD, b + HEAD + n);
	EVP_CIPHER_CTX_free(c);
	if (!ok)
		return vms_fail(msg, VMS_E_IO, "OpenSSL cannot seal a secret (AES-256-GCM)");
	EVP_EncodeBlock((unsigned char *)out, b, (int)(HEAD + n + TAG_BYTES));
	return 0;
}

int vms_secret_open(const uint8_t key[VMS_SECRET_KEY_BYTES], const char *user, const char *sealed,
		    char secret[VMS_SECRET_BYTES_MAX + 1], struct vms_errmsg *msg)
{
	uint8_t b[VMS_SECRET_TEXT_MAX], plain[VMS_SECRET_TEXT_MAX];
	size_t chars = strlen(sealed), n;
	EVP_CIPHER_CTX *c;
	int got = -1, ok;

	if (chars < VMS_SECRET_TEXT_MAX && chars % 4 == 0 && chars)
		got = EVP_DecodeBlock(b, (const unsigned char *)sealed, (int)chars);
	if (got > 0)
		got -= (sealed[chars - 1] == '=') + (sealed[chars - 2] == '=');
	if (got <= (int)(HEAD + TAG_BYTES) ||
	    got > (int)(HEAD + VMS_SECRET_BYTES_MAX + TAG_BYTES) || b[0] != VERSION)
		return vms_fail(msg, VMS_E_CORRUPT,
				"account %s: its secret in the catalog is damaged", user);
	n = (size_t)got - HEAD - TAG_BYTES;
	c = EVP_CIPHER_CTX_new();
	if (!c)
		return vms_fail(msg, VMS_E_NOMEM, "out of memory");
	ok = gcm(c, 0, key, b + 1, user, b + HEAD, (int)n, plain, b + HEAD + n);
	EVP_CIPHER_CTX_free(c);
	if (!ok || memchr(plain, 0, n))
		return vms_fail(msg, VMS_E_CORRUPT,
				"account %s: its secret was sealed with another key than that of "
				"secrets_key here",
				user);
	memcpy(secret, plain, n);
	secret[n] = 0;
	return 0;
}
