/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmblame verify: whether a trace agrees with itself, or memory in it with a dump. */
#include "commands.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "formats/print.h"
#include "progress.h"
#include "replay/verify.h"
#include "trace.h"
#include "verify_ram.h"

#define LIST_MAX 20

struct args {
	bool json;
	const char *ram, *at, *max;
};

const struct option cmd_verify_options[] = {
	OPTION_TEXT(0, "ram", "DUMP", struct args, ram,
		    "compare memory with this dump: of pmemsave 0 SIZE DUMP, or ELF"),
	OPTION_TEXT(0, "at", "T", struct args, at,
		    "with --ram, as it was at T: 12.5s, 300ms, #EVENT or a mark (the end)"),
	OPTION_TEXT('n', "max", "N", struct args, max, "list so many disagreements (20)"),
	OPTION_FLAG(0, "json", struct args, json, "one JSON object a line"),
	OPTION_END,
};

struct printer {
	const char *path, *ram;
	bool json;
	u64 max, listed;
	struct ram_run first; /* that differs */
};

static const char *const what_names[VERIFY_WHATS] = {
	[VERIFY_SUM] = "sum",		[VERIFY_DELTA] = "delta", [VERIFY_KEYFRAME] = "keyframe",
	[VERIFY_COMPARED] = "compared", [VERIFY_CHUNK] = "chunk",
};

static void problem_text(const struct printer *printer, const struct verify_problem *p)
{
	if (p->what == VERIFY_CHUNK) {
		printf("%s%s: offset %" PRIu64 ": %s\n", printer->path, p->by_page ? ".pages" : "",
		       p->off, p->text);
		return;
	}
	printf("%" PRIu64 ".%09" PRIu64 " s  event #%" PRIu64 "  ", p->at.t_ns / 1000000000,
	       p->at.t_ns % 1000000000, p->at.seq);
	switch (p->what) {
	case VERIFY_SUM:
		printf("page 0x%" PRIx64 ": the version's sum is 0x%08" PRIx64
		       ", that of the page played up to it 0x%08" PRIx64 "\n",
		       p->gpa, p->want, p->got);
		break;
	case VERIFY_DELTA:
		printf("page 0x%" PRIx64 ": the version's delta is malformed\n", p->gpa);
		break;
	case VERIFY_KEYFRAME:
		printf("0x%" PRIx64 ": the keyframe has %02" PRIx64
		       ", the versions before it make that %02" PRIx64 "\n",
		       p->gpa, p->want, p->got);
		break;
	default:
		printf("memory was compared: %" PRIu64 " bytes are said to differ, %" PRIu64
		       " are told of\n",
		       p->want, p->got);
	}
}

static void problem_json(const struct verify_problem *p)
{
	struct json j = {.f = stdout};

	json_open(&j, NULL, '{');
	json_u64(&j, "v", 1);
	json_str(&j, "what", what_names[p->what]);
	if (p->what == VERIFY_CHUNK) {
		json_u64(&j, "offset", p->off);
		json_str(&j, "detail", p->text);
		if (p->by_page)
			json_bool(&j, "by_page", true);
	} else {
		json_u64(&j, "seq", p->at.seq);
		json_u64(&j, "t_ns", p->at.t_ns);
		json_hex(&j, "gpa", p->gpa);
		json_u64(&j, "want", p->want);
		json_u64(&j, "got", p->got);
	}
	json_close(&j, '}');
	json_end(&j);
}

static int problem(void *arg, const struct verify_problem *p)
{
	struct printer *printer = arg;

	if (printer->listed++ >= printer->max)
		return 0;
	progress_end();
	if (printer->json)
		problem_json(p);
	else
		problem_text(printer, p);
	return ferror(stdout) ? 1 : 0;
}

static void more_text(const struct printer *p)
{
	if (p->listed > p->max)
		printf("... and %" PRIu64 " more\n", p->listed - p->max);
}

static void counts_text(const struct printer *p, const struct verify_counts *c)
{
	more_text(p);
	printf("%" PRIu64 " bytes, %" PRIu64 " chunks, %" PRIu64 " events", c->bytes, c->chunks,
	       c->events);
	if (c->unknown)
		printf(" and %" PRIu64 " of kinds that this version does not know", c->unknown);
	if (c->pages)
		printf(", %" PRIu64 " pages", c->pages);
	if (c->versions + c->unsummed + c->keyframes)
		printf(", %" PRIu64 " versions, %" PRIu64 " keyframes", c->versions + c->unsummed,
		       c->keyframes);
	if (c->unsummed)
		printf(" (%" PRIu64 " versions carry no sum)", c->unsummed);
	if (c->comparisons)
		printf(", %" PRIu64 " comparisons", c->comparisons);
	printf(": ");
	if (!p->listed)
		puts("all agree");
	else
		printf("%" PRIu64 " disagree\n", p->listed);
}

static void counts_json(const struct verify_counts *c)
{
	struct json j = {.f = stdout};

	json_open(&j, NULL, '{');
	json_u64(&j, "v", 1);
	json_str(&j, "what", "all");
	json_u64(&j, "bytes", c->bytes);
	json_u64(&j, "chunks", c->chunks);
	json_u64(&j, "events", c->events);
	json_u64(&j, "unknown", c->unknown);
	json_u64(&j, "pages", c->pages);
	json_u64(&j, "versions", c->versions);
	json_u64(&j, "unsummed", c->unsummed);
	json_u64(&j, "keyframes", c->keyframes);
	json_u64(&j, "comparisons", c->comparisons);
	json_open(&j, "problems", '{');
	for (unsigned i = 0; i < VERIFY_WHATS; i++)
		json_u64(&j, what_names[i], c->problems[i]);
	json_close(&j, '}');
	json_close(&j, '}');
	json_end(&j);
}

static int verify(struct printer *p, const struct trace *trace)
{
	const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
	const struct verify_spec spec = {
		.problem = problem,
		.arg = p,
		/* Half of what this machine has. */
		.pages_max = pages > 0 && size > 0 ? (u64)pages * (u64)size / 8192 : 0,
		.progress = progress_show,
	};
	struct verify_counts counts;
	char err[512];
	const int ret = verify_run(trace->reader, trace->state, &spec, &counts, err, sizeof(err));

	progress_end();
	if (ret < 0)
		return fail("%s", err);
	if (p->json)
		counts_json(&counts);
	else
		counts_text(p, &counts);
	return output_finish(p->listed ? 1 : 0);
}

static void bytes_text(const u8 *bytes, u64 len)
{
	for (u64 i = 0; i < len && i < RAM_FIRST; i++)
		printf(" %02x", bytes[i]);
	if (len > RAM_FIRST)
		printf(" ...");
}

static void run_json(const struct ram_run *run)
{
	const size_t first = run->len < RAM_FIRST ? run->len : RAM_FIRST;
	struct json j = {.f = stdout};

	json_open(&j, NULL, '{');
	json_u64(&j, "v", 1);
	json_str(&j, "what", "differs");
	json_hex(&j, "gpa", run->gpa);
	json_u64(&j, "len", run->len);
	json_bytes(&j, "trace", run->trace, first);
	json_bytes(&j, "dump", run->dump, first);
	json_close(&j, '}');
	json_end(&j);
}

static int run_print(void *arg, const struct ram_run *run)
{
	struct printer *p = arg;

	if (!p->listed)
		p->first = *run;
	if (p->listed++ >= p->max)
		return 0;
	progress_end();
	if (p->json) {
		run_json(run);
		return ferror(stdout) ? 1 : 0;
	}
	printf("0x%" PRIx64 "+%" PRIu64 "  trace", run->gpa, run->len);
	bytes_text(run->trace, run->len);
	printf("  dump");
	bytes_text(run->dump, run->len);
	putchar('\n');
	return ferror(stdout) ? 1 : 0;
}

static void ram_text(const struct printer *p, const struct ram_counts *c, const char *at)
{
	more_text(p);
	printf("%s: %" PRIu64 " bytes are equal, %" PRIu64 " differ, %" PRIu64 " are not known\n",
	       p->ram, c->equal, c->differ, c->unknown);
	if (c->runs)
		printf("who wrote there: vmblame who %s 0x%" PRIx64 "+%" PRIu64 "%s%s\n", p->path,
		       p->first.gpa, p->first.len, at ? " --before " : "", at ? at : "");
}

static void ram_json(const struct ram_counts *c)
{
	struct json j = {.f = stdout};

	json_open(&j, NULL, '{');
	json_u64(&j, "v", 1);
	json_str(&j, "what", "ram");
	json_u64(&j, "equal", c->equal);
	json_u64(&j, "differ", c->differ);
	json_u64(&j, "unknown", c->unknown);
	json_u64(&j, "runs", c->runs);
	json_close(&j, '}');
	json_end(&j);
}

static int verify_ram(struct printer *p, const struct trace *trace, const struct args *args)
{
	struct dump dump;
	char err[512];
	struct ram_spec spec = {
		.reader = trace->reader,
		.state = trace->state,
		.dump = &dump,
		.path = args->ram,
		.run = run_print,
		.arg = p,
		.progress = progress_show,
	};
	struct ram_counts counts;
	int ret = trace_moment(trace, "verify", args->at, true, &spec.limit);

	if (ret)
		return ret;
	if (dump_open(&dump, args->ram, err, sizeof(err)))
		return fail("%s", err);
	ret = ram_compare(&spec, &counts, err, sizeof(err));
	progress_end();
	dump_close(&dump);
	if (ret < 0)
		return fail("%s", err);
	if (p->json)
		ram_json(&counts);
	else
		ram_text(p, &counts, args->at);
	return output_finish(counts.differ ? 1 : counts.unknown ? 3 : 0);
}

int cmd_verify(int argc, char **argv)
{
	struct args args = {0};
	struct operands operands;
	struct printer p = {.max = LIST_MAX};

	const enum options_status status = options_parse(argc, argv, &args, &operands);
	if (status != OPTIONS_OK)
		return status == OPTIONS_HELP ? 0 : 2;
	const int ret = operands_file(argv[0], &operands, &p.path);
	if (ret)
		return ret;
	if (args.at && !args.ram)
		return usage_error(argv[0], "--at goes with --ram");
	if (args.max && size_parse(args.max, &p.max))
		return usage_error(argv[0], "--max %s: expected a number", args.max);
	p.ram = args.ram;
	p.json = args.json;
	CLEANUP(trace_cleanup) struct trace trace = {0};
	if (trace_open(&trace, p.path))
		return 1;
	return args.ram ? verify_ram(&p, &trace, &args) : verify(&p, &trace);
}
