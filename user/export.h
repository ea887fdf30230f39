/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exporters: events stream through four functions. A new format is one export_x.c that ends in its
 * ops, and one row in cmd_export.c.
 */
#ifndef VMBLAME_EXPORT_H
#define VMBLAME_EXPORT_H

#include <stdio.h>

#include "formats/event.h"
#include "formats/reader.h"

struct export
{
	FILE *out;
	const struct reader *reader;
	void *data; /* the exporter's own */
};

struct export_ops {
	const char *name;
	const char *help;
	int (*open)(struct export *x);					 /* 0 or -errno */
	int (*event)(struct export *x, const struct event *ev, u64 seq); /* 0 or -errno */
	int (*finish)(struct export *x);				 /* 0 or -errno */
	void (*close)(struct export *x); /* in any case, after open */
};

extern const struct export_ops export_text;
extern const struct export_ops export_json;

#endif
