/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmblame find: where memory held a value, or the blocks of a file, and from when until when. */
#include "commands.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "formats/desc.h"
#include "formats/print.h"
#include "progress.h"
#include "replay/find.h"
#include "symbols.h"
#include "trace.h"
#include "view.h"

#define FOUND_MAX 1000u
#define FILE_MAX  100000u
/* Pages of guest memory that are held at once: 256 MiB with what is told of them. */
#define PAGES_MAX 65536u

struct args {
	bool json;
	const char *file, *in, *to, *max;
	struct option_list symbols;
};

const struct option cmd_find_options[] = {
	OPTION_TEXT('f', "file", "FILE", struct args, file,
		    "look for the 4 KiB blocks of this file instead"),
	OPTION_TEXT(0, "in", "RANGE", struct args, in, "only in this range of memory"),
	OPTION_TEXT(0, "to", "T", struct args, to, "only before time T (the end)"),
	OPTION_TEXT('n', "max", "N", struct args, max, "findings at most; 1000, of blocks 100000"),
	OPTION_LIST(0, "symbols", "FILE[@BASE]", struct args, symbols,
		    "name the guest's code by this ELF file; may be repeated"),
	OPTION_FLAG(0, "json", struct args, json, "one JSON object a line"),
	OPTION_END,
};

struct printer {
	struct view view;
	bool json, file;
	u64 found;
	struct found run; /* blocks in a row; .len: of all of them */
};

/* u8: u16: u32: u64: and a number, hex: and bytes, text: and text. */
static int value_parse(const char *text, u8 *bytes, size_t *n)
{
	u64 number;

	for (unsigned bits = 8; bits <= 64; bits *= 2) {
		char prefix[8];
		const int len = snprintf(prefix, sizeof(prefix), "u%u:", bits);

		if (strncmp(text, prefix, (size_t)len))
			continue;
		if (size_parse(text + len, &number) || (bits < 64 && number >> bits))
			return -EINVAL;
		*n = bits / 8;
		for (size_t i = 0; i < *n; i++)
			bytes[i] = (u8)(number >> 8 * i);
		return 0;
	}
	if (!strncmp(text, "text:", 5)) {
		*n = strlen(text + 5);
		if (!*n || *n > FIND_BYTES_MAX)
			return -EINVAL;
		memcpy(bytes, text + 5, *n);
		return 0;
	}
	if (strncmp(text, "hex:", 4))
		return -EINVAL;
	*n = 0;
	for (const char *p = text + 4; *p;) {
		unsigned byte;

		if (*p == ' ') {
			p++;
			continue;
		}
		if (*n == FIND_BYTES_MAX || !isxdigit((u8)p[0]) || !isxdigit((u8)p[1]) ||
		    sscanf(p, "%2x", &byte) != 1)
			return -EINVAL;
		bytes[(*n)++] = (u8)byte;
		p += 2;
	}
	return *n ? 0 : -EINVAL;
}

static void writer_text(const struct printer *p, const struct film_write *w, char *buf, size_t size)
{
	struct symbol symbol;

	if (w->origin == ORIGIN_VCPU && symbols_find(p->view.symbols, w->pc, &symbol))
		snprintf(buf, size, "vCPU %u at %s", w->vcpu, symbol.name);
	else if (w->origin == ORIGIN_VCPU)
		snprintf(buf, size, "vCPU %u at 0x%" PRIx64, w->vcpu, w->pc);
	else if (w->version)
		snprintf(buf, size, "found changed");
	else if (w->origin == ORIGIN_NONE)
		snprintf(buf, size, "there from the beginning");
	else
		snprintf(buf, size, "%s", origin_name(w->origin));
}

static void found_text(const struct printer *p, const struct found *f)
{
	char from[40], until[40] = "the end", by[256];

	view_time(f->from.t_ns, from, sizeof(from));
	if (!moment_is_end(f->until))
		view_time(f->until.t_ns, until, sizeof(until));
	writer_text(p, &f->by, by, sizeof(by));
	if (p->file)
		printf("file+0x%" PRIx64 "..0x%" PRIx64 "  ", f->off, f->off + f->len);
	printf("0x%" PRIx64 "+%u  from %s until %s  %s\n", f->gpa, f->len, from, until, by);
}

static void found_json(const struct printer *p, const struct found *f)
{
	struct json j = {.f = stdout};
	struct symbol symbol;

	json_open(&j, NULL, '{');
	json_u64(&j, "v", 1);
	json_hex(&j, "gpa", f->gpa);
	json_u64(&j, "len", f->len);
	if (p->file)
		json_u64(&j, "file_off", f->off);
	json_u64(&j, "seq", f->from.seq);
	json_u64(&j, "t_ns", f->from.t_ns);
	if (!moment_is_end(f->until)) {
		json_u64(&j, "until_seq", f->until.seq);
		json_u64(&j, "until_ns", f->until.t_ns);
	}
	json_str(&j, "origin", f->by.origin ? origin_name(f->by.origin) : "none");
	if (f->by.origin == ORIGIN_VCPU) {
		json_u64(&j, "vcpu", f->by.vcpu);
		json_hex(&j, "rip", f->by.pc);
		if (symbols_find(p->view.symbols, f->by.pc, &symbol))
			json_str(&j, "symbol", symbol.name);
	}
	json_close(&j, '}');
	json_end(&j);
}

static void run_flush(struct printer *p)
{
	if (p->run.len)
		found_text(p, &p->run);
	p->run.len = 0;
}

/* Whether a block goes on where the run ends, with the same fate. */
static bool run_continues(const struct printer *p, const struct found *f)
{
	const struct found *run = &p->run;

	return run->len && f->gpa == run->gpa + run->len && f->off == run->off + run->len &&
	       moment_is_end(f->until) == moment_is_end(run->until) &&
	       f->by.origin == run->by.origin && f->by.pc == run->by.pc;
}

static int show(void *arg, const struct found *f)
{
	struct printer *p = arg;

	progress_end();
	p->found++;
	if (p->json) {
		found_json(p, f);
	} else if (!p->file) {
		found_text(p, f);
	} else if (run_continues(p, f)) {
		p->run.len += f->len;
		if (moment_before(p->run.until, f->until))
			p->run.until = f->until;
	} else {
		run_flush(p);
		p->run = *f;
	}
	return ferror(stdout) ? 1 : 0;
}

struct mapped {
	u8 *bytes;
	size_t size;
};

static void mapped_cleanup(struct mapped *m)
{
	if (m->bytes)
		munmap(m->bytes, m->size);
}

static int map_file(const char *path, struct mapped *m)
{
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return fail("%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode) || !st.st_size)
		return fail("%s: %s", path, st.st_size ? "not a regular file" : "empty");
	m->size = (size_t)st.st_size;
	m->bytes = mmap(NULL, m->size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (m->bytes == MAP_FAILED) {
		m->bytes = NULL;
		return fail("%s: %s", path, strerror(errno));
	}
	return 0;
}

int cmd_find(int argc, char **argv)
{
	struct args args = {0};
	struct operands operands;
	struct range range = {0, UINT64_MAX};
	struct find_spec spec = {.pages_max = PAGES_MAX, .progress = progress_show};
	u8 value[FIND_BYTES_MAX];
	const char *path;
	char err[512];
	size_t n = 0;
	u64 zeros = 0;

	const enum options_status status = options_parse(argc, argv, &args, &operands);
	if (status != OPTIONS_OK)
		return status == OPTIONS_HELP ? 0 : 2;
	if (!args.file) {
		if (!operands.n)
			return usage_error(argv[0], "find what? A value, or --file FILE");
		if (value_parse(operands.v[--operands.n], value, &n))
			return usage_error(argv[0],
					   "'%s': expected u8:N, u16:N, u32:N, u64:N, hex:BYTES or "
					   "text:TEXT",
					   operands.v[operands.n]);
	}
	int ret = operands_file(argv[0], &operands, &path);
	if (ret)
		return ret;
	if (args.in && (ret = range_parse(args.in, &range)))
		return usage_error(argv[0], "--in %s: %s", args.in, range_complaint(ret));
	spec.max = args.file ? FILE_MAX : FOUND_MAX;
	if (args.max && (size_parse(args.max, &spec.max) || !spec.max))
		return usage_error(argv[0], "--max %s: expected a number", args.max);
	CLEANUP(symbols_cleanup) struct symbols *symbols = NULL;
	for (unsigned i = 0; i < args.symbols.n; i++) {
		if (symbols_add(&symbols, args.symbols.v[i], err, sizeof(err)))
			return fail("%s", err);
	}
	CLEANUP(mapped_cleanup) struct mapped file = {0};
	if (args.file && map_file(args.file, &file))
		return 1;
	CLEANUP(trace_cleanup) struct trace trace = {0};
	if (trace_open(&trace, path))
		return 1;
	ret = trace_moment(&trace, argv[0], args.to, false, &spec.limit);
	if (ret)
		return ret;
	struct printer p = {
		.view = {trace.state, symbols, false}, .json = args.json, .file = args.file};
	spec.gpa = range.gpa;
	spec.end = range.end;
	spec.fn = show;
	spec.arg = &p;
	ret = args.file ? find_file(trace.reader, trace.state, &spec, file.bytes, file.size, &zeros,
				    err, sizeof(err))
			: find_bytes(trace.reader, trace.state, &spec, value, n, err, sizeof(err));
	progress_end();
	run_flush(&p);
	if (ret < 0)
		return fail("%s", err);
	if (zeros && !args.json)
		printf("(%" PRIu64 " blocks of the file are zero, and were not looked for)\n",
		       zeros);
	return output_finish(p.found ? 0 : 3);
}
