// SPDX-License-Identifier: GPL-2.0-or-later
/* Suspects in words, and as objects. */
#include "view_suspects.h"

#include <string.h>

#include "formats/desc.h"
#include "options.h"

static const struct {
	const char *how;
	const char *text;
} kinds[] = {
	[SUSPECT_RING] = {"used-ring", NULL},
	[SUSPECT_DEVICE] = {"transfer", NULL},
	[SUSPECT_VMM] = {"vmm-write", NULL},
	[SUSPECT_STORE] = {"store-fault", "opened it, by a store"},
	[SUSPECT_LOAD] = {"load-fault", "opened it, by a load: it stored nothing then"},
	[SUSPECT_WALK] = {"page-walk", "had its address translated by this page table"},
	[SUSPECT_MARK] = {"mark", "was served when KVM wrote to it"},
	[SUSPECT_KVM] = {"mark", NULL},
	[SUSPECT_VMM_SOMEWHERE] = {"vmm-somewhere", NULL},
};

#define NAME_ROW(num, name, text) {num, text},
static const struct enum_name sites[] = {ENUM_VMM_SITE(NAME_ROW){0, NULL}};
#undef NAME_ROW

/* A device's, of which only that it had the memory mapped is known. */
static bool is_mapping(const struct suspect *s)
{
	return s->kind == SUSPECT_VMM && s->site == VMM_SITE_MAP;
}

static bool is_vmm(const struct suspect *s)
{
	return s->kind == SUSPECT_VMM || s->kind == SUSPECT_VMM_SOMEWHERE;
}

static const char *suspect_how(const struct suspect *s)
{
	if (!is_mapping(s))
		return kinds[s->kind].how;
	return s->phase == VMM_PHASE_CLOSED ? "unmapped" : "mapped";
}

static const char *site_name(const struct suspect *s)
{
	return enum_name(sites, s->site) ?: "?";
}

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

/* By a vCPU, whose fault is told of: who stores to the page after that does so without one. */
static bool was_opened(const struct suspects *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->list[i].kind == SUSPECT_STORE || s->list[i].kind == SUSPECT_LOAD)
			return true;
	return false;
}

/* Somebody who is known to have come near these bytes. */
static bool is_near(const struct suspect *s)
{
	return s->bytes || (s->kind >= SUSPECT_STORE && s->kind <= SUSPECT_KVM);
}

/* Whether a vCPU may have stored that none of these tells of. */
static bool any_vcpu(const struct suspects *s)
{
	bool near = false;

	for (size_t i = 0; i < s->n; i++)
		near |= is_near(&s->list[i]);
	return !near || was_opened(s);
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
		json_str(j, "origin", origin_name(suspect_origin(one)));
		json_str(j, "how", suspect_how(one));
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
		if (suspect_origin(one) == ORIGIN_VIRTQUEUE) {
			json_hex(j, "gpa", one->gpa);
			json_u64(j, "len", one->end - one->gpa);
			json_str(j, "dev",
				 state_device_name(view->state, one->request.dev, name,
						   sizeof(name)));
			json_u64(j, "queue", one->request.queue);
			json_u64(j, "req", one->request.req);
		}
		if (one->kind == SUSPECT_VMM) {
			json_hex(j, "gpa", one->gpa);
			json_u64(j, "len", one->end - one->gpa);
		}
		if (is_vmm(one))
			json_str(j, "site", site_name(one));
		if (one->tid)
			json_u64(j, "host_tid", one->tid);
		json_close(j, '}');
	}
	if (any_vcpu(s)) {
		json_open(j, NULL, '{');
		json_str(j, "origin", origin_name(ORIGIN_VCPU));
		json_str(j, "how", "unseen-store");
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

static void vmm_text(FILE *f, const struct suspect *one)
{
	const char *did = "QEMU itself wrote";

	if (one->kind == SUSPECT_VMM_SOMEWHERE && one->phase == VMM_PHASE_OPENED) {
		fprintf(f, "QEMU itself began to write all of memory (%s)", site_name(one));
		return;
	}
	if (one->kind == SUSPECT_VMM_SOMEWHERE) {
		fprintf(f, "QEMU itself wrote, it is not known where (%s)", site_name(one));
		return;
	}
	if (is_mapping(one))
		did = one->phase == VMM_PHASE_CLOSED ? "a device of QEMU's wrote"
						     : "a device of QEMU's could write";
	fprintf(f, "%s 0x%llx+%llu (%s)%s", did, (unsigned long long)one->gpa,
		(unsigned long long)(one->end - one->gpa), site_name(one),
		one->bytes ? "" : ", beside it");
}

void view_suspects_text(FILE *f, const struct view *view, const struct suspects *s)
{
	char time[40], name[48];

	for (size_t i = 0; i < s->n; i++) {
		const struct suspect *one = &s->list[i];

		fprintf(f, "    %-12s%s  ", i ? "" : "candidate",
			view_time(one->at.t_ns, time, sizeof(time)));
		if (suspect_origin(one) == ORIGIN_VIRTQUEUE)
			fprintf(f, "%s queue %u request %llu %s 0x%llx+%llu%s",
				state_device_name(view->state, one->request.dev, name,
						  sizeof(name)),
				one->request.queue, (unsigned long long)one->request.req,
				one->kind != SUSPECT_RING ? "wrote"
				: one->taken		  ? "was taken, its used ring is"
							  : "was completed in its used ring",
				(unsigned long long)one->gpa,
				(unsigned long long)(one->end - one->gpa),
				one->bytes ? "" : ", beside it");
		else if (is_vmm(one))
			vmm_text(f, one);
		else if (one->kind == SUSPECT_KVM)
			fputs("KVM wrote to it, with no vCPU running", f);
		else
			vcpu_text(f, view, one);
		fputc('\n', f);
	}
	if (s->more)
		fprintf(f, "                and %llu more\n", (unsigned long long)s->more);
	if (any_vcpu(s))
		fprintf(f, "    %-12sany vCPU%s\n", s->n ? "" : "candidate",
			was_opened(s) ? " after it: stores to a page that is open make no fault"
				      : ": no fault was told of, so that the instruction is not "
					"known");
}

void view_watch(char *buf, size_t size, u64 gpa, u64 end)
{
	snprintf(buf, size, "record --watch 0x%llx+%llu", (unsigned long long)gpa,
		 (unsigned long long)(end - gpa));
}
