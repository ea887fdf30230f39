/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmblame show: what a range of guest memory held at a time. */
#include "commands.h"

#include <inttypes.h>
#include <string.h>

#include "formats/print.h"
#include "replay/memory.h"
#include "trace.h"

#define WINDOW MEMORY_WINDOW_MAX
#define LINE   16

struct args {
	bool json, raw;
	const char *at, *fill;
};

const struct option cmd_show_options[] = {
	OPTION_TEXT(0, "at", "T", struct args, at,
		    "at time T: 12.5s, 300ms, #EVENT or a mark (the end)"),
	OPTION_FLAG(0, "raw", struct args, raw, "the bytes themselves, to a file or a pipe"),
	OPTION_TEXT(0, "fill", "BYTE", struct args, fill,
		    "what --raw writes for bytes that are not known"),
	OPTION_FLAG(0, "json", struct args, json, "one JSON object for each run of known bytes"),
	OPTION_END,
};

struct dump {
	const struct trace *trace;
	struct range range;
	struct moment limit;
	int fill; /* -1: none */
	u8 *data;
	bool *known;
	char last[128]; /* line printed last, without its address */
	bool starred;
};

/* Reads the window that begins at gpa; *len receives its size. */
static int window_read(const struct dump *d, u64 gpa, size_t *len)
{
	char err[512];

	*len = d->range.end - gpa < WINDOW ? d->range.end - gpa : WINDOW;
	if (memory_show(d->trace->reader, d->trace->state, gpa, *len, d->limit, d->data, d->known,
			err, sizeof(err)))
		return fail("%s", err);
	return 0;
}

/* Like hexdump -C: equal lines after the first become one star. */
static void line_print(struct dump *d, u64 gpa, const u8 *data, const bool *known, size_t n)
{
	char text[128], ascii[LINE + 1] = "";
	size_t used = 0;

	for (size_t i = 0; i < LINE; i++) {
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%.*s",
					 i == LINE / 2 ? "  " : " ", i < n ? 0 : 2, "  ");
		if (i >= n)
			continue;
		used += known[i] ? (size_t)snprintf(text + used, sizeof(text) - used, "%02x",
						    data[i])
				 : (size_t)snprintf(text + used, sizeof(text) - used, "%s", "??");
		ascii[i] = !known[i] ? '?' : data[i] >= ' ' && data[i] < 0x7f ? (char)data[i] : '.';
	}
	snprintf(text + used, sizeof(text) - used, "  |%s|", ascii);
	if (n == LINE && !strcmp(text, d->last)) {
		if (!d->starred)
			puts("*");
		d->starred = true;
		return;
	}
	d->starred = false;
	memcpy(d->last, text, sizeof(text));
	printf("%016" PRIx64 " %s\n", gpa, text);
}

static int dump_text(struct dump *d)
{
	size_t len = 0;

	for (u64 gpa = d->range.gpa; gpa < d->range.end; gpa += len) {
		if (window_read(d, gpa, &len))
			return 1;
		for (size_t i = 0; i < len; i += LINE)
			line_print(d, gpa + i, d->data + i, d->known + i,
				   len - i < LINE ? len - i : LINE);
		if (ferror(stdout))
			break;
	}
	printf("%016" PRIx64 "\n", d->range.end);
	return output_finish(0);
}

static void run_json(u64 gpa, const u8 *data, size_t n)
{
	struct json j = {.f = stdout};

	json_open(&j, NULL, '{');
	json_u64(&j, "v", 1);
	json_hex(&j, "gpa", gpa);
	json_u64(&j, "len", n);
	if (data)
		json_bytes(&j, "bytes", data, n);
	json_bool(&j, "known", data);
	json_close(&j, '}');
	json_end(&j);
}

static int dump_json(struct dump *d)
{
	size_t len = 0;

	for (u64 gpa = d->range.gpa; gpa < d->range.end && !ferror(stdout); gpa += len) {
		if (window_read(d, gpa, &len))
			return 1;
		for (size_t i = 0, n; i < len; i += n) {
			for (n = 1; i + n < len && d->known[i + n] == d->known[i]; n++)
				;
			run_json(gpa + i, d->known[i] ? d->data + i : NULL, n);
		}
	}
	return output_finish(0);
}

/* Nothing is written before all of it is known to be known. */
static int raw_check(const struct dump *d)
{
	size_t len = 0;

	for (u64 gpa = d->range.gpa; gpa < d->range.end; gpa += len) {
		if (window_read(d, gpa, &len))
			return 1;
		const bool *unknown = memchr(d->known, 0, len);
		if (unknown)
			return fail("the byte at 0x%" PRIx64
				    " is not known; --fill BYTE writes something in its place",
				    gpa + (u64)(unknown - d->known));
	}
	return 0;
}

static int dump_raw(struct dump *d)
{
	size_t len = 0;

	if (d->fill < 0 && raw_check(d))
		return 1;
	for (u64 gpa = d->range.gpa; gpa < d->range.end && !ferror(stdout); gpa += len) {
		if (window_read(d, gpa, &len))
			return 1;
		for (size_t i = 0; i < len; i++) {
			if (!d->known[i])
				d->data[i] = (u8)d->fill;
		}
		fwrite(d->data, 1, len, stdout);
	}
	return output_finish(0);
}

int cmd_show(int argc, char **argv)
{
	struct args args = {0};
	struct operands operands;
	struct dump d = {.fill = -1};
	const char *path;
	u64 fill;

	const enum options_status status = options_parse(argc, argv, &args, &operands);
	if (status != OPTIONS_OK)
		return status == OPTIONS_HELP ? 0 : 2;
	int ret = operands_range(argv[0], &operands, &path, &d.range);
	if (ret)
		return ret;
	if (args.raw && args.json)
		return usage_error(argv[0], "--raw and --json exclude each other");
	if (args.fill && !args.raw)
		return usage_error(argv[0], "--fill goes with --raw");
	if (args.fill && (size_parse(args.fill, &fill) || fill > 0xff))
		return usage_error(argv[0], "'%s' is not a byte", args.fill);
	if (args.fill)
		d.fill = (int)fill;

	CLEANUP(trace_cleanup) struct trace trace = {0};
	if (trace_open(&trace, path))
		return 1;
	ret = trace_moment(&trace, argv[0], args.at, true, &d.limit);
	if (ret)
		return ret;
	CLEANUP_FREE u8 *data = malloc(WINDOW);
	CLEANUP_FREE bool *known = malloc(WINDOW * sizeof(*known));
	if (!data || !known)
		return fail("out of memory");
	d.trace = &trace;
	d.data = data;
	d.known = known;
	return args.raw ? dump_raw(&d) : args.json ? dump_json(&d) : dump_text(&d);
}
