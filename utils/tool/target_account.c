// SPDX-License-Identifier: GPL-2.0-only
/* CHAP accounts of the cluster in the catalog, see target_store.h. */
#include "utils/tool/target_store.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "utils/lib/assert.h"

#define PREFIX		 "account/"
#define SECRET_BYTES_MIN 12u /* RFC 7143, 9.2.1: 96 bits */

int accounts_load(struct tool *t, struct accounts *out, struct vms_errmsg *msg)
{
	struct tool_kvs kv;
	int rc;

	memset(out, 0, sizeof(*out));
	rc = tool_range(t, PREFIX, &kv, msg);
	for (size_t i = 0; !rc && i < kv.n; i++) {
		const char *user = kv.d[i].key + strlen(PREFIX);
		json_t *j = json_loads(kv.d[i].val, 0, NULL);
		const char *sealed = json_string_value(json_object_get(j, "sealed"));
		struct account_entry a = {.mod_revision = kv.d[i].mod_revision};

		if (!sealed || strlen(sealed) >= sizeof(a.sealed) ||
		    strlen(user) >= sizeof(a.user)) {
			rc = vms_fail(msg, VMS_E_CORRUPT, "catalog key %s: no account",
				      kv.d[i].key);
		} else {
			snprintf(a.user, sizeof(a.user), "%s", user);
			snprintf(a.sealed, sizeof(a.sealed), "%s", sealed);
			VMS_VEC_PUSH(out, a);
		}
		json_decref(j);
	}
	tool_kvs_free(&kv);
	return rc;
}

struct account_entry *accounts_find(struct accounts *v, const char *user)
{
	VMS_VEC_FOREACH (v, a)
		if (!strcmp(a->user, user))
			return a;
	return NULL;
}

int account_key(struct tool *t, uint8_t key[VMS_SECRET_KEY_BYTES], struct vms_errmsg *msg)
{
	if (!t->set.cluster.secrets_key)
		return vms_fail(msg, VMS_E_CONFIG,
				"accounts are sealed with a key: set secrets_key = FILE in "
				"[cluster], the same as the gateways have (vmstore.conf(5))");
	return vms_secret_key_load(t->set.cluster.secrets_key, key, msg);
}

int account_user_check(const char *user, struct vms_errmsg *msg)
{
	if (!user[0] || strlen(user) > 223)
		return vms_fail(msg, VMS_E_INVAL, "a user name has 1 to 223 characters");
	for (const char *p = user; *p; p++)
		if ((unsigned char)*p < 0x21 || (unsigned char)*p > 0x7e || *p == ',' || *p == '"')
			return vms_fail(msg, VMS_E_INVAL,
					"user name '%.64s': printable ASCII without blanks, commas "
					"and quotes",
					user);
	return 0;
}

int account_secret_check(const char *secret, struct vms_errmsg *msg)
{
	size_t n = strlen(secret);

	if (n < SECRET_BYTES_MIN || n > VMS_SECRET_BYTES_MAX)
		return vms_fail(msg, VMS_E_INVAL, "a secret has %u to %u bytes, this one has %zu",
				SECRET_BYTES_MIN, VMS_SECRET_BYTES_MAX, n);
	return 0;
}

int account_seal(struct tool *t, const char *user, const char *secret,
		 char sealed[VMS_SECRET_TEXT_MAX], struct vms_errmsg *msg)
{
	uint8_t key[VMS_SECRET_KEY_BYTES], nonce[VMS_SECRET_NONCE_BYTES];
	int rc = account_user_check(user, msg);

	if (!rc)
		rc = account_secret_check(secret, msg);
	if (!rc)
		rc = account_key(t, key, msg);
	if (rc)
		return rc;
	vms_assert(getrandom(nonce, sizeof(nonce), 0) == sizeof(nonce));
	rc = vms_secret_seal(key, nonce, user, secret, sealed, msg);
	explicit_bzero(key, sizeof(key));
	return rc;
}

int account_store(struct tool *t, const char *user, const char *sealed, uint64_t mod_revision,
		  uint64_t *refs, struct vms_errmsg *msg)
{
	char key[VMS_CAT_KEY_BYTES_MAX], *text = NULL;
	struct vms_cat_cmp cmp[2] = {{key, mod_revision}};
	struct vms_cat_op op[2] = {{key, NULL, 0}};
	struct tool_kvs kv;
	int rc;

	snprintf(key, sizeof(key), PREFIX "%s", user);
	if (sealed) {
		json_t *v = json_pack("{s:s,s:s}", "user", user, "sealed", sealed);

		text = v ? json_dumps(v, JSON_COMPACT) : NULL;
		json_decref(v);
		vms_assert(text);
	}
	op[0].val = text;
	if (refs)
		target_refs_part(*refs, &cmp[1], &op[1]);
	rc = tool_txn(t, cmp, refs ? 2 : 1, op, refs ? 2 : 1, msg);
	if (!rc && refs)
		*refs = t->revision;
	if (tool_txn_again(rc)) {
		struct vms_errmsg ignored;

		/* a sealed text is never made twice: what is there is ours, or it is not */
		if (!tool_get(t, key, &kv, &ignored) &&
		    (text ? kv.n && !strcmp(kv.d[0].val, text) : !kv.n))
			rc = 0;
		tool_kvs_free(&kv);
	}
	if (rc == VMS_E_CONFLICT)
		vms_fail(msg, rc,
			 "account %s was changed by somebody else at the same moment: look, and "
			 "repeat",
			 user);
	free(text);
	return rc;
}

int account_unused(const struct targets *v, const char *user, struct vms_errmsg *msg)
{
	char names[300] = "";
	unsigned n = 0;

	VMS_VEC_FOREACH (v, e) {
		const char *out = json_string_value(json_object_get(e->rec, "user_out"));
		size_t at = strlen(names);

		if (!vms_reg_has(e->rec, VMS_REG_USERS, user) && (!out || strcmp(out, user)))
			continue;
		if (++n <= 3)
			snprintf(names + at, sizeof(names) - at, "%s%.90s", at ? ", " : "",
				 vms_reg_name(e->rec));
	}
	return n ? vms_fail(msg, VMS_E_BUSY, "account %s is bound to %s%s: unbind it first", user,
			    names, n > 3 ? ", ..." : "")
		 : 0;
}

int account_delete(struct tool *t, const char *user, struct vms_errmsg *msg)
{
	struct accounts acc = VMS_VEC_INIT;
	bool tried = false;
	unsigned tries = 0;
	int rc;

	do {
		struct targets all = VMS_VEC_INIT;
		struct account_entry *have;
		uint64_t refs;

		VMS_VEC_FREE(&acc);
		rc = target_refs(t, &refs, msg);
		if (!rc)
			rc = accounts_load(t, &acc, msg);
		have = rc ? NULL : accounts_find(&acc, user);
		if (!rc && !have) {
			rc = tried ? 0 : vms_fail(msg, VMS_E_NOENT, "there is no account %s", user);
			break;
		}
		if (!rc)
			rc = targets_load(t, &all, msg);
		if (!rc)
			rc = account_unused(&all, user, msg);
		targets_free(&all);
		if (!rc) {
			tried = true;
			rc = account_store(t, user, NULL, have->mod_revision, &refs, msg);
		}
	} while (tool_txn_again(rc) && tool_retry(t, &tries));
	VMS_VEC_FREE(&acc);
	return rc;
}

static int read_line(FILE *f, const char *path, char secret[VMS_SECRET_BYTES_MAX + 1],
		     struct vms_errmsg *msg)
{
	char buf[VMS_SECRET_BYTES_MAX + 3];
	size_t n;
	int rc = 0;

	if (!fgets(buf, sizeof(buf), f))
		return vms_fail(msg, VMS_E_INVAL, "%s: no secret in it", path);
	n = strcspn(buf, "\r\n");
	if (n > VMS_SECRET_BYTES_MAX)
		rc = vms_fail(msg, VMS_E_INVAL, "%s: a secret has at most %u bytes", path,
			      VMS_SECRET_BYTES_MAX);
	buf[n] = 0;
	if (!rc)
		memcpy(secret, buf, n + 1);
	explicit_bzero(buf, sizeof(buf));
	return rc;
}

/* ---- a terminal that does not show what is typed ---- */

static struct termios terminal; /* as it was */

/* Ctrl-C and the like: the shell must not be left without an echo. */
static void on_signal(int sig)
{
	tcsetattr(STDIN_FILENO, TCSANOW, &terminal);
	signal(sig, SIG_DFL);
	raise(sig);
}

static void signals(void (*fn)(int))
{
	static const int sigs[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

	for (unsigned i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
		signal(sigs[i], fn);
}

/* False: it cannot be done, or standard input is no terminal. */
static bool echo_off(void)
{
	struct termios quiet;

	if (tcgetattr(STDIN_FILENO, &terminal))
		return false;
	quiet = terminal;
	quiet.c_lflag &= ~(tcflag_t)ECHO;
	signals(on_signal);
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
	return true;
}

static void echo_on(void)
{
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &terminal);
	signals(SIG_DFL);
	fprintf(stderr, "\n");
}

int account_secret_read(const char *path, const char *user, char secret[VMS_SECRET_BYTES_MAX + 1],
			struct vms_errmsg *msg)
{
	bool in = !strcmp(path, "-"), ask = in && isatty(STDIN_FILENO);
	FILE *f = in ? stdin : fopen(path, "re");
	struct stat st;
	int rc;

	if (!f)
		return vms_fail(msg, VMS_E_IO, "%s: %s", path, strerror(errno));
	if (!in && (fstat(fileno(f), &st) || (S_ISREG(st.st_mode) && (st.st_mode & 077)))) {
		fclose(f);
		return vms_fail(msg, VMS_E_INVAL, "%s can be read by others: chmod 600 %s", path,
				path);
	}
	if (ask) {
		fprintf(stderr, "secret of %s: ", user);
		ask = echo_off();
	}
	rc = read_line(f, in ? "standard input" : path, secret, msg);
	if (ask)
		echo_on();
	if (!in)
		fclose(f);
	return rc;
}
