// SPDX-License-Identifier: GPL-2.0-only
/* The key that seals secrets, from its file; see secret.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "target/secret.h"

#define HOW                                                                                        \
	"make one with: (umask 077; openssl rand -hex 32 > FILE); all gateways need "              \
	"the same"

int vms_secret_key_load(const char *path, uint8_t key[VMS_SECRET_KEY_BYTES], struct vms_errmsg *msg)
{
	char text[2 * VMS_SECRET_KEY_BYTES + 1];
	struct stat st;
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f)
		return vms_fail(msg, VMS_E_CONFIG, "secrets_key: %s: %s (" HOW ")", path,
				strerror(errno));
	if (fstat(fileno(f), &st) || (S_ISREG(st.st_mode) && (st.st_mode & 077))) {
		fclose(f);
		return vms_fail(msg, VMS_E_CONFIG,
				"secrets_key: %s can be read by others: chmod 600 %s", path, path);
	}
	n = fread(text, 1, sizeof(text), f);
	fclose(f);
	if (n >= 2 * VMS_SECRET_KEY_BYTES &&
	    (n == 2 * VMS_SECRET_KEY_BYTES || text[2 * VMS_SECRET_KEY_BYTES] == '\n')) {
		text[2 * VMS_SECRET_KEY_BYTES] = 0;
		for (n = 0; n < VMS_SECRET_KEY_BYTES; n++) {
			unsigned v;

			if (strspn(text + 2 * n, "0123456789abcdefABCDEF") < 2 ||
			    sscanf(text + 2 * n, "%2x", &v) != 1)
				break;
			key[n] = (uint8_t)v;
		}
		if (n == VMS_SECRET_KEY_BYTES)
			return 0;
	}
	return vms_fail(msg, VMS_E_CONFIG, "secrets_key: %s is not 64 hexadecimal digits (" HOW ")",
			path);
}
