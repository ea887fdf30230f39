/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmblame export: the events of a trace in another format. */
#include "commands.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "export.h"
#include "formats/desc.h"
#include "trace.h"

struct args {
	bool force;
	const char *format, *output, *range, *from, *to, *kinds;
};

const struct option cmd_export_options[] = {
	OPTION_TEXT(0, "format", "FORMAT", struct args, format,
		    "text: one line an event (the default); json: one JSON object a line"),
	OPTION_TEXT('o', "output", "FILE", struct args, output, "write to FILE, not to stdout"),
	OPTION_FLAG(0, "force", struct args, force, "overwrite FILE"),
	OPTION_TEXT(0, "range", "RANGE", struct args, range,
		    "only events whose addresses touch RANGE, and changes of state"),
	OPTION_TEXT(0, "from", "T", struct args, from, "from time T on"),
	OPTION_TEXT(0, "to", "T", struct args, to, "before time T"),
	OPTION_TEXT(0, "kinds", "KIND,...", struct args, kinds, "only these kinds of events"),
	OPTION_END,
};

static const struct export_ops *const exporters[] = {&export_text, &export_json};

static const struct export_ops *exporter_find(const char *name)
{
	for (size_t i = 0; i < sizeof(exporters) / sizeof(exporters[0]); i++) {
		if (!strcmp(exporters[i]->name, name))
			return exporters[i];
	}
	return NULL;
}

/* Marks each kind of a list with commas. 0, or 2 after an error. */
static int kinds_parse(const char *text, bool kinds[EVENT_MAX])
{
	for (const char *at = text; *at;) {
		const size_t len = strcspn(at, ",");
		bool found = false;

		for (unsigned kind = 1; kind < EVENT_MAX; kind++) {
			const struct event_desc *desc = event_desc(kind);

			if (!desc || strlen(desc->name) != len || memcmp(desc->name, at, len))
				continue;
			kinds[kind] = found = true;
		}
		if (!found)
			return usage_error("export", "no such kind of event: %.*s", (int)len, at);
		at += len;
		at += *at == ',';
	}
	return 0;
}

static bool same_file(const char *a, const char *b)
{
	struct stat x, y;

	return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* A device or a pipe may be written to; a file that exists is someone's work. */
static FILE *output_open(const char *path, bool force)
{
	struct stat st;
	const bool regular = stat(path, &st) != 0 || S_ISREG(st.st_mode);
	const int excl = regular && !force ? O_EXCL : O_TRUNC;
	const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | excl, 0600);

	if (fd < 0)
		return NULL;
	FILE *f = fdopen(fd, "w");
	if (!f)
		close(fd);
	return f;
}

struct filter {
	struct cursor_spec spec;
	struct moment from, to;
};

struct exported {
	struct export *x;
	const struct export_ops *ops;
	const struct filter *filter;
};

/* -EPIPE stands for any error of the output, which is told later. */
static int event_export(void *arg, const struct event *ev, u64 seq, const struct stores *stores)
{
	const struct exported *s = arg;
	const struct moment at = {ev->t_ns, seq};
	int err = 0;

	(void)stores;
	if (!moment_before(at, s->filter->from) && moment_before(at, s->filter->to))
		err = s->ops->event(s->x, ev, seq);
	return !err && ferror(s->x->out) ? -EPIPE : err;
}

static int events_stream(struct export *x, const struct export_ops *ops, struct reader *r,
			 const struct filter *filter)
{
	struct exported s = {x, ops, filter};
	char err[512];
	const int ret = reader_each(r, &filter->spec, event_export, &s, NULL, err, sizeof(err));

	if (!ret || ferror(x->out))
		return 0;
	return ret == -EBADMSG ? fail("%s", err) : fail("cannot export: %s", strerror(-ret));
}

static int export_run(const struct export_ops *ops, struct reader *r, FILE *out,
		      const struct filter *filter)
{
	struct export x = {.out = out, .reader = r};
	int ret = ops->open(&x);

	if (ret)
		return fail("cannot export: %s", strerror(-ret));
	int status = events_stream(&x, ops, r, filter);
	ret = status ? 0 : ops->finish(&x);
	if (ret)
		status = fail("cannot export: %s", strerror(-ret));
	ops->close(&x);
	if (!status && (fflush(out) || ferror(out)))
		status = fail("cannot write: %s", strerror(errno));
	return status;
}

int cmd_export(int argc, char **argv)
{
	struct args args = {.format = "text"};
	struct operands operands;
	struct filter filter = {.to = MOMENT_END};
	struct range range;
	bool kinds[EVENT_MAX] = {false};
	const char *path;

	const enum options_status status = options_parse(argc, argv, &args, &operands);
	if (status != OPTIONS_OK)
		return status == OPTIONS_HELP ? 0 : 2;
	int ret = operands_file(argv[0], &operands, &path);
	if (ret)
		return ret;
	const struct export_ops *ops = exporter_find(args.format);
	if (!ops)
		return usage_error(argv[0], "no such format: %s (text, json)", args.format);
	if (args.range) {
		ret = range_parse(args.range, &range);
		if (ret)
			return usage_error(argv[0], "'%s' %s", args.range, range_complaint(ret));
		filter.spec.gpa = range.gpa;
		filter.spec.gpa_end = range.end;
	}
	if (args.kinds) {
		ret = kinds_parse(args.kinds, kinds);
		if (ret)
			return ret;
		filter.spec.kinds = kinds;
	}

	CLEANUP(trace_cleanup) struct trace trace = {0};
	if (trace_open(&trace, path))
		return 1;
	if (args.from)
		ret = trace_moment(&trace, argv[0], args.from, false, &filter.from);
	if (!ret && args.to)
		ret = trace_moment(&trace, argv[0], args.to, false, &filter.to);
	if (ret)
		return ret;
	filter.spec.t_min = filter.from.t_ns;
	filter.spec.t_max = filter.to.t_ns ? filter.to.t_ns : 1;

	CLEANUP_FILE FILE *file = NULL;
	if (args.output && strcmp(args.output, "-")) {
		if (same_file(args.output, path))
			return fail("%s: that is the trace itself", args.output);
		file = output_open(args.output, args.force);
		if (!file && errno == EEXIST)
			return fail("%s exists; --force overwrites it", args.output);
		if (!file)
			return fail("%s: %s", args.output, strerror(errno));
	}
	return export_run(ops, trace.reader, file ? file : stdout, &filter);
}
