// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The event table as data, expanded from events.def. Each kind's tables live in a function of their
 * own, so that field names of different kinds do not meet.
 */
#include "desc.h"

#include <string.h>

/* Names of the enumerations: NAMES_ORIGIN[] = { { 0, "none" }, ... }. */
#define NAME_ITEM(num, name, text) {(num), (text)},
#define NAME_TABLE(type, NAME, list) \
	static const struct enum_name NAMES_##NAME[] = {list(NAME_ITEM){0, NULL}};
ENUMS(NAME_TABLE)

/* What the column `show` of events.def stands for. */
#define SHOW_ITEM(type, NAME, list) SHOW_OF_##NAME = SHOW_ENUM,
enum {
	SHOW_OF_DEC = SHOW_DEC,
	SHOW_OF_HEX = SHOW_HEX,
	SHOW_OF_GPA = SHOW_GPA,
	SHOW_OF_GVA = SHOW_GVA,
	SHOW_OF_NS = SHOW_NS,
	SHOW_OF_BYTES = SHOW_BYTES,
	SHOW_OF_STR = SHOW_STR,
	ENUMS(SHOW_ITEM)
};
#define NAMES_DEC   NULL
#define NAMES_HEX   NULL
#define NAMES_GPA   NULL
#define NAMES_GVA   NULL
#define NAMES_NS    NULL
#define NAMES_BYTES NULL
#define NAMES_STR   NULL

/* Within a kind's function `self` is its structure and FIELD_x the index of field x. */
#define INDEX_FIELD(type, name, codec, show, doc)	      FIELD_##name,
#define INDEX_ARRAY(type, max, name, count, codec, show, doc) FIELD_##name,
#define DESC_FIELD(type, fname, fcodec, fshow, fdoc) \
	{.name = #fname,                             \
	 .doc = (fdoc),                              \
	 .off = offsetof(self, fname),               \
	 .width = sizeof(type),                      \
	 .max = 1,                                   \
	 .count = -1,                                \
	 .codec = CODEC_##fcodec,                    \
	 .show = (enum show)SHOW_OF_##fshow,         \
	 .enum_names = NAMES_##fshow},
#define DESC_ARRAY(type, fmax, fname, fcount, fcodec, fshow, fdoc) \
	{.name = #fname,                                           \
	 .doc = (fdoc),                                            \
	 .off = offsetof(self, fname),                             \
	 .width = sizeof(type),                                    \
	 .max = (fmax),                                            \
	 .count = FIELD_##fcount,                                  \
	 .codec = CODEC_##fcodec,                                  \
	 .show = (enum show)SHOW_OF_##fshow,                       \
	 .enum_names = NAMES_##fshow},

typedef struct event self;
const struct field_desc event_header_fields[] = {EVENT_HEADER_FIELDS(DESC_FIELD)};
const unsigned event_header_nfields = sizeof(event_header_fields) / sizeof(*event_header_fields);

#define DESC_EVENT(num, ename, estream, efields, edoc)                                      \
	static const struct event_desc *desc_##ename(void)                                  \
	{                                                                                   \
		typedef struct event_##ename self;                                          \
		enum { efields(INDEX_FIELD, INDEX_ARRAY) FIELD_COUNT };                     \
		static const struct field_desc table[] = {efields(DESC_FIELD, DESC_ARRAY)}; \
		static const struct event_desc desc = {                                     \
			.name = #ename,                                                     \
			.doc = (edoc),                                                      \
			.kind = (num),                                                      \
			.nfields = FIELD_COUNT,                                             \
			.size = sizeof(self),                                               \
			.stream = STREAM_##estream,                                         \
			.fields = table,                                                    \
		};                                                                          \
		return &desc;                                                               \
	}
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
EVENTS(DESC_EVENT)
#pragma GCC diagnostic pop

#define DESC_ROW(num, name, stream, fields, doc) [num] = desc_##name,
static const struct event_desc *(*const descs[EVENT_MAX])(void) = {EVENTS(DESC_ROW)};

const struct event_desc *event_desc(unsigned kind)
{
	return kind < EVENT_MAX && descs[kind] ? descs[kind]() : NULL;
}

size_t event_used_bytes(const struct event *ev, const struct event_desc *desc)
{
	const struct field_desc *blob = desc->nfields ? &desc->fields[desc->nfields - 1] : NULL;
	u64 n = 0;

	if (!blob || blob->codec != CODEC_BLOB)
		return desc->size;
	const struct field_desc *count = &desc->fields[blob->count];

	memcpy(&n, (const u8 *)ev + count->off, count->width);
	return blob->off + (n < blob->max ? n : blob->max) * blob->width;
}

bool event_range(const struct event *ev, u64 *gpa, u64 *end)
{
	u64 len;

	switch (ev->kind) {
	case EVENT_mmio:
		*gpa = ((const struct event_mmio *)ev)->gpa;
		len = ((const struct event_mmio *)ev)->len;
		break;
	case EVENT_store:
		*gpa = ((const struct event_store *)ev)->gpa;
		len = ((const struct event_store *)ev)->len;
		break;
	case EVENT_vq_sg:
		*gpa = ((const struct event_vq_sg *)ev)->gpa;
		len = ((const struct event_vq_sg *)ev)->len;
		break;
	case EVENT_content:
		*gpa = ((const struct event_content *)ev)->gpa;
		len = ((const struct event_content *)ev)->len;
		break;
	case EVENT_unseen:
		*gpa = ((const struct event_unseen *)ev)->gpa;
		len = ((const struct event_unseen *)ev)->len;
		break;
	case EVENT_version:
		*gpa = ((const struct event_version *)ev)->gpa;
		len = VERSION_PAGE;
		break;
	default:
		return false;
	}
	*end = *gpa + len < *gpa ? UINT64_MAX : *gpa + len;
	return true;
}

const char *enum_name(const struct enum_name *names, u64 num)
{
	for (; names && names->name; names++)
		if (names->num == num)
			return names->name;
	return NULL;
}

const char *origin_name(unsigned num)
{
	return enum_name(NAMES_ORIGIN, num);
}

const char *why_name(unsigned num)
{
	return enum_name(NAMES_WHY, num);
}

const char *stream_name(unsigned num)
{
	return enum_name(NAMES_STREAM, num);
}
