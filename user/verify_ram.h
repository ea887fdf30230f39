/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory as the trace has it at a moment, next to a dump of it. */
#ifndef VMBLAME_VERIFY_RAM_H
#define VMBLAME_VERIFY_RAM_H

#include "replay/memory.h"
#include "user/dump.h"

#define RAM_FIRST 16u /* bytes of a run that are shown */

struct ram_run {
	u64 gpa, len;
	u8 trace[RAM_FIRST], dump[RAM_FIRST]; /* its first bytes */
};

struct ram_spec {
	struct reader *reader;
	const struct state *state;
	struct moment limit;
	const struct dump *dump;
	const char *path; /* of the dump, for messages */
	/* A run of bytes that differ; by address. Returns 0 to go on. */
	int (*run)(void *arg, const struct ram_run *run);
	void *arg;
	void (*progress)(u64 done, u64 all);
};

struct ram_counts {
	u64 equal, differ, unknown; /* bytes */
	u64 runs;		    /* that differ */
};

/* 0, what run() returned, or -errno with a line in err. */
int ram_compare(const struct ram_spec *spec, struct ram_counts *counts, char *err, size_t err_size);

#endif
