// SPDX-License-Identifier: GPL-2.0-or-later
/* Moments with a name. */
#include "user/record_marks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "user/record_state.h"

#define BY_SIGNAL TRIGGER_KINDS
#define NAMES_MAX 100000
#define KIND_MAX  10000 /* marks of one kind that a guest can make */

/* What a mark that nobody gave a name is called. */
static const char *const called[] = {
	[TRIGGER_TIME] = "time",
	[TRIGGER_RESET] = "reset",
	[TRIGGER_PANIC] = "panic",
	[TRIGGER_TRIPLE_FAULT] = "triple-fault",
	[TRIGGER_VIRTIO_ERROR] = "virtio-error",
	[TRIGGER_CONSOLE] = "console",
	[BY_SIGNAL] = "mark",
};

void record_marks_open(struct record *r)
{
	const int err =
		control_open(&r->marks.control, writer_uuid(r->writer), r->opts->caller.uid);

	if (err)
		record_say("vmblame mark will not be heard: %s", strerror(-err));
}

void record_marks_close(struct record *r)
{
	struct mark_due due;

	while (record_marks_next(r, &due))
		control_answer(due.answer, &(struct control_answer){.version = CONTROL_VERSION,
								    .error = "it has ended"});
	control_close(r->marks.control);
	r->marks.control = NULL;
	free(r->marks.names);
	r->marks.names = NULL;
	r->marks.nnames = r->marks.names_max = 0;
}

static bool name_used(const struct record_marks *m, const char *name)
{
	for (size_t i = 0; i < m->nnames; i++)
		if (!strcmp(m->names[i], name))
			return true;
	return false;
}

static void name_keep(struct record_marks *m, const char *name)
{
	if (m->nnames == m->names_max && m->nnames < NAMES_MAX) {
		const size_t max = m->names_max ? 2 * m->names_max : 64;
		void *more = realloc(m->names, max * sizeof(*m->names));

		if (!more)
			return;
		m->names = more;
		m->names_max = max;
	}
	if (m->nnames < m->names_max)
		snprintf(m->names[m->nnames++], sizeof(*m->names), "%s", name);
}

/* The next name of that kind; those that somebody took are passed over. */
static void name_next(struct record_marks *m, unsigned kind, char *name, size_t size)
{
	do
		snprintf(name, size, "%s-%u", called[kind], ++m->told[kind]);
	while (name_used(m, name));
	name_keep(m, name);
}

struct event_mark mark_event(const char *name, u64 t_ns)
{
	struct event_mark ev = {
		.h = {.t_ns = t_ns, .kind = EVENT_mark, .vcpu = VCPU_NONE},
		.name_len = (u8)strlen(name),
	};

	memcpy(ev.name, name, ev.name_len);
	return ev;
}

static void fall_due(struct record *r, struct mark_due due)
{
	struct record_marks *m = &r->marks;

	if (m->ndue < MARKS_DUE) {
		m->due[m->ndue++] = due;
		return;
	}
	m->dropped++;
	control_answer(due.answer, &(struct control_answer){.version = CONTROL_VERSION,
							    .error = "too many marks at once"});
}

/* Something happened at t_ns. */
static void happened(struct record *r, unsigned kind, bool exact, u64 t_ns)
{
	struct mark_due due = {.asked_ns = t_ns, .after = true, .answer = -1};
	char name[MARK_NAME_MAX + 1];

	if (r->marks.told[kind] >= KIND_MAX) {
		r->marks.dropped++;
		return;
	}
	name_next(&r->marks, kind, name, sizeof(name));
	if (!r->merge) { /* full mode knows one kind of mark */
		snprintf(due.name, sizeof(due.name), "%s", name);
		due.after = false;
		fall_due(r, due);
		return;
	}
	const struct event_mark ev = mark_event(name, t_ns);
	record_take(r, &ev.h);
	if (!exact)
		return;
	snprintf(due.name, sizeof(due.name), "%.40s-exact", name);
	fall_due(r, due);
}

void record_marks_event(struct record *r, const struct event *ev)
{
	bool told = false;

	if (ev->kind == EVENT_mark || !r->from_hit)
		return;
	for (size_t i = 0; i < r->opts->nmarks; i++) {
		struct mark_opt *opt = &r->opts->marks[i];

		/* What was asked for comes ahead of what is marked by itself, and marks it. */
		if (trigger_again(&opt->trigger, ev) && !(told && opt->by_itself)) {
			happened(r, opt->trigger.kind, opt->exact, ev->t_ns);
			told = true;
		}
	}
}

void record_marks_signal(struct record *r)
{
	struct mark_due due = {.asked_ns = record_now(r), .answer = -1};

	name_next(&r->marks, BY_SIGNAL, due.name, sizeof(due.name));
	fall_due(r, due);
}

static void asked(struct record *r, int fd, const char *name)
{
	struct mark_due due = {.asked_ns = record_now(r), .answer = fd};
	struct control_answer no = {.version = CONTROL_VERSION};

	if (name_used(&r->marks, name))
		snprintf(no.error, sizeof(no.error), "there is a mark %s already", name);
	else if (!r->from_hit)
		snprintf(no.error, sizeof(no.error), "it has not begun (--from)");
	if (no.error[0]) {
		control_answer(fd, &no);
		return;
	}
	name_keep(&r->marks, name);
	snprintf(due.name, sizeof(due.name), "%s", name);
	fall_due(r, due);
}

void record_marks_step(struct record *r, u64 now_ns)
{
	struct control_ask ask;
	int fd;

	for (size_t i = 0; i < r->opts->nmarks && r->from_hit; i++) {
		struct mark_opt *opt = &r->opts->marks[i];

		if (trigger_time(&opt->trigger, now_ns))
			happened(r, TRIGGER_TIME, opt->exact, now_ns);
	}
	while (r->marks.control && (fd = control_receive(r->marks.control, &ask)) >= 0)
		asked(r, fd, ask.name);
}

bool record_marks_next(struct record *r, struct mark_due *due)
{
	struct record_marks *m = &r->marks;

	if (!m->ndue)
		return false;
	*due = m->due[0];
	memmove(m->due, m->due + 1, --m->ndue * sizeof(m->due[0]));
	return true;
}

void record_marks_done(const struct mark_due *due, u64 t_ns, bool exact)
{
	const struct control_answer answer = {
		.version = CONTROL_VERSION,
		.exact = exact,
		.t_ns = t_ns,
		.lag_ns = t_ns > due->asked_ns ? t_ns - due->asked_ns : 0,
	};

	if (due->after)
		record_say("%s at %.6f s, %.1f ms late%s", due->name, (double)t_ns / 1e9,
			   (double)answer.lag_ns / 1e6, exact ? "" : ", and not exact");
	else if (due->answer < 0)
		record_say("%s at %.6f s", due->name, (double)t_ns / 1e9);
	control_answer(due->answer, &answer);
}
