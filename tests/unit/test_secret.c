// SPDX-License-Identifier: GPL-2.0-only
/* Sealed secrets: back and forth, wrong key, wrong user, any damage. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "target/secret.h"
#include "tests/unit/cunit.h"

static struct vms_errmsg e;

static void round_trip(void)
{
	uint8_t key[32] = {1, 2, 3}, other[32] = {1, 2, 4}, nonce[12] = {9};
	char text[VMS_SECRET_TEXT_MAX], back[VMS_SECRET_BYTES_MAX + 1], secret[300];

	for (size_t n = 1; n <= 255; n++) {
		memset(secret, 'a' + (int)(n % 26), n);
		secret[n] = 0;
		CU_ASSERT_EQUAL_FATAL(vms_secret_seal(key, nonce, "host", secret, text, &e), 0);
		CU_ASSERT(n < 8 || !strstr(text, secret));
		CU_ASSERT_EQUAL(vms_secret_open(key, "host", text, back, &e), 0);
		CU_ASSERT_STRING_EQUAL(back, secret);
		CU_ASSERT_EQUAL(vms_secret_open(other, "host", text, back, &e), VMS_E_CORRUPT);
		CU_ASSERT_EQUAL(vms_secret_open(key, "hosu", text, back, &e), VMS_E_CORRUPT);
	}
	memset(secret, 'x', 256);
	secret[256] = 0;
	CU_ASSERT_EQUAL(vms_secret_seal(key, nonce, "host", secret, text, &e), VMS_E_INVAL);
	CU_ASSERT_EQUAL(vms_secret_seal(key, nonce, "host", "", text, &e), VMS_E_INVAL);
}

static void damage(void)
{
	uint8_t key[32] = {5}, nonce[12] = {7};
	char text[VMS_SECRET_TEXT_MAX], back[VMS_SECRET_BYTES_MAX + 1];

	CU_ASSERT_EQUAL_FATAL(vms_secret_seal(key, nonce, "u", "123456789012", text, &e), 0);
	for (size_t i = 0; text[i]; i++) {
		char was = text[i];

		if (was == '=')
			continue;
		text[i] = was == 'A' ? 'B' : 'A';
		CU_ASSERT_EQUAL(vms_secret_open(key, "u", text, back, &e), VMS_E_CORRUPT);
		text[i] = was;
	}
	CU_ASSERT_EQUAL(vms_secret_open(key, "u", "", back, &e), VMS_E_CORRUPT);
	CU_ASSERT_EQUAL(vms_secret_open(key, "u", "AAAA", back, &e), VMS_E_CORRUPT);
	CU_ASSERT_EQUAL(vms_secret_open(key, "u", "====", back, &e), VMS_E_CORRUPT);
	text[strlen(text) - 4] = 0;
	CU_ASSERT_EQUAL(vms_secret_open(key, "u", text, back, &e), VMS_E_CORRUPT);
}

static int load(const char *path, const char *text, mode_t mode, uint8_t key[32])
{
	FILE *f = fopen(path, "w");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	fputs(text, f);
	fclose(f);
	chmod(path, mode);
	return vms_secret_key_load(path, key, &e);
}

static void key_file(void)
{
	static const char good[] =
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eFF\n";
	char path[] = "/tmp/vmstore-key-XXXXXX", text[80];
	uint8_t key[32];
	int fd = mkstemp(path);

	CU_ASSERT_FATAL(fd >= 0);
	close(fd);
	CU_ASSERT_EQUAL(load(path, good, 0600, key), 0);
	CU_ASSERT_EQUAL(key[1], 1);
	CU_ASSERT_EQUAL(key[31], 0xff);
	CU_ASSERT_EQUAL(load(path, good, 0640, key), VMS_E_CONFIG);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "chmod 600"));
	memcpy(text, good, sizeof(good));
	text[64] = 0;
	CU_ASSERT_EQUAL(load(path, text, 0600, key), 0);
	text[63] = 0;
	CU_ASSERT_EQUAL(load(path, text, 0600, key), VMS_E_CONFIG);
	memcpy(text, good, sizeof(good));
	text[5] = 'g';
	CU_ASSERT_EQUAL(load(path, text, 0600, key), VMS_E_CONFIG);
	CU_ASSERT_EQUAL(load(path, "", 0600, key), VMS_E_CONFIG);
	unlink(path);
	CU_ASSERT_EQUAL(vms_secret_key_load(path, key, &e), VMS_E_CONFIG);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "openssl rand"));
}

static const struct vms_test tests[] = {
	VMS_TEST(round_trip),
	VMS_TEST(damage),
	VMS_TEST(key_file),
};
VMS_TEST_MAIN("secret", tests)
