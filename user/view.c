/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shows writes; the only place that knows how a vCPU's or a device's doing is put into words. */
#include "view.h"

#include <string.h>

#include "formats/desc.h"
#include "insn.h"
#include "line.h"

#define NAME_ROW(num, name, text) {num, text},
static const struct enum_name version_hows[] = {ENUM_VERSION_HOW(NAME_ROW){0, NULL}};
#undef NAME_ROW

const char *tint(const struct view *view, enum tint which)
{
	static const char *const codes[] = {
		[TINT_NONE] = "",	    [TINT_BOLD] = "\033[1m",   [TINT_GOOD] = "\033[1;32m",
		[TINT_WARN] = "\033[1;33m", [TINT_BAD] = "\033[1;31m", [TINT_DIM] = "\033[2m",
	};

	return view->colour ? codes[which] : "";
}

static void line_time(struct line *l, u64 t_ns)
{
	line_dec(l, t_ns / 1000000000, 1);
	line_text(l, ".");
	line_dec(l, t_ns % 1000000000, 9);
	line_text(l, " s");
}

const char *view_time(u64 t_ns, char *buf, size_t size)
{
	struct line l = line_of(buf, size);

	line_time(&l, t_ns);
	return buf;
}

void view_bytes(FILE *f, const u8 *bytes, u64 n, u64 most)
{
	char text[256];
	struct line l = line_of(text, sizeof(text));

	line_bytes(&l, bytes, n, most);
	fputs(text, f);
}

/* Symbols are looked up by linear address. */
static u64 linear(const struct event_mmio *mmio, u64 offset)
{
	const u64 address = mmio->cs_base + offset;

	switch (mmio->mode) {
	case CPU_MODE_PROT64:
		return offset;
	case CPU_MODE_UNKNOWN: /* the emulator tells of linear addresses only */
		return address;
	default:
		return address & UINT32_MAX;
	}
}

static bool symbol_of(const struct view *view, const struct event_mmio *mmio, u64 offset,
		      struct symbol *symbol)
{
	return symbols_find(view->symbols, linear(mmio, offset), symbol);
}

static unsigned insn_len(const struct event_mmio *mmio)
{
	return mmio->insn_len < sizeof(mmio->insn) ? mmio->insn_len : sizeof(mmio->insn);
}

static unsigned ret_count(const struct event_mmio *mmio)
{
	const unsigned max = sizeof(mmio->ret) / sizeof(mmio->ret[0]);

	return mmio->nret < max ? mmio->nret : max;
}

static bool write_sector(const struct view *view, const struct write *w, u64 *sector)
{
	return state_device_id(view->state, w->request.dev) == VIRTIO_ID_BLK &&
	       request_sector(&w->request, sector);
}

static bool has_window(const struct write *w)
{
	return w->origin == ORIGIN_UNSEEN || w->version_how;
}

void view_actor(const struct view *view, const struct write *w, char *buf, size_t size)
{
	char name[48];

	if (w->origin == ORIGIN_VIRTQUEUE) {
		u64 sector;
		size_t n = (size_t)snprintf(
			buf, size, "%s queue %u request %llu",
			state_device_name(view->state, w->request.dev, name, sizeof(name)),
			w->request.queue, (unsigned long long)w->request.req);
		if (n < size && write_sector(view, w, &sector))
			snprintf(buf + n, size - n, " sector %llu", (unsigned long long)sector);
		return;
	}
	if (w->version_how) {
		snprintf(buf, size, "found changed (%s)",
			 enum_name(version_hows, w->version_how) ?: "?");
		return;
	}
	if (w->origin == ORIGIN_UNSEEN) {
		snprintf(buf, size, "unseen (%s)", why_name(w->why) ?: "?");
		return;
	}
	const struct event_mmio *mmio = &w->ev.mmio;
	struct line l = line_of(buf, size);
	struct symbol symbol;

	line_text(&l, "vCPU ");
	line_dec(&l, mmio->h.vcpu, 1);
	line_text(&l, " at ");
	if (symbol_of(view, mmio, mmio->rip, &symbol))
		line_text(&l, symbol.name);
	else
		line_hex(&l, linear(mmio, mmio->rip));
}

static void vcpu_json(struct json *j, const struct view *view, const struct write *w)
{
	const struct event_mmio *mmio = &w->ev.mmio;
	struct symbol symbol;

	json_str(j, "order", view->state->racy || w->raced ? "racy" : "exact");
	if (mmio->h.vcpu != VCPU_NONE)
		json_u64(j, "vcpu", mmio->h.vcpu);
	json_hex(j, "rip", mmio->rip);
	if (mmio->mode != CPU_MODE_UNKNOWN) {
		json_hex(j, "cs_base", mmio->cs_base);
		json_hex(j, "cr3", mmio->cr3);
	}
	if (mmio->cpl != 0xff)
		json_u64(j, "cpl", mmio->cpl);
	if (insn_len(mmio))
		json_bytes(j, "insn", mmio->insn, insn_len(mmio));
	if (ret_count(mmio)) {
		json_open(j, "stack", '[');
		for (unsigned i = 0; i < ret_count(mmio); i++)
			json_hex(j, NULL, mmio->ret[i]);
		json_close(j, ']');
	}
	if (symbol_of(view, mmio, mmio->rip, &symbol)) {
		json_str(j, "symbol", symbol.name);
		if (symbol.src[0])
			json_str(j, "src", symbol.src);
	}
}

static void device_json(struct json *j, const struct view *view, const struct write *w)
{
	char name[48];
	u64 sector;

	json_str(j, "dev", state_device_name(view->state, w->request.dev, name, sizeof(name)));
	json_u64(j, "queue", w->request.queue);
	json_u64(j, "req", w->request.req);
	if (write_sector(view, w, &sector))
		json_u64(j, "sector", sector);
}

void view_json(struct json *j, const struct view *view, const struct view_write *v)
{
	const struct write *w = v->write;
	const bool clipped = v->gpa != w->gpa || v->end != w->end;
	char actor[320];

	json_u64(j, "seq", w->at.seq);
	json_u64(j, "t_ns", has_window(w) ? w->since_ns : w->at.t_ns);
	if (has_window(w))
		json_u64(j, "t_end_ns", w->at.t_ns);
	if (w->ev.h.boot != BOOT_UNKNOWN)
		json_u64(j, "boot", w->ev.h.boot);
	json_hex(j, "gpa", v->gpa);
	json_u64(j, "len", v->end - v->gpa);
	if (clipped) {
		json_hex(j, "write_gpa", w->gpa);
		json_u64(j, "write_len", w->end - w->gpa);
	}
	if (v->bytes)
		json_bytes(j, "bytes", v->bytes, v->end - v->gpa);
	if (v->old)
		json_bytes(j, "old", v->old, v->end - v->gpa);
	if (w->origin != ORIGIN_NONE)
		json_str(j, "origin", origin_name(w->origin));
	json_str(j, "precision",
		 w->version_how		    ? "page"
		 : w->origin == ORIGIN_VCPU ? "byte"
					    : "range");
	if (w->has_gva)
		json_hex(j, "gva", w->gva);
	if (w->origin == ORIGIN_VCPU)
		vcpu_json(j, view, w);
	else if (w->origin == ORIGIN_VIRTQUEUE)
		device_json(j, view, w);
	if (w->ev.h.tid)
		json_u64(j, "host_tid", w->ev.h.tid);
	view_actor(view, w, actor, sizeof(actor));
	json_str(j, "actor", actor);
}

static void line_range(struct line *l, u64 gpa, u64 end)
{
	line_hex(l, gpa);
	line_text(l, "+");
	line_dec(l, end - gpa, 1);
}

void view_line(FILE *f, const struct view *view, const struct view_write *v)
{
	const struct write *w = v->write;
	const u64 n = v->end - v->gpa;
	char text[1024], actor[320];
	struct line l = line_of(text, sizeof(text));

	line_time(&l, w->at.t_ns);
	line_text(&l, "  #");
	line_dec(&l, w->at.seq, 1);
	line_text(&l, "  ");
	if (w->ev.h.boot != BOOT_UNKNOWN) {
		line_text(&l, "boot ");
		line_dec(&l, w->ev.h.boot, 1);
		line_text(&l, "  ");
	}
	line_range(&l, v->gpa, v->end);
	line_text(&l, "  ");
	if (v->old) {
		line_bytes(&l, v->old, n, 16);
		line_text(&l, " -> ");
	}
	if (v->bytes)
		line_bytes(&l, v->bytes, n, 16);
	else
		line_text(&l, "(bytes not captured)");
	line_text(&l, "  ");
	view_actor(view, w, actor, sizeof(actor));
	line_text(&l, actor);
	if (w->raced)
		line_text(&l, "  (raced)");
	if (v->gpa != w->gpa || v->end != w->end) {
		line_text(&l, "  (part of ");
		line_range(&l, w->gpa, w->end);
		line_text(&l, ")");
	}
	line_text(&l, "\n");
	fwrite_unlocked(text, 1, (size_t)(l.at - text), f);
}

static void stack_paragraph(FILE *f, const struct view *view, const struct event_mmio *mmio)
{
	for (unsigned i = 0; i < ret_count(mmio); i++) {
		struct symbol symbol;

		fprintf(f, "    %s 0x%llx", i ? "           " : "called from",
			(unsigned long long)mmio->ret[i]);
		if (symbol_of(view, mmio, mmio->ret[i], &symbol))
			fprintf(f, " %s%s%s", symbol.name, symbol.src[0] ? "  " : "", symbol.src);
		fputc('\n', f);
	}
}

static void vcpu_paragraph(FILE *f, const struct view *view, const struct event_mmio *mmio)
{
	struct symbol symbol;
	char text[128];

	fputs("    by          ", f);
	if (mmio->h.vcpu != VCPU_NONE)
		fprintf(f, "vCPU %u, ", mmio->h.vcpu);
	if (mmio->mode == CPU_MODE_REAL || mmio->mode == CPU_MODE_VM86)
		fprintf(f, "cs:rip %04llx:%04llx", (unsigned long long)(mmio->cs_base >> 4),
			(unsigned long long)mmio->rip);
	else if (mmio->cs_base)
		fprintf(f, "rip 0x%llx, cs base 0x%llx", (unsigned long long)mmio->rip,
			(unsigned long long)mmio->cs_base);
	else
		fprintf(f, "rip 0x%llx", (unsigned long long)mmio->rip);
	if (mmio->cpl != 0xff)
		fprintf(f, ", cpl %u", mmio->cpl);
	if (mmio->mode != CPU_MODE_UNKNOWN)
		fprintf(f, ", cr3 0x%llx", (unsigned long long)mmio->cr3);
	fputc('\n', f);
	if (symbol_of(view, mmio, mmio->rip, &symbol))
		fprintf(f, "    in          %s%s%s%s%s\n", tint(view, TINT_BOLD), symbol.name,
			TINT_OFF(view), symbol.src[0] ? "  " : "", symbol.src);
	if (insn_len(mmio)) {
		fputs("    instruction ", f);
		if (insn_format(mmio->mode, mmio->insn, insn_len(mmio), mmio->rip, text,
				sizeof(text)))
			fprintf(f, "%s\n", text);
		else {
			view_bytes(f, mmio->insn, insn_len(mmio), 16);
			fputc('\n', f);
		}
	}
	stack_paragraph(f, view, mmio);
}

static void device_paragraph(FILE *f, const struct view *view, const struct write *w)
{
	char actor[320];

	view_actor(view, w, actor, sizeof(actor));
	fprintf(f, "    by          %s%s%s, segment %u\n", tint(view, TINT_BOLD), actor,
		TINT_OFF(view), w->ev.sg.index);
}

void view_paragraph(FILE *f, const struct view *view, const struct view_write *v)
{
	const struct write *w = v->write;
	char time[40];

	fputs("    bytes       ", f);
	if (v->old) {
		view_bytes(f, v->old, v->end - v->gpa, 32);
		fputs(" -> ", f);
	}
	if (v->bytes)
		view_bytes(f, v->bytes, v->end - v->gpa, 32);
	else
		fputs("not captured", f);
	fputs("\n    when        ", f);
	if (has_window(w))
		fprintf(f, "between %s and ", view_time(w->since_ns, time, sizeof(time)));
	fprintf(f, "%s, event #%llu", view_time(w->at.t_ns, time, sizeof(time)),
		(unsigned long long)w->at.seq);
	if (w->ev.h.boot != BOOT_UNKNOWN)
		fprintf(f, ", boot %u", w->ev.h.boot);
	fputc('\n', f);
	if (w->raced)
		fputs("    order       another vCPU stored here at the same time: which came first "
		      "is "
		      "not known\n",
		      f);
	if (w->version_how)
		fprintf(f, "    found by    %s\n", enum_name(version_hows, w->version_how) ?: "?");
	if (w->has_gva)
		fprintf(f, "    at          virtual address 0x%llx\n", (unsigned long long)w->gva);
	if (w->origin == ORIGIN_VCPU)
		vcpu_paragraph(f, view, &w->ev.mmio);
	else if (w->origin == ORIGIN_VIRTQUEUE)
		device_paragraph(f, view, w);
	if (v->gpa != w->gpa || v->end != w->end)
		fprintf(f, "    part of     a write to 0x%llx+%llu\n", (unsigned long long)w->gpa,
			(unsigned long long)(w->end - w->gpa));
}
