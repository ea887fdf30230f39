// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Prints docs/events.md from the tables: the reference of event kinds, fields and enumerations.
 */
#include <stdio.h>
#include <string.h>

#include "formats/desc.h"

static const char *const codecs[] = {
	[CODEC_RUN] = "RUN",	 [CODEC_SITE] = "SITE",	    [CODEC_STRIDE] = "STRIDE",
	[CODEC_NEXT] = "NEXT",	 [CODEC_BLOB] = "BLOB",	    [CODEC_STEP] = "STEP",
	[CODEC_COUNT] = "COUNT", [CODEC_THREAD] = "THREAD",
};

static const char *const shows[] = {
	[SHOW_DEC] = "decimal", [SHOW_HEX] = "hex",	[SHOW_GPA] = "gpa",  [SHOW_GVA] = "gva",
	[SHOW_NS] = "ns",	[SHOW_BYTES] = "bytes", [SHOW_STR] = "text",
};

/* Enumerations by the address of their names, so that a field can say which is its own. */
static const struct {
	const char *name;
	const struct enum_name *names;
} enums[] = {
#define ENUM_NAMES(num, text_name, text) {(num), (text)},
#define ENUM_ROW(type, NAME, list)	 {#type, (const struct enum_name[]){list(ENUM_NAMES){0, NULL}}},
	ENUMS(ENUM_ROW)};

static bool names_same(const struct enum_name *a, const struct enum_name *b)
{
	for (; a->name && b->name && a->num == b->num && strcmp(a->name, b->name) == 0; a++, b++)
		;
	return !a->name && !b->name;
}

static const char *enum_title(const struct enum_name *names)
{
	for (size_t i = 0; i < sizeof(enums) / sizeof(*enums); i++)
		if (names_same(enums[i].names, names))
			return enums[i].name;
	return "?";
}

static void print_fields(const struct field_desc *fields, unsigned n)
{
	printf("| field | type | codec | shown as | |\n|---|---|---|---|---|\n");
	for (unsigned i = 0; i < n; i++) {
		const struct field_desc *f = &fields[i];

		printf("| `%s` | u%u", f->name, f->width * 8);
		if (f->count >= 0)
			printf("[%u], counted by `%s`", f->max, fields[f->count].name);
		printf(" | %s | %s | %s |\n", codecs[f->codec],
		       f->show == SHOW_ENUM ? enum_title(f->enum_names) : shows[f->show], f->doc);
	}
}

int main(void)
{
	printf("# Events\n\n"
	       "Generated from `formats/events.def` by `make docs/events.md`; do not edit. Numbers "
	       "are "
	       "permanent.\nHow fields are encoded is told in [format.md](format.md).\n\n"
	       "## Header of every event\n\n");
	print_fields(event_header_fields, event_header_nfields);
	for (unsigned k = 1; k < EVENT_MAX; k++) {
		const struct event_desc *d = event_desc(k);

		if (!d)
			continue;
		printf("\n## %u `%s`\n\nStream %s: %s.\n\n", d->kind, d->name,
		       stream_name(d->stream), d->doc);
		print_fields(d->fields, d->nfields);
	}
	printf("\n# Enumerations\n");
	for (size_t i = 0; i < sizeof(enums) / sizeof(*enums); i++) {
		printf("\n## %s\n\n| number | name |\n|---|---|\n", enums[i].name);
		for (const struct enum_name *n = enums[i].names; n->name; n++)
			printf("| %u | %s |\n", n->num, n->name);
	}
	return 0;
}
