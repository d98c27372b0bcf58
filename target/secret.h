/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CHAP secrets as the catalog keeps them: sealed with a key that only the cluster's
 * gateways and its admin have (a file, `secrets_key` in the configuration), so that who
 * reads the catalog, its copies on the nodes or a backup of it learns none.
 *
 * "account/<user>": {"user": text, "sealed": base64}; sealed is
 *
 *   offset  bytes  what
 *   0       1      version, 1
 *   1       12     nonce, random
 *   13      n      secret, AES-256-GCM; additional data: version, user
 *   13 + n  16     tag
 *
 * Sealing an equal secret twice gives different texts. Any thread.
 */
#ifndef VMS_SECRET_H
#define VMS_SECRET_H

#include <stdint.h>

#include "include/err.h"

#define VMS_SECRET_KEY_BYTES   32u
#define VMS_SECRET_NONCE_BYTES 12u
#define VMS_SECRET_TEXT_MAX    512u /* of the sealed text, with its NUL */
#define VMS_SECRET_BYTES_MAX   255u

/* 0, VMS_E_INVAL (length), VMS_E_IO (OpenSSL). */
int vms_secret_seal(const uint8_t key[VMS_SECRET_KEY_BYTES],
		    const uint8_t nonce[VMS_SECRET_NONCE_BYTES], const char *user,
		    const char *secret, char out[VMS_SECRET_TEXT_MAX], struct vms_errmsg *msg);
/* 0, or VMS_E_CORRUPT: not made with this key for this user, or damaged. */
int vms_secret_open(const uint8_t key[VMS_SECRET_KEY_BYTES], const char *user, const char *sealed,
		    char secret[VMS_SECRET_BYTES_MAX + 1], struct vms_errmsg *msg);

/* Reads the key: 64 hexadecimal digits in a file only its owner can read
 * (secret_file.c). 0, or VMS_E_CONFIG with msg saying how to make one. */
int vms_secret_key_load(const char *path, uint8_t key[VMS_SECRET_KEY_BYTES],
			struct vms_errmsg *msg);

#endif
