// SPDX-License-Identifier: GPL-2.0-only
/* vmstore-ring init: the cluster's record in an empty catalog. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/tool/catalog_fill.h"
#include "utils/tool/ring_cmds.h"

static int part_bits_of(uint64_t partitions, uint32_t *bits)
{
	for (*bits = 0; *bits <= VMS_PART_BITS_MAX; ++*bits)
		if (1ull << *bits == partitions)
			return 0;
	return VMS_E_INVAL;
}

static int run_init(struct cmd_call *c)
{
	struct tool *t = c->t;
	uint64_t partitions = 1024, copies = 2, min_copies = 0;
	const char *factor_text = "1";
	const struct vms_opt opts[] = {
		{0, "partitions", VMS_OPT_U64, &partitions, "N",
		 "a power of two, 1 to 65536 (default 1024); fixed for good"},
		{0, "copies", VMS_OPT_U64, &copies, "N", "of everything, 1 to 5 (default 2)"},
		{0, "min-copies", VMS_OPT_U64, &min_copies, "N",
		 "writes need this many (default 1 of 2, 2 of 3 or more)"},
		{0, "timing-factor", VMS_OPT_STRING, &factor_text, "F",
		 "scales all times of the cluster (default 1)"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	struct vms_cat_cluster cl = {.next_branch = 1,
				     .next_node = 1,
				     .next_gateway = 1,
				     .rebuild_after_s = VMS_REBUILD_AFTER_S,
				     .move_bytes_s = VMS_MOVE_BYTES_S,
				     .scrub_days = VMS_SCRUB_DAYS};
	struct vms_cat_cmp cmp = {"cluster", 0};
	struct vms_cat_op op = {"cluster", NULL, 0};
	struct vms_errmsg e = {""};
	char uuid[37], *end, *val;
	int rc;

	if (!cmd_parse(c, opts, &rc))
		return rc;
	if (part_bits_of(partitions, &cl.part_bits))
		return cmd_usage(c,
				 "--partitions %" PRIu64 ": must be a power of two from 1 to 65536",
				 partitions);
	if (!copies || copies > VMS_COPIES_MAX)
		return cmd_usage(c, "--copies %" PRIu64 ": must be 1 to %d", copies,
				 VMS_COPIES_MAX);
	if (!min_copies)
		min_copies = copies <= 2 ? 1 : 2;
	if (min_copies > copies)
		return cmd_usage(c, "--min-copies %" PRIu64 " is more than --copies %" PRIu64,
				 min_copies, copies);
	cl.timing_factor = strtod(factor_text, &end);
	if (*end || !(cl.timing_factor >= 0.1 && cl.timing_factor <= 1000))
		return cmd_usage(c, "--timing-factor %s: must be a number from 0.1 to 1000",
				 factor_text);
	if (catalog_fill_interrupted(t, &e))
		return tool_fail(t, "%s", e.text);
	cl.copies = (uint32_t)copies;
	cl.min_copies = (uint32_t)min_copies;
	tool_uuid_new(cl.uuid);
	tool_uuid_text(cl.uuid, uuid);
	val = vms_cat_cluster_encode(&cl);
	op.val = val;
	for (unsigned i = 0; i < TOOL_TRIES; i++) {
		struct tool_kvs kv;

		rc = tool_txn(t, &cmp, 1, &op, 1, &e);
		if (!tool_txn_again(rc))
			break;
		/* Ours from a lost answer, or somebody else's? */
		rc = tool_get(t, "cluster", &kv, &e);
		if (!rc && kv.n) {
			rc = strcmp(kv.d[0].val, val) ? VMS_E_EXIST : 0;
			tool_kvs_free(&kv);
			break;
		}
		tool_kvs_free(&kv);
	}
	free(val);
	if (rc == VMS_E_EXIST)
		return tool_fail(
			t, "this catalog holds a cluster already; vmstore-ring status shows it");
	if (rc)
		return tool_fail(t, "%s", e.text);
	if (t->json)
		return tool_print_json(json_pack("{ss sI sI}", "cluster", uuid, "partitions",
						 (json_int_t)partitions, "copies",
						 (json_int_t)copies));
	printf("cluster %s created: %" PRIu64 " partitions, %" PRIu64 " copies\n"
	       "next: vmstore-ring join ADDRESS... for each storage node\n",
	       uuid, partitions, copies);
	return TOOL_OK;
}

const struct cmd ring_init = {.name = "init",
			      .args = "[OPTIONS]",
			      .brief = "create the cluster in an empty catalog",
			      .about = "Creates the cluster in an empty catalog.",
			      .run = run_init};
