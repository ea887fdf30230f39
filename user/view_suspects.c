// SPDX-License-Identifier: GPL-2.0-or-later
/* Suspects in words, and as objects. */
#include "view_suspects.h"

#include <string.h>

#include "formats/desc.h"
#include "options.h"

static const struct {
	const char *how;
	enum origin origin;
	const char *text;
} kinds[] = {
	[SUSPECT_RING] = {"used-ring", ORIGIN_VIRTQUEUE, NULL},
	[SUSPECT_DEVICE] = {"transfer", ORIGIN_VIRTQUEUE, NULL},
	[SUSPECT_STORE] = {"store-fault", ORIGIN_VCPU, "opened it, by a store"},
	[SUSPECT_LOAD] = {"load-fault", ORIGIN_VCPU,
			  "opened it, by a load: it stored nothing then"},
	[SUSPECT_WALK] = {"page-walk", ORIGIN_KVM, "had its address translated by this page table"},
	[SUSPECT_MARK] = {"mark", ORIGIN_KVM, "was served when KVM wrote to it"},
	[SUSPECT_KVM] = {"mark", ORIGIN_KVM, NULL},
};

/* Of one version after the other: the runs of one are asked about in a row. */
static bool same_version(const struct suspicion *a, const struct suspicion *b)
{
	return a->gpa >> 12 == b->gpa >> 12 && a->since_ns == b->since_ns &&
	       a->log_ns == b->log_ns && a->at.seq == b->at.seq;
}

static int book_read(struct view_suspects *s, const struct suspicion *of, char *err, size_t size)
{
	const u64 page = of->gpa & ~0xfffull;

	s->last = *of;
	if (s->end > s->gpa)
		return suspects_read(&s->book, s->reader, s->view->state, s->gpa, s->end, 0,
				     UINT64_MAX, err, size);
	return suspects_read(&s->book, s->reader, s->view->state, page, page | 0xfff,
			     of->since_ns < of->log_ns ? of->since_ns : of->log_ns, of->at.t_ns,
			     err, size);
}

const struct suspects *view_suspects(struct view_suspects *s, const struct view_write *v)
{
	const struct write *w = v->write;
	const struct suspicion of = {v->gpa, v->end, w->since_ns, w->log_ns, w->at};
	char err[512];

	if (!w->version_how || w->version_how == VERSION_HOW_SCRUB)
		return NULL;
	if (s->book && s->end <= s->gpa && !same_version(&s->last, &of))
		view_suspects_close(s);
	if (!s->book && book_read(s, &of, err, sizeof(err))) {
		fail("%s", err);
		view_suspects_close(s);
		return NULL;
	}
	suspects_find(s->book, &of, &s->found);
	return &s->found;
}

void view_suspects_close(struct view_suspects *s)
{
	suspects_close(s->book);
	s->book = NULL;
}

static u64 linear(const struct suspect *s)
{
	return s->cs_base + s->rip;
}

void view_suspects_json(struct json *j, const struct view *view, const struct suspects *s)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct suspect *one = &s->list[i];
		struct symbol symbol;
		char name[48];

		json_open(j, NULL, '{');
		json_u64(j, "seq", one->at.seq);
		json_u64(j, "t_ns", one->at.t_ns);
		json_str(j, "origin", origin_name(kinds[one->kind].origin));
		json_str(j, "how", kinds[one->kind].how);
		if (one->vcpu != VCPU_NONE)
			json_u64(j, "vcpu", one->vcpu);
		if (one->rip_known) {
			json_hex(j, one->kind == SUSPECT_STORE ? "first_store_rip" : "rip",
				 one->rip);
			json_hex(j, "cs_base", one->cs_base);
			json_hex(j, "cr3", one->cr3);
			if (symbols_find(view->symbols, linear(one), &symbol))
				json_str(j, "symbol", symbol.name);
		}
		if (one->rip_known && one->cpl != 0xff)
			json_u64(j, "cpl", one->cpl);
		if (kinds[one->kind].origin == ORIGIN_VIRTQUEUE) {
			json_hex(j, "gpa", one->gpa);
			json_u64(j, "len", one->end - one->gpa);
			json_str(j, "dev",
				 state_device_name(view->state, one->request.dev, name,
						   sizeof(name)));
			json_u64(j, "queue", one->request.queue);
			json_u64(j, "req", one->request.req);
		}
		if (one->tid)
			json_u64(j, "host_tid", one->tid);
		json_close(j, '}');
	}
}

static void vcpu_text(FILE *f, const struct view *view, const struct suspect *one)
{
	struct symbol symbol;

	if (one->vcpu != VCPU_NONE)
		fprintf(f, "vCPU %u ", one->vcpu);
	if (!one->rip_known)
		fputs("(its instruction is not known) ", f);
	else if (symbols_find(view->symbols, linear(one), &symbol))
		fprintf(f, "at %s ", symbol.name);
	else
		fprintf(f, "at 0x%llx ", (unsigned long long)linear(one));
	fputs(kinds[one->kind].text, f);
}

void view_suspects_text(FILE *f, const struct view *view, const struct suspects *s)
{
	char time[40], name[48];

	for (size_t i = 0; i < s->n; i++) {
		const struct suspect *one = &s->list[i];

		fprintf(f, "    %-12s%s  ", i ? "" : "candidate",
			view_time(one->at.t_ns, time, sizeof(time)));
		if (kinds[one->kind].origin == ORIGIN_VIRTQUEUE)
			fprintf(f, "%s queue %u request %llu %s 0x%llx+%llu%s",
				state_device_name(view->state, one->request.dev, name,
						  sizeof(name)),
				one->request.queue, (unsigned long long)one->request.req,
				one->kind == SUSPECT_RING ? "was completed in its used ring"
							  : "wrote",
				(unsigned long long)one->gpa,
				(unsigned long long)(one->end - one->gpa),
				one->bytes ? "" : ", beside it");
		else if (one->kind == SUSPECT_KVM)
			fputs("KVM wrote to it, with no vCPU running", f);
		else
			vcpu_text(f, view, one);
		fputc('\n', f);
	}
	if (s->more)
		fprintf(f, "                and %llu more\n", (unsigned long long)s->more);
	if (!s->n)
		fputs("    candidate   any vCPU: no fault was told of, so that the instruction is "
		      "not "
		      "known\n",
		      f);
}

void view_watch(char *buf, size_t size, u64 gpa, u64 end)
{
	snprintf(buf, size, "record --watch 0x%llx+%llu", (unsigned long long)gpa,
		 (unsigned long long)(end - gpa));
}
