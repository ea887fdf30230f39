/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opens a trace for a reading command. */
#include "trace.h"

#include <errno.h>
#include <string.h>

int operands_file(const char *command, const struct operands *operands, const char **path)
{
	if (operands->nrest || operands->n > 1)
		return usage_error(command, "too many operands: %s",
				   operands->n > 1 ? operands->v[1] : "--");
	*path = operands->n ? operands->v[0] : TRACE_DEFAULT;
	return 0;
}

int operands_range(const char *command, const struct operands *operands, const char **path,
		   struct range *range)
{
	if (operands->nrest || operands->n > 2)
		return usage_error(command, "too many operands: %s",
				   operands->n > 2 ? operands->v[2] : "--");
	if (!operands->n)
		return usage_error(command, "no RANGE given");
	const char *text = operands->v[operands->n - 1];
	const int err = range_parse(text, range);
	if (err)
		return usage_error(command, "'%s' %s", text, range_complaint(err));
	*path = operands->n == 2 ? operands->v[0] : TRACE_DEFAULT;
	return 0;
}

int trace_open_alone(struct trace *t, const char *path)
{
	char err[512];

	*t = (struct trace){.path = path};
	if (reader_open(&t->reader, path, err, sizeof(err)))
		return fail("%s", err);
	const struct trace_info *info = reader_info(t->reader);
	const char *message = reader_message(t->reader);
	if (info->damaged)
		return fail("%s", message ? message : "the trace is damaged");
	if (state_load(&t->state, t->reader, err, sizeof(err)))
		return fail("%s", err);
	if (!info->truncated)
		return 0;
	fprintf(stderr, "vmblame: warning: %s", message ? message : "the trace is cut short");
	if (!moment_is_end(t->state->end))
		fprintf(stderr, "; answers are as of event #%llu, %llu.%09llu s",
			(unsigned long long)t->state->end.seq,
			(unsigned long long)(t->state->end.t_ns / 1000000000),
			(unsigned long long)(t->state->end.t_ns % 1000000000));
	fputc('\n', stderr);
	return 0;
}

int trace_open(struct trace *t, const char *path)
{
	const char *why;
	const int ret = trace_open_alone(t, path);

	if (!ret && !reader_by_page(t->reader, &why) && why)
		fprintf(stderr, "vmblame: warning: %s.pages: %s; vmblame index %s makes it again\n",
			path, why, path);
	return ret;
}

void trace_close(struct trace *t)
{
	/* What was found only when it was needed, and could be mended. */
	if (t->state && reader_info(t->reader)->damaged && reader_message(t->reader))
		fprintf(stderr, "vmblame: warning: %s\n", reader_message(t->reader));
	state_free(t->state);
	reader_close(t->reader);
	*t = (struct trace){0};
}

int trace_moment(const struct trace *t, const char *command, const char *text, bool after,
		 struct moment *out)
{
	struct when when;

	*out = t->state->end;
	if (!text)
		return 0;
	if (when_parse(text, &when))
		return usage_error(command, "'%s' is not a time: 12.5s, 300ms, #EVENT or a mark",
				   text);
	switch (when.kind) {
	case WHEN_TIME:
		*out = (struct moment){when.t_ns, after ? UINT64_MAX : 0};
		return 0;
	case WHEN_EVENT: {
		const int err = event_moment(t->reader, when.seq, out);

		if (err == -ENOENT)
			return fail("%s: no event #%llu", t->path, (unsigned long long)when.seq);
		if (err)
			return fail("%s: cannot read event #%llu: %s", t->path,
				    (unsigned long long)when.seq, strerror(-err));
		break;
	}
	case WHEN_MARK: {
		const struct mark *mark = state_mark(t->state, when.mark);

		if (!mark)
			return fail("%s: '%s' is neither a time nor a mark of this trace", t->path,
				    when.mark);
		*out = mark->at;
		break;
	}
	}
	if (after)
		out->seq++;
	return 0;
}

int output_finish(int status)
{
	if (fflush(stdout) || ferror(stdout))
		return fail("cannot write: %s", strerror(errno));
	return status;
}
