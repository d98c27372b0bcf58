/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What tgt's CHAP state machine (usr/iscsi/chap.c) needs of cryptography:
 * RFC 1994 responses by OpenSSL, and the binary values of RFC 7143, 6.1.
 * Pure functions, any thread.
 */
#ifndef VMS_TGT_CHAP_H
#define VMS_TGT_CHAP_H

#include <stddef.h>
#include <stdint.h>

#define TGT_CHAP_DIGEST_MAX    32
#define TGT_CHAP_CHALLENGE_MAX 1024
#define TGT_CHAP_SECRET_MIN    12 /* RFC 7143, 9.2.1: 96 bits at least */
#define TGT_CHAP_SECRET_MAX    255

/* Algorithm of a CHAP_A list entry: 5 MD5, 6 SHA-1, 7 SHA-256, 8 SHA3-256 (IANA, PPP
 * authentication algorithms). 0: none of those, or not wanted here. */
int tgt_chap_alg(const char *number);

/* Algorithms that are offered: a bit (1 << number) each. All at start. */
void tgt_chap_allow(unsigned algs);

/* Response to a challenge: hash of id, secret, challenge. Returns its length in
 * bytes, or -1 (unknown algorithm, or OpenSSL refuses it here). */
int tgt_chap_digest(int alg, uint8_t id, const char *secret, const uint8_t *challenge,
		    size_t challenge_bytes, uint8_t out[TGT_CHAP_DIGEST_MAX]);

/* A binary value: "0x" and hexadecimal digits, or "0b" and base64. Returns its
 * length in bytes, or -1 when it is neither, or longer than max_bytes. */
int tgt_chap_decode(const char *text, uint8_t *out, size_t max_bytes);

/* Compares in a time that does not tell where they differ. */
int tgt_chap_equal(const uint8_t *a, const uint8_t *b, size_t bytes);

#endif
