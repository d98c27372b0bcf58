// SPDX-License-Identifier: GPL-2.0-only
/* Reservations: the table and its steps; see pr.h. */
#include "target/pr.h"

#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"

enum {
	OUT_REGISTER,
	OUT_RESERVE,
	OUT_RELEASE,
	OUT_CLEAR,
	OUT_PREEMPT,
	OUT_PREEMPT_AND_ABORT,
	OUT_REGISTER_AND_IGNORE,
	OUT_REGISTER_AND_MOVE
};

#define OUT_LIST_BYTES	24u
#define LIST_APTPL	0x01
#define LIST_ALL_TG_PT	0x04
#define LIST_SPEC_I_PT	0x08
#define MOVE_UNREG	0x02
#define ISCSI_PROTOCOL	0x05
#define TID_FORMAT_PORT 0x40

void vms_pr_init(struct vms_pr *pr)
{
	memset(pr, 0, sizeof(*pr));
	pr->holder = -1;
}

void vms_pr_free(struct vms_pr *pr)
{
	free(pr->reg);
	free(pr->event);
	vms_pr_init(pr);
}

void vms_pr_copy(struct vms_pr *to, const struct vms_pr *from)
{
	*to = *from;
	to->reg = NULL;
	to->event = NULL;
	if (from->n) {
		to->reg = malloc(from->n * sizeof(*to->reg));
		vms_assert(to->reg);
		memcpy(to->reg, from->reg, from->n * sizeof(*to->reg));
	}
	if (from->nevents) {
		to->event = malloc(from->nevents * sizeof(*to->event));
		vms_assert(to->event);
		memcpy(to->event, from->event, from->nevents * sizeof(*to->event));
	}
}

bool vms_pr_same_nexus(const struct vms_pr_nexus *a, const struct vms_pr_nexus *b)
{
	return a->target_port == b->target_port && !memcmp(a->isid, b->isid, 6) &&
	       !strcmp(a->initiator, b->initiator);
}

static int find(const struct vms_pr *pr, const struct vms_pr_nexus *nexus)
{
	for (unsigned i = 0; i < pr->n; i++)
		if (vms_pr_same_nexus(&pr->reg[i].nexus, nexus))
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

/* ---- may a command run? ---- */

static bool same_owner(const struct vms_pr_owner *a, const struct vms_pr_owner *b)
{
	return a->gateway == b->gateway && a->incarnation == b->incarnation &&
	       a->session == b->session;
}

static bool persistent_conflict(const struct vms_pr *pr, const struct vms_pr_nexus *nexus,
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

static bool reserved_by_other(const struct vms_pr *pr, const struct vms_pr_who *who)
{
	return pr->reserve.gateway && !same_owner(&pr->reserve, &who->owner);
}

bool vms_pr_conflict(const struct vms_pr *pr, const struct vms_pr_who *who, enum vms_access access)
{
	return (access != VMS_ACC_ANY && reserved_by_other(pr, who)) ||
	       persistent_conflict(pr, who->nexus, access);
}

bool vms_pr_command_conflict(const struct vms_pr *pr, const struct vms_pr_who *who,
			     const struct vms_opcode *op, const uint8_t *cdb)
{
	/* PREVENT ALLOW MEDIUM REMOVAL with PREVENT 0 is let through by both kinds */
	bool allow = op->opcode == 0x1e && !(cdb[4] & 3);

	if (allow)
		return false;
	if (!(op->flags & VMS_OPF_LEGACY_ANY) && reserved_by_other(pr, who))
		return true;
	if (op->opcode == 0x1b && (cdb[4] & 0xf1) == 0x01)
		return false; /* START STOP UNIT: start */
	return persistent_conflict(pr, who->nexus, op->access);
}

/* ---- what a change tells ---- */

static void tell(struct vms_pr *pr, const struct vms_pr_nexus *nexus, uint16_t asc, bool aborts)
{
	struct vms_pr_event *e;

	vms_assert(pr->nevents < VMS_PR_EVENTS_MAX);
	e = realloc(pr->event, (pr->nevents + 1) * sizeof(*e));
	vms_assert(e);
	pr->event = e;
	e[pr->nevents++] = (struct vms_pr_event){*nexus, asc, aborts, false};
}

static void tell_all(struct vms_pr *pr, int except, uint16_t asc)
{
	for (unsigned i = 0; i < pr->n; i++)
		if ((int)i != except)
			tell(pr, &pr->reg[i].nexus, asc, false);
}

/* ---- changes ---- */

static void release(struct vms_pr *pr)
{
	pr->type = VMS_PR_NONE;
	pr->holder = -1;
}

/* The others learn of a release where they shared in the reservation. */
static void release_told(struct vms_pr *pr, int by)
{
	if (registrants_only(pr->type) || all_registrants(pr->type))
		tell_all(pr, by, VMS_ASC_RESERVATIONS_RELEASED);
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

static void unregister(struct vms_pr *pr, int i)
{
	/* an all-registrants reservation ends with its last registrant only */
	if (is_holder(pr, i) && (!all_registrants(pr->type) || pr->n == 1))
		release_told(pr, i);
	remove_at(pr, (unsigned)i);
}

static int conflict(struct vms_sense *s)
{
	*s = (struct vms_sense){.status = VMS_SAM_RESERVATION_CONFLICT};
	return -1;
}

/* Registers the nexus with this key, or gives it the key. False: no room. */
static bool enter(struct vms_pr *pr, const struct vms_pr_nexus *nexus, uint64_t key)
{
	struct vms_pr_registration *reg;
	int i = find(pr, nexus);

	if (i >= 0) {
		pr->reg[i].key = key;
		return true;
	}
	if (pr->n == VMS_PR_REGISTRATIONS_MAX)
		return false;
	reg = realloc(pr->reg, (pr->n + 1) * sizeof(*reg));
	if (!reg)
		return false;
	pr->reg = reg;
	reg[pr->n].nexus = *nexus;
	reg[pr->n].key = key;
	pr->n++;
	return true;
}

/* ---- TransportIDs ---- */

struct transport_id {
	char name[224];
	bool port; /* with an ISID; else the name alone */
	uint8_t isid[6];
};

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Of an iSCSI initiator (port), at p with len bytes left. Its length, 0: malformed.
 * Source: spc4r31 7.6.4.6. */
static uint32_t get_transport_id(const uint8_t *p, uint32_t len, struct transport_id *out)
{
	const char *text = (const char *)p + 4, *sep;
	uint64_t isid = 0;
	uint32_t add;
	size_t n;

	memset(out, 0, sizeof(*out));
	if (len < 24 || (p[0] & 0x0f) != ISCSI_PROTOCOL ||
	    ((p[0] & 0xc0) && (p[0] & 0xc0) != TID_FORMAT_PORT))
		return 0;
	add = vms_get_be16(p + 2);
	if (add < 20 || add % 4 || add > len - 4)
		return 0;
	n = strnlen(text, add);
	if (n == add)
		return 0;
	out->port = p[0] & TID_FORMAT_PORT;
	sep = text + n;
	if (out->port) {
		sep = memchr(text, ',', n);
		if (!sep || n - (size_t)(sep - text) < 6 || memcmp(sep, ",i,0x", 5) ||
		    n - (size_t)(sep - text) > 5 + 12)
			return 0;
		for (const char *c = sep + 5; c < text + n; c++) {
			if (hex(*c) < 0)
				return 0;
			isid = isid << 4 | (uint64_t)hex(*c);
		}
		for (int i = 0; i < 6; i++)
			out->isid[i] = (uint8_t)(isid >> (40 - 8 * i));
	}
	if (sep == text || (size_t)(sep - text) >= sizeof(out->name))
		return 0;
	memcpy(out->name, text, (size_t)(sep - text));
	for (const char *c = out->name; *c; c++)
		if (*c < 0x21 || *c > 0x7e)
			return 0;
	return 4 + add;
}

/* name,i,0xISID, NUL-padded to a multiple of 4 and at least 20 bytes. */
static void put_transport_id(struct vms_wr *w, const struct vms_pr_nexus *nx)
{
	static const char digit[] = "0123456789abcdef";
	uint8_t *h = vms_wr_room(w, 4);
	size_t n = strlen(nx->initiator), pad;

	if (!h)
		return;
	vms_wr_bytes(w, nx->initiator, n);
	vms_wr_bytes(w, ",i,0x", 5);
	for (int i = 0; i < 6; i++) {
		vms_wr_u8(w, (uint8_t)digit[nx->isid[i] >> 4]);
		vms_wr_u8(w, (uint8_t)digit[nx->isid[i] & 15]);
	}
	n += 5 + 12;
	pad = 4 - n % 4;
	if (n + pad < 20)
		pad = 20 - n;
	vms_wr_zero(w, pad);
	h[0] = TID_FORMAT_PORT | ISCSI_PROTOCOL;
	h[1] = 0;
	vms_put_be16(h + 2, (uint16_t)(n + pad));
}

/* ---- REGISTER ---- */

/* The target ports that a registration is for: the own one, then all others. */
static unsigned ports_of(const struct vms_pr_req *r, bool all)
{
	return 1 + (all ? r->nports : 0);
}

static uint16_t port_of(const struct vms_pr_req *r, unsigned i)
{
	return i ? r->port[i - 1] : r->who.nexus->target_port;
}

/* Registers an initiator port with the target ports; those that are registered already
 * stay as they are. */
static bool enter_new(struct vms_pr *pr, const struct vms_pr_req *r, struct vms_pr_nexus nexus,
		      bool all, uint64_t key)
{
	for (unsigned i = 0; i < ports_of(r, all); i++) {
		nexus.target_port = port_of(r, i);
		if (find(pr, &nexus) < 0 && !enter(pr, &nexus, key))
			return false;
	}
	return true;
}

/* The initiator ports that the parameter list names besides the own one. */
static int register_named(struct vms_pr *pr, const struct vms_pr_req *r, bool all, uint64_t key,
			  struct vms_sense *s)
{
	uint32_t at = OUT_LIST_BYTES + 4, end = vms_get_be32(r->cdb + 5), step;
	struct transport_id id;

	for (; at < end; at += step) {
		struct vms_pr_nexus nexus = {.target_port = r->who.nexus->target_port};
		bool ok = true;

		step = get_transport_id(r->list + at, end - at, &id);
		if (!step)
			return vms_sense_bad_param(s, at < UINT16_MAX ? at : UINT16_MAX);
		memcpy(nexus.initiator, id.name, sizeof(nexus.initiator));
		memcpy(nexus.isid, id.isid, sizeof(nexus.isid));
		if (id.port) {
			ok = enter_new(pr, r, nexus, all, key);
		} else {
			for (unsigned i = 0; ok && i < r->nknown; i++) {
				if (strcmp(r->known[i].initiator, id.name))
					continue;
				memcpy(nexus.isid, r->known[i].isid, sizeof(nexus.isid));
				ok = enter_new(pr, r, nexus, all, key);
			}
		}
		if (!ok)
			return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST,
					      VMS_ASC_INSUFFICIENT_REGISTRATIONS);
	}
	return 1;
}

static int do_register(struct vms_pr *pr, const struct vms_pr_req *r, int me, bool ignore,
		       uint64_t key, uint64_t new_key, struct vms_sense *s)
{
	bool named = r->list[20] & LIST_SPEC_I_PT, all = r->list[20] & LIST_ALL_TG_PT;
	struct vms_pr_nexus nexus = *r->who.nexus;

	if (named && ignore)
		return vms_sense_bad_param(s, 20);
	if (!ignore && key != (me < 0 ? 0 : pr->reg[me].key))
		return conflict(s);
	if (named && me >= 0)
		return vms_sense_bad_cdb(s, 1);
	if (me < 0 && !new_key)
		return 0; /* whatever SPEC_I_PT is (spc4r31 5.9, "do nothing except return GOOD") */
	/* who was never told which initiator it serves: nobody could read such a table */
	if (!nexus.initiator[0])
		return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST,
				      VMS_ASC_INSUFFICIENT_REGISTRATIONS);
	for (unsigned i = 0; i < ports_of(r, all); i++) {
		int at;

		nexus.target_port = port_of(r, i);
		if (i && nexus.target_port == r->who.nexus->target_port)
			continue;
		at = find(pr, &nexus);
		/* with ALL_TG_PT: the registrations of this key, and those that are missing */
		if (i && at >= 0 && !ignore && pr->reg[at].key != key)
			continue;
		if (!new_key) {
			if (at >= 0)
				unregister(pr, at);
		} else if (!enter(pr, &nexus, new_key)) {
			return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST,
					      VMS_ASC_INSUFFICIENT_REGISTRATIONS);
		}
	}
	if (named && register_named(pr, r, all, new_key, s) < 0)
		return -1;
	pr->generation++;
	return 1;
}

static int do_move(struct vms_pr *pr, const struct vms_pr_req *r, int me, struct vms_sense *s)
{
	uint64_t new_key = vms_get_be64(r->list + 8);
	bool unreg = r->list[17] & MOVE_UNREG, known;
	struct vms_pr_nexus to = {.target_port = vms_get_be16(r->list + 18)};
	uint32_t len = vms_get_be32(r->list + 20);
	struct transport_id id;

	if (!pr->type || !is_holder(pr, me))
		return vms_sense_bad_cdb(s, 1);
	if (all_registrants(pr->type))
		return conflict(s);
	if (!new_key)
		return vms_sense_bad_param(s, 8);
	known = false;
	for (unsigned i = 0; i < ports_of(r, true); i++)
		known |= port_of(r, i) == to.target_port;
	if (!known)
		return vms_sense_bad_param(s, 18);
	if (len != vms_get_be32(r->cdb + 5) - OUT_LIST_BYTES)
		return vms_sense_bad_param(s, 20);
	if (get_transport_id(r->list + OUT_LIST_BYTES, len, &id) != len || !id.port)
		return vms_sense_bad_param(s, OUT_LIST_BYTES);
	memcpy(to.initiator, id.name, sizeof(to.initiator));
	memcpy(to.isid, id.isid, sizeof(to.isid));
	if (vms_pr_same_nexus(&to, r->who.nexus))
		return vms_sense_bad_param(s, OUT_LIST_BYTES);
	if (!enter(pr, &to, new_key))
		return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST,
				      VMS_ASC_INSUFFICIENT_REGISTRATIONS);
	pr->holder = find(pr, &to);
	if (unreg)
		remove_at(pr, (unsigned)me);
	pr->generation++;
	return 1;
}

/* ---- PREEMPT ---- */

static int do_preempt(struct vms_pr *pr, const struct vms_pr_nexus *nexus, int me, uint8_t type,
		      uint64_t victim, bool aborts, struct vms_sense *s)
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
		bool self = vms_pr_same_nexus(&pr->reg[i].nexus, nexus);

		if (victim && pr->reg[i].key != victim)
			continue;
		/* who takes the reservation stays registered */
		if (self && takes)
			continue;
		gone = pr->reg[i].nexus;
		if (is_holder(pr, (int)i) && pr->n == 1)
			release(pr); /* the last registrant of all-registrants types */
		remove_at(pr, i);
		if (!self)
			tell(pr, &gone, VMS_ASC_REGISTRATIONS_PREEMPTED, aborts);
	}
	if (takes) {
		me = find(pr, nexus);
		pr->type = type;
		pr->holder = all_registrants(type) ? -1 : me;
		if (type != old_type)
			tell_all(pr, me, VMS_ASC_RESERVATIONS_RELEASED);
	}
	pr->generation++;
	return 1;
}

/* ---- PERSISTENT RESERVE OUT ---- */

/* Is the parameter list as long as its contents call for, and did all of it come? */
static bool list_length_ok(const struct vms_pr_req *r, unsigned action)
{
	uint32_t len = vms_get_be32(r->cdb + 5);

	if (len < OUT_LIST_BYTES || r->list_bytes < len)
		return false;
	if (action == OUT_REGISTER_AND_MOVE)
		return true;
	if (action != OUT_REGISTER || !(r->list[20] & LIST_SPEC_I_PT))
		return len == OUT_LIST_BYTES;
	return len >= OUT_LIST_BYTES + 4 &&
	       vms_get_be32(r->list + OUT_LIST_BYTES) == len - OUT_LIST_BYTES - 4;
}

static int persistent_out(struct vms_pr *pr, const struct vms_pr_req *r, struct vms_sense *s)
{
	const struct vms_pr_nexus *nexus = r->who.nexus;
	unsigned action = r->cdb[1] & 0x1f;
	unsigned scope = r->cdb[2] >> 4;
	uint8_t type = r->cdb[2] & 0x0f;
	uint64_t key, sa_key;
	int me = find(pr, nexus);

	if (action > OUT_REGISTER_AND_MOVE)
		return vms_sense_bad_cdb(s, 1);
	if (!list_length_ok(r, action))
		return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_PARAMETER_LIST_LENGTH);
	key = vms_get_be64(r->list);
	sa_key = vms_get_be64(r->list + 8);
	if (action == OUT_REGISTER || action == OUT_REGISTER_AND_IGNORE)
		return do_register(pr, r, me, action == OUT_REGISTER_AND_IGNORE, key, sa_key, s);
	if (me < 0 || pr->reg[me].key != key)
		return conflict(s);
	if (action == OUT_REGISTER_AND_MOVE)
		return do_move(pr, r, me, s);
	if (r->list[20] & LIST_SPEC_I_PT)
		return vms_sense_bad_param(s, 20);

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
		return 1;
	case OUT_RELEASE:
		if (!is_holder(pr, me))
			return 0;
		if (scope || type != pr->type)
			return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_INVALID_RELEASE);
		release_told(pr, me);
		return 1;
	case OUT_CLEAR:
		tell_all(pr, me, VMS_ASC_RESERVATIONS_PREEMPTED);
		release(pr);
		pr->n = 0;
		pr->generation++;
		return 1;
	default:
		if (scope)
			return vms_sense_bad_cdb(s, 2);
		return do_preempt(pr, nexus, me, type, sa_key, action == OUT_PREEMPT_AND_ABORT, s);
	}
}

static int legacy(struct vms_pr *pr, const struct vms_pr_req *r, struct vms_sense *s)
{
	bool reserve = r->cdb[0] == 0x16 || r->cdb[0] == 0x56;

	/* Third-party, extent and long-id forms are obsolete. */
	if (r->cdb[1] & 0x1f)
		return vms_sense_bad_cdb(s, 1);
	/* CRH is 0: with registrants there is only the persistent kind. */
	if (pr->n || (reserve && reserved_by_other(pr, &r->who)))
		return conflict(s);
	if (reserve ? pr->reserve.gateway != 0 : !same_owner(&pr->reserve, &r->who.owner))
		return 0;
	pr->reserve = reserve ? r->who.owner : (struct vms_pr_owner){0};
	return 1;
}

/* The events of the change before are over when the next one is made. */
static void begin(const struct vms_pr *pr, struct vms_pr *next)
{
	vms_pr_copy(next, pr);
	free(next->event);
	next->event = NULL;
	next->nevents = 0;
}

static int end(struct vms_pr *next, int rc)
{
	next->held = next->type || next->reserve.gateway;
	next->pending = true;
	if (rc <= 0)
		vms_pr_free(next);
	return rc;
}

int vms_pr_step(const struct vms_pr *pr, const struct vms_pr_req *r, struct vms_pr *next,
		struct vms_sense *s)
{
	int rc;

	*s = (struct vms_sense){.status = VMS_SAM_GOOD};
	begin(pr, next);
	if (r->cdb[0] != 0x5f)
		rc = legacy(next, r, s);
	else if (pr->reserve.gateway)
		rc = conflict(s);
	else
		rc = persistent_out(next, r, s);
	return end(next, rc);
}

static void abort_all(struct vms_pr *next, uint16_t asc)
{
	next->event = calloc(1, sizeof(*next->event));
	vms_assert(next->event);
	next->nevents = 1;
	next->event[0] = (struct vms_pr_event){.asc = asc, .abort = true, .all = true};
}

int vms_pr_reset(const struct vms_pr *pr, struct vms_pr *next)
{
	begin(pr, next);
	next->reserve = (struct vms_pr_owner){0};
	abort_all(next, VMS_ASC_BUS_DEVICE_RESET);
	return end(next, 1);
}

int vms_pr_clear_tasks(const struct vms_pr *pr, struct vms_pr *next)
{
	begin(pr, next);
	abort_all(next, 0);
	return end(next, 1);
}

int vms_pr_reserve_end(const struct vms_pr *pr, const struct vms_pr_owner *owner,
		       struct vms_pr *next)
{
	if (!pr->reserve.gateway || !same_owner(&pr->reserve, owner))
		return 0;
	begin(pr, next);
	next->reserve = (struct vms_pr_owner){0};
	return end(next, 1);
}

bool vms_pr_needs_ports(const uint8_t *cdb, const uint8_t *list, uint32_t list_bytes)
{
	unsigned action = cdb[1] & 0x1f;

	if (cdb[0] != 0x5f || list_bytes < OUT_LIST_BYTES)
		return false;
	return action == OUT_REGISTER_AND_MOVE ||
	       ((action == OUT_REGISTER || action == OUT_REGISTER_AND_IGNORE) &&
		list[20] & LIST_ALL_TG_PT);
}

/* ---- PERSISTENT RESERVE IN ---- */

int vms_pr_in(const struct vms_pr *pr, const uint8_t *cdb, uint8_t *out, struct vms_sense *s)
{
	struct vms_wr w;

	*s = (struct vms_sense){.status = VMS_SAM_GOOD};
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
	case 2: /* REPORT CAPABILITIES: all six types */
		memset(out, 0, 8);
		out[1] = 8;
		out[2] = 0x08 | 0x04 | 0x01; /* SIP_C, ATP_C, PTPL_C; CRH is 0 */
		/* TMV; TEST UNIT READY is always allowed; PTPL_A: the table is the cluster's
		 * and survives everything, whether APTPL asked for that or not */
		out[3] = 0x80 | 0x10 | 0x01;
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
