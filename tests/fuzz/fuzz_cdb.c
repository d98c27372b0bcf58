// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target of the SCSI layer: LLVMFuzzerTestOneInput, so that it links with
 * libFuzzer (-DVMS_LIBFUZZER); without it a main() that replays the files named
 * by its arguments.
 *
 * Input: commands one after the other for one logical unit with two nexuses:
 * u8 flags (bit 0 nexus, bit 2 read-only, bit 3 no such LUN),
 * u8 CDB length, the CDB, u16 data length, the data.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target/lu.h"
#include "target/xcopy.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_others(void *ctx, uint64_t session, uint16_t asc)
{
	vms_assert(session && asc);
}

static void check_io(const struct vms_lu *lu, const struct vms_lu_req *r)
{
	const struct vms_cdb *c = &r->io;
	struct vms_range range[VMS_UNMAP_DESCS_MAX];
	struct vms_sense s;
	int n;

	vms_assert(c->lba <= lu->ident.nblocks && c->nblocks <= lu->ident.nblocks - c->lba);
	vms_assert(!c->write || !lu->ident.write_protect);
	vms_assert(c->out_bytes <= r->out_bytes);
	if (!c->unmap_list)
		return;
	n = vms_cdb_unmap_list(r->out, (uint32_t)c->out_bytes, lu->ident.nblocks, range, &s);
	for (int i = 0; i < n; i++)
		vms_assert(range[i].nblocks && range[i].lba < lu->ident.nblocks &&
			   range[i].nblocks <= lu->ident.nblocks - range[i].lba);
}

/* A table that a command has made is one that all gateways can read. */
static void reserve(struct vms_pr *pr, const struct vms_lu_req *r)
{
	static const uint16_t ports[] = {1, 2, 7};
	static uint8_t in[VMS_PR_IN_BYTES_MAX];
	struct vms_pr_req q = {.cdb = r->cdb,
			       .list = r->out,
			       .list_bytes = (uint32_t)r->out_bytes,
			       .who = r->who,
			       .port = ports,
			       .nports = 3,
			       .known = r->who.nexus,
			       .nknown = 1};
	struct vms_pr next, back;
	struct vms_sense s;
	char *text;
	int rc;

	if (r->cdb[0] == 0x5e) {
		rc = vms_pr_in(pr, r->cdb, in, &s);
		vms_assert(rc <= (int)sizeof(in));
		return;
	}
	(void)vms_pr_needs_ports(q.cdb, q.list, q.list_bytes);
	rc = vms_pr_step(pr, &q, &next, &s);
	vms_assert(rc >= 0 || s.status);
	if (rc <= 0)
		return;
	next.fence = pr->fence + 1;
	next.by = (struct vms_pr_owner){1, 1, next.fence};
	text = vms_pr_encode(&next);
	vms_assert(text && !vms_pr_decode(&back, "pr/x", text, NULL));
	vms_assert(back.n == next.n && back.type == next.type && back.holder == next.holder &&
		   back.nevents == next.nevents && back.held == next.held);
	vms_pr_free(&back);
	vms_pr_free(pr);
	*pr = next;
	free(text);
}

static void copy(struct vms_xcopy_results *t, const struct vms_lu *lu, const struct vms_lu_req *r)
{
	uint8_t in[VMS_XCOPY_IN_BYTES_MAX];
	struct vms_sense s;
	struct vms_xcopy x;

	if (r->cdb[0] == 0x84) {
		vms_assert(vms_xcopy_receive(t, r->who.owner.session, lu, r->cdb, in, &s) <=
			   (int)sizeof(in));
		return;
	}
	if (vms_xcopy_parse(r->cdb, r->out, r->out_bytes, &x, &s))
		return;
	vms_assert(x.ncscds <= VMS_XCOPY_CSCDS_MAX && x.nsegs <= VMS_XCOPY_SEGS_MAX);
	for (unsigned i = 0; i < x.ncscds; i++)
		(void)vms_xcopy_names(&x.cscd[i], &lu->ident);
	for (unsigned i = 0; i < x.nsegs; i++)
		vms_assert(x.seg[i].nblocks <= VMS_XCOPY_SEG_BLOCKS);
	if (x.nsegs && x.identified)
		vms_xcopy_keep(t, r->who.owner.session, lu, x.list_id)->running = false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct vms_lu_sink sink = {NULL, on_others, NULL};
	struct vms_pr_nexus nexus[2] = {{.initiator = "iqn.a", .target_port = 1},
					{.initiator = "iqn.b", .target_port = 1}};
	static struct vms_xcopy_results results;
	uint8_t sense[VMS_SENSE_BYTES_MAX], *cdb, *out;
	struct vms_pr pr;
	struct vms_lu lu;
	struct vms_rd rd;

	vms_lu_init(&lu);
	vms_pr_init(&pr);
	lu.pr = &pr;
	lu.ready = true;
	lu.ident.nblocks = UINT64_C(1) << 33;
	snprintf(lu.ident.target_name, sizeof(lu.ident.target_name), "iqn.t");
	vms_rd_init(&rd, data, size);
	while (vms_rd_left(&rd)) {
		uint8_t flags = vms_rd_u8(&rd), n = vms_rd_u8(&rd) & 31;
		struct vms_lu_req r = {.who = {&nexus[flags & 1], {1, 1, 1u + (flags & 1)}}};
		enum vms_lu_answer answer;
		uint16_t len;
		unsigned l;

		/* of its own and exactly as long as told, so that ASan sees every overrun */
		cdb = malloc(n ? n : 1);
		vms_rd_bytes(&rd, cdb, n);
		len = vms_rd_u16(&rd);
		if (len > vms_rd_left(&rd))
			len = (uint16_t)vms_rd_left(&rd);
		out = malloc(len ? len : 1);
		vms_rd_bytes(&rd, out, len);
		lu.ident.write_protect = flags & 4;
		r.no_lu = flags & 8;
		r.cdb = cdb;
		r.cdb_bytes = n;
		r.out = len ? out : NULL;
		r.out_bytes = len;
		answer = vms_lu_exec(&lu, &r, &sink);
		if (answer == VMS_LU_IO) {
			check_io(&lu, &r);
		} else if (answer == VMS_LU_RESERVATION) {
			reserve(&pr, &r);
		} else if (answer == VMS_LU_COPY) {
			copy(&results, &lu, &r);
		} else {
			vms_assert(!r.in_bytes || r.in);
			l = vms_sense_encode(&r.sense, flags & 16, sense);
			vms_assert(l <= sizeof(sense) && (!(flags & 16) || l == 8u + sense[7]));
		}
		free(cdb);
		free(out);
	}
	vms_pr_free(&pr);
	memset(&results, 0, sizeof(results));
	return 0;
}

#ifndef VMS_LIBFUZZER
int main(int argc, char **argv)
{
	static uint8_t buf[1 << 16];

	for (int i = 1; i < argc; i++) {
		FILE *f = fopen(argv[i], "rb");
		size_t n;

		if (!f) {
			perror(argv[i]);
			return 1;
		}
		n = fread(buf, 1, sizeof(buf), f);
		fclose(f);
		LLVMFuzzerTestOneInput(buf, n);
	}
	printf("%d inputs replayed\n", argc - 1);
	return argc > 1 ? 0 : 1;
}
#endif
