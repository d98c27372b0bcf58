// SPDX-License-Identifier: GPL-2.0-only
/* What a storm of boots costs: CPU of processes, and counters; see boot.h. */
#include "utils/bench/boot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int vms_boot_cost_pid(struct vms_boot_cost *c, const char *text)
{
	const char *eq = strchr(text, '=');
	char *end = NULL;
	long pid = eq ? strtol(eq + 1, &end, 10) : 0;

	if (!eq || eq == text || pid <= 0 || *end || (size_t)(eq - text) >= sizeof(c->p[0].name)) {
		vms_bench_err("boot: --pid '%s': want NAME=PID", text);
		return -1;
	}
	if (c->n == VMS_BOOT_PIDS_MAX) {
		vms_bench_err("boot: at most %u processes", VMS_BOOT_PIDS_MAX);
		return -1;
	}
	snprintf(c->p[c->n].name, sizeof(c->p[0].name), "%.*s", (int)(eq - text), text);
	c->p[c->n++].pid = (int)pid;
	return 0;
}

static int cpu_of(int pid, double *s)
{
	struct timespec ts;
	clockid_t clk;
	int err = clock_getcpuclockid(pid, &clk);

	if (err || clock_gettime(clk, &ts)) {
		vms_bench_err("process %d: %s", pid, strerror(err ? err : errno));
		return -1;
	}
	*s = (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
	return 0;
}

static json_t *ask(const char *command)
{
	json_error_t e;
	FILE *f = popen(command, "re");
	json_t *j = f ? json_loadf(f, 0, &e) : NULL;
	int rc = f ? pclose(f) : -1;

	if (rc || !json_is_object(j)) {
		vms_bench_err("boot: --counters '%s': %s", command,
			      rc ? "failed" : "does not print a JSON object");
		json_decref(j);
		return NULL;
	}
	return j;
}

int vms_boot_cost_begin(struct vms_boot_cost *c)
{
	if (c->counters && !(c->before = ask(c->counters)))
		return -1;
	for (unsigned i = 0; i < c->n; i++)
		if (cpu_of(c->p[i].pid, &c->p[i].cpu_s))
			return -1;
	return vms_bench_cpu_now(&c->cpu, NULL);
}

int vms_boot_cost_end(struct vms_boot_cost *c)
{
	struct vms_bench_cpu now;
	json_t *after, *v;
	const char *key;

	if (vms_bench_cpu_now(&now, NULL))
		return -1;
	c->cpu.machine_s = now.machine_s - c->cpu.machine_s;
	c->cpu.client_s = now.client_s - c->cpu.client_s;
	c->cpu.wall_ns = now.wall_ns - c->cpu.wall_ns;
	c->busy = c->cpu.machine_s / ((double)c->cpu.wall_ns / 1e9) /
		  (double)sysconf(_SC_NPROCESSORS_ONLN);
	for (unsigned i = 0; i < c->n; i++) {
		double s;

		if (cpu_of(c->p[i].pid, &s))
			return -1;
		c->p[i].cpu_s = s - c->p[i].cpu_s;
	}
	if (!c->counters)
		return 0;
	after = ask(c->counters);
	if (!after)
		return -1;
	c->grown = json_object();
	json_object_foreach (after, key, v) {
		json_t *b = json_object_get(c->before, key);

		if (json_is_number(v) && (!b || json_is_number(b)))
			json_object_set_new(
				c->grown, key,
				json_real(json_number_value(v) - (b ? json_number_value(b) : 0)));
	}
	json_decref(after);
	return 0;
}

void vms_boot_cost_free(struct vms_boot_cost *c)
{
	json_decref(c->before);
	json_decref(c->grown);
	c->before = c->grown = NULL;
}

/* Milliseconds per boot of all processes of one name, the first of which is i. */
static double per_boot(const struct vms_boot_cost *c, unsigned i, unsigned boots)
{
	double s = 0;

	for (unsigned k = i; k < c->n; k++)
		if (!strcmp(c->p[k].name, c->p[i].name))
			s += c->p[k].cpu_s;
	return s * 1e3 / boots;
}

static bool first_of_name(const struct vms_boot_cost *c, unsigned i)
{
	for (unsigned k = 0; k < i; k++)
		if (!strcmp(c->p[k].name, c->p[i].name))
			return false;
	return true;
}

void vms_boot_cost_print(const struct vms_boot_cost *c, unsigned boots)
{
	double all = 0;
	const char *key;
	json_t *v;

	printf("  CPU ms per boot");
	for (unsigned i = 0; i < c->n; i++)
		if (first_of_name(c, i)) {
			printf("  %s %.1f", c->p[i].name, per_boot(c, i, boots));
			all += per_boot(c, i, boots);
		}
	if (c->n)
		printf("  these %.1f", all);
	printf("  client %.1f  machine %.1f (%.0f %% busy)\n", c->cpu.client_s * 1e3 / boots,
	       c->cpu.machine_s * 1e3 / boots, c->busy * 100);
	if (c->grown)
		json_object_foreach (c->grown, key, v)
			printf("  %s %.0f\n", key, json_number_value(v));
}

json_t *vms_boot_cost_json(const struct vms_boot_cost *c, unsigned boots)
{
	json_t *cpu = json_object(), *j;
	double all = 0;

	for (unsigned i = 0; i < c->n; i++)
		if (first_of_name(c, i)) {
			json_object_set_new(cpu, c->p[i].name, json_real(per_boot(c, i, boots)));
			all += per_boot(c, i, boots);
		}
	j = json_pack("{s:o,s:f,s:f,s:f,s:f}", "cpu_ms_per_boot", cpu, "cpu_ms_per_boot_servers",
		      all, "cpu_ms_per_boot_client", c->cpu.client_s * 1e3 / boots,
		      "cpu_ms_per_boot_machine", c->cpu.machine_s * 1e3 / boots, "machine_busy",
		      c->busy);
	if (c->grown)
		json_object_set(j, "counters", c->grown);
	return j;
}
