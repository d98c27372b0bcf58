// SPDX-License-Identifier: GPL-2.0-only
#include "utils/lib/progress.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "utils/lib/size.h"

#define DRAW_MS 100u
#define RATE_MS 500u /* the rate is looked at this often */
#define BAR	20u

void vms_progress_open(struct vms_progress *p, FILE *f, bool quiet, const char *label,
		       uint64_t done_bytes, uint64_t total_bytes, uint64_t now_ms)
{
	memset(p, 0, sizeof(*p));
	if (f && !quiet && isatty(fileno(f)))
		p->f = f;
	snprintf(p->label, sizeof(p->label), "%s", label);
	for (char *c = p->label; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	p->total_bytes = total_bytes;
	p->start_ms = p->mark_ms = now_ms;
	p->mark_bytes = done_bytes;
}

/* Long times need no seconds, short ones no hours. */
static void left_text(double s, char *out, size_t room)
{
	uint64_t n = s > 359999 ? 359999 : (uint64_t)(s + 0.5);

	if (n >= 3600)
		snprintf(out, room, "%" PRIu64 " h %02" PRIu64 " min", n / 3600, n / 60 % 60);
	else if (n >= 60)
		snprintf(out, room, "%" PRIu64 " min %02" PRIu64 " s", n / 60, n % 60);
	else
		snprintf(out, room, "%" PRIu64 " s", n);
}

const char *vms_progress_text(const struct vms_progress *p, uint64_t done, char *out)
{
	char bytes[VMS_SIZE_TEXT_MAX], rate[VMS_SIZE_TEXT_MAX], bar[BAR + 1], left[32];
	size_t at;

	vms_size_human(done, bytes);
	if (p->total_bytes) {
		uint64_t d = done < p->total_bytes ? done : p->total_bytes;
		double part = (double)d / (double)p->total_bytes;
		unsigned full = (unsigned)(part * BAR);

		memset(bar, ' ', BAR);
		memset(bar, '#', full);
		bar[BAR] = 0;
		at = (size_t)snprintf(out, VMS_PROGRESS_TEXT_MAX, "%s [%s] %3u%%  %s", p->label,
				      bar, (unsigned)(part * 100), bytes);
		if (p->rate >= 1) {
			left_text((double)(p->total_bytes - d) / p->rate, left, sizeof(left));
			snprintf(out + at, VMS_PROGRESS_TEXT_MAX - at, "  %s/s  %s left",
				 vms_size_human((uint64_t)p->rate, rate), left);
		}
		return out;
	}
	at = (size_t)snprintf(out, VMS_PROGRESS_TEXT_MAX, "%s  %s", p->label, bytes);
	if (p->rate >= 1)
		snprintf(out + at, VMS_PROGRESS_TEXT_MAX - at, "  %s/s",
			 vms_size_human((uint64_t)p->rate, rate));
	return out;
}

void vms_progress_update(struct vms_progress *p, uint64_t done, uint64_t now_ms)
{
	char text[VMS_PROGRESS_TEXT_MAX];

	if (now_ms - p->mark_ms >= RATE_MS && done >= p->mark_bytes) {
		double now = (double)(done - p->mark_bytes) * 1000.0 /
			     (double)(now_ms - p->mark_ms);

		p->rate = p->rate > 0 ? 0.7 * p->rate + 0.3 * now : now;
		p->mark_ms = now_ms;
		p->mark_bytes = done;
	}
	if (!p->f || (p->drawn && now_ms - p->drawn_ms < DRAW_MS))
		return;
	p->drawn = true;
	p->drawn_ms = now_ms;
	fprintf(p->f, "\r\033[K%s", vms_progress_text(p, done, text));
	fflush(p->f);
}

void vms_progress_wipe(struct vms_progress *p)
{
	if (p->f && p->drawn) {
		fputs("\r\033[K", p->f);
		fflush(p->f);
	}
	p->drawn = false;
}

void vms_progress_close(struct vms_progress *p)
{
	vms_progress_wipe(p);
	p->f = NULL;
}
