// SPDX-License-Identifier: GPL-2.0-only
#include "utils/image/name.h"

#include <stdio.h>
#include <string.h>

#include "utils/lib/fp.h"
#include "utils/lib/settings.h"

#define ID_DIGITS 32u

static const char *const machine_files[] = {"/etc/machine-id", "/var/lib/dbus/machine-id", NULL};

/* A new machine's file may be empty, or say "uninitialized". */
static bool read_id(const char *file, char id[ID_DIGITS + 1])
{
	FILE *f = fopen(file, "re");
	size_t n;

	if (!f)
		return false;
	n = fread(id, 1, ID_DIGITS, f);
	fclose(f);
	id[n] = 0;
	return strspn(id, "0123456789abcdef") == ID_DIGITS;
}

void image_name_machine(const char *const files[], char out[9])
{
	static const char salt[] = "vmstore: names of tools";
	uint8_t sum[VMS_FP_BYTES];
	char id[ID_DIGITS + 1];
	struct vms_fp *fp;

	out[0] = 0;
	while (*files && !read_id(*files, id))
		files++;
	if (!*files)
		return;
	fp = vms_fp_open(salt, strlen(salt));
	vms_fp_chunk(fp, id, ID_DIGITS, sum);
	vms_fp_close(fp);
	snprintf(out, 9, "%02x%02x%02x%02x", sum[0], sum[1], sum[2], sum[3]);
}

void image_name_prefix(const char *host, const char *machine, char out[IMAGE_NAME_BYTES])
{
	if (*machine)
		snprintf(out, IMAGE_NAME_BYTES, "tool-%.40s-%.8s-", host, machine);
	else
		snprintf(out, IMAGE_NAME_BYTES, "tool-%.48s-", host);
}

static bool is_numbered(const char *name, const char *prefix)
{
	size_t n = strlen(prefix);

	return !strncmp(name, prefix, n) && name[n] && !name[n + strspn(name + n, "0123456789")];
}

bool image_name_is(const char *name, const char *host, const char *machine)
{
	char prefix[IMAGE_NAME_BYTES], old[IMAGE_NAME_BYTES];

	image_name_prefix(host, machine, prefix);
	image_name_prefix(host, "", old);
	return is_numbered(name, prefix) || is_numbered(name, old);
}

void image_name_own_prefix(char out[IMAGE_NAME_BYTES])
{
	char host[64], machine[9];

	vms_settings_name(NULL, host);
	image_name_machine(machine_files, machine);
	image_name_prefix(host, machine, out);
}

bool image_name_is_own(const char *name)
{
	char host[64], machine[9];

	vms_settings_name(NULL, host);
	image_name_machine(machine_files, machine);
	return image_name_is(name, host, machine);
}
