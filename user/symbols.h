/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names for the guest's code: function and source line of an address, from the ELF files that the
 * user names. Nothing is loaded before the first file is added.
 */
#ifndef VMBLAME_SYMBOLS_H
#define VMBLAME_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>

#include "formats/event.h"

struct symbols;

struct symbol {
	char name[192]; /* "func+0x1c", or "func" at its very start */
	char src[256];	/* "file:line", or empty */
};

/* `spec` is FILE or FILE@BASE. BASE is the guest address where the file's lowest loaded segment
 * lies; without it the file lies where it was linked to. *s is made when NULL. 0 or -errno with a
 * line in err (no newline). */
int symbols_add(struct symbols **s, const char *spec, char *err, size_t err_size);
void symbols_close(struct symbols *s); /* NULL is fine */

static inline void symbols_cleanup(struct symbols **s)
{
	symbols_close(*s);
}

/* False when no file holds the (linear) address, or s is NULL. */
bool symbols_find(const struct symbols *s, u64 addr, struct symbol *out);

#endif
