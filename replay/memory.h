/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory as of a moment: for each byte the newest write or look before it, unless something
 * that was not seen may have come after.
 */
#ifndef VMBLAME_MEMORY_H
#define VMBLAME_MEMORY_H

#include "ledger.h"

#define MEMORY_WINDOW_MAX (16u << 20)

/* Fills data[i] and known[i] for the byte at gpa + i; what is not known is zero and false. len is
 * at most MEMORY_WINDOW_MAX. 0 or -errno with a line in err. */
int memory_read(struct reader *r, const struct state *s, u64 gpa, size_t len, struct moment limit,
		u8 *data, bool *known, char *err, size_t err_size);

/* The same, less the bytes of which it is not known whether they had changed yet: a page that was
 * found changed did so in a window that holds the moment. */
int memory_show(struct reader *r, const struct state *s, u64 gpa, size_t len, struct moment limit,
		u8 *data, bool *known, char *err, size_t err_size);

/* For a range of any size that nothing in the trace touches (reader_touches()): how many of its
 * bytes are known, and so zero. 0 or -ENOMEM. */
int memory_untouched(const struct state *s, u64 gpa, u64 end, struct moment limit, u64 *known);

#endif
