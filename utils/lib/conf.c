// SPDX-License-Identifier: GPL-2.0-only
/* libinih reads the lines; everything about meaning is decided here.
 *
 * inih does not give line numbers to its handler in Debian's build, strips inline
 * comments and folds indented lines; all three would make our messages or values
 * wrong. So its stream interface is fed through next_line(), which counts lines and
 * rejects or rewrites what inih would silently change. */
#include "utils/lib/conf.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "utils/lib/assert.h"
#include "utils/lib/size.h"
#include "utils/lib/vec.h"

/* inih's line buffer holds 200 bytes; a longer line would be split in two. */
#define VMS_CONF_LINE_MAX 190

struct parse {
	const struct vms_conf_key *keys;
	const char *const *foreign;
	const char *name;
	FILE *f;	  /* file input, or NULL */
	const char *text; /* rest of memory input */
	void *conf;
	struct vms_errmsg *e;
	int line;
	bool failed;
	VMS_VEC(bool) seen; /* per key of the table */
	char section[64];   /* section of the current line */
};

static unsigned count_keys(const struct vms_conf_key *keys)
{
	unsigned n = 0;

	while (keys[n].section)
		n++;
	return n;
}

static void *field(const struct vms_conf_key *k, void *conf)
{
	return (char *)conf + k->offset;
}

int vms_conf_addr_parse(const char *text, uint16_t def_port, struct vms_conf_addr *a,
			struct vms_errmsg *e)
{
	const char *host = text, *port = NULL;
	size_t host_len;
	uint64_t n = def_port;

	memset(a, 0, sizeof(*a));
	if (*text == '[') {
		const char *close = strchr(text, ']');

		if (!close || (close[1] && close[1] != ':'))
			goto bad;
		host = text + 1;
		host_len = (size_t)(close - host);
		port = close[1] ? close + 2 : NULL;
	} else {
		const char *colon = strchr(text, ':');

		if (colon && strchr(colon + 1, ':'))
			goto bad; /* IPv6 needs brackets */
		host_len = colon ? (size_t)(colon - text) : strlen(text);
		port = colon ? colon + 1 : NULL;
	}
	if (!host_len || host_len >= sizeof(a->host))
		goto bad;
	for (size_t i = 0; i < host_len; i++)
		if (!isalnum((unsigned char)host[i]) && !strchr(".-_:%", host[i]))
			goto bad;
	if (port && (vms_u64_parse(port, &n, NULL) || n < 1 || n > 65535))
		goto bad;
	if (!n)
		goto bad;
	memcpy(a->host, host, host_len);
	a->port = (uint16_t)n;
	return 0;
bad:
	return vms_fail(e, VMS_E_CONFIG,
			"'%.80s' is not an address: expected HOST:PORT, such as "
			"127.0.0.1:7600 or [::1]:7600",
			text);
}

const char *vms_conf_addr_format(const struct vms_conf_addr *a, char out[VMS_CONF_ADDR_TEXT_MAX])
{
	snprintf(out, VMS_CONF_ADDR_TEXT_MAX, strchr(a->host, ':') ? "[%s]:%u" : "%s:%u", a->host,
		 a->port);
	return out;
}

static int parse_bool(const char *v, bool *out, struct vms_errmsg *e)
{
	static const char *const yes[] = {"yes", "on", "true", "1"};
	static const char *const no[] = {"no", "off", "false", "0"};

	for (int i = 0; i < 4; i++) {
		if (!strcasecmp(v, yes[i]) || !strcasecmp(v, no[i])) {
			*out = !strcasecmp(v, yes[i]);
			return 0;
		}
	}
	return vms_fail(e, VMS_E_CONFIG, "'%.60s' is neither yes nor no", v);
}

static int parse_enum(const struct vms_conf_key *k, const char *v, int *out, struct vms_errmsg *e)
{
	char words[160] = "";

	for (int i = 0; k->choices[i]; i++) {
		if (!strcmp(v, k->choices[i])) {
			*out = i;
			return 0;
		}
		snprintf(words + strlen(words), sizeof(words) - strlen(words), "%s%s",
			 i ? ", " : "", k->choices[i]);
	}
	return vms_fail(e, VMS_E_CONFIG, "'%.60s' is not one of: %s", v, words);
}

static int parse_addrs(const struct vms_conf_key *k, const char *v, struct vms_conf_addrs *out,
		       struct vms_errmsg *e)
{
	struct vms_conf_addrs list = {0};
	char word[128];

	for (int i = 0; k->choices && k->choices[i]; i++) {
		size_t n = strlen(k->choices[i]);

		/* "etcd:7600" is a host of that name, "etcd:host:7600" is not */
		if (!strncmp(v, k->choices[i], n) && v[n] == ':' &&
		    (strcspn(v + n + 1, ":") < strcspn(v + n + 1, " \t,") || v[n + 1] == '[')) {
			list.scheme = i + 1;
			v += n + 1;
			break;
		}
	}
	for (;;) {
		size_t n;

		v += strspn(v, " \t,");
		if (!*v)
			break;
		n = strcspn(v, " \t,");
		if (n >= sizeof(word))
			return vms_fail(e, VMS_E_CONFIG, "address longer than %zu characters",
					sizeof(word) - 1);
		if (list.n == VMS_CONF_ADDRS_MAX)
			return vms_fail(e, VMS_E_CONFIG, "more than %d addresses",
					VMS_CONF_ADDRS_MAX);
		memcpy(word, v, n);
		word[n] = 0;
		if (vms_conf_addr_parse(word, 0, &list.a[list.n], e))
			return VMS_E_CONFIG;
		list.n++;
		v += n;
	}
	if (!list.n)
		return vms_fail(e, VMS_E_CONFIG,
				"expected one or more HOST:PORT separated by blanks");
	*out = list;
	return 0;
}

/* A number as the key's own type would be written, for messages. */
static const char *number_text(const struct vms_conf_key *k, uint64_t v,
			       char out[VMS_SIZE_TEXT_MAX])
{
	if (k->type == VMS_CONF_SIZE)
		return vms_size_format(v, out);
	if (k->type == VMS_CONF_DURATION)
		return vms_duration_format(v, out);
	snprintf(out, VMS_SIZE_TEXT_MAX, "%" PRIu64, v);
	return out;
}

static int parse_number(const struct vms_conf_key *k, const char *v, uint64_t *out,
			struct vms_errmsg *e)
{
	char a[VMS_SIZE_TEXT_MAX], b[VMS_SIZE_TEXT_MAX];
	uint64_t n;
	int r;

	if (k->type == VMS_CONF_SIZE)
		r = vms_size_parse(v, &n, e);
	else if (k->type == VMS_CONF_DURATION)
		r = vms_duration_parse(v, &n, e);
	else
		r = vms_u64_parse(v, &n, e);
	if (r)
		return VMS_E_CONFIG;
	if (n < k->min || (k->max && n > k->max)) {
		if (k->max)
			return vms_fail(e, VMS_E_CONFIG,
					"%.40s is out of range: allowed is %s to %s", v,
					number_text(k, k->min, a), number_text(k, k->max, b));
		return vms_fail(e, VMS_E_CONFIG, "%.40s is too small: at least %s", v,
				number_text(k, k->min, a));
	}
	if (k->multiple && n % k->multiple)
		return vms_fail(e, VMS_E_CONFIG, "%.40s is not a multiple of %s", v,
				number_text(k, k->multiple, a));
	*out = n;
	return 0;
}

static int set_value(const struct vms_conf_key *k, const char *v, void *conf, struct vms_errmsg *e)
{
	void *f = field(k, conf);

	switch (k->type) {
	case VMS_CONF_STRING: {
		char *s;

		if (!*v)
			return vms_fail(e, VMS_E_CONFIG, "the value is empty");
		s = strdup(v);
		vms_assert(s);
		free(*(char **)f);
		*(char **)f = s;
		return 0;
	}
	case VMS_CONF_U64:
	case VMS_CONF_SIZE:
	case VMS_CONF_DURATION:
		return parse_number(k, v, f, e);
	case VMS_CONF_BOOL:
		return parse_bool(v, f, e);
	case VMS_CONF_ENUM:
		return parse_enum(k, v, f, e);
	case VMS_CONF_ADDR: {
		struct vms_conf_addr a;

		if (vms_conf_addr_parse(v, 0, &a, e))
			return VMS_E_CONFIG;
		*(struct vms_conf_addr *)f = a;
		return 0;
	}
	case VMS_CONF_ADDR_LIST:
		return parse_addrs(k, v, f, e);
	}
	vms_assert(!"unknown configuration type");
	return -1;
}

void vms_conf_defaults(const struct vms_conf_key *keys, void *conf)
{
	for (const struct vms_conf_key *k = keys; k->section; k++) {
		struct vms_errmsg e;

		if (k->def && set_value(k, k->def, conf, &e)) {
			fprintf(stderr, "default of %s.%s: %s\n", k->section, k->key, e.text);
			vms_assert(!"configuration table holds a bad default");
		}
	}
}

void vms_conf_free(const struct vms_conf_key *keys, void *conf)
{
	for (const struct vms_conf_key *k = keys; k->section; k++) {
		if (k->type == VMS_CONF_STRING) {
			free(*(char **)field(k, conf));
			*(char **)field(k, conf) = NULL;
		}
	}
}

static bool known_section(const struct parse *p, const char *s)
{
	for (const struct vms_conf_key *k = p->keys; k->section; k++)
		if (!strcmp(k->section, s))
			return true;
	return false;
}

static bool foreign_section(const struct parse *p, const char *s)
{
	for (const char *const *f = p->foreign; f && *f; f++)
		if (!strcmp(*f, s))
			return true;
	return false;
}

__attribute__((format(printf, 2, 3))) static int fail(struct parse *p, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	if (p->failed)
		return 0;
	p->failed = true;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	vms_fail(p->e, VMS_E_CONFIG, "%.100s:%d: %s", p->name, p->line, text);
	return 0;
}

static const struct vms_conf_key *find_key(const struct vms_conf_key *keys, const char *section,
					   const char *key)
{
	for (const struct vms_conf_key *k = keys; k->section; k++)
		if (!strcmp(k->section, section) && !strcmp(k->key, key))
			return k;
	return NULL;
}

/* The known key most like the given one, for "did you mean"; NULL if none is near. */
static const char *nearest_key(const struct vms_conf_key *keys, const char *section,
			       const char *key)
{
	const char *best = NULL;
	unsigned best_d = 3; /* more than two edits is another word */

	for (const struct vms_conf_key *k = keys; k->section; k++) {
		unsigned d[64], n = (unsigned)strlen(k->key);

		if (strcmp(k->section, section) || n >= 64)
			continue;
		for (unsigned j = 0; j <= n; j++)
			d[j] = j;
		for (unsigned i = 1; key[i - 1]; i++) {
			unsigned diag = d[0];

			d[0] = i;
			for (unsigned j = 1; j <= n; j++) {
				unsigned up = d[j], v = diag + (key[i - 1] != k->key[j - 1]);

				if (up + 1 < v)
					v = up + 1;
				if (d[j - 1] + 1 < v)
					v = d[j - 1] + 1;
				d[j] = v;
				diag = up;
			}
		}
		if (d[n] < best_d) {
			best_d = d[n];
			best = k->key;
		}
	}
	return best;
}

/* Called by inih for each key; returns 0 to say "error". */
static int on_key(void *ctx, const char *section, const char *name, const char *value)
{
	struct parse *p = ctx;
	const struct vms_conf_key *k;
	struct vms_errmsg why;

	if (p->failed)
		return 0;
	if (!*p->section)
		return fail(p, "key '%.40s' stands before any [section]", name);
	section = p->section; /* inih cuts section names at 50 characters */
	if (!known_section(p, section))
		return 1; /* a foreign one: next_line() has checked the name */
	k = find_key(p->keys, section, name);
	if (!k) {
		const char *near = nearest_key(p->keys, section, name);

		return fail(p, "unknown key '%.40s' in [%s]%s%s%s", name, section,
			    near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
	}
	if (p->seen.d[k - p->keys])
		return fail(p, "key '%s' in [%s] is given twice", name, section);
	p->seen.d[k - p->keys] = true;
	if (set_value(k, value, p->conf, &why))
		return fail(p, "%s in [%s]: %.150s", name, section, why.text);
	return 1;
}

/* One raw line without its newline; -1 at the end, -2 when it is too long. */
static int raw_line(struct parse *p, char *out, size_t cap)
{
	size_t n = 0;
	bool any = false;

	for (;;) {
		int c;

		if (p->f)
			c = getc(p->f);
		else
			c = *p->text ? (unsigned char)*p->text++ : EOF;
		if (c == EOF) {
			if (!any)
				return -1;
			break;
		}
		any = true;
		if (c == '\n')
			break;
		if (n + 1 >= cap)
			return -2;
		out[n++] = (char)c;
	}
	if (n && out[n - 1] == '\r')
		n--;
	out[n] = 0;
	if (memchr(out, 0, n))
		return -3;
	return (int)n;
}

static char *trim(char *s)
{
	char *end;

	while (isspace((unsigned char)*s))
		s++;
	end = s + strlen(s);
	while (end > s && isspace((unsigned char)end[-1]))
		*--end = 0;
	return s;
}

/* fgets() as inih wants it. Checks what inih would not report well. */
static char *next_line(char *str, int num, void *stream)
{
	struct parse *p = stream;
	char line[VMS_CONF_LINE_MAX + 2];
	char *s;
	int n;

	if (p->failed)
		return NULL;
	n = raw_line(p, line, sizeof(line));
	if (n == -1)
		return NULL;
	p->line++;
	if (n < 0) {
		if (n == -3)
			fail(p, "the line holds a zero byte: this is not a text file");
		else
			fail(p, "the line is longer than %d characters", VMS_CONF_LINE_MAX);
		return NULL;
	}
	s = trim(line);
	if (p->line == 1 && !strncmp(s, "\xef\xbb\xbf", 3))
		s = trim(s + 3);
	/* Comments are dropped here: inih would cut "a = b ; c" too. */
	if (*s == '#' || *s == ';')
		*s = 0;
	if (*s == '[') {
		size_t len = strlen(s);

		if (s[len - 1] != ']' || len - 2 >= sizeof(p->section)) {
			fail(p, "'%.60s' is not a section: expected [name]", s);
			return NULL;
		}
		memcpy(p->section, s + 1, len - 2);
		p->section[len - 2] = 0;
		if (!known_section(p, p->section) && !foreign_section(p, p->section)) {
			fail(p, "unknown section [%.40s]", p->section);
			return NULL;
		}
	} else if (*s) {
		char *eq = strchr(s, '=');

		if (!eq || eq == s) {
			fail(p, "'%.60s' is neither a comment, nor [section], nor key = value", s);
			return NULL;
		}
		if (strstr(s, " ;") || strstr(s, "\t;")) {
			fail(p, "a comment must stand on its own line");
			return NULL;
		}
	}
	vms_assert((int)strlen(s) + 2 <= num);
	snprintf(str, (size_t)num, "%s\n", s);
	return str;
}

static int finish(struct parse *p)
{
	for (const struct vms_conf_key *k = p->keys; k->section && !p->failed; k++) {
		if (k->required && !p->seen.d[k - p->keys]) {
			p->failed = true;
			vms_fail(p->e, VMS_E_CONFIG, "%.120s: key '%s' in [%s] is missing", p->name,
				 k->key, k->section);
		}
	}
	VMS_VEC_FREE(&p->seen);
	return p->failed ? VMS_E_CONFIG : 0;
}

static int run(struct parse *p)
{
	unsigned n = count_keys(p->keys);
	int r;

	VMS_VEC_RESERVE(&p->seen, n + 1);
	memset(p->seen.d, 0, (n + 1) * sizeof(bool));
	vms_conf_defaults(p->keys, p->conf);
	r = ini_parse_stream(next_line, p, on_key, p);
	/* everything inih can object to has been reported by then, with its line */
	if (r && !p->failed) {
		p->line = r > 0 ? r : 0;
		fail(p, "the line cannot be understood");
	}
	return finish(p);
}

int vms_conf_parse(const struct vms_conf_key *keys, const char *const *foreign, const char *name,
		   const char *text, void *conf, struct vms_errmsg *e)
{
	struct parse p = {
		.keys = keys, .foreign = foreign, .name = name, .text = text, .conf = conf, .e = e};

	return run(&p);
}

int vms_conf_load(const struct vms_conf_key *keys, const char *const *foreign, const char *path,
		  void *conf, struct vms_errmsg *e)
{
	struct parse p = {.keys = keys, .foreign = foreign, .name = path, .conf = conf, .e = e};
	int r;

	if (!path) {
		vms_conf_defaults(keys, conf);
		return 0;
	}
	p.f = fopen(path, "re");
	if (!p.f)
		return vms_fail(e, VMS_E_CONFIG, "cannot open configuration file %.150s: %s", path,
				strerror(errno));
	r = run(&p);
	if (!r && ferror(p.f))
		r = vms_fail(e, VMS_E_CONFIG, "cannot read configuration file %.150s: %s", path,
			     strerror(errno));
	fclose(p.f);
	return r;
}

int vms_conf_set(const struct vms_conf_key *keys, const char *section, const char *key,
		 const char *value, void *conf, struct vms_errmsg *e)
{
	const struct vms_conf_key *k = find_key(keys, section, key);
	struct vms_errmsg why;

	if (!k)
		return vms_fail(e, VMS_E_CONFIG, "unknown key '%.40s' in [%.40s]", key, section);
	if (set_value(k, value, conf, &why))
		return vms_fail(e, VMS_E_CONFIG, "%s in [%s]: %.180s", key, section, why.text);
	return 0;
}

static const char *type_text(const struct vms_conf_key *k)
{
	switch (k->type) {
	case VMS_CONF_STRING:
		return "text";
	case VMS_CONF_U64:
		return "number";
	case VMS_CONF_SIZE:
		return "size";
	case VMS_CONF_DURATION:
		return "duration";
	case VMS_CONF_BOOL:
		return "yes or no";
	case VMS_CONF_ENUM:
		return "one of";
	case VMS_CONF_ADDR:
		return "HOST:PORT";
	case VMS_CONF_ADDR_LIST:
		return k->choices ? "HOST:PORT list, or etcd:HOST:PORT,HOST:PORT"
				  : "HOST:PORT list, separated by blanks";
	}
	return "";
}

static void print_help(const char *help, FILE *f)
{
	while (help && *help) {
		size_t n = strcspn(help, "\n");

		fprintf(f, "# %.*s\n", (int)n, help);
		help += n + (help[n] == '\n');
	}
}

void vms_conf_print_sample(const struct vms_conf_key *keys, FILE *f)
{
	const char *section = NULL;

	for (const struct vms_conf_key *k = keys; k->section; k++) {
		char a[VMS_SIZE_TEXT_MAX], b[VMS_SIZE_TEXT_MAX];
		const char *value = k->example ? k->example : k->def;

		if (!section || strcmp(section, k->section)) {
			fprintf(f, "%s[%s]\n", section ? "\n" : "", k->section);
			section = k->section;
		}
		fputc('\n', f);
		print_help(k->help, f);
		fprintf(f, "# (%s", type_text(k));
		if (k->type == VMS_CONF_ENUM)
			for (int i = 0; k->choices[i]; i++)
				fprintf(f, "%s %s", i ? "," : "", k->choices[i]);
		if (k->max)
			fprintf(f, ", %s to %s", number_text(k, k->min, a),
				number_text(k, k->max, b));
		else if (k->min)
			fprintf(f, ", at least %s", number_text(k, k->min, a));
		if (k->multiple)
			fprintf(f, ", a multiple of %s", number_text(k, k->multiple, a));
		if (k->required)
			fputs("; required", f);
		else if (k->def)
			fprintf(f, "; default %s", k->def);
		else
			fputs("; no default", f);
		fputs(")\n", f);
		fprintf(f, "%s%s =%s%s\n", k->required || k->example ? "" : "#", k->key,
			value ? " " : "", value ? value : "");
	}
}
