// SPDX-License-Identifier: GPL-2.0-or-later
#include "file_place.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "options.h"
#include "progress.h"
#include "replay/find.h"

#define FOUND_MAX 1000000u
#define PAGES_MAX 65536u
#define NEAR_MAX  64u /* blocks between two neighbours that speak for what lies between them */

/* The place of a block that was there last. */
struct block {
	u64 gpa;
	struct moment from, until;
	bool found;
};

struct search {
	struct block *blocks;
	u64 n;
};

static int note(void *arg, const struct found *f)
{
	struct search *s = arg;
	struct block *b = &s->blocks[f->off / FIND_BLOCK];

	if (b->found && (moment_before(f->until, b->until) ||
			 (!moment_before(b->until, f->until) && moment_before(f->from, b->from))))
		return 0;
	*b = (struct block){f->gpa, f->from, f->until, true};
	return 0;
}

/* What two neighbours agree on; false when they do not. */
static bool infer(const struct search *s, u64 i, u64 *gpa)
{
	u64 before = i, after = i;

	while (before > 0 && i - before < NEAR_MAX && !s->blocks[before].found)
		before--;
	while (after + 1 < s->n && after - i < NEAR_MAX && !s->blocks[after].found)
		after++;
	if (!s->blocks[before].found || !s->blocks[after].found ||
	    s->blocks[before].gpa + (after - before) * FIND_BLOCK != s->blocks[after].gpa)
		return false;
	*gpa = s->blocks[before].gpa + (i - before) * FIND_BLOCK;
	return true;
}

static int parts_make(const struct search *s, const char *text, u64 off, u64 end,
		      struct file_place *place)
{
	place->parts = calloc(end / FIND_BLOCK - off / FIND_BLOCK + 1, sizeof(*place->parts));
	if (!place->parts)
		return fail("out of memory");
	while (off < end) {
		const u64 i = off / FIND_BLOCK, stop = (i + 1) * FIND_BLOCK;
		struct file_part p = {.off = off, .len = (stop < end ? stop : end) - off};
		struct file_part *last = place->n ? &place->parts[place->n - 1] : NULL;

		if (s->blocks[i].found)
			p.gpa = s->blocks[i].gpa;
		else if (infer(s, i, &p.gpa))
			p.inferred = true;
		else
			return fail("%s: the block at 0x%" PRIx64
				    " was never in memory as the file "
				    "has it, nor can its place be told from its neighbours",
				    text, i * FIND_BLOCK);
		p.gpa += off % FIND_BLOCK;
		if (last && last->gpa + last->len == p.gpa && last->inferred == p.inferred)
			last->len += p.len;
		else
			place->parts[place->n++] = p;
		off += p.len;
	}
	return 0;
}

static int search(const struct trace *t, const char *text, const u8 *file, u64 size,
		  const struct range *range, struct moment limit, struct file_place *place)
{
	struct search s = {.n = (size + FIND_BLOCK - 1) / FIND_BLOCK};
	struct find_spec spec = {
		.end = UINT64_MAX,
		.limit = limit,
		.max = FOUND_MAX,
		.pages_max = PAGES_MAX,
		.progress = progress_show,
		.fn = note,
		.arg = &s,
	};
	char err[512];
	u64 zeros;

	CLEANUP_FREE struct block *blocks = calloc(s.n, sizeof(*blocks));
	if (!blocks)
		return fail("out of memory");
	s.blocks = blocks;
	const int ret = find_file(t->reader, t->state, &spec, file, size, &zeros, err, sizeof(err));
	progress_end();
	if (ret)
		return fail("%s", err);
	return parts_make(&s, text, range->gpa, range->end, place);
}

int file_place(const struct trace *t, const char *command, const char *text, struct moment limit,
	       struct file_place *place)
{
	const char *at = strrchr(text, '@');
	struct range range;
	struct stat st;
	int ret;

	*place = (struct file_place){0};
	if (!at || at == text)
		return usage_error(command, "--file %s: expected FILE@OFFSET+LEN", text);
	ret = range_parse(at + 1, &range);
	if (ret)
		return usage_error(command, "--file %s: %s", text, range_complaint(ret));
	CLEANUP_FREE char *path = strndup(text, (size_t)(at - text));
	if (!path)
		return fail("out of memory");
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		return fail("%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail("%s: not a regular file", path);
	if (range.end > (u64)st.st_size)
		return usage_error(command, "--file %s: the file has %" PRIu64 " bytes", text,
				   (u64)st.st_size);
	u8 *file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (file == MAP_FAILED)
		return fail("%s: %s", path, strerror(errno));
	ret = search(t, text, file, (u64)st.st_size, &range, limit, place);
	munmap(file, (size_t)st.st_size);
	return ret;
}
