/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptions of the event kinds as data: the table that the codec, the printers and the generated
 * reference walk over. All of it expands from events.def.
 */
#ifndef VMBLAME_DESC_H
#define VMBLAME_DESC_H

#include <stdbool.h>

#include "event.h"

enum codec {
	CODEC_RUN,
	CODEC_SITE,
	CODEC_STRIDE,
	CODEC_NEXT,
	CODEC_BLOB,
	CODEC_STEP,
	CODEC_COUNT,
	CODEC_THREAD,
};
enum show {
	SHOW_DEC,
	SHOW_HEX,
	SHOW_GPA,
	SHOW_GVA,
	SHOW_NS,
	SHOW_BYTES,
	SHOW_STR,
	SHOW_ENUM, /* field_desc.enum_names holds the names */
};

struct enum_name {
	u32 num;
	const char *name;
};

struct field_desc {
	const char *name;
	const char *doc;
	u16 off;   /* in the event's structure, bytes */
	u8 width;  /* of one value: 1, 2, 4 or 8 bytes */
	u16 max;   /* values: 1, or the size of the array */
	s16 count; /* index of the field that counts the valid ones, -1 for one value */
	enum codec codec;
	enum show show;
	const struct enum_name *enum_names; /* ended by .name == NULL; NULL unless SHOW_ENUM */
};

struct event_desc {
	const char *name; /* NULL for a number that is not in use */
	const char *doc;
	u16 kind;
	u16 nfields; /* without the header's */
	u32 size;    /* of the structure, bytes */
	enum stream stream;
	const struct field_desc *fields;
};

extern const struct field_desc event_header_fields[];
extern const unsigned event_header_nfields;

/* NULL when the kind is not known to this version. */
const struct event_desc *event_desc(unsigned kind);

/* Bytes of the event's structure up to the end of what is in use: without a blob's unused room. */
size_t event_used_bytes(const struct event *ev, const struct event_desc *desc);

/* Range of guest-physical addresses whose content the event tells of: mmio, store, vq_sg, content,
 * unseen, version. False for the other kinds. Half-open; never wraps (clipped at 2^64-1). */
bool event_range(const struct event *ev, u64 *gpa, u64 *end);

/* Name of a value of an enumeration, or NULL. */
const char *enum_name(const struct enum_name *names, u64 num);
const char *origin_name(unsigned num);
const char *why_name(unsigned num);
const char *stream_name(unsigned num);

#endif
