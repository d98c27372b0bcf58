// SPDX-License-Identifier: GPL-2.0-only
/* Persistent reservations; see pr.h. */
#include "target/pr.h"

#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"

enum { OUT_REGISTER, OUT_RESERVE, OUT_RELEASE, OUT_CLEAR, OUT_PREEMPT, OUT_PREEMPT_AND_ABORT,
       OUT_REGISTER_AND_IGNORE };

#define OUT_LIST_BYTES 24u

void vms_pr_init(struct vms_pr *pr)
{
	memset(pr, 0, sizeof(*pr));
	pr->holder = -1;
}

void vms_pr_free(struct vms_pr *pr)
{
	free(pr->reg);
	vms_pr_init(pr);
}

static bool same_nexus(const struct vms_pr_nexus *a, const struct vms_pr_nexus *b)
{
	return a->target_port == b->target_port && !memcmp(a->isid, b->isid, 6) &&
	       !strcmp(a->initiator, b->initiator);
}

static int find(const struct vms_pr *pr, const struct vms_pr_nexus *nexus)
{
	for (unsigned i = 0; i < pr->n; i++)
		if (same_nexus(&pr->reg[i].nexus, nexus))
			return (int)i;
	return -1;
}

static bool registrants_only(unsigned type)
{
	return type == VMS_PR_WE_RO || type == VMS_PR_EA_RO;
}

static bool all_registrants(unsigned type)
{
	return type == VMS_PR_WE_AR || type == VMS_PR_EA_AR;
}

static bool type_valid(unsigned type)
{
	return type == VMS_PR_WE || type == VMS_PR_EA || registrants_only(type) ||
	       all_registrants(type);
}

static bool is_holder(const struct vms_pr *pr, int i)
{
	return pr->type && i >= 0 && (all_registrants(pr->type) || pr->holder == i);
}

bool vms_pr_conflict(const struct vms_pr *pr, const struct vms_pr_nexus *nexus,
		     enum vms_access access)
{
	bool write_only = pr->type == VMS_PR_WE || pr->type == VMS_PR_WE_RO ||
			  pr->type == VMS_PR_WE_AR;
	int i;

	if (!pr->type || access == VMS_ACC_ANY || (write_only && access == VMS_ACC_READ))
		return false;
	i = find(pr, nexus);
	if (i < 0)
		return true;
	return !registrants_only(pr->type) && !is_holder(pr, i);
}

/* ---- changes ---- */

static void attention_all(const struct vms_pr *pr, int except, const struct vms_pr_sink *sink,
			  uint16_t asc)
{
	for (unsigned i = 0; i < pr->n; i++)
		if ((int)i != except)
			sink->unit_attention(sink->ctx, &pr->reg[i].nexus, asc);
}

static void release(struct vms_pr *pr)
{
	pr->type = VMS_PR_NONE;
	pr->holder = -1;
}

/* The others learn of a release where they shared in the reservation. */
static void release_told(struct vms_pr *pr, int by, const struct vms_pr_sink *sink)
{
	if (registrants_only(pr->type) || all_registrants(pr->type))
		attention_all(pr, by, sink, VMS_ASC_RESERVATIONS_RELEASED);
	release(pr);
}

static void remove_at(struct vms_pr *pr, unsigned i)
{
	vms_assert(pr->holder != (int)i);
	memmove(&pr->reg[i], &pr->reg[i + 1], (pr->n - i - 1) * sizeof(*pr->reg));
	pr->n--;
	if (pr->holder > (int)i)
		pr->holder--;
}

static void unregister(struct vms_pr *pr, int i, const struct vms_pr_sink *sink)
{
	/* an all-registrants reservation ends with its last registrant only */
	if (is_holder(pr, i) && (!all_registrants(pr->type) || pr->n == 1))
		release_told(pr, i, sink);
	remove_at(pr, (unsigned)i);
}

static int conflict(struct vms_sense *s)
{
	*s = (struct vms_sense){.status = VMS_SAM_RESERVATION_CONFLICT};
	return -1;
}

static int do_register(struct vms_pr *pr, const struct vms_pr_nexus *nexus, int me, bool ignore,
		       uint64_t key, uint64_t new_key, const struct vms_pr_sink *sink,
		       struct vms_sense *s)
{
	if (!ignore && key != (me < 0 ? 0 : pr->reg[me].key))
		return conflict(s);
	if (me < 0) {
		struct vms_pr_registration *reg;

		if (!new_key)
			return 0;
		if (pr->n == VMS_PR_REGISTRATIONS_MAX)
			return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST,
					      VMS_ASC_INSUFFICIENT_REGISTRATIONS);
		reg = realloc(pr->reg, (pr->n + 1) * sizeof(*reg));
		if (!reg)
			return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST,
					      VMS_ASC_INSUFFICIENT_REGISTRATIONS);
		pr->reg = reg;
		pr->reg[pr->n].nexus = *nexus;
		pr->reg[pr->n].key = new_key;
		pr->n++;
	} else if (new_key) {
		pr->reg[me].key = new_key;
	} else {
		unregister(pr, me, sink);
	}
	pr->generation++;
	return 0;
}

static int do_preempt(struct vms_pr *pr, const struct vms_pr_nexus *nexus, int me, uint8_t type,
		      uint64_t victim, bool abort, const struct vms_pr_sink *sink,
		      struct vms_sense *s)
{
	bool ar = all_registrants(pr->type);
	bool takes = pr->type && (ar ? victim == 0 : pr->reg[pr->holder].key == victim);
	uint8_t old_type = pr->type;
	bool found = false;

	/* Key 0 names all registrants of an all-registrants reservation, else none. */
	if (!victim && !ar)
		return vms_sense_bad_param(s, 8);
	for (unsigned i = 0; i < pr->n; i++)
		found |= !victim || pr->reg[i].key == victim;
	if (!found)
		return conflict(s);
	if (takes && !type_valid(type))
		return vms_sense_bad_cdb(s, 2);
	if (takes)
		release(pr);

	for (unsigned i = pr->n; i-- > 0;) {
		struct vms_pr_nexus gone;
		bool self = same_nexus(&pr->reg[i].nexus, nexus);

		if (victim && pr->reg[i].key != victim)
			continue;
		/* who takes the reservation stays registered */
		if (self && takes)
			continue;
		gone = pr->reg[i].nexus;
		if (is_holder(pr, (int)i) && pr->n == 1)
			release(pr); /* the last registrant of all-registrants types */
		remove_at(pr, i);
		if (self)
			continue;
		sink->unit_attention(sink->ctx, &gone, VMS_ASC_REGISTRATIONS_PREEMPTED);
		if (abort)
			sink->abort(sink->ctx, &gone);
	}
	if (takes) {
		me = find(pr, nexus);
		pr->type = type;
		pr->holder = all_registrants(type) ? -1 : me;
		if (type != old_type)
			attention_all(pr, me, sink, VMS_ASC_RESERVATIONS_RELEASED);
	}
	pr->generation++;
	return 0;
}

int vms_pr_out(struct vms_pr *pr, const struct vms_pr_nexus *nexus, const uint8_t *cdb,
	       const uint8_t *list, uint32_t list_bytes, const struct vms_pr_sink *sink,
	       struct vms_sense *s)
{
	unsigned action = cdb[1] & 0x1f;
	unsigned scope = cdb[2] >> 4;
	uint8_t type = cdb[2] & 0x0f;
	uint64_t key, sa_key;
	int me = find(pr, nexus);

	if (action > OUT_REGISTER_AND_IGNORE)
		return vms_sense_bad_cdb(s, 1);
	if (vms_get_be32(cdb + 5) != OUT_LIST_BYTES || list_bytes < OUT_LIST_BYTES)
		return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_PARAMETER_LIST_LENGTH);
	key = vms_get_be64(list);
	sa_key = vms_get_be64(list + 8);
	/* SPEC_I_PT, ALL_TG_PT, APTPL: none is supported, so none is ignored. */
	if (list[20] & 0x0d)
		return vms_sense_bad_param(s, 20);

	if (action == OUT_REGISTER || action == OUT_REGISTER_AND_IGNORE)
		return do_register(pr, nexus, me, action == OUT_REGISTER_AND_IGNORE, key, sa_key,
				   sink, s);
	if (me < 0 || pr->reg[me].key != key)
		return conflict(s);

	switch (action) {
	case OUT_RESERVE:
		if (scope || !type_valid(type))
			return vms_sense_bad_cdb(s, 2);
		if (pr->type) {
			if (!is_holder(pr, me) || pr->type != type)
				return conflict(s);
			return 0;
		}
		pr->type = type;
		pr->holder = all_registrants(type) ? -1 : me;
		return 0;
	case OUT_RELEASE:
		if (!is_holder(pr, me))
			return 0;
		if (scope || type != pr->type)
			return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_INVALID_RELEASE);
		release_told(pr, me, sink);
		return 0;
	case OUT_CLEAR:
		attention_all(pr, me, sink, VMS_ASC_RESERVATIONS_PREEMPTED);
		release(pr);
		pr->n = 0;
		pr->generation++;
		return 0;
	default:
		if (scope)
			return vms_sense_bad_cdb(s, 2);
		return do_preempt(pr, nexus, me, type, sa_key, action == OUT_PREEMPT_AND_ABORT,
				  sink, s);
	}
}

/* ---- PERSISTENT RESERVE IN ---- */

/* TransportID of an iSCSI initiator port: name,i,0xISID, NUL-padded to a multiple
 * of 4 and at least 20 bytes. Source: spc4r31 7.6.4.6. */
static void put_transport_id(struct vms_wr *w, const struct vms_pr_nexus *nx)
{
	static const char hex[] = "0123456789abcdef";
	uint8_t *h = vms_wr_room(w, 4);
	size_t n = strlen(nx->initiator), pad;

	if (!h)
		return;
	vms_wr_bytes(w, nx->initiator, n);
	vms_wr_bytes(w, ",i,0x", 5);
	for (int i = 0; i < 6; i++) {
		vms_wr_u8(w, (uint8_t)hex[nx->isid[i] >> 4]);
		vms_wr_u8(w, (uint8_t)hex[nx->isid[i] & 15]);
	}
	n += 5 + 12;
	pad = 4 - n % 4;
	if (n + pad < 20)
		pad = 20 - n;
	vms_wr_zero(w, pad);
	h[0] = 0x45;
	h[1] = 0;
	vms_put_be16(h + 2, (uint16_t)(n + pad));
}

int vms_pr_in(const struct vms_pr *pr, const uint8_t *cdb, uint8_t *out, struct vms_sense *s)
{
	struct vms_wr w;

	vms_wr_init(&w, out, VMS_PR_IN_BYTES_MAX);
	vms_wr_be32(&w, pr->generation);
	vms_wr_be32(&w, 0);
	switch (cdb[1] & 0x1f) {
	case 0: /* READ KEYS */
		for (unsigned i = 0; i < pr->n; i++)
			vms_wr_be64(&w, pr->reg[i].key);
		break;
	case 1: /* READ RESERVATION */
		if (!pr->type)
			break;
		vms_wr_be64(&w, pr->holder < 0 ? 0 : pr->reg[pr->holder].key);
		vms_wr_be32(&w, 0);
		vms_wr_u8(&w, 0);
		vms_wr_u8(&w, pr->type);
		vms_wr_be16(&w, 0);
		break;
	case 2: /* REPORT CAPABILITIES: nothing optional, all six types */
		memset(out, 0, 8);
		out[1] = 8;
		out[3] = 0x80 | 0x10; /* TMV; TEST UNIT READY is always allowed */
		out[4] = 0xea;
		out[5] = 0x01;
		return 8;
	case 3: /* READ FULL STATUS */
		for (unsigned i = 0; i < pr->n; i++) {
			uint8_t *d = vms_wr_room(&w, 24);
			size_t at = vms_wr_len(&w);

			vms_assert(d);
			memset(d, 0, 24);
			vms_put_be64(d, pr->reg[i].key);
			if (is_holder(pr, (int)i)) {
				d[12] = 0x01; /* R_HOLDER */
				d[13] = pr->type;
			}
			vms_put_be16(d + 18, pr->reg[i].nexus.target_port);
			put_transport_id(&w, &pr->reg[i].nexus);
			vms_put_be32(d + 20, (uint32_t)(vms_wr_len(&w) - at));
		}
		break;
	default:
		return vms_sense_bad_cdb(s, 1);
	}
	vms_assert(vms_wr_ok(&w));
	vms_put_be32(out + 4, (uint32_t)(vms_wr_len(&w) - 8));
	return (int)vms_wr_len(&w);
}
