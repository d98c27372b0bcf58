// SPDX-License-Identifier: GPL-2.0-only
/* --via: the catalog's address, from a storage node or a gateway that knows it. */
#include <netdb.h>
#include <string.h>
#include <unistd.h>

#include "utils/tool/tool.h"

#define IDENTITY_MS_MAX 5000u

/* Is it an address of this machine? Only those can be bound to. */
static bool is_ours(const char *host)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *ai;
	bool ours;
	int fd;

	if (getaddrinfo(host, "0", &hints, &ai))
		return true;
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ours = fd < 0 || !bind(fd, ai->ai_addr, ai->ai_addrlen);
	if (fd >= 0)
		close(fd);
	freeaddrinfo(ai);
	return ours;
}

static bool is_loopback(const char *host)
{
	return !strncmp(host, "127.", 4) || !strcmp(host, "::1") || !strcmp(host, "localhost");
}

/* 127.0.0.1 of another machine is that machine: here it might be another cluster's. */
static void translate(struct tool *t, const char *address)
{
	struct vms_conf_addrs *c = &t->set.cluster.catalog;
	struct vms_conf_addr via;

	if (!strncmp(address, "unix:", 5) || vms_conf_addr_parse(address, 0, &via, NULL) ||
	    is_ours(via.host))
		return;
	for (unsigned i = 0; i < c->n; i++)
		if (is_loopback(c->a[i].host))
			memcpy(c->a[i].host, via.host, sizeof(via.host));
}

/* Files, and what is in them, are not told over the network. */
static int etcd(struct tool *t, const char *address, json_t *answer, struct vms_errmsg *msg)
{
	const char *prefix = json_string_value(json_object_get(answer, "catalog_prefix"));
	bool tls = json_is_true(json_object_get(answer, "catalog_tls")) &&
		   !t->set.cluster.catalog_ca;
	bool user = json_is_true(json_object_get(answer, "catalog_user")) &&
		    !t->set.cluster.catalog_user;

	if (tls || user)
		return vms_fail(
			msg, VMS_E_CONFIG,
			"the catalog that %s uses is an etcd that wants %s: a configuration has to "
			"say %s (-c FILE)",
			address, tls ? "TLS" : "a user",
			tls ? "catalog_ca, catalog_cert and catalog_key" : "catalog_user");
	return prefix ? vms_conf_set(vms_settings_keys, "cluster", "catalog_prefix", prefix,
				     &t->set, msg)
		      : 0;
}

int tool_via(struct tool *t, const char *address, struct vms_errmsg *msg)
{
	struct vms_conf_addr a;
	json_t *answer = NULL;
	const char *catalog;
	int rc;

	if (strncmp(address, "unix:", 5) && vms_conf_addr_parse(address, 0, &a, msg))
		return VMS_E_CONFIG;
	rc = tool_call(t, address, "identity", NULL, IDENTITY_MS_MAX, &answer, msg);
	if (rc)
		return rc;
	catalog = json_string_value(json_object_get(answer, "catalog"));
	if (!catalog || !*catalog)
		rc = vms_fail(msg, VMS_E_UNSUPPORTED, "%s does not tell where the catalog is",
			      address);
	else
		rc = vms_conf_set(vms_settings_keys, "cluster", "catalog", catalog, &t->set, msg);
	if (!rc)
		translate(t, address);
	if (!rc && t->set.cluster.catalog.scheme)
		rc = etcd(t, address, answer, msg);
	json_decref(answer);
	return rc;
}
