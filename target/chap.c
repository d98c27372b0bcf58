// SPDX-License-Identifier: GPL-2.0-only
/* Cryptography of CHAP, see tgt_chap.h. Owner: any thread; the set of allowed
 * algorithms is written before the first login. */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "target/tgt_chap.h"

static unsigned allowed = ~0u;

static const struct {
	int number;
	const EVP_MD *(*md)(void);
} algs[] = {{5, EVP_md5}, {6, EVP_sha1}, {7, EVP_sha256}, {8, EVP_sha3_256}};

void tgt_chap_allow(unsigned bits)
{
	allowed = bits;
}

int tgt_chap_alg(const char *number)
{
	/* exactly one digit: "07" and "7x" are something else */
	if (number[0] < '5' || number[0] > '8' || number[1])
		return 0;
	return allowed & 1u << (number[0] - '0') ? number[0] - '0' : 0;
}

int tgt_chap_digest(int alg, uint8_t id, const char *secret, const uint8_t *challenge,
		    size_t challenge_bytes, uint8_t out[TGT_CHAP_DIGEST_MAX])
{
	EVP_MD_CTX *ctx;
	unsigned len = 0;
	size_t i;
	int ok;

	for (i = 0; i < sizeof(algs) / sizeof(algs[0]) && algs[i].number != alg; i++)
		;
	if (i == sizeof(algs) / sizeof(algs[0]))
		return -1;
	ctx = EVP_MD_CTX_new();
	if (!ctx)
		return -1;
	/* Fails for MD5 where a policy of the system forbids it. */
	ok = EVP_DigestInit_ex(ctx, algs[i].md(), NULL) && EVP_DigestUpdate(ctx, &id, 1) &&
	     EVP_DigestUpdate(ctx, secret, strlen(secret)) &&
	     EVP_DigestUpdate(ctx, challenge, challenge_bytes) &&
	     EVP_MD_CTX_get_size(ctx) <= TGT_CHAP_DIGEST_MAX && EVP_DigestFinal_ex(ctx, out, &len);
	EVP_MD_CTX_free(ctx);
	return ok ? (int)len : -1;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A number of digits that is odd has a leading zero left out (RFC 7143, 6.1: it is
 * a number), so the first digit stands alone. */
static int decode_hex(const char *s, uint8_t *out, size_t max_bytes)
{
	size_t digits = strlen(s), n = (digits + 1) / 2;

	if (!digits || n > max_bytes)
		return -1;
	for (size_t i = 0; i < n; i++) {
		int hi = i == 0 && digits % 2 ? 0 : hex_digit(*s++);
		int lo = hi < 0 ? -1 : hex_digit(*s++);

		if (lo < 0)
			return -1;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	return (int)n;
}

static int decode_base64(const char *s, uint8_t *out, size_t max_bytes)
{
	size_t chars = strlen(s), pad = 0;
	uint8_t buf[TGT_CHAP_CHALLENGE_MAX + 4];
	int n;

	if (!chars || chars % 4 || chars / 4 * 3 > sizeof(buf))
		return -1;
	/* EVP_DecodeBlock() takes blanks and padding in the middle */
	pad = strcspn(s, "=");
	if (chars - pad > 2 || strspn(s + pad, "=") != chars - pad ||
	    strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") != pad)
		return -1;
	n = EVP_DecodeBlock(buf, (const unsigned char *)s, (int)chars);
	if (n < 0)
		return -1;
	n -= (int)(chars - pad);
	if ((size_t)n > max_bytes)
		return -1;
	memcpy(out, buf, (size_t)n);
	return n;
}

int tgt_chap_decode(const char *text, uint8_t *out, size_t max_bytes)
{
	if (text[0] != '0')
		return -1;
	if (text[1] == 'x' || text[1] == 'X')
		return decode_hex(text + 2, out, max_bytes);
	if (text[1] == 'b' || text[1] == 'B')
		return decode_base64(text + 2, out, max_bytes);
	return -1;
}

int tgt_chap_equal(const uint8_t *a, const uint8_t *b, size_t bytes)
{
	return !CRYPTO_memcmp(a, b, bytes);
}
