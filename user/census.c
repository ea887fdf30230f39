/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Counts the events of a trace. */
#include "census.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/desc.h"

#define NAME_ROW(num, name, text) {num, text},
static const struct enum_name probe_hows[] = {ENUM_PROBE_HOW(NAME_ROW){0, NULL}};
static const struct enum_name backends[] = {ENUM_BACKEND(NAME_ROW){0, NULL}};
static const struct enum_name change_whats[] = {ENUM_CHANGE_WHAT(NAME_ROW){0, NULL}};
#undef NAME_ROW

const char *backend_text(unsigned num)
{
	const char *text = enum_name(backends, num);

	return text ? text : "?";
}

const char *probe_how_text(unsigned num)
{
	const char *text = enum_name(probe_hows, num);

	return text ? text : "?";
}

const char *change_what_text(unsigned num)
{
	const char *text = enum_name(change_whats, num);

	return text ? text : "?";
}

static bool is_note(unsigned kind)
{
	static const bool notes[EVENT_MAX] = {
		[EVENT_reset_request] = true, [EVENT_reset] = true,  [EVENT_mark] = true,
		[EVENT_probe] = true,	      [EVENT_change] = true, [EVENT_vq_error] = true,
	};

	return kind < EVENT_MAX && notes[kind];
}

static void text_copy(struct note *n, const u8 *text, size_t len, size_t max)
{
	memcpy(n->text, text, len < max ? len : max);
}

static int note_add(struct census *c, const struct event *ev, u64 seq)
{
	if (c->nnotes == CENSUS_NOTES_MAX) {
		c->notes_left++;
		return 0;
	}
	if (c->nnotes == c->notes_max) {
		const size_t wanted = c->notes_max ? 2 * c->notes_max : 64;
		struct note *bigger = realloc(c->notes, wanted * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		c->notes = bigger;
		c->notes_max = wanted;
	}
	struct note *n = &c->notes[c->nnotes++];
	*n = (struct note){.seq = seq};
	memcpy(&n->ev, ev, event_desc(ev->kind)->size);
	if (ev->kind == EVENT_mark)
		text_copy(n, n->ev.mark.name, n->ev.mark.name_len, sizeof(n->ev.mark.name));
	else if (ev->kind == EVENT_probe)
		text_copy(n, n->ev.probe.name, n->ev.probe.name_len, sizeof(n->ev.probe.name));
	return 0;
}

static void mmio_count(struct census *c, const struct state *s, const struct event_mmio *mmio,
		       u64 seq)
{
	const struct moment at = {mmio->h.t_ns, seq};
	u64 gpa, end;

	if (!mmio->write || !event_range(&mmio->h, &gpa, &end) ||
	    !coverage_on(&s->coverage, ORIGIN_VCPU, gpa, end, at)) {
		c->device_accesses++;
	} else if (mmio->done == MMIO_DONE_REQUESTED) {
		c->requests_undone++;
	} else {
		c->writes[ORIGIN_VCPU]++;
		c->written[ORIGIN_VCPU] += end - gpa;
	}
}

static int event_count(struct census *c, const struct state *s, const struct event *ev, u64 seq)
{
	if (ev->kind >= EVENT_MAX || !event_desc(ev->kind))
		return 0;
	c->kinds[ev->kind]++;
	if (ev->boot != BOOT_UNKNOWN && ev->boot >= c->boots)
		c->boots = (u64)ev->boot + 1;
	if (ev->kind == EVENT_mmio) {
		mmio_count(c, s, (const struct event_mmio *)ev, seq);
	} else if (ev->kind == EVENT_vq_sg) {
		const struct event_vq_sg *sg = (const struct event_vq_sg *)ev;

		c->writes[ORIGIN_VIRTQUEUE] += !!sg->write;
		c->written[ORIGIN_VIRTQUEUE] += sg->write ? sg->len : 0;
	}
	if (ev->kind == EVENT_unseen) {
		c->writes[ORIGIN_UNSEEN]++;
		c->written[ORIGIN_UNSEEN] += ((const struct event_unseen *)ev)->len;
	}
	return is_note(ev->kind) ? note_add(c, ev, seq) : 0;
}

struct taker {
	struct census *census;
	const struct state *state;
};

static int event_take(void *arg, const struct event *ev, u64 seq, const struct stores *s)
{
	const struct taker *t = arg;

	(void)s;
	return event_count(t->census, t->state, ev, seq);
}

int census_take(struct census *c, struct reader *r, const struct state *s, char *err,
		size_t err_size)
{
	/* Stores are counted by their chunks: to look at each takes its time (hot.h). */
	const struct cursor_spec spec = {.streams = (1u << STREAM_MAX) - 1 - (1u << STREAM_STORES)};
	struct taker taker = {c, s};
	struct chunk_info chunk;

	for (size_t i = 0; i < reader_chunks(r, STREAM_STORES); i++) {
		const int ret = reader_chunk_info(r, STREAM_STORES, i, &chunk);

		if (ret) {
			snprintf(err, err_size, "%s",
				 reader_message(r) ?: "the index cannot be read");
			return ret;
		}
		if (!chunk.damaged)
			c->kinds[EVENT_store] += chunk.events;
	}
	c->writes[ORIGIN_VCPU] = c->kinds[EVENT_store];
	return reader_each(r, &spec, event_take, &taker, NULL, err, err_size);
}

void census_free(struct census *c)
{
	free(c->notes);
	*c = (struct census){0};
}
