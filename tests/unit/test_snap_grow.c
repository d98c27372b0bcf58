// SPDX-License-Identifier: GPL-2.0-only
/*
 * What becomes of snapshots and what grows from them: delete, clone, roll back, also half-way,
 * in use, and with gateways that are forgotten.
 */
#include "tests/unit/snap_rig.h"
#include "utils/tool/importing.h"

/* ---- delete, roll back, clone, shrink ---- */

static struct snap_fate fate[400];

/* Deletes all of the volume's snapshots whose name begins so. */
static int rm(const char *volume, const char *begin_with)
{
	struct snaps l;
	size_t n = 0;
	int rc;

	CU_ASSERT_EQUAL(snaps_load(&t, volume, &l, &e), 0);
	for (size_t i = 0; i < l.n; i++)
		if (!strncmp(l.d[i].s.name, begin_with, strlen(begin_with)))
			l.d[n++] = l.d[i];
	CU_ASSERT_FATAL(n && n < 400);
	rc = snaps_remove(&t, l.d, n, fate, &e);
	snaps_free(&l);
	return rc;
}

static struct vms_cat_volume clone_of(const char *volume, const char *snap, const char *name,
				      uint64_t size)
{
	struct vms_cat_volume v;

	CU_ASSERT_EQUAL(move_clone(&t, volume, snap, name, size, &v, &e), 0);
	return v;
}

static int roll(const char *volume, const char *snap)
{
	struct volume_move mv = {.volume = volume, .what = "rolled back", .snap = snap};
	struct vms_cat_volume v;

	return move_volume(&t, &mv, &v, &e);
}

static struct vms_cat_branch branch(uint64_t id)
{
	struct vms_cat_volume none = {.lineage = 1};
	struct branch_info b;

	CU_ASSERT_EQUAL(branch_get(&t, id, &none, &b, &e), 0);
	CU_ASSERT(b.mod_revision);
	return b.b;
}

static void deleting_touches_the_catalog_only(void)
{
	begin(4);
	create("a", 1u << 30);
	create("a2", 1u << 30);
	for (int i = 0; i < 150; i++) { /* more than one transaction takes */
		char name[16];

		snprintf(name, sizeof(name), "a@s%d", i);
		CU_ASSERT_EQUAL(snapshot(name, 1000), 0);
	}
	CU_ASSERT_EQUAL(snapshot("a@keep", 1000), 0);
	CU_ASSERT_EQUAL(snapshot("a2@s1", 1000), 0);
	seen->floors = 0;
	seen->drop_txn_answer = 2;
	CU_ASSERT_EQUAL(rm("a", "s"), 0);
	for (int i = 0; i < 150; i++)
		CU_ASSERT(fate[i].gone && !fate[i].status);
	CU_ASSERT(seen->floors == 0 && seen->trims == 0);
	is_clean("a", 1);
	is_clean("a2", 1);
	CU_ASSERT_EQUAL(branch(look("a").branch).state, BRANCH_LIVE);
	end();
}

static void an_exported_snapshot_is_kept(void)
{
	struct vms_cat_gateway g = {.id = 4, .name = "g4", .incarnation = 1};
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_open o;

	begin(4);
	create("a", 1u << 30);
	CU_ASSERT_EQUAL(snapshot("a@s1", 1000), 0);
	CU_ASSERT_EQUAL(snapshot("a@s2", 1000), 0);
	o = (struct vms_cat_open){.id = look("a").id,
				  .snap_gen = get("a", 0).snap_gen,
				  .gateway = 4,
				  .incarnation = 1};
	put("gateway/00000004", vms_cat_gateway_encode(&g));
	vms_cat_key_snapopen(key, o.id, o.snap_gen, 4);
	put(key, vms_cat_open_encode(&o));
	CU_ASSERT_EQUAL(rm("a", "s"), 0);
	CU_ASSERT(!fate[0].gone && fate[0].status == VMS_E_OPEN && strstr(fate[0].why.text, "g4"));
	CU_ASSERT(fate[1].gone);
	is_clean("a", 1); /* its state is as before */
	CU_ASSERT_EQUAL(volume_delete(&t, "a", true, &e), VMS_E_OPEN);
	CU_ASSERT_EQUAL(look("a").state, VOLUME_READY);
	put(key, NULL);
	CU_ASSERT_EQUAL(volume_delete(&t, "a", true, &e), 0);
	CU_ASSERT_EQUAL(count("snap/"), 0);
	end();
}

/* Its LUN is in a target of the cluster, no gateway runs: nobody has it open. */
static void a_snapshot_that_is_a_lun_is_kept(void)
{
	static const char name[] = "iqn.2026-01.org.example:boot";
	json_t *r = vms_reg_new(name, 3);
	uint64_t refs, after;

	begin(4);
	create("a", 1u << 30);
	create("a2", 1u << 30);
	CU_ASSERT_EQUAL(snapshot("a@s1", 1000), 0);
	CU_ASSERT_EQUAL(snapshot("a@s2", 1000), 0);
	CU_ASSERT_EQUAL(snapshot("a2@s1", 1000), 0);
	CU_ASSERT_EQUAL(vms_reg_add_lun(r, 5, "a@s1", &e), 0);
	CU_ASSERT_EQUAL(target_refs(&t, &refs, &e), 0);
	CU_ASSERT_EQUAL(target_store(&t, name, 3, r, 0, &refs, &e), 0);
	CU_ASSERT_EQUAL(rm("a", "s"), 0);
	CU_ASSERT(!fate[0].gone && fate[0].status == VMS_E_OPEN);
	CU_ASSERT(strstr(fate[0].why.text, "LUN 5 of") && strstr(fate[0].why.text, name) &&
		  strstr(fate[0].why.text, "vmstore target rm-lun"));
	CU_ASSERT(fate[1].gone);
	is_clean("a", 1); /* its state is as before */
	/* another volume's of that name is another one */
	CU_ASSERT_EQUAL(rm("a2", "s1"), 0);
	CU_ASSERT(fate[0].gone);
	/* who wants to make one a LUN, and has found it complete before, has to look again */
	CU_ASSERT_EQUAL(target_refs(&t, &after, &e), 0);
	CU_ASSERT(after > refs);
	CU_ASSERT_EQUAL(vms_reg_remove_lun(r, 5, &e), 0);
	CU_ASSERT_EQUAL(vms_reg_add_lun(r, 5, "a2@s1", &e), 0);
	CU_ASSERT_EQUAL(target_store(&t, name, 3, r, refs, &refs, &e), VMS_E_CONFLICT);
	/* without the LUN it goes */
	CU_ASSERT_EQUAL(vms_reg_remove_lun(r, 5, &e), 0);
	CU_ASSERT_EQUAL(vms_reg_add_lun(r, 5, "a@other", &e), 0);
	put("target/iqn.2026-01.org.example:boot", vms_reg_encode(r));
	CU_ASSERT_EQUAL(rm("a", "s1"), 0);
	CU_ASSERT(fate[0].gone);
	json_decref(r);
	end();
}

/* `vmstore export` was killed: nobody has to know that. */
static void a_killed_export_is_in_nobodys_way(void)
{
	struct vms_cat_gateway g = {.id = 4, .name = "tool-elsewhere-1", .incarnation = 1};
	struct vms_cat_open o = {.gateway = 4, .incarnation = 1};
	char key[VMS_CAT_KEY_BYTES_MAX], okey[VMS_CAT_KEY_BYTES_MAX];
	uint64_t t0 = vms_clock_ms(), old;

	begin(4);
	create("a", 1u << 30);
	CU_ASSERT_EQUAL(snapshot("a@s1", 1000), 0);
	CU_ASSERT_EQUAL(snapshot("a@s2", 1000), 0);
	o.id = look("a").id;
	put("gateway/00000004", vms_cat_gateway_encode(&g));
	vms_cat_key_open(okey, o.id, 4);
	put(okey, vms_cat_open_encode(&o));
	o.snap_gen = get("a", 0).snap_gen;
	vms_cat_key_snapopen(key, o.id, o.snap_gen, 4);
	put(key, vms_cat_open_encode(&o));
	/* it lives */
	seen->gw[4].live = true;
	CU_ASSERT_EQUAL(rm("a", "s1"), 0);
	CU_ASSERT(!fate[0].gone && strstr(fate[0].why.text, "tool-elsewhere-1"));
	CU_ASSERT_EQUAL(volume_delete(&t, "a", true, &e), VMS_E_OPEN);
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 2u << 30, false, &old, &e), VMS_E_OPEN);
	CU_ASSERT_EQUAL(seen->floor_gateways, 0);
	/* it does not */
	seen->gw[4].live = false;
	CU_ASSERT_EQUAL(rm("a", "s1"), 0);
	CU_ASSERT(fate[0].gone);
	CU_ASSERT(seen->floor_gateways == 1 && seen->floor_incarnation == 2);
	CU_ASSERT(count("open/") == 0 && count("snapopen/") == 0);
	/* the other gateways are not for us to judge */
	snprintf(g.name, sizeof(g.name), "g4");
	put("gateway/00000004", vms_cat_gateway_encode(&g));
	o.snap_gen = get("a", 0).snap_gen;
	vms_cat_key_snapopen(key, o.id, o.snap_gen, 4);
	put(key, vms_cat_open_encode(&o));
	CU_ASSERT_EQUAL(rm("a", "s2"), 0);
	CU_ASSERT(!fate[0].gone && fate[0].status == VMS_E_OPEN);
	CU_ASSERT(vms_clock_ms() - t0 < 9000); /* waiting for somebody takes 10 s */
	end();
}

/* Clones whose making was killed, one of the other: each has a barrier left on. */
static void a_chain_of_half_made_clones_goes_at_once(void)
{
	uint64_t t0;
	char from[16] = "a";

	begin(4);
	create("a", 1u << 30);
	for (int i = 0; i < 6; i++) {
		struct vms_cat_volume v;
		char name[16], snap[32];

		snprintf(name, sizeof(name), "c%d", i);
		snprintf(snap, sizeof(snap), "%s@s", from);
		CU_ASSERT_EQUAL(snapshot(snap, 1000), 0);
		clone_of(from, "s", name, 0);
		v = look(name);
		CU_ASSERT(v.barrier_s + 60 > (uint64_t)time(NULL));
		snprintf(from, sizeof(from), "%s", name);
	}
	for (int i = 0; i < 6; i++) {
		char key[32];
		struct vms_cat_volume v;

		snprintf(key, sizeof(key), "c%d", i);
		v = look(key);
		v.barrier = VMS_BARRIER_STOP;
		v.barrier_s = (uint64_t)time(NULL) - 60;
		snprintf(key, sizeof(key), "volume/c%d", i);
		put(key, vms_cat_volume_encode(&v));
	}
	t0 = vms_clock_ms();
	for (int i = 5; i >= 0; i--) {
		char name[16];

		snprintf(name, sizeof(name), "c%d", i);
		CU_ASSERT_EQUAL(volume_delete(&t, name, true, &e), 0);
	}
	CU_ASSERT(vms_clock_ms() - t0 < 9000); /* waiting for somebody takes 10 s */
	end();
}

static void a_clone_keeps_its_snapshot(void)
{
	struct vms_cat_volume a, c;
	struct vms_cat_branch b;

	begin(4);
	a = create("a", 1u << 30);
	CU_ASSERT_EQUAL(snapshot("a@s1", 1000), 0);
	CU_ASSERT_EQUAL(snapshot("a@s2", 1000), 0);
	seen->floors = 0;
	c = clone_of("a", "s1", "c", 2u << 30);
	CU_ASSERT(c.lineage == a.lineage && c.branch != a.branch && c.id == c.branch);
	CU_ASSERT(memcmp(c.uuid, a.uuid, 16) && c.size_bytes == 2u << 30);
	CU_ASSERT(c.write_ack == a.write_ack && !strcmp(c.parent, "a@s1"));
	CU_ASSERT(look("c").barrier == VMS_BARRIER_NONE && look("c").state == VOLUME_READY);
	/* every node knew the branch before the volume could be opened */
	CU_ASSERT(seen->floors == 1 && seen->branch == c.branch);
	b = branch(c.branch);
	CU_ASSERT(b.owner == c.id && b.nancestors == 1 && b.state == BRANCH_LIVE);
	CU_ASSERT(b.ancestor[0].branch == a.branch && b.ancestor[0].snap_gen == a.snap_gen);
	/* beyond the snapshot's end the clone shows nothing of its parent */
	CU_ASSERT_EQUAL(b.ancestor[0].limit_chunks, (1u << 30) / VMS_CHUNK_BYTES);
	CU_ASSERT_EQUAL(rm("a", "s"), 0);
	CU_ASSERT(!fate[0].gone && fate[0].status == VMS_E_BUSY);
	CU_ASSERT_PTR_NOT_NULL(strstr(fate[0].why.text, ": c;"));
	CU_ASSERT(fate[1].gone);
	CU_ASSERT_EQUAL(volume_delete(&t, "a", true, &e), VMS_E_BUSY);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "vmstore clone ls a"));
	CU_ASSERT(look("a").state == VOLUME_READY);
	is_clean("a", 1);
	/* without it everything may go */
	CU_ASSERT_EQUAL(volume_delete(&t, "c", false, &e), 0);
	CU_ASSERT_EQUAL(volume_delete(&t, "a", false, &e), VMS_E_BUSY);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "--snapshots"));
	CU_ASSERT_EQUAL(volume_delete(&t, "a", true, &e), 0);
	CU_ASSERT(count("volume/") == 0 && count("snap/") == 0);
	CU_ASSERT_EQUAL(branch(a.branch).state, BRANCH_DEAD);
	end();
}

/* A read that is behind says that a branch has no record: its ancestors would be gone
 * from the clone, or from the volume that is rolled back, for good. */
static void a_stale_branch_loses_no_ancestors(void)
{
	begin(4);
	create("a", 64u << 20);
	CU_ASSERT_EQUAL(snapshot("a@s1", 1000), 0);
	CU_ASSERT_EQUAL(roll("a", "s1"), 0);
	CU_ASSERT_EQUAL(snapshot("a@s2", 1000), 0);
	seen->hide_branches = 1;
	CU_ASSERT_EQUAL(branch(clone_of("a", "s2", "c", 0).branch).nancestors, 2);
	CU_ASSERT_EQUAL(seen->hide_branches, 0);
	seen->hide_branches = 1;
	CU_ASSERT_EQUAL(roll("a", "s2"), 0);
	CU_ASSERT_EQUAL(seen->hide_branches, 0);
	CU_ASSERT_EQUAL(branch(look("a").branch).nancestors, 2);
	end();
}

static void clones_are_refused_in_words(void)
{
	struct vms_cat_volume v;

	begin(4);
	create("a", 1u << 30);
	CU_ASSERT_EQUAL(snapshot("a@s", 1000), 0);
	CU_ASSERT_EQUAL(move_clone(&t, "a", "none", "c", 0, &v, &e), VMS_E_NOENT);
	CU_ASSERT_EQUAL(move_clone(&t, "b", "s", "c", 0, &v, &e), VMS_E_NOENT);
	CU_ASSERT_EQUAL(move_clone(&t, "a", "s", "a", 0, &v, &e), VMS_E_EXIST);
	CU_ASSERT_EQUAL(move_clone(&t, "a", "s", "c", 1u << 20, &v, &e), VMS_E_INVAL);
	CU_ASSERT_EQUAL(move_clone(&t, "a", "s", "-c", 0, &v, &e), VMS_E_INVAL);
	leave_behind("dead", 60);
	CU_ASSERT_EQUAL(move_clone(&t, "a", "dead", "c", 0, &v, &e), VMS_E_NOENT);
	CU_ASSERT_EQUAL(count("volume/"), 1);
	end();
}

static void rolling_back_moves_to_a_new_branch(void)
{
	struct vms_cat_volume a, now;
	struct vms_cat_branch b;
	uint64_t old;

	begin(4);
	a = create("a", 1u << 30);
	CU_ASSERT_EQUAL(snapshot("a@s1", 1000), 0);
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 2u << 30, false, &old, &e), 0);
	CU_ASSERT_EQUAL(snapshot("a@s2", 1000), 0);
	open_by(a.id, true);
	CU_ASSERT_EQUAL(roll("a", "s1"), VMS_E_OPEN);
	CU_ASSERT_EQUAL(look("a").branch, a.branch);
	open_by(a.id, false);
	seen->floors = 0;
	CU_ASSERT_EQUAL(roll("a", "s1"), 0);
	now = look("a");
	CU_ASSERT(now.id == a.id && now.branch != a.branch && now.size_bytes == 1u << 30);
	CU_ASSERT(now.snap_gen == a.snap_gen + 3 && now.lun_fence == a.lun_fence + 1);
	CU_ASSERT(now.barrier == VMS_BARRIER_NONE && !memcmp(now.uuid, a.uuid, 16));
	CU_ASSERT(seen->floors == 2 && seen->branch == now.branch);
	b = branch(now.branch);
	CU_ASSERT(b.nancestors == 1 && b.ancestor[0].branch == a.branch && b.owner == a.id);
	CU_ASSERT_EQUAL(b.ancestor[0].snap_gen, a.snap_gen);
	/* the old branch lives for its snapshots, and dies with the last */
	CU_ASSERT_EQUAL(branch(a.branch).state, BRANCH_LIVE);
	CU_ASSERT_EQUAL(rm("a", "s1"), 0);
	CU_ASSERT_EQUAL(branch(a.branch).state, BRANCH_LIVE);
	CU_ASSERT_EQUAL(rm("a", "s2"), 0);
	CU_ASSERT_EQUAL(branch(a.branch).state, BRANCH_DEAD);
	CU_ASSERT_EQUAL(branch(now.branch).state, BRANCH_LIVE);
	CU_ASSERT_EQUAL(roll("a", "s1"), VMS_E_NOENT);
	CU_ASSERT_EQUAL(volume_delete(&t, "a", false, &e), 0);
	CU_ASSERT_EQUAL(branch(now.branch).state, BRANCH_DEAD);
	end();
}

static void a_branch_has_at_most_eight_ancestors(void)
{
	struct vms_cat_volume v;
	struct vms_cat_branch b;

	begin(4);
	create("a", 1u << 30);
	for (int i = 0; i < 8; i++) {
		char name[16];

		snprintf(name, sizeof(name), "a@s%d", i);
		CU_ASSERT_EQUAL(snapshot(name, 1000), 0);
		CU_ASSERT_EQUAL(roll("a", name + 2), 0);
	}
	b = branch(look("a").branch);
	CU_ASSERT_EQUAL(b.nancestors, 8);
	for (int i = 1; i < 8; i++) /* nodes rely on it */
		CU_ASSERT(b.ancestor[i].branch < b.ancestor[i - 1].branch);
	CU_ASSERT_EQUAL(snapshot("a@t", 1000), 0);
	CU_ASSERT_EQUAL(roll("a", "t"), VMS_E_FULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "vmstore export"));
	CU_ASSERT_EQUAL(move_clone(&t, "a", "t", "c", 0, &v, &e), VMS_E_FULL);
	is_clean("a", 9);
	/* to an older one it still works, and the list is that one's */
	CU_ASSERT_EQUAL(roll("a", "s0"), 0);
	CU_ASSERT_EQUAL(branch(look("a").branch).nancestors, 1);
	end();
}

static void shrinking_below_a_snapshot_moves(void)
{
	struct vms_cat_volume a, now;
	struct vms_cat_branch b;
	uint64_t old;

	begin(4);
	a = create("a", 1u << 30);
	CU_ASSERT_EQUAL(snapshot("a@s", 1000), 0);
	seen->floors = 0;
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 1u << 20, false, &old, &e), VMS_E_INVAL);
	seen->fail_floor = VMS_E_IO; /* every node has to stop the old number */
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 1u << 20, true, &old, &e), VMS_E_IO);
	CU_ASSERT(look("a").size_bytes == 1u << 30 && look("a").branch == a.branch);
	is_clean("a", 1);
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 1u << 20, true, &old, &e), 0);
	now = look("a");
	CU_ASSERT(seen->trims == 0 && old == 1u << 30);
	CU_ASSERT(now.size_bytes == 1u << 20 && now.branch != a.branch &&
		  now.state == VOLUME_READY);
	b = branch(now.branch);
	CU_ASSERT_EQUAL(b.ancestor[0].limit_chunks, (1u << 20) / VMS_CHUNK_BYTES);
	CU_ASSERT(b.ancestor[0].branch == a.branch && b.ancestor[0].snap_gen < now.snap_gen);
	/* what it cut off stays away when it grows, for its clones too */
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 1u << 30, false, &old, &e), 0);
	CU_ASSERT_EQUAL(snapshot("a@t", 1000), 0);
	b = branch(clone_of("a", "t", "c", 0).branch);
	CU_ASSERT_EQUAL(b.nancestors, 2);
	CU_ASSERT_EQUAL(b.ancestor[1].limit_chunks, (1u << 20) / VMS_CHUNK_BYTES);
	/* the failed attempt's branch is dead, those in use are not */
	CU_ASSERT_EQUAL(branch(a.branch + 1).state, BRANCH_DEAD);
	CU_ASSERT_EQUAL(branch(a.branch).state, BRANCH_LIVE);
	CU_ASSERT_EQUAL(branch(now.branch).state, BRANCH_LIVE);
	end();
}

/* Another process, with a tool of its own: returns 0 there. */
static pid_t fork_tool(struct tool *own, const char *prog)
{
	pid_t child = fork();

	if (child)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (tool_open(own, prog, "/dev/null", rig_catalog, NULL))
		_exit(1);
	return 0;
}

/* It does something while a read is held, and lets that go. */
static pid_t when_held(int (*what)(struct tool *own))
{
	struct tool own;
	pid_t child = fork_tool(&own, "other");
	int rc;

	if (child)
		return child;
	while (!seen->held)
		tool_wait(&own, 1);
	rc = what(&own);
	seen->hold[0] = 0;
	_exit(rc ? 1 : 0);
}

static void done_by(pid_t other)
{
	int status = 1;

	CU_ASSERT_EQUAL(waitpid(other, &status, 0), other);
	CU_ASSERT_EQUAL(status, 0);
}

static int take_snapshot(struct tool *own)
{
	struct vms_cat_snap s;

	return barrier_snapshot(own, "a", "s", 5000, &s, &rep, NULL);
}

/* Somebody takes a snapshot when shrinking has looked for some and found none. */
static void shrinking_cuts_no_snapshot_taken_meanwhile(void)
{
	struct vms_cat_volume a;
	uint64_t old;
	pid_t other;

	begin(4);
	a = create("a", 64u << 20);
	strcpy(seen->hold, "pr/");
	other = when_held(take_snapshot);
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 8u << 20, true, &old, &e), 0);
	done_by(other);
	CU_ASSERT(look("a").size_bytes == 8u << 20 && look("a").state == VOLUME_READY);
	/* its tail shows in the snapshot: no node may trim it */
	CU_ASSERT_EQUAL(seen->trims, 0);
	CU_ASSERT(look("a").branch != a.branch && get("a", 0).branch == a.branch);
	CU_ASSERT_EQUAL(get("a", 0).size_bytes, 64u << 20);
	end();
}

/* Another deletion of a@s was refused and put it back; then somebody made a clone. */
static int put_back_and_clone(struct tool *own)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_op op = {key, NULL, 0};
	struct vms_cat_volume c;
	struct snap_info s;
	int rc = snap_get(own, "a", "s", &s, NULL);

	s.s.state = VMS_SNAP_COMPLETE;
	vms_cat_key_snap(key, "a", "s", NULL);
	op.val = vms_cat_snap_encode(&s.s);
	if (!rc)
		rc = tool_txn(own, NULL, 0, &op, 1, NULL);
	free((char *)op.val);
	return rc ? rc : move_clone(own, "a", "s", "c", 0, &c, NULL);
}

/* What was found out about its users holds for the record that was marked. */
static void one_that_was_put_back_is_not_deleted(void)
{
	pid_t other;

	begin(4);
	create("a", 1u << 30);
	CU_ASSERT_EQUAL(snapshot("a@s", 1000), 0);
	CU_ASSERT_EQUAL(snapshot("a@s2", 1000), 0);
	strcpy(seen->hold, "pr/");
	other = when_held(put_back_and_clone);
	CU_ASSERT_EQUAL(rm("a", "s"), 0);
	done_by(other);
	CU_ASSERT(!fate[0].gone && fate[0].status == VMS_E_BUSY);
	CU_ASSERT(fate[1].gone && !fate[1].status);
	is_clean("a", 1);
	CU_ASSERT_STRING_EQUAL(get("a", 0).name, "s");
	end();
}

static int make_again(struct tool *own)
{
	struct vms_cat_volume v;

	return volume_create(own, "a", 4u << 20, VMS_ACK_DISK, &v, NULL);
}

/* The answer to the last step is lost, and somebody makes another volume of that name. */
static void deleting_again_spares_a_new_volume(void)
{
	pid_t other;

	begin(4);
	create("a", 1u << 20);
	seen->drop_txn_answer = 2;
	strcpy(seen->hold_then, "volume/a");
	other = when_held(make_again);
	CU_ASSERT_EQUAL(volume_delete(&t, "a", false, &e), 0);
	done_by(other);
	CU_ASSERT(look("a").size_bytes == 4u << 20 && look("a").state == VOLUME_READY);
	end();
}

/* Another deletion of it ended first, and somebody made one of that name with a snapshot. */
static int end_and_make_again(struct tool *own)
{
	struct barrier_report r;
	struct vms_cat_volume v;
	struct vms_cat_snap s;
	int rc = volume_delete(own, "a", true, NULL);

	if (!rc)
		rc = volume_create(own, "a", 4u << 20, VMS_ACK_DISK, &v, NULL);
	return rc ? rc : barrier_snapshot(own, "a", "s", 1000, &s, &r, NULL);
}

static void deleting_spares_a_new_volumes_snapshots(void)
{
	pid_t other;

	begin(4);
	create("a", 1u << 20);
	CU_ASSERT_EQUAL(snapshot("a@old", 1000), 0);
	strcpy(seen->hold, "snap/a@");
	other = when_held(end_and_make_again);
	CU_ASSERT_EQUAL(volume_delete(&t, "a", true, &e), 0);
	done_by(other);
	CU_ASSERT(look("a").size_bytes == 4u << 20 && look("a").state == VOLUME_READY);
	is_clean("a", 1);
	CU_ASSERT_STRING_EQUAL(get("a", 0).name, "s");
	end();
}

/* Begins an import of it, which may have to wait for what is held. */
static int begin_import(struct tool *own)
{
	struct importing note = {.kind = "image"};
	struct tool third;
	int status = -1;
	pid_t child = fork();

	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (tool_open(&third, "third", "/dev/null", rig_catalog, NULL))
			_exit(1);
		_exit(importing_begin(&third, "a", &note, NULL) ? 3 : 0);
	}
	for (int i = 0; i < 300 && !waitpid(child, &status, WNOHANG); i++)
		tool_wait(own, 1);
	seen->hold[0] = 0;
	if (status < 0)
		waitpid(child, &status, 0);
	return WEXITSTATUS(status) == 0 ? 0 : WEXITSTATUS(status);
}

/* Between the stop of a barrier and its end the volume's state is somebody else's: shrinking
 * gave it the next one, and took the mark of the import away. */
static void an_import_begins_in_no_barrier(void)
{
	int status = -1;
	pid_t other;

	begin(4);
	create("a", 64u << 20);
	strcpy(seen->hold, "open/");
	seen->let_pass = 1;
	other = when_held(begin_import);
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 8u << 20, true, &(uint64_t){0}, &e), 0);
	CU_ASSERT_EQUAL(waitpid(other, &status, 0), other);
	CU_ASSERT_EQUAL(look("a").size_bytes, 8u << 20);
	CU_ASSERT_EQUAL(look("a").state, status ? VOLUME_READY : VOLUME_IMPORTING);
	end();
}

static int open_it(struct tool *own)
{
	struct volume_view v;
	struct vms_cat_open o = {.gateway = 3, .incarnation = 1};
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_op op = {key, NULL, 0};
	int rc = volume_load(own, "a", &v, NULL);

	o.id = v.v.id;
	volume_free(&v);
	vms_cat_key_open(key, o.id, 3);
	op.val = vms_cat_open_encode(&o);
	if (!rc)
		rc = tool_txn(own, NULL, 0, &op, 1, NULL);
	free((char *)op.val);
	return rc;
}

/* A gateway had opened the volume before an import has marked it, which sees it afterwards:
 * nothing has been, so what an earlier import has noted is true as before. */
static void an_import_that_came_late_leaves_the_note(void)
{
	const struct importing left = {.kind = "diff", .base = "s", .resize = 2 << 20};
	const struct importing own = {.kind = "image"};
	struct importing in;
	pid_t other;

	begin(4);
	create("a", 1u << 20);
	put("import/a", importing_encode(&left));
	strcpy(seen->hold, "volume/a");
	seen->let_pass = 2; /* the third is the one behind the mark */
	other = when_held(open_it);
	CU_ASSERT_EQUAL(importing_begin(&t, "a", &own, &e), VMS_E_OPEN);
	done_by(other);
	CU_ASSERT_EQUAL(look("a").state, VOLUME_READY);
	CU_ASSERT_EQUAL(importing_load(&t, "a", &in, &e), 0);
	CU_ASSERT(in.resize == 2 << 20 && !strcmp(in.kind, "diff") && !strcmp(in.base, "s"));
	end();
}

static void lost_answers_make_no_second_clone(void)
{
	begin(4);
	create("a", 1u << 30);
	CU_ASSERT_EQUAL(snapshot("a@s", 1000), 0);
	for (int i = 1; i <= 2; i++) {
		char name[16];

		snprintf(name, sizeof(name), "c%d", i);
		seen->drop_txn_answer = i;
		clone_of("a", "s", name, 0);
		seen->drop_txn_answer = 0;
		CU_ASSERT(count("volume/") == (size_t)i + 1 && count("branch/") == (size_t)i + 1);
		CU_ASSERT_EQUAL(look(name).barrier, VMS_BARRIER_NONE);
	}
	for (int i = 1; i <= 2; i++) {
		seen->drop_txn_answer = i;
		CU_ASSERT_EQUAL(roll("a", "s"), 0);
		seen->drop_txn_answer = 0;
		CU_ASSERT_EQUAL(count("branch/"), (size_t)i + 3);
	}
	is_clean("a", 1);
	end();
}

static void a_gateway_is_forgotten_when_it_is_dead(void)
{
	struct vms_cat_node n = {.id = 2, .name = "n2", .weight = 100};
	struct vms_cat_volume a;
	struct gateways g;
	bool kept;

	begin(4);
	a = create("a", 1u << 30);
	gateway_start(1, &a, RIG_GW_SILENT);
	gateway_start(2, &a, RIG_GW_GOOD);
	CU_ASSERT_EQUAL(gateways_load(&t, &g, &e), 0);
	CU_ASSERT_FATAL(g.n == 2);
	CU_ASSERT_EQUAL(gateway_forget(&t, &g.d[0], false, &kept, &e), VMS_E_BUSY);
	CU_ASSERT(count("open/") == 2 && !seen->floor_gateways);
	/* a node that is down has to learn it from the record */
	snprintf(n.address, sizeof(n.address), "%s", rig_nobody);
	put("node/00000002", vms_cat_node_encode(&n));
	seen->gw[1].live = false;
	CU_ASSERT_EQUAL(gateway_forget(&t, &g.d[0], false, &kept, &e), 0);
	CU_ASSERT(kept && seen->floor_incarnation == 2);
	CU_ASSERT(count("open/") == 1 && count("gateway/") == 2);
	put("node/00000002", NULL);
	gateways_free(&g);
	CU_ASSERT_EQUAL(gateways_load(&t, &g, &e), 0);
	CU_ASSERT_FATAL(g.n == 2);
	CU_ASSERT_EQUAL(gateway_forget(&t, &g.d[0], false, &kept, &e), 0);
	CU_ASSERT(!kept && count("gateway/") == 1);
	CU_ASSERT_EQUAL(gateway_forget(&t, &g.d[1], true, &kept, &e), 0);
	CU_ASSERT(count("gateway/") == 0 && count("open/") == 0);
	gateways_free(&g);
	CU_ASSERT_EQUAL(volume_delete(&t, "a", false, &e), 0);
	end();
}

/* It was away when it was asked for, and is back when the nodes shut it out: it serves what it
 * has cached until its lease is over, and counts as having the volume open for as long. */
static void pages_of_a_gateway_that_lives_run_out(void)
{
	struct vms_cat_volume a;
	struct gateways g;
	uint64_t t0;
	bool kept;

	begin(4);
	a = create("a", 1u << 30);
	gateway_start(1, &a, RIG_GW_SILENT);
	CU_ASSERT_EQUAL(gateways_load(&t, &g, &e), 0);
	CU_ASSERT_FATAL(g.n == 1);
	seen->gw[1].live = false;
	seen->floor_lives = true;
	t0 = vms_clock_ms();
	CU_ASSERT_EQUAL(gateway_forget(&t, &g.d[0], false, &kept, &e), 0);
	CU_ASSERT(vms_clock_ms() - t0 > vms_timing_default(1).lease_ms);
	CU_ASSERT(!kept && count("open/") == 0);
	gateways_free(&g);
	end();
}

/* Its process, as the catalog sees it when it starts. */
static void gateway_starts(struct tool *by, unsigned id, uint64_t incarnation)
{
	struct vms_cat_gateway g = {.id = id, .incarnation = incarnation, .name = "g1"};
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_op op = {key, vms_cat_gateway_encode(&g), 0};

	vms_cat_key_gateway(key, id);
	(void)tool_txn(by, NULL, 0, &op, 1, NULL);
	free((char *)op.val);
}

/* It starts while the nodes are being told to shut it out. */
static pid_t starts_at_the_floor(unsigned id, uint64_t incarnation)
{
	struct tool own;
	pid_t child = fork_tool(&own, "gateway");

	if (child)
		return child;
	while (!seen->floor_gateways)
		tool_wait(&own, 1);
	gateway_starts(&own, id, incarnation);
	seen->hold_floor = false;
	_exit(0);
}

static void a_gateway_that_starts_again_is_not_forgotten(void)
{
	struct gateways g, now;
	bool kept;
	pid_t child;

	begin(4);
	/* after it was looked at, without a session yet */
	gateway_starts(&t, 1, 1);
	CU_ASSERT_EQUAL(gateways_load(&t, &g, &e), 0);
	gateway_starts(&t, 1, 2);
	CU_ASSERT_EQUAL(gateway_forget(&t, &g.d[0], false, &kept, &e), VMS_E_CONFLICT);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "has been started meanwhile"));
	CU_ASSERT(count("gateway/") == 1);
	gateways_free(&g);
	/* after it was shut out, before its record goes */
	CU_ASSERT_EQUAL(gateways_load(&t, &g, &e), 0);
	CU_ASSERT_EQUAL(g.d[0].g.incarnation, 2);
	seen->floor_gateways = 0;
	seen->hold_floor = true;
	child = starts_at_the_floor(1, 4);
	CU_ASSERT_EQUAL(gateway_forget(&t, &g.d[0], false, &kept, &e), VMS_E_CONFLICT);
	waitpid(child, NULL, 0);
	CU_ASSERT_EQUAL(gateways_load(&t, &now, &e), 0);
	CU_ASSERT(now.n == 1 && now.d[0].g.incarnation == 4);
	gateways_free(&now);
	gateways_free(&g);
	end();
}

/* Gateways have it open: refused, or all of them go along. */
static void a_rollback_while_it_is_open(void)
{
	struct volume_move mv = {.volume = "a", .what = "rolled back", .snap = "s", .online = true};
	struct vms_cat_volume a, v;
	uint64_t old;

	begin(4);
	a = create("a", 1u << 30);
	CU_ASSERT_EQUAL(snapshot("a@s", 1000), 0);
	gateway_start(3, &a, RIG_GW_GOOD);
	gateway_start(4, &a, RIG_GW_GOOD);
	CU_ASSERT_EQUAL(roll("a", "s"), VMS_E_OPEN);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "--online"));
	CU_ASSERT(look("a").branch == a.branch && !seen->gw[3].stopped);
	CU_ASSERT_EQUAL(move_volume(&t, &mv, &v, &e), 0);
	CU_ASSERT(v.branch != a.branch && look("a").branch == v.branch);
	CU_ASSERT(look("a").rollbacks == 1 && look("a").barrier == VMS_BARRIER_NONE);
	CU_ASSERT(seen->gw[3].stopped == 1 && seen->gw[3].released == 1);
	CU_ASSERT(seen->gw[4].stopped == 1 && seen->gw[4].released == 1);
	/* all have stopped before the branch it leaves is closed to them */
	CU_ASSERT(seen->gw[3].stopped_at_floor == 1 && seen->gw[4].stopped_at_floor == 1);
	CU_ASSERT(seen->gw[3].floors_at_release >= 2);
	CU_ASSERT_EQUAL(look("a").snap_gen, seen->snap_gen);
	/* shrinking below a snapshot: what was written under the number of the stop shows
	 * through, so that is where the new branch grows from */
	CU_ASSERT_EQUAL(snapshot("a@t", 1000), 0);
	a = look("a");
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 1u << 29, true, &old, &e), 0);
	v = look("a");
	CU_ASSERT(v.branch != a.branch && v.rollbacks == 1 && v.size_bytes == 1u << 29);
	CU_ASSERT_EQUAL(branch(v.branch).ancestor[0].branch, a.branch);
	CU_ASSERT_EQUAL(branch(v.branch).ancestor[0].snap_gen, a.snap_gen + 1);
	CU_ASSERT_EQUAL(v.snap_gen, a.snap_gen + 2);
	end();
}

/* Neither open nor closed. */
static void a_read_only_volume_is_not_rolled_back(void)
{
	struct volume_move mv = {.volume = "a", .what = "rolled back", .snap = "s", .online = true};
	struct vms_cat_volume a, v;

	begin(4);
	a = create("a", 1u << 30);
	CU_ASSERT_EQUAL(snapshot("a@s", 1000), 0);
	CU_ASSERT_EQUAL(volume_set_write_protect(&t, "a", true, &e), 0);
	CU_ASSERT_EQUAL(move_volume(&t, &mv, &v, &e), VMS_E_PERM);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "read-only=off"));
	CU_ASSERT_EQUAL(roll("a", "s"), VMS_E_PERM);
	CU_ASSERT_EQUAL(look("a").branch, a.branch);
	CU_ASSERT_EQUAL(volume_set_write_protect(&t, "a", false, &e), 0);
	CU_ASSERT_EQUAL(roll("a", "s"), 0);
	end();
}

/* What an admin's commands are made of, each killed after a while, then repeated. */
static int act(struct tool *own, int what)
{
	struct volume_move mv = {.volume = "a", .what = "rolled back", .snap = "s"};
	struct vms_cat_volume v;
	struct vms_errmsg m;
	uint64_t old;

	switch (what) {
	case 0:
		return move_volume(own, &mv, &v, &m);
	case 1:
		return move_clone(own, "a", "s", "c", 0, &v, &m);
	case 2:
		return volume_delete(own, "c", true, &m);
	default:
		return volume_resize(own, "a", 1u << 20, true, &old, &m);
	}
}

/* A branch is live when its volume or a snapshot is on it, and else dead. */
static void branches_are_settled(void)
{
	struct branches all;
	struct snaps l;

	CU_ASSERT_EQUAL(branches_load(&t, &all, &e), 0);
	CU_ASSERT_EQUAL(snaps_load(&t, "", &l, &e), 0);
	VMS_VEC_FOREACH (&all, b) {
		bool used = false;
		static const char *const names[] = {"a", "c"};

		for (int i = 0; i < 2; i++) {
			struct volume_view v;

			used |= !volume_load(&t, names[i], &v, &e) && v.v.branch == b->b.branch;
			volume_free(&v);
		}
		VMS_VEC_FOREACH (&l, s)
			used |= s->s.branch == b->b.branch;
		CU_ASSERT_EQUAL(b->b.state, used ? BRANCH_LIVE : BRANCH_DEAD);
	}
	branches_free(&all);
	snaps_free(&l);
}

static void what_is_killed_can_be_repeated(void)
{
	begin(4);
	create("a", 1u << 30);
	CU_ASSERT_EQUAL(snapshot("a@s", 1000), 0);
	for (int i = 0; i < 24; i++) {
		int what = i % 4;
		struct volume_view v;
		pid_t tool = fork();

		if (!tool) {
			struct vms_errmsg m;
			struct tool own;

			if (!tool_open(&own, "killed", "/dev/null", rig_catalog, &m))
				(void)act(&own, what);
			_exit(0);
		}
		usleep((useconds_t)(700 * (i / 4) + 1500));
		kill(tool, SIGKILL);
		waitpid(tool, NULL, 0);
		/* a barrier without a snapshot: nobody knows its age, so it is waited for */
		for (int k = 0; k < 2; k++) {
			if (!volume_load(&t, k ? "c" : "a", &v, &e) && v.v.barrier) {
				CU_ASSERT_EQUAL(barrier_abandon(&t, v.v.name, v.v.barrier_id, &e),
						0);
			}
			volume_free(&v);
		}
		/* once more, unless a clone was made or deleted already */
		if (what == 0 || what == 3 ||
		    volume_load(&t, "c", &v, &e) != (what == 1 ? 0 : VMS_E_NOENT)) {
			CU_ASSERT_EQUAL(act(&t, what), 0);
		}
		CU_ASSERT_EQUAL(branches_settle(&t, "a", &e), 0);
		branches_are_settled();
	}
	end();
}

static const struct vms_test tests[] = {
	VMS_TEST(deleting_touches_the_catalog_only),
	VMS_TEST(an_exported_snapshot_is_kept),
	VMS_TEST(a_snapshot_that_is_a_lun_is_kept),
	VMS_TEST(a_killed_export_is_in_nobodys_way),
	VMS_TEST(a_rollback_while_it_is_open),
	VMS_TEST(a_read_only_volume_is_not_rolled_back),
	VMS_TEST(a_chain_of_half_made_clones_goes_at_once),
	VMS_TEST(a_clone_keeps_its_snapshot),
	VMS_TEST(a_stale_branch_loses_no_ancestors),
	VMS_TEST(clones_are_refused_in_words),
	VMS_TEST(rolling_back_moves_to_a_new_branch),
	VMS_TEST(a_branch_has_at_most_eight_ancestors),
	VMS_TEST(shrinking_below_a_snapshot_moves),
	VMS_TEST(shrinking_cuts_no_snapshot_taken_meanwhile),
	VMS_TEST(one_that_was_put_back_is_not_deleted),
	VMS_TEST(deleting_again_spares_a_new_volume),
	VMS_TEST(deleting_spares_a_new_volumes_snapshots),
	VMS_TEST(an_import_begins_in_no_barrier),
	VMS_TEST(an_import_that_came_late_leaves_the_note),
	VMS_TEST(lost_answers_make_no_second_clone),
	VMS_TEST(a_gateway_is_forgotten_when_it_is_dead),
	VMS_TEST(pages_of_a_gateway_that_lives_run_out),
	VMS_TEST(a_gateway_that_starts_again_is_not_forgotten),
	VMS_TEST(what_is_killed_can_be_repeated),
};

int main(void)
{
	rig_init();
	return vms_test_main_("utils/tool/snap: clones", tests, sizeof(tests) / sizeof(tests[0]));
}
