// SPDX-License-Identifier: GPL-2.0-only
/*
 * CHAP as initiators do it, and as they must not.
 *
 *   iscsi_chap [--mutual] HOST PORT TARGET USER SECRET [TARGET_USER TARGET_SECRET]
 *
 * The target admits USER with SECRET; with the last two it answers challenges as
 * TARGET_USER. --mutual: only that, with each algorithm. One line for each scenario; exit
 * status 1 if one failed.
 * Source: RFC 7143, 12.1 and 9.2; RFC 1994; algorithms: IANA, PPP numbers.
 */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/it/iscsi_ini.h"

#define SEC_STAY   0x00 /* security stage, no transit */
#define SEC_TO_FFP 0x83 /* security stage, to full feature phase */
#define CHALLENGE  "0x00112233445566778899aabbccddeeff"

static const char *user, *secret, *target_user, *target_secret;

/* Keys of a login request: NUL-terminated each. */
struct keys {
	char text[4096];
	size_t len;
};

static void key(struct keys *k, const char *name, const char *value)
{
	k->len += (size_t)snprintf(k->text + k->len, sizeof(k->text) - k->len, "%s=%s", name,
				   value) +
		  1;
}

static const char *answered(const struct ini *s, const char *name)
{
	const char *p = (const char *)s->data, *end = p + s->len;
	size_t n = strlen(name);

	for (; p < end; p += strnlen(p, (size_t)(end - p)) + 1)
		if ((size_t)(end - p) > n && !strncmp(p, name, n) && p[n] == '=')
			return p + n + 1;
	return NULL;
}

static int step(struct ini *s, const struct keys *k, int flags)
{
	uint8_t h[BHS];

	hdr_init(s, h, 0x43, flags);
	memset(h + 8, 0, 8);
	h[8] = 0x80;
	h[12] = s->isid >> 8, h[13] = s->isid;
	put32(h + 20, 0);
	put32(h + 24, s->cmd_sn);
	if (send_pdu(s, h, k->text, (uint32_t)k->len) || recv_pdu(s, 15000))
		return -1;
	s->data[s->len] = 0;
	return 0;
}

static int refused(const struct ini *s)
{
	return (s->hdr[0] & 0x3f) != 0x23 || s->hdr[36];
}

static int unhex(const char *text, uint8_t *out, size_t max)
{
	size_t n = 0;

	if (strncmp(text, "0x", 2))
		return -1;
	for (text += 2; text[0] && text[1] && n < max; text += 2) {
		unsigned v;

		if (sscanf(text, "%2x", &v) != 1)
			return -1;
		out[n++] = (uint8_t)v;
	}
	return (int)n;
}

static unsigned digest(int alg, int id, const char *sec, const uint8_t *c, size_t n, uint8_t *out)
{
	static const char *const names[] = {"MD5", "SHA1", "SHA256", "SHA3-256"};
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t b = (uint8_t)id;
	unsigned len = 0;

	EVP_DigestInit_ex(ctx, EVP_get_digestbyname(names[alg - 5]), NULL);
	EVP_DigestUpdate(ctx, &b, 1);
	EVP_DigestUpdate(ctx, sec, strlen(sec));
	EVP_DigestUpdate(ctx, c, n);
	EVP_DigestFinal_ex(ctx, out, &len);
	EVP_MD_CTX_free(ctx);
	return len;
}

/* Up to the target's challenge. offer: CHAP_A; *alg: what it took; its challenge. */
static int begin(struct ini *s, uint16_t isid, const char *offer, int *alg, int *id, uint8_t *chal,
		 int *chal_bytes)
{
	struct keys k = {.len = 0};
	const char *a, *i, *c;

	if (ini_connect(s, isid))
		return -1;
	key(&k, "InitiatorName", "iqn.2011-06.org.vmstore:chap");
	key(&k, "TargetName", target);
	key(&k, "SessionType", "Normal");
	key(&k, "AuthMethod", "CHAP");
	if (step(s, &k, SEC_STAY))
		return -1;
	if (refused(s))
		return fail("refused before CHAP: %02x%02x", s->hdr[36], s->hdr[37]);
	k.len = 0;
	key(&k, "CHAP_A", offer);
	if (step(s, &k, SEC_STAY))
		return -1;
	if (refused(s))
		return fail("no algorithm of %s: %02x%02x", offer, s->hdr[36], s->hdr[37]);
	a = answered(s, "CHAP_A");
	i = answered(s, "CHAP_I");
	c = answered(s, "CHAP_C");
	if (!a || !i || !c)
		return fail("no CHAP_A, CHAP_I or CHAP_C in the answer");
	*alg = atoi(a);
	*id = atoi(i);
	*chal_bytes = unhex(c, chal, 1024);
	return *chal_bytes >= 16 ? 0 : fail("a challenge of %d bytes", *chal_bytes);
}

enum how { HOW_HEX, HOW_BASE64, HOW_WRONG, HOW_LONG, HOW_SHORT, HOW_REFLECT, HOW_NOBODY };

/* On to the full feature phase, if that is not reached: the target may have keys of its
 * own to settle. */
static int complete(struct ini *s)
{
	static const struct keys none;

	while ((s->hdr[1] & 0x83) != 0x83) {
		if (step(s, &none, OPER_TO_FFP))
			return -1;
		if (refused(s))
			return fail("refused after CHAP: %02x%02x", s->hdr[36], s->hdr[37]);
	}
	return 0;
}

/* One login. Returns 0: in; 1: refused; -1. */
static int login_chap(struct ini *s, uint16_t isid, const char *offer, int want_alg, enum how how,
		      bool mutual)
{
	uint8_t chal[1024], d[64], own[16], want[64];
	char text[256];
	struct keys k = {.len = 0};
	int alg, id, n, own_n;
	unsigned len;
	const char *r;

	if (begin(s, isid, offer, &alg, &id, chal, &n))
		return -1;
	if (alg != want_alg)
		return fail("algorithm %d instead of %d", alg, want_alg);
	len = digest(alg, id, how == HOW_WRONG ? "not the secret" : secret, chal, (size_t)n, d);
	if (how == HOW_SHORT)
		len--;
	if (how == HOW_BASE64 || how == HOW_LONG) {
		/* without its padding it is two bytes longer than the digest */
		strcpy(text, "0b");
		EVP_EncodeBlock((unsigned char *)text + 2, d, (int)len);
		for (char *p = text; how == HOW_LONG && *p; p++)
			if (*p == '=')
				*p = 'A';
	} else {
		strcpy(text, "0x");
		for (unsigned i = 0; i < len; i++)
			sprintf(text + 2 + 2 * i, "%02x", d[i]);
	}
	key(&k, "CHAP_N", how == HOW_NOBODY ? "nobody" : user);
	key(&k, "CHAP_R", text);
	if (mutual) {
		char refl[2 * 1024 + 3] = "0x";

		for (int i = 0; i < n; i++)
			sprintf(refl + 2 + 2 * i, "%02x", chal[i]);
		key(&k, "CHAP_I", "77");
		key(&k, "CHAP_C", how == HOW_REFLECT ? refl : CHALLENGE);
	}
	if (step(s, &k, SEC_TO_FFP))
		return -1;
	if (refused(s))
		return 1;
	if (!mutual)
		return complete(s);
	r = answered(s, "CHAP_R");
	if (!r || !answered(s, "CHAP_N") || strcmp(answered(s, "CHAP_N"), target_user))
		return fail("the target does not answer as %s", target_user);
	own_n = unhex(CHALLENGE, own, sizeof(own));
	len = digest(alg, 77, target_secret, own, (size_t)own_n, want);
	if (unhex(r, d, sizeof(d)) != (int)len || memcmp(d, want, len))
		return fail("the target's response is wrong");
	return complete(s);
}

static int scenario(const char *name, const char *offer, int alg, enum how how, bool mutual,
		    int want)
{
	struct ini s;
	int got = login_chap(&s, 0x4000, offer, alg, how, mutual);

	ini_close(&s);
	if (got >= 0 && got != want)
		fail("%s", want ? "was let in" : "was refused");
	printf("%s %s%s%s\n", got == want ? "ok" : "FAILED", name, got == want ? "" : ": ",
	       got == want ? "" : why);
	fflush(stdout);
	return got != want;
}

/* An offer of which nothing is known here. */
static int unknown_only(void)
{
	struct ini s;
	uint8_t chal[1024];
	int alg, id, n, rc = begin(&s, 0x4001, "9,4,77,x", &alg, &id, chal, &n);

	ini_close(&s);
	printf("%s unknown algorithms\n", rc ? "ok" : "FAILED");
	return rc == 0;
}

/* Wrong secrets one after the other: each try takes longer, the right one gets in. */
static int slower(void)
{
	int64_t took[7], t, t5 = 0;
	struct ini s;
	int rc;

	for (int i = 0; i < 7; i++) {
		t = now_ms();
		if (i == 5)
			t5 = t;
		rc = login_chap(&s, 0x4002, "7", 7, HOW_WRONG, false);
		ini_close(&s);
		took[i] = now_ms() - t;
		if (rc != 1) {
			printf("FAILED back-off: try %d: %s\n", i, rc ? why : "was let in");
			return 1;
		}
	}
	t = now_ms();
	rc = login_chap(&s, 0x4002, "7", 7, HOW_HEX, false);
	ini_close(&s);
	/* 1.5 s from the failure of the sixth to that of the seventh, then 3 s: a busy machine
	 * does not make the sum less */
	if (rc || now_ms() - t5 < 4500) {
		printf("FAILED back-off: tries took %d, %d, %d, %d, %d ms (the last ones), the "
		       "right one "
		       "%d ms (%s)\n",
		       (int)took[0], (int)took[1], (int)took[2], (int)took[3], (int)took[4],
		       (int)(now_ms() - t), rc ? why : "let in");
		return 1;
	}
	t = now_ms();
	rc = login_chap(&s, 0x4002, "7", 7, HOW_HEX, false);
	ini_close(&s);
	rc |= now_ms() - t > 2900;
	printf("%s failed logins make the next ones slower, none impossible\n",
	       rc ? "FAILED" : "ok");
	return rc != 0;
}

static const char *const offers[] = {"5", "6", "7", "8"};

/* Both ends prove themselves, or nobody is in. */
static int mutual_only(void)
{
	char name[64];
	int failed = 0;

	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "algorithm %s, mutual", offers[i]);
		failed += scenario(name, offers[i], 5 + i, HOW_HEX, true, 0);
	}
	failed += scenario("a wrong secret of the initiator, mutual", "7", 7, HOW_WRONG, true, 1);
	failed += scenario("the target's own challenge", "7", 7, HOW_REFLECT, true, 1);
	return failed;
}

int main(int argc, char **argv)
{
	bool only = argc > 1 && !strcmp(argv[1], "--mutual");
	char name[64];
	int failed = 0;

	argc -= only;
	argv += only;
	if ((only || argc != 6) && argc != 8) {
		fprintf(stderr, "usage: iscsi_chap [--mutual] HOST PORT TARGET USER SECRET "
				"[TARGET_USER TARGET_SECRET]\n");
		return 2;
	}
	host = argv[1];
	port = argv[2];
	target = argv[3];
	user = argv[4];
	secret = argv[5];
	target_user = argc == 8 ? argv[6] : NULL;
	target_secret = argc == 8 ? argv[7] : NULL;
	if (only)
		return mutual_only() ? 1 : 0;
	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "algorithm %s", offers[i]);
		failed += scenario(name, offers[i], 5 + i, HOW_HEX, false, 0);
		snprintf(name, sizeof(name), "algorithm %s, base64", offers[i]);
		failed += scenario(name, offers[i], 5 + i, HOW_BASE64, false, 0);
		if (!target_user)
			continue;
		snprintf(name, sizeof(name), "algorithm %s, mutual", offers[i]);
		failed += scenario(name, offers[i], 5 + i, HOW_HEX, true, 0);
	}
	failed += scenario("the initiator's order counts", "8,7,6,5", 8, HOW_HEX, false, 0);
	failed += scenario("unknown ones are skipped", "99,7,5", 7, HOW_HEX, false, 0);
	failed += unknown_only();
	failed += scenario("a response that is too long", "5", 5, HOW_LONG, false, 1);
	failed += scenario("a response that is too short", "7", 7, HOW_SHORT, false, 1);
	if (target_user)
		failed += scenario("the target's own challenge", "7", 7, HOW_REFLECT, true, 1);
	failed += slower();
	failed += scenario("an unknown user", "7", 7, HOW_NOBODY, false, 1);
	return failed ? 1 : 0;
}
