// SPDX-License-Identifier: GPL-2.0-only
#include "utils/lib/settings.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "utils/lib/utf8.h"

#define OFF(f) offsetof(struct vms_settings, f)
#define KIB    (UINT64_C(1) << 10)
#define MIB    (UINT64_C(1) << 20)
#define GIB    (UINT64_C(1) << 30)
#define TIB    (UINT64_C(1) << 40)

static const char *const log_levels[] = {"error", "warning", "info", "debug", NULL};
static const char *const catalogs[] = {"etcd", NULL};
static const char *const io_engines[] = {"auto", "io_uring", "threads", NULL};

const struct vms_conf_key vms_settings_keys[] = {
	{.section = "cluster",
	 .key = "catalog",
	 .type = VMS_CONF_ADDR_LIST,
	 .offset = OFF(cluster.catalog),
	 .def = "127.0.0.1:7600",
	 .choices = catalogs,
	 .help = "Where the catalog answers: HOST:PORT of the embedded one, or the members of\n"
		 "an etcd as etcd:HOST:PORT,HOST:PORT,HOST:PORT. All programs of a cluster need\n"
		 "the same."},
	{.section = "cluster",
	 .key = "catalog_prefix",
	 .type = VMS_CONF_STRING,
	 .offset = OFF(cluster.catalog_prefix),
	 .def = "/vmstore/",
	 .help = "etcd: what all keys of this cluster begin with."},
	{.section = "cluster",
	 .key = "catalog_ca",
	 .type = VMS_CONF_STRING,
	 .offset = OFF(cluster.catalog_ca),
	 .help = "etcd: file of the authority that signed its certificates (PEM), or \"system\"\n"
		 "for those this machine trusts. Set: TLS; unset: none."},
	{.section = "cluster",
	 .key = "catalog_cert",
	 .type = VMS_CONF_STRING,
	 .offset = OFF(cluster.catalog_cert),
	 .help = "etcd: file of our own certificate, if etcd asks for one."},
	{.section = "cluster",
	 .key = "catalog_key",
	 .type = VMS_CONF_STRING,
	 .offset = OFF(cluster.catalog_key),
	 .help = "etcd: file of its key. Must not be readable by all."},
	{.section = "cluster",
	 .key = "catalog_user",
	 .type = VMS_CONF_STRING,
	 .offset = OFF(cluster.catalog_user),
	 .help = "etcd: file with NAME:PASSWORD in its first line, if etcd wants users. Must not\n"
		 "be readable by all."},
	{.section = "cluster",
	 .key = "catalog_timeout",
	 .type = VMS_CONF_DURATION,
	 .offset = OFF(cluster.catalog_timeout_ms),
	 .def = "5s",
	 .min = 100,
	 .max = 600000,
	 .help = "How long one request to the catalog may take before it is given up."},
	{.section = "cluster",
	 .key = "secrets_key",
	 .type = VMS_CONF_STRING,
	 .offset = OFF(cluster.secrets_key),
	 .help = "File of the key that seals CHAP secrets in the catalog: 64 hexadecimal digits,\n"
		 "readable by its owner only, the same on all gateways. Make one with\n"
		 "(umask 077; openssl rand -hex 32 > FILE). Without it no accounts can be made."},
	{.section = "cluster",
	 .key = "run_dir",
	 .type = VMS_CONF_STRING,
	 .offset = OFF(cluster.run_dir),
	 .def = "/run/vmstore",
	 .help = "Folder of the local sockets, NAME.sock for each process; `vmstore stats` "
		 "looks here."},
	{.section = "cluster",
	 .key = "log_level",
	 .type = VMS_CONF_ENUM,
	 .offset = OFF(cluster.log_level),
	 .def = "info",
	 .choices = log_levels,
	 .help = "The least important messages to print."},

	{.section = "node",
	 .key = "name",
	 .type = VMS_CONF_STRING,
	 .offset = OFF(node.name),
	 .help = "Name of the storage node, unique in the cluster; the host's name if unset.\n"
		 "Letters, digits, '-', '_' and '.'; at most 63."},
	{.section = "node",
	 .key = "dir",
	 .type = VMS_CONF_STRING,
	 .offset = OFF(node.dir),
	 .def = "/var/lib/vmstore/node",
	 .help = "Folder that holds everything the node stores: log, index, containers.\n"
		 "One file system, one node."},
	{.section = "node",
	 .key = "listen",
	 .type = VMS_CONF_ADDR,
	 .offset = OFF(node.listen),
	 .def = "127.0.0.1:7601",
	 .help = "Where the node accepts gateways, other nodes and tools."},
	{.section = "node",
	 .key = "address",
	 .type = VMS_CONF_ADDR,
	 .offset = OFF(node.address),
	 .help = "Address told to the others when it differs from listen (NAT, 0.0.0.0)."},
	{.section = "node",
	 .key = "zone",
	 .type = VMS_CONF_STRING,
	 .offset = OFF(node.zone),
	 .help = "What fails together with this node: a rack, a room. Copies are kept in\n"
		 "different zones while there are enough. Unset: a zone of its own.\n"
		 "Takes effect when the node joins."},
	{.section = "node",
	 .key = "weight",
	 .type = VMS_CONF_U64,
	 .offset = OFF(node.weight),
	 .def = "100",
	 .min = 1,
	 .max = 1000000,
	 .help = "Share of the data in proportion to the other nodes; 100 is normal.\n"
		 "Takes effect when the node joins."},
	{.section = "node",
	 .key = "log_size",
	 .type = VMS_CONF_SIZE,
	 .offset = OFF(node.log_bytes),
	 .def = "1G",
	 .min = 8 * MIB,
	 .max = TIB,
	 .multiple = MIB,
	 .help = "Size of the write-ahead log. Written once when the node is formatted, and\n"
		 "held in memory as well. Takes effect at format time."},
	{.section = "node",
	 .key = "generation_size",
	 .type = VMS_CONF_SIZE,
	 .offset = OFF(node.generation_bytes),
	 .def = "256M",
	 .min = MIB,
	 .max = TIB,
	 .help = "The log is drained into containers in pieces of this size, or when three\n"
		 "tenths of the log are used."},
	{.section = "node",
	 .key = "generation_age",
	 .type = VMS_CONF_DURATION,
	 .offset = OFF(node.generation_age_ms),
	 .def = "10min",
	 .min = 100,
	 .max = 86400000,
	 .help = "A piece of the log is drained after this time even if it is not full."},
	{.section = "node",
	 .key = "container_size",
	 .type = VMS_CONF_SIZE,
	 .offset = OFF(node.container_bytes),
	 .def = "64M",
	 .min = MIB,
	 .max = GIB,
	 .multiple = 4 * KIB,
	 .help = "A container file is sealed at this size."},
	{.section = "node",
	 .key = "index_size",
	 .type = VMS_CONF_SIZE,
	 .offset = OFF(node.index_bytes),
	 .def = "64G",
	 .min = 16 * MIB,
	 .max = 16 * TIB,
	 .multiple = 4 * KIB,
	 .help = "Upper limit of the LMDB index: address space, not disk space. When it is\n"
		 "reached the node takes no more writes until it is raised."},
	{.section = "node",
	 .key = "gc_target",
	 .type = VMS_CONF_U64,
	 .offset = OFF(node.gc_target_percent),
	 .def = "200",
	 .min = 110,
	 .max = 1000,
	 .help = "Dead space is collected while containers take more than this many percent\n"
		 "of the live data."},
	{.section = "node",
	 .key = "dedup_hooks_memory",
	 .type = VMS_CONF_SIZE,
	 .offset = OFF(node.dedup_hooks_bytes),
	 .def = "64M",
	 .min = 64 * KIB,
	 .max = TIB,
	 .help = "Upper limit of the sparse index of deduplication. 1 MiB knows about 11 GiB of\n"
		 "unique data; beyond, older data is found less often."},
	{.section = "node",
	 .key = "dedup_lists_memory",
	 .type = VMS_CONF_SIZE,
	 .offset = OFF(node.dedup_lists_bytes),
	 .def = "64M",
	 .min = 256 * KIB,
	 .max = TIB,
	 .help = "Memory for cached fingerprint lists: 1 MiB covers about 110 MiB of the\n"
		 "data that is being written again. Too little and duplicates are missed."},
	{.section = "node",
	 .key = "dedup_background",
	 .type = VMS_CONF_BOOL,
	 .offset = OFF(node.dedup_background),
	 .def = "on",
	 .help = "Whether this node, when it has little else to do, looks for duplicates that\n"
		 "were missed when data was written."},
	{.section = "node",
	 .key = "io_engine",
	 .type = VMS_CONF_ENUM,
	 .offset = OFF(node.io_engine),
	 .def = "auto",
	 .choices = io_engines,
	 .help = "How the log is written; auto takes io_uring where the kernel allows it."},

	{.section = "catalog",
	 .key = "dir",
	 .type = VMS_CONF_STRING,
	 .offset = OFF(catalog.dir),
	 .def = "/var/lib/vmstore/catalog",
	 .help = "Folder of the embedded catalog (vmstored --catalog)."},
	{.section = "catalog",
	 .key = "listen",
	 .type = VMS_CONF_ADDR,
	 .offset = OFF(catalog.listen),
	 .def = "127.0.0.1:7600",
	 .help = "Where the catalog answers."},
	{.section = "catalog",
	 .key = "index_size",
	 .type = VMS_CONF_SIZE,
	 .offset = OFF(catalog.index_bytes),
	 .def = "1G",
	 .min = 16 * MIB,
	 .max = TIB,
	 .multiple = 4 * KIB,
	 .help = "Upper limit of its LMDB file: address space, not disk space."},

	{.section = "gateway",
	 .key = "name",
	 .type = VMS_CONF_STRING,
	 .offset = OFF(gateway.name),
	 .help = "Name of the gateway (one tgtd process), unique in the cluster; the host's\n"
		 "name if unset. Letters, digits, '-', '_' and '.'; at most 63."},
	{.section = "gateway",
	 .key = "chunk_cache",
	 .type = VMS_CONF_SIZE,
	 .offset = OFF(gateway.chunk_cache_bytes),
	 .def = "256M",
	 .min = 4 * MIB,
	 .max = 16 * TIB,
	 .help = "Memory for cached chunks, shared by all LUNs."},
	{.section = "gateway",
	 .key = "page_cache",
	 .type = VMS_CONF_SIZE,
	 .offset = OFF(gateway.page_cache_bytes),
	 .def = "64M",
	 .min = MIB,
	 .max = TIB,
	 .help = "Memory for cached index pages; 1 KiB maps 512 KiB of a volume."},
	{.section = "gateway",
	 .key = "slots",
	 .type = VMS_CONF_U64,
	 .offset = OFF(gateway.slots),
	 .def = "1024",
	 .min = 16,
	 .max = 65536,
	 .help = "Operations in flight to the nodes; what comes beyond waits."},
	{.section = "gateway",
	 .key = "outstanding",
	 .type = VMS_CONF_SIZE,
	 .offset = OFF(gateway.outstanding_bytes),
	 .def = "64M",
	 .min = 4 * MIB,
	 .max = 64 * GIB,
	 .help = "Bytes of writes in flight; initiators are answered TASK SET FULL beyond."},
	{.section = "gateway",
	 .key = "readahead",
	 .type = VMS_CONF_SIZE,
	 .offset = OFF(gateway.readahead_bytes),
	 .def = "512K",
	 .min = 0,
	 .max = 64 * MIB,
	 .multiple = 4 * KIB,
	 .help = "How far a sequential reader is read ahead; 0 switches it off."},
	{.section = "gateway",
	 .key = "thin_soft_threshold",
	 .type = VMS_CONF_U64,
	 .offset = OFF(gateway.thin_soft_percent),
	 .def = "80",
	 .min = 0,
	 .max = 99,
	 .help = "Percentage of a storage node's space from which on initiators are warned\n"
		 "(unit attention THIN PROVISIONING SOFT THRESHOLD REACHED), again only after\n"
		 "it has fallen 5 below; 0 switches it off. Where writes are refused is the\n"
		 "node's own reserve."},
	{.section = "gateway",
	 .key = "connections",
	 .type = VMS_CONF_U64,
	 .offset = OFF(gateway.connections),
	 .def = "8192",
	 .min = 16,
	 .max = 8192,
	 .help = "Connections of initiators at a time; what comes beyond is closed at once."},
	{.section = "gateway",
	 .key = "connections_per_address",
	 .type = VMS_CONF_U64,
	 .offset = OFF(gateway.connections_per_address),
	 .def = "4096",
	 .min = 4,
	 .max = 8192,
	 .help = "The same, of one address: one per target and path a host logs in to, and\n"
		 "some to spare for its new logins while old ones end."},
	{.section = "gateway",
	 .key = "weak_chap",
	 .type = VMS_CONF_BOOL,
	 .offset = OFF(gateway.weak_chap),
	 .def = "on",
	 .help = "CHAP with MD5 and SHA-1 besides SHA-256 and SHA3-256. Switch it off once all\n"
		 "initiators know the newer ones (open-iscsi from 2.1.0 on)."},
	{.section = "gateway",
	 .key = "shared_config",
	 .type = VMS_CONF_BOOL,
	 .offset = OFF(gateway.shared_config),
	 .def = "on",
	 .help = "Targets, VMStore LUNs, bindings and accounts belong to the cluster: what is "
		 "told\n"
		 "to one gateway holds on all. Off: each tgtd keeps its own, as stock tgt does."},
	{.section = "gateway",
	 .key = "portals",
	 .type = VMS_CONF_ADDR_LIST,
	 .offset = OFF(gateway.portals),
	 .help = "Addresses of this gateway as initiators are to be told them, by itself and by\n"
		 "the other gateways, if they differ from where tgtd listens (NAT). Unset: its\n"
		 "portals; for one on all addresses, those of the machine's interfaces."},
	{.section = "gateway",
	 .key = "listen",
	 .type = VMS_CONF_ADDR,
	 .offset = OFF(gateway.listen),
	 .help = "Where tools may ask which catalog this gateway belongs to (--via HOST:PORT),\n"
		 "and nothing else. An address of the storage network. Unset: only on the local\n"
		 "socket."},
	VMS_CONF_END,
};

static int check_name(const char *section, const char *name, const char *path, struct vms_errmsg *e)
{
	bool ok;

	if (!name)
		return 0;
	ok = strlen(name) <= 63 && *name != '.' && *name != '-';
	for (const char *c = name; *c; c++)
		ok = ok && (isalnum((unsigned char)*c) || strchr("-_.", *c));
	if (!ok)
		return vms_fail(e, VMS_E_CONFIG,
				"%.100s: name in [%s]: '%.64s' must be 1 to 63 letters, digits, "
				"'-', '_' or '.', not beginning with '.' or '-'",
				path, section, name);
	return 0;
}

int vms_settings_zone_check(const char *zone, struct vms_errmsg *e)
{
	unsigned n = 1;

	for (const char *s = zone; *s && n; s += n)
		n = (unsigned char)*s < 0x20 || *s == 0x7f ? 0 : vms_utf8_char(s);
	if (!n || strlen(zone) > VMS_SETTINGS_ZONE_MAX)
		return vms_fail(e, VMS_E_CONFIG,
				"zone: must be text (UTF-8, no control characters) of at most %u "
				"bytes",
				VMS_SETTINGS_ZONE_MAX);
	return 0;
}

int vms_settings_prefix_check(const char *prefix, struct vms_errmsg *e)
{
	size_t n = strlen(prefix);

	if (prefix[0] != '/' || prefix[n - 1] != '/' || n > 100)
		return vms_fail(e, VMS_E_CONFIG,
				"'%.100s' must begin and end with '/' and have at most 100 "
				"characters",
				prefix);
	return 0;
}

int vms_settings_load(struct vms_settings *s, const char *path, struct vms_errmsg *e)
{
	struct vms_errmsg why;
	int r;

	memset(s, 0, sizeof(*s));
	r = vms_conf_load(vms_settings_keys, NULL, path, s, e);
	if (!r)
		r = check_name("node", s->node.name, path, e);
	if (!r)
		r = check_name("gateway", s->gateway.name, path, e);
	if (!r && s->node.zone && vms_settings_zone_check(s->node.zone, &why))
		r = vms_fail(e, VMS_E_CONFIG, "%.100s: [node] %.180s", path, why.text);
	if (!r && vms_settings_prefix_check(s->cluster.catalog_prefix, &why))
		r = vms_fail(e, VMS_E_CONFIG, "%.100s: catalog_prefix %.180s",
			     path ? path : "default", why.text);
	if (r)
		return r;
	if (!s->node.address.host[0])
		s->node.address = s->node.listen;
	if (!strcmp(s->node.address.host, "0.0.0.0") || !strcmp(s->node.address.host, "::"))
		return vms_fail(e, VMS_E_CONFIG,
				"%.150s: [node] listens on all addresses: set address to the one "
				"that others reach",
				path);
	return 0;
}

void vms_settings_close(struct vms_settings *s)
{
	vms_conf_free(vms_settings_keys, s);
}

void vms_settings_name(const char *name, char out[64])
{
	char host[256] = "";

	if (!name) {
		gethostname(host, sizeof(host) - 1);
		host[strcspn(host, ".")] = 0;
		name = *host ? host : "localhost";
	}
	memset(out, 0, 64);
	memcpy(out, name, strnlen(name, 63));
}

void vms_settings_boot(char out[40])
{
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

	memset(out, 0, 40);
	if (!f)
		return;
	if (!fgets(out, 40, f))
		out[0] = 0;
	out[strcspn(out, "\n")] = 0;
	fclose(f);
}

const char *vms_settings_catalog(const struct vms_settings *s, char out[VMS_SETTINGS_CATALOG_MAX])
{
	char one[VMS_CONF_ADDR_TEXT_MAX];
	size_t at = 0;

	out[0] = 0;
	if (s->cluster.catalog.scheme)
		at = (size_t)snprintf(out, VMS_SETTINGS_CATALOG_MAX,
				      "%s:", catalogs[s->cluster.catalog.scheme - 1]);
	for (unsigned i = 0; i < s->cluster.catalog.n; i++)
		at += (size_t)snprintf(out + at, VMS_SETTINGS_CATALOG_MAX - at, "%s%s",
				       !i			   ? ""
				       : s->cluster.catalog.scheme ? ","
								   : " ",
				       vms_conf_addr_format(&s->cluster.catalog.a[i], one));
	return out;
}
