/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A dump of a guest's RAM: the bytes themselves from guest-physical address 0 on (QEMU's pmemsave),
 * or an ELF core with physical addresses (dump-guest-memory).
 */
#ifndef VMBLAME_DUMP_H
#define VMBLAME_DUMP_H

#include <stdbool.h>
#include <stddef.h>

#include "formats/event.h"

/* Guest memory [gpa, gpa + size), at `off` in the file. */
struct dump_part {
	u64 gpa, size, off;
};

struct dump {
	int fd;
	struct dump_part *parts; /* by address; none lies over another */
	size_t nparts;
};

/* 0, or -1 with a line in err that names the file. */
int dump_open(struct dump *d, const char *path, char *err, size_t err_size);
void dump_close(struct dump *d); /* one that is all zero but for fd -1 is fine */
/* n bytes that lie in the part at gpa. 0 or -errno, -ENODATA when the file ends before. */
int dump_read(const struct dump *d, const struct dump_part *p, u64 gpa, u8 *to, size_t n);
/* Whether the file has nothing there, so that [gpa,end) is zero. */
bool dump_hole(const struct dump *d, const struct dump_part *p, u64 gpa, u64 end);

#endif
