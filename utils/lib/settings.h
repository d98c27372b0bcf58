/* SPDX-License-Identifier: GPL-2.0-only */
/* Every configuration key of VMStore, in one table.
 *
 * One file format and one set of keys serve all programs; a file may hold the sections
 * of several of them. All sections are checked by every program, so a slip in
 * [gateway] is reported even by vmstored. conf/vmstore.conf is the commented sample,
 * printed from this table (a test compares them).
 *
 * What belongs to the cluster as a whole and must be the same everywhere (partitions,
 * copies, times) is not here but in the catalog, set by `vmstore-ring init`. */
#ifndef VMS_SETTINGS_H
#define VMS_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "utils/lib/conf.h"

enum vms_io_engine { VMS_IO_AUTO, VMS_IO_URING, VMS_IO_THREADS };

struct vms_settings {
	struct { /* [cluster]: what all programs need */
		struct vms_conf_addrs catalog;
		char *catalog_prefix;					      /* etcd */
		char *catalog_ca, *catalog_cert, *catalog_key, *catalog_user; /* files or NULL */
		uint64_t catalog_timeout_ms;
		char *run_dir;
		char *secrets_key; /* NULL: none */
		int log_level;	   /* enum vms_log_level */
	} cluster;
	struct {	    /* [node]: vmstored */
		char *name; /* NULL: the host's name */
		char *dir;
		struct vms_conf_addr listen;
		struct vms_conf_addr address; /* host "": as listen */
		char *zone;		      /* NULL: a zone of its own */
		uint64_t weight;
		uint64_t log_bytes;
		uint64_t generation_bytes;
		uint64_t generation_age_ms;
		uint64_t container_bytes;
		uint64_t index_bytes;
		uint64_t gc_target_percent;
		uint64_t dedup_hooks_bytes, dedup_lists_bytes;
		bool dedup_background;
		int io_engine; /* enum vms_io_engine */
	} node;
	struct { /* [catalog]: vmstored --catalog */
		char *dir;
		struct vms_conf_addr listen;
		uint64_t index_bytes;
	} catalog;
	struct {	    /* [gateway]: the vmstore module of tgtd */
		char *name; /* NULL: the host's name */
		uint64_t chunk_cache_bytes;
		uint64_t page_cache_bytes;
		uint64_t slots;
		uint64_t outstanding_bytes;
		uint64_t readahead_bytes;
		uint64_t thin_soft_percent;
		uint64_t connections, connections_per_address;
		bool weak_chap; /* MD5 and SHA-1 are taken */
		bool shared_config;
		struct vms_conf_addr listen;   /* for --via of tools; host "": not */
		struct vms_conf_addrs portals; /* told to initiators; n 0: where tgtd listens */
	} gateway;
};

extern const struct vms_conf_key vms_settings_keys[];

/* Where programs look when no file is named. */
#define VMS_SETTINGS_PATH "/etc/vmstore/vmstore.conf"

/* Reads path (NULL: defaults only) into s, which need not be initialised; checks what
 * single keys cannot. 0, or VMS_E_CONFIG with e filled. Release with
 * vms_settings_close() in both cases. */
int vms_settings_load(struct vms_settings *s, const char *path, struct vms_errmsg *e);
void vms_settings_close(struct vms_settings *s);
#define VMS_SETTINGS_ZONE_MAX 63u
/* Can a zone be called so? 0 or VMS_E_CONFIG. */
int vms_settings_zone_check(const char *zone, struct vms_errmsg *e);
/* Can keys of an etcd begin with it? 0 or VMS_E_CONFIG. */
int vms_settings_prefix_check(const char *prefix, struct vms_errmsg *e);

/* [cluster] catalog as it would stand in a file. */
#define VMS_SETTINGS_CATALOG_MAX (VMS_CONF_ADDRS_MAX * VMS_CONF_ADDR_TEXT_MAX + 16)
const char *vms_settings_catalog(const struct vms_settings *s, char out[VMS_SETTINGS_CATALOG_MAX]);

/* The name by which a process is known: the given one, or the host's name up to its
 * first dot, or "localhost". out: 64 bytes. */
void vms_settings_name(const char *name, char out[64]);

/* What this start of this machine is called, like no other one anywhere (Linux' boot_id); ""
 * when that cannot be read. out: 40 bytes. */
void vms_settings_boot(char out[40]);

#endif
