/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmblame who: the last writers of each byte of a range. */
#include "commands.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "file_place.h"
#include "formats/desc.h"
#include "symbols.h"
#include "trace.h"
#include "view.h"
#include "view_suspects.h"

#define EXIT_NO_ANSWER 3

struct args {
	bool json;
	const char *before, *count, *file;
	struct option_list symbols;
};

const struct option cmd_who_options[] = {
	OPTION_TEXT('n', "count", "N", struct args, count, "the last N writers of each byte (1)"),
	OPTION_TEXT(0, "before", "T", struct args, before,
		    "as of time T: 12.5s, 300ms, #EVENT or a mark (the end)"),
	OPTION_TEXT('f', "file", "FILE@OFFSET+LEN", struct args, file,
		    "ask about a place in this file, wherever it lay"),
	OPTION_LIST(0, "symbols", "FILE[@BASE]", struct args, symbols,
		    "name the guest's code by this ELF file; may be repeated"),
	OPTION_FLAG(0, "json", struct args, json, "one JSON object a line"),
	OPTION_END,
};

struct printer {
	struct view view;
	struct view_suspects suspects;
	bool json, unanswered, first;
};

static bool no_answer(const struct answer *a)
{
	return a->verdict == VERDICT_UNKNOWN || a->verdict == VERDICT_LOST;
}

/* A code of a newer version, or of a hostile trace, has no name here. */
static const char *why_text(enum why why)
{
	const char *name = why_name(why);

	return name ? name : "unknown";
}

static struct view_write run_write(const struct run *run, const struct answer *a)
{
	return (struct view_write){a->write, run->gpa, run->end, a->bytes, a->old};
}

static void classes_json(struct json *j, u16 covers)
{
	if (!covers)
		return;
	json_open(j, "covers", '[');
	for (unsigned o = ORIGIN_VCPU; o < ORIGIN_MAX; o++) {
		if (covers & 1u << o)
			json_str(j, NULL, origin_name(o));
	}
	json_close(j, ']');
}

/* A page that was found changed: the window, and who could have. */
static void candidates_json(struct json *j, struct printer *s, const struct view_write *w,
			    u16 covers)
{
	const struct suspects *suspects = view_suspects(&s->suspects, w);

	json_u64(j, "seq", w->write->at.seq);
	json_u64(j, "t_ns", w->write->since_ns);
	json_u64(j, "t_end_ns", w->write->at.t_ns);
	json_str(j, "precision", "page");
	if (w->write->origin != ORIGIN_NONE)
		json_str(j, "origin", origin_name(w->write->origin));
	if (w->bytes)
		json_bytes(j, "bytes", w->bytes, w->end - w->gpa);
	if (w->old)
		json_bytes(j, "old", w->old, w->end - w->gpa);
	json_open(j, "candidates", '[');
	if (suspects)
		view_suspects_json(j, &s->view, suspects);
	json_close(j, ']');
	const enum origin class =
		suspects ? suspects_class(suspects, w->write, covers) : ORIGIN_NONE;
	if (class != ORIGIN_NONE)
		json_str(j, "class", origin_name(class));
}

/* It was found changed, and this is what is said of the change. */
static bool found_changed(const struct answer *a)
{
	return a->write && a->write->version_how &&
	       (a->verdict == VERDICT_CANDIDATES || a->verdict == VERDICT_UNEXPLAINED);
}

static void answer_json(struct printer *s, const struct run *run, unsigned rank)
{
	const struct answer *a = &run->answers[rank];
	const struct view_write w = run_write(run, a);
	const bool written = a->verdict == VERDICT_WRITTEN_BY;
	struct json j = {.f = stdout};

	json_open(&j, NULL, '{');
	json_u64(&j, "v", 1);
	json_str(&j, "verdict", verdict_name(a->verdict));
	if (rank)
		json_u64(&j, "rank", rank + 1);
	if (a->why != WHY_NONE)
		json_str(&j, "why", why_text(a->why));
	if (a->detail[0])
		json_str(&j, "detail", a->detail);
	if (a->verdict == VERDICT_LOST)
		json_u64(&j, "lost", a->lost);
	classes_json(&j, a->covers);
	if (written) {
		view_json(&j, &s->view, &w);
	} else {
		json_hex(&j, "gpa", run->gpa);
		json_u64(&j, "len", run->end - run->gpa);
		if (!a->write && a->bytes)
			json_bytes(&j, "bytes", a->bytes, run->end - run->gpa);
		if (found_changed(a))
			candidates_json(&j, s, &w, a->covers);
		else if (a->write) {
			json_open(&j, "candidates", '[');
			json_open(&j, NULL, '{');
			view_json(&j, &s->view, &w);
			json_close(&j, '}');
			json_close(&j, ']');
		}
	}
	json_close(&j, '}');
	json_end(&j);
}

static enum tint verdict_tint(enum verdict verdict)
{
	switch (verdict) {
	case VERDICT_WRITTEN_BY:
		return TINT_GOOD;
	case VERDICT_UNEXPLAINED:
	case VERDICT_LOST:
		return TINT_BAD;
	case VERDICT_UNKNOWN:
	case VERDICT_CANDIDATES:
		return TINT_WARN;
	default:
		return TINT_BOLD;
	}
}

static void covers_text(u16 covers)
{
	bool any = false;

	fputs("    observed    ", stdout);
	for (unsigned o = ORIGIN_VCPU; o < ORIGIN_MAP; o++) {
		if (covers & 1u << o) {
			printf("%s%s", any ? ", " : "", origin_name(o));
			any = true;
		}
	}
	printf("%s; not: ", any ? "" : "no class of writer");
	any = false;
	for (unsigned o = ORIGIN_VCPU; o < ORIGIN_MAP; o++) {
		if (!(covers & 1u << o)) {
			printf("%s%s", any ? ", " : "", origin_name(o));
			any = true;
		}
	}
	puts(any ? "" : "none");
}

static void answer_text(struct printer *s, const struct run *run, unsigned rank)
{
	const struct answer *a = &run->answers[rank];
	const struct view_write w = run_write(run, a);
	const u64 len = run->end - run->gpa;

	if (rank)
		printf("  %u.", rank + 1);
	else
		printf("%s0x%" PRIx64 "..0x%" PRIx64, s->first ? "" : "\n", run->gpa, run->end);
	if (!rank)
		printf(" (%" PRIu64 " %s)", len, len == 1 ? "byte" : "bytes");
	printf("  %s%s%s", tint(&s->view, verdict_tint(a->verdict)), verdict_name(a->verdict),
	       TINT_OFF(&s->view));
	if (a->why != WHY_NONE)
		printf(" %s", why_text(a->why));
	putchar('\n');
	if (a->detail[0])
		printf("    %s\n", a->detail);
	if (a->write && no_answer(a))
		puts("    The last write seen, which may not be the last one:");
	if (a->write)
		view_paragraph(stdout, &s->view, &w);
	else if (a->bytes) {
		fputs("    bytes       ", stdout);
		view_bytes(stdout, a->bytes, len, 32);
		putchar('\n');
	}
	if (a->verdict == VERDICT_CANDIDATES) {
		const struct suspects *suspects = view_suspects(&s->suspects, &w);
		char watch[80];

		const enum origin class =
			suspects ? suspects_class(suspects, a->write, a->covers) : ORIGIN_NONE;

		if (suspects)
			view_suspects_text(stdout, &s->view, suspects);
		if (class != ORIGIN_NONE)
			printf("    class       %s alone: all others were observed, and none wrote "
			       "here\n",
			       origin_name(class));
		view_watch(watch, sizeof(watch), run->gpa, run->end);
		printf("    exactly     %s tells of each store\n", watch);
	}
	if (!no_answer(a))
		covers_text(a->covers);
}

static int show_run(void *arg, const struct run *run)
{
	struct printer *s = arg;

	for (unsigned i = 0; i < run->nanswers; i++) {
		if (s->json)
			answer_json(s, run, i);
		else
			answer_text(s, run, i);
	}
	s->first = false;
	s->unanswered |= no_answer(&run->answers[0]);
	return ferror(stdout) ? 1 : 0;
}

static int count_parse(const char *text, unsigned *n)
{
	u64 value;

	*n = 1;
	if (!text)
		return 0;
	if (size_parse(text, &value) || !value || value > QUERY_N_MAX)
		return usage_error("who", "-n takes a number from 1 to %d, not '%s'", QUERY_N_MAX,
				   text);
	*n = (unsigned)value;
	return 0;
}

/* Asks about each part of a file in turn. */
static int ask_file(const struct trace *t, const struct file_place *place, struct query *q,
		    struct printer *s, char *err, size_t err_size)
{
	int ret = 0;

	for (size_t i = 0; i < place->n && !ret; i++) {
		const struct file_part *p = &place->parts[i];

		if (!s->json)
			printf("%sfile+0x%" PRIx64 " lay at 0x%" PRIx64 "%s:\n", i ? "\n" : "",
			       p->off, p->gpa, p->inferred ? ", by its neighbours" : "");
		q->gpa = p->gpa;
		q->end = p->gpa + p->len;
		s->first = true;
		ret = query_run(t->reader, t->state, q, show_run, s, NULL, err, err_size);
	}
	return ret;
}

int cmd_who(int argc, char **argv)
{
	struct args args = {0};
	struct operands operands;
	struct query q = {0};
	struct range range = {0};
	const char *path;
	char err[512];

	const enum options_status status = options_parse(argc, argv, &args, &operands);
	if (status != OPTIONS_OK)
		return status == OPTIONS_HELP ? 0 : 2;
	int ret = args.file ? operands_file(argv[0], &operands, &path)
			    : operands_range(argv[0], &operands, &path, &range);
	if (!ret)
		ret = count_parse(args.count, &q.n);
	if (ret)
		return ret;
	if (range.end - range.gpa > QUERY_BYTES_MAX)
		return usage_error(argv[0], "the range is larger than %llu MiB; ask for a part",
				   QUERY_BYTES_MAX >> 20);

	CLEANUP(symbols_cleanup) struct symbols *symbols = NULL;
	for (unsigned i = 0; i < args.symbols.n; i++) {
		if (symbols_add(&symbols, args.symbols.v[i], err, sizeof(err)))
			return fail("%s", err);
	}
	CLEANUP(trace_cleanup) struct trace trace = {0};
	if (trace_open(&trace, path))
		return 1;
	ret = trace_moment(&trace, argv[0], args.before, false, &q.limit);
	if (ret)
		return ret;
	q.gpa = range.gpa;
	q.end = range.end;
	struct printer s = {
		.view = {trace.state, symbols, !args.json && colour_wanted(stdout)},
		.json = args.json,
		.first = true,
	};
	s.suspects = (struct view_suspects){.view = &s.view, .reader = trace.reader};
	struct file_place place = {0};
	if (args.file) {
		ret = file_place(&trace, argv[0], args.file, q.limit, &place);
		if (!ret)
			ret = ask_file(&trace, &place, &q, &s, err, sizeof(err));
		free(place.parts);
	} else {
		ret = query_run(trace.reader, trace.state, &q, show_run, &s, NULL, err,
				sizeof(err));
	}
	view_suspects_close(&s.suspects);
	if (ret < 0)
		return fail("%s", err);
	if (ret && !ferror(stdout))
		return ret;
	return output_finish(s.unanswered ? EXIT_NO_ANSWER : 0);
}
