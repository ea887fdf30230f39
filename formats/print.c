// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Prints an event by walking its description: a new kind of event needs nothing here.
 */
#include "print.h"

#include <inttypes.h>
#include <string.h>

#include "desc.h"

/* Most bytes of a blob that a line of text shows. */
#define TEXT_BYTES 32

static u64 value_at(const void *ev, const struct field_desc *f, unsigned i)
{
	const u8 *p = (const u8 *)ev + f->off + (size_t)i * f->width;
	u16 v16;
	u32 v32;
	u64 v64;

	switch (f->width) {
	case 1:
		return *p;
	case 2:
		memcpy(&v16, p, sizeof(v16));
		return v16;
	case 4:
		memcpy(&v32, p, sizeof(v32));
		return v32;
	default:
		memcpy(&v64, p, sizeof(v64));
		return v64;
	}
}

/* Valid elements of an array; never more than it holds. */
static unsigned field_count(const void *ev, const struct event_desc *d, const struct field_desc *f)
{
	if (f->count < 0)
		return 1;
	const u64 n = value_at(ev, &d->fields[f->count], 0);

	return n < f->max ? (unsigned)n : f->max;
}

/* A count says nothing that its array does not, except where the array is cut in print. */
static bool field_is_count(const struct event_desc *d, unsigned index)
{
	for (unsigned i = 0; i < d->nfields; i++)
		if (d->fields[i].count == (int)index)
			return strcmp(d->fields[index].name, "len") != 0;
	return false;
}

static size_t text_len(const void *ev, const struct field_desc *f, unsigned n)
{
	return strnlen((const char *)ev + f->off, n);
}

static void print_text_str(FILE *f, const u8 *s, size_t len)
{
	putc_unlocked('"', f);
	for (size_t i = 0; i < len; i++) {
		if (s[i] == '"' || s[i] == '\\')
			fprintf(f, "\\%c", s[i]);
		else if (s[i] < 0x20 || s[i] == 0x7f)
			fprintf(f, "\\x%02x", s[i]);
		else
			putc_unlocked(s[i], f);
	}
	putc_unlocked('"', f);
}

static void print_text_value(FILE *f, const struct field_desc *d, u64 v)
{
	const char *name;

	switch (d->show) {
	case SHOW_HEX:
	case SHOW_GPA:
	case SHOW_GVA:
		fprintf(f, "0x%" PRIx64, v);
		break;
	case SHOW_NS:
		fprintf(f, "%" PRIu64 ".%09" PRIu64, v / 1000000000, v % 1000000000);
		break;
	case SHOW_ENUM:
		name = enum_name(d->enum_names, v);
		if (name) {
			fputs_unlocked(name, f);
			break;
		}
		/* fall through */
	default:
		fprintf(f, "%" PRIu64, v);
	}
}

static void print_text_field(FILE *f, const void *ev, const struct event_desc *d,
			     const struct field_desc *fd)
{
	const u8 *p = (const u8 *)ev + fd->off;
	const unsigned n = field_count(ev, d, fd);

	if (n == 0)
		return;
	fprintf(f, " %s ", fd->name);
	if (fd->show == SHOW_STR) {
		print_text_str(f, p, text_len(ev, fd, n));
	} else if (fd->show == SHOW_BYTES) {
		for (unsigned i = 0; i < n && i < TEXT_BYTES; i++)
			fprintf(f, "%02x", p[i]);
		if (n > TEXT_BYTES)
			fputs_unlocked("...", f);
	} else {
		for (unsigned i = 0; i < n; i++) {
			if (i)
				putc_unlocked(',', f);
			print_text_value(f, fd, value_at(ev, fd, i));
		}
	}
}

void print_event_text(FILE *f, const struct event *ev, u64 seq)
{
	const struct event_desc *d = event_desc(ev->kind);

	fprintf(f, "%4" PRIu64 ".%09" PRIu64 " #%" PRIu64, ev->t_ns / 1000000000,
		ev->t_ns % 1000000000, seq);
	if (ev->boot != BOOT_UNKNOWN)
		fprintf(f, " boot %u", ev->boot);
	if (ev->vcpu != VCPU_NONE)
		fprintf(f, " vcpu %u", ev->vcpu);
	if (!d) {
		fprintf(f, " kind %u\n", ev->kind);
		return;
	}
	fprintf(f, " %s", d->name);
	for (unsigned i = 0; i < d->nfields; i++)
		if (!field_is_count(d, i))
			print_text_field(f, ev, d, &d->fields[i]);
	putc_unlocked('\n', f);
}

static void print_json_value(struct json *j, const char *key, const struct field_desc *d, u64 v)
{
	const char *name;

	switch (d->show) {
	case SHOW_HEX:
	case SHOW_GPA:
	case SHOW_GVA:
		json_hex(j, key, v);
		break;
	case SHOW_ENUM:
		name = enum_name(d->enum_names, v);
		if (name) {
			json_str(j, key, name);
			break;
		}
		/* fall through */
	default:
		json_u64(j, key, v);
	}
}

static void print_json_field(struct json *j, const void *ev, const struct event_desc *d,
			     const struct field_desc *fd)
{
	const u8 *p = (const u8 *)ev + fd->off;
	const unsigned n = field_count(ev, d, fd);

	if (fd->count < 0) {
		print_json_value(j, fd->name, fd, value_at(ev, fd, 0));
	} else if (n == 0) {
		return;
	} else if (fd->show == SHOW_STR) {
		json_strn(j, fd->name, (const char *)p, text_len(ev, fd, n));
	} else if (fd->show == SHOW_BYTES) {
		json_bytes(j, fd->name, p, n);
	} else {
		json_open(j, fd->name, '[');
		for (unsigned i = 0; i < n; i++)
			print_json_value(j, NULL, fd, value_at(ev, fd, i));
		json_close(j, ']');
	}
}

void print_event_json(FILE *f, const struct event *ev, u64 seq)
{
	const struct event_desc *d = event_desc(ev->kind);
	struct json j = {.f = f};

	json_open(&j, NULL, '{');
	json_u64(&j, "v", 1);
	json_u64(&j, "seq", seq);
	if (d)
		json_str(&j, "event", d->name);
	else
		json_u64(&j, "event", ev->kind);
	json_u64(&j, "t_ns", ev->t_ns);
	if (ev->boot != BOOT_UNKNOWN)
		json_u64(&j, "boot", ev->boot);
	json_u64(&j, "tid", ev->tid);
	json_u64(&j, "tseq", ev->tseq);
	if (ev->vcpu != VCPU_NONE)
		json_u64(&j, "vcpu", ev->vcpu);
	for (unsigned i = 0; d && i < d->nfields; i++)
		if (!field_is_count(d, i))
			print_json_field(&j, ev, d, &d->fields[i]);
	json_close(&j, '}');
	json_end(&j);
}
