/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Cleanup guards: a variable frees itself when it leaves its scope. Hand a thing over with
 * no_free_ptr(), which returns it and leaves NULL behind.
 */
#ifndef VMBLAME_CLEANUP_H
#define VMBLAME_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* DEFINE_CLEANUP(reader, struct reader *, reader_close) makes reader_cleanup() for
 * `CLEANUP(reader_cleanup) struct reader *r = NULL;`. The function must take NULL. */
#define DEFINE_CLEANUP(name, type, close_fn)       \
	static inline void name##_cleanup(type *p) \
	{                                          \
		close_fn(*p);                      \
	}

#define no_free_ptr(p)                             \
	({                                         \
		__typeof__(p) no_free_value = (p); \
		(p) = NULL;                        \
		no_free_value;                     \
	})

static inline void free_cleanup(void *p)
{
	free(*(void **)p);
}

static inline void fd_cleanup(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void file_cleanup(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define CLEANUP_FREE CLEANUP(free_cleanup)
#define CLEANUP_FD   CLEANUP(fd_cleanup)
#define CLEANUP_FILE CLEANUP(file_cleanup)

#endif
