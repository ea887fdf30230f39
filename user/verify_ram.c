// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The comparison goes by windows. Where the trace touches nothing and the dump has a hole, or
 * nothing but zeroes, neither is gone through byte by byte.
 */
#include "user/verify_ram.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW MEMORY_WINDOW_MAX
#define BLOCK  4096u

struct sides {
	const struct ram_spec *spec;
	struct ram_counts *counts;
	const struct dump_part *part;
	u8 *trace, *dump; /* WINDOW each */
	bool *known;
	struct ram_run run; /* that is open, when len */
	u64 done, all;
	char *err;
	size_t err_size;
};

static int run_end(struct sides *c)
{
	const struct ram_run run = c->run;

	c->run.len = 0;
	if (!run.len)
		return 0;
	c->counts->runs++;
	return c->spec->run(c->spec->arg, &run);
}

static int differs(struct sides *c, u64 gpa, u8 trace, u8 dump)
{
	int ret = 0;

	if (c->run.len && c->run.gpa + c->run.len != gpa)
		ret = run_end(c);
	if (!c->run.len)
		c->run.gpa = gpa;
	if (c->run.len < RAM_FIRST) {
		c->run.trace[c->run.len] = trace;
		c->run.dump[c->run.len] = dump;
	}
	c->run.len++;
	c->counts->differ++;
	return ret;
}

static int block_compare(struct sides *c, u64 gpa, size_t at, size_t n)
{
	int ret = 0;

	if (!memcmp(c->trace + at, c->dump + at, n) && !memchr(c->known + at, 0, n)) {
		c->counts->equal += n;
		return 0;
	}
	for (size_t i = at; i < at + n && !ret; i++) {
		if (!c->known[i])
			c->counts->unknown++;
		else if (c->trace[i] == c->dump[i])
			c->counts->equal++;
		else
			ret = differs(c, gpa + (i - at), c->trace[i], c->dump[i]);
	}
	return ret;
}

/* The trace has nothing there, and the dump zeroes. */
static int untouched(struct sides *c, u64 gpa, u64 end)
{
	u64 known;
	const int err = memory_untouched(c->spec->state, gpa, end, c->spec->limit, &known);

	c->counts->equal += known;
	c->counts->unknown += end - gpa - known;
	c->done += end - gpa;
	return err;
}

static bool zero(const u8 *bytes, size_t n)
{
	return !bytes[0] && !memcmp(bytes, bytes + 1, n - 1);
}

static int window_compare(struct sides *c, u64 gpa, u64 end, bool touched)
{
	const struct ram_spec *s = c->spec;
	const size_t n = end - gpa;
	int ret = dump_read(s->dump, c->part, gpa, c->dump, n);

	if (ret) {
		snprintf(c->err, c->err_size, "%s: %s", s->path,
			 ret == -ENODATA ? "it became shorter" : strerror(-ret));
		return ret;
	}
	if (!touched && zero(c->dump, n))
		return untouched(c, gpa, end);
	ret = memory_show(s->reader, s->state, gpa, n, s->limit, c->trace, c->known, c->err,
			  c->err_size);
	for (size_t at = 0; at < n && !ret; at += BLOCK)
		ret = block_compare(c, gpa + at, at, n - at < BLOCK ? n - at : BLOCK);
	c->done += n;
	return ret;
}

/* Halves, down to windows, what cannot be answered as a whole. */
static int range_compare(struct sides *c, u64 gpa, u64 end)
{
	const bool touched = reader_touches(c->spec->reader, gpa, end);
	int ret;

	if (c->spec->progress)
		c->spec->progress(c->done, c->all);
	if (!touched && dump_hole(c->spec->dump, c->part, gpa, end))
		return untouched(c, gpa, end);
	if (end - gpa <= WINDOW)
		return window_compare(c, gpa, end, touched);
	const u64 middle = gpa + ((end - gpa) / 2 + WINDOW - 1) / WINDOW * WINDOW;
	ret = range_compare(c, gpa, middle);
	return ret || middle >= end ? ret : range_compare(c, middle, end);
}

int ram_compare(const struct ram_spec *spec, struct ram_counts *counts, char *err, size_t err_size)
{
	struct sides c = {
		.spec = spec,
		.counts = counts,
		.trace = malloc(WINDOW),
		.dump = malloc(WINDOW),
		.known = malloc(WINDOW * sizeof(*c.known)),
		.err = err,
		.err_size = err_size,
	};
	int ret = c.trace && c.dump && c.known ? 0 : -ENOMEM;

	*counts = (struct ram_counts){0};
	err[0] = '\0';
	for (size_t i = 0; i < spec->dump->nparts; i++)
		c.all += spec->dump->parts[i].size;
	for (size_t i = 0; i < spec->dump->nparts && !ret; i++) {
		c.part = &spec->dump->parts[i];
		ret = range_compare(&c, c.part->gpa, c.part->gpa + c.part->size);
	}
	if (!ret)
		ret = run_end(&c);
	if (ret < 0 && !err[0])
		snprintf(err, err_size, "%s", strerror(-ret));
	free(c.trace);
	free(c.dump);
	free(c.known);
	return ret;
}
