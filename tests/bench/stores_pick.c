// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * stores_pick FILE: pages and bytes of different kinds in a trace of stores, for questions about
 * them, as NAME=VALUE lines for a shell.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stores_each.h"

#define PAGES (1u << 20) /* of 4 KiB: what lies below 4 GiB */

struct pick {
	u32 count[PAGES];
	bool other[PAGES]; /* a device wrote to it, or the recorder looked at it */
	u32 order[PAGES], norder;
	u64 t_end_ns, middle_ns, late_ns; /* of the last event, of stores */
	u64 seen, all;
	u64 number, pointer; /* values of 8 bytes in the middle of it */
	u64 hottest;
	u32 bytes[4096]; /* of the hottest page: how often each was written */
	u64 gva[4096];
	struct {
		const char *name;
		u64 page, gpa; /* gpa: of the last store to it */
	} kinds[4];
};

static bool is_number(u64 v)
{
	for (unsigned i = 0; i < 8; i++)
		if ((u8)(v >> 8 * i) == 0 || (u8)(v >> 8 * i) == 0xff ||
		    (i && (u8)(v >> 8 * i) == (u8)(v >> 8 * (i - 1))))
			return false;
	return true;
}

static int on_page(void *arg, const struct event *ev, u64 seq, const struct stores *s)
{
	struct pick *p = arg;

	(void)seq;
	if (ev && (ev->kind == EVENT_content || ev->kind == EVENT_unseen)) {
		const u64 gpa = ev->kind == EVENT_content ? ((const struct event_content *)ev)->gpa
							  : ((const struct event_unseen *)ev)->gpa;

		if (gpa >> 12 < PAGES)
			p->other[gpa >> 12] = true;
	}
	if (s)
		p->seen += s->n;
	if (s && p->seen <= p->all / 2)
		p->middle_ns = s->t_ns;
	if (s && p->seen <= p->all / 100 * 99)
		p->late_ns = s->t_ns;
	for (u32 i = 0; s && i < s->n; i++) {
		const struct store *v = &s->v[i];

		if (v->smm || v->gpa >> 12 >= PAGES)
			continue;
		p->count[v->gpa >> 12]++;
		if (v->size == 8 && p->seen > p->all / 2) {
			if (!p->number && is_number(v->value))
				p->number = v->value;
			if (!p->pointer && v->value >> 48 == 0xffff && v->value & 0xffff)
				p->pointer = v->value;
		}
	}
	return 0;
}

static int on_byte(void *arg, const struct event *ev, u64 seq, const struct stores *s)
{
	struct pick *p = arg;

	(void)ev, (void)seq;
	for (u32 i = 0; i < s->n; i++) {
		const struct store *v = &s->v[i];

		if (v->smm)
			continue;
		for (unsigned k = 0; k < 4; k++)
			if (v->gpa >> 12 == p->kinds[k].page)
				p->kinds[k].gpa = v->gpa;
		for (u32 k = 0; v->gpa >> 12 == p->hottest && k < v->size; k++) {
			p->bytes[(v->gpa & 0xfff) + k]++;
			p->gva[(v->gpa & 0xfff) + k] = v->gva;
		}
	}
	return 0;
}

static const u32 *counts;
static int hotter(const void *a, const void *b)
{
	const u32 x = counts[*(const u32 *)a], y = counts[*(const u32 *)b];

	return x > y ? -1 : x < y ? 1 : *(const u32 *)a < *(const u32 *)b ? -1 : 1;
}

int main(int argc, char **argv)
{
	struct pick *p = calloc(1, sizeof(*p));
	u32 hot = 0, cold = 0, never = 0x100, n = 0;

	if (argc != 2 || !p) {
		fprintf(stderr, "usage: stores_pick FILE\n");
		return 2;
	}
	struct reader *r = each_open(argv[1]);

	p->t_end_ns = reader_info(r)->t_end_ns;
	p->all = reader_info(r)->events; /* nearly all are stores */
	each_run(r, 0, on_page, p);
	for (u32 i = 0; i < PAGES; i++)
		if (p->count[i])
			p->order[p->norder++] = i;
	if (!p->norder)
		die(argv[1], "no stores");
	counts = p->count;
	qsort(p->order, p->norder, sizeof(*p->order), hotter);
	/* Of those that were written once the one in the middle. */
	while (n < p->norder && p->count[p->order[p->norder - 1 - n]] == 1)
		n++;
	p->hottest = p->order[0];
	p->kinds[0].name = "hottest";
	p->kinds[0].page = p->hottest;
	p->kinds[1].name = "hundred";
	p->kinds[1].page = p->order[p->norder < 50 ? 0 : 49];
	p->kinds[2].name = "median";
	p->kinds[2].page = p->order[p->norder / 2];
	p->kinds[3].name = "once";
	p->kinds[3].page = p->order[p->norder - 1 - n / 2];
	each_run(r, 1u << STREAM_STORES, on_byte, p);
	for (u32 i = 0; i < 4096; i++) {
		if (p->bytes[i] > p->bytes[hot])
			hot = i;
		if (p->bytes[i] && (!p->bytes[cold] || p->bytes[i] < p->bytes[cold]))
			cold = i;
	}
	while (p->count[never] || p->other[never])
		never++;
	for (unsigned k = 0; k < 4; k++)
		printf("%s=0x%llx %s_n=%u %s_byte=0x%llx\n", p->kinds[k].name,
		       (unsigned long long)p->kinds[k].page << 12, p->kinds[k].name,
		       p->count[p->kinds[k].page], p->kinds[k].name,
		       (unsigned long long)p->kinds[k].gpa);
	printf("never=0x%llx never_byte=0x%llx\n", (unsigned long long)never << 12,
	       (unsigned long long)never << 12);
	printf("hot_byte=0x%llx hot_byte_n=%u\n", (unsigned long long)(p->hottest << 12) + hot,
	       p->bytes[hot]);
	printf("cold_byte=0x%llx cold_byte_n=%u cold_gva=0x%llx\n",
	       (unsigned long long)(p->hottest << 12) + cold, p->bytes[cold],
	       (unsigned long long)p->gva[cold]);
	printf("pages=%u number=0x%llx pointer=0x%llx\n", p->norder, (unsigned long long)p->number,
	       (unsigned long long)p->pointer);
	printf("end_ns=%llu middle_ns=%llu late_ns=%llu\n", (unsigned long long)p->t_end_ns,
	       (unsigned long long)p->middle_ns, (unsigned long long)p->late_ns);
	reader_close(r);
	free(p);
	return 0;
}
