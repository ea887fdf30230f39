/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where, and from when until when, did guest memory hold these bytes, or a file's blocks?
 */
#ifndef VMBLAME_FIND_H
#define VMBLAME_FIND_H

#include "film.h"

#define FIND_BLOCK     4096u
#define FIND_BYTES_MAX 2048u /* of a value */

struct found {
	u64 gpa;
	u64 off; /* in the file: of a block */
	u32 len;
	struct moment from;   /* the write that completed it */
	struct moment until;  /* the one that broke it; MOMENT_END: it was there to the end */
	struct film_write by; /* what completed it; .bytes is not valid */
};

struct find_spec {
	u64 gpa, end;	     /* where: values that touch it; blocks of pages within */
	struct moment limit; /* when: before this */
	u64 max;	     /* findings; beyond, -E2BIG */
	u64 pages_max;	     /* of memory at once */
	void (*progress)(u64 done, u64 all);
	/* In the order in which they ended, and at last those that did not. Not 0 ends it. */
	int (*fn)(void *arg, const struct found *f);
	void *arg;
};

/* Bytes anywhere. 0, what fn returned, or -errno with a line in err. */
int find_bytes(struct reader *r, const struct state *s, const struct find_spec *spec,
	       const u8 *bytes, size_t n, char *err, size_t err_size);

/* Pages that hold a block of the file: 4096 bytes at a multiple of that; the last block counts by
 * what the file has of it when that is 64 bytes and more, with zeros behind it. Blocks of zeros are
 * not looked for: *zeros counts them. */
int find_file(struct reader *r, const struct state *s, const struct find_spec *spec, const u8 *file,
	      u64 size, u64 *zeros, char *err, size_t err_size);

#endif
