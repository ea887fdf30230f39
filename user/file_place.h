/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where in guest memory a place in a file lay: FILE@OFFSET+LEN, found by the file's blocks. A block
 * that is nowhere, since it was damaged before it was seen whole, is taken to lie where its
 * neighbours on both sides say.
 */
#ifndef VMBLAME_FILE_PLACE_H
#define VMBLAME_FILE_PLACE_H

#include "trace.h"

struct file_part {
	u64 off, gpa, len; /* in the file, in memory, bytes */
	bool inferred;	   /* by its neighbours */
};

struct file_place {
	struct file_part *parts;
	size_t n;
};

/* 0; 1 or 2 after a message. Free place->parts. */
int file_place(const struct trace *t, const char *command, const char *text, struct moment limit,
	       struct file_place *place);

#endif
