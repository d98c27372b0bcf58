// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which addresses of initiators can be bound to a target (vms_reg_address_check(),
 * registry.h): those that tgtd can match. It looks no names up, takes a network by its
 * first address and a prefix in decimal digits, and an address that has all bits without a
 * prefix. Reads text only; a file of its own as inet_pton() comes with sockets.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "target/registry.h"

int vms_reg_address_check(const char *address, struct vms_errmsg *msg)
{
	char ip[64] = "";
	uint8_t raw[16];
	const char *slash = strchr(address, '/');
	size_t n = slash ? (size_t)(slash - address) : strlen(address);
	unsigned bits, prefix;
	int family;

	if (!strcmp(address, "ALL"))
		return 0;
	if (n > 2 && address[0] == '[' && address[n - 1] == ']' && n - 2 < sizeof(ip))
		memcpy(ip, address + 1, n - 2);
	else if (n < sizeof(ip))
		memcpy(ip, address, n);
	family = strchr(ip, ':') ? AF_INET6 : AF_INET;
	bits = family == AF_INET6 ? 128 : 32;
	if (inet_pton(family, ip, raw) != 1)
		return vms_fail(msg, VMS_E_INVAL,
				"initiator address '%.64s': must be ALL, an IP address, or a "
				"network such as 192.0.2.0/24",
				address);
	if (!slash)
		return 0;
	if (!slash[1] || slash[1] == '0' || strspn(slash + 1, "0123456789") != strlen(slash + 1) ||
	    strlen(slash + 1) > 3 || (prefix = (unsigned)strtoul(slash + 1, NULL, 10)) >= bits)
		return vms_fail(msg, VMS_E_INVAL,
				"initiator address '%.64s': its prefix must be a number from 1 to "
				"%u (one host: the address alone; everyone: ALL)",
				address, bits - 1);
	for (unsigned i = prefix; i < bits; i++)
		if (raw[i / 8] & 0x80 >> i % 8)
			return vms_fail(
				msg, VMS_E_INVAL,
				"initiator address '%.64s' is no network: it has bits behind its "
				"prefix (as in 192.0.2.7/24 instead of 192.0.2.0/24)",
				address);
	return 0;
}
