/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Turns events into entries of the ledger, and finds the requests behind device writes. */
#include "ledger.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/delta.h"
#include "formats/desc.h"

static const bool ledger_kinds[EVENT_MAX] = {
	[EVENT_mmio] = true,	[EVENT_store] = true,  [EVENT_vq_sg] = true,
	[EVENT_content] = true, [EVENT_unseen] = true, [EVENT_version] = true,
};

struct ledger {
	const struct coverage *coverage;
	struct ledger_spec spec;
	struct cursor *cursor;
	/* A page that was found changed, and the runs of it that were not told yet. */
	const struct event_version *version;
	u64 version_seq;
	struct delta delta;
	char message[256];
};

int ledger_open(struct ledger **out, struct reader *r, const struct coverage *coverage,
		const struct ledger_spec *spec)
{
	struct ledger *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->coverage = coverage;
	l->spec = *spec;
	const struct cursor_spec cursor_spec = {
		.streams = 1u << STREAM_ACTIVITY | 1u << STREAM_CONTENT | 1u << STREAM_STORES,
		.gpa = spec->gpa,
		.gpa_end = spec->end,
		.t_min = spec->from.t_ns,
		.t_max = spec->limit.t_ns ? spec->limit.t_ns : 1,
		.backward = spec->backward,
		.wants = spec->wants,
		.wants_arg = spec->wants_arg,
		.kinds = ledger_kinds,
	};
	const int err = cursor_open(&l->cursor, r, &cursor_spec);
	if (err) {
		free(l);
		return err;
	}
	*out = l;
	return 0;
}

static bool in_spec(const struct ledger *l, const struct entry *e)
{
	return e->gpa < l->spec.end && e->end > l->spec.gpa &&
	       moment_before(e->at, l->spec.limit) && !moment_before(e->at, l->spec.from);
}

static void version_begin(struct ledger *l, const struct event_version *v, u64 seq)
{
	if (v->len > sizeof(v->data) || v->gpa & 0xfff || v->gpa > UINT64_MAX - 0x1000)
		return;
	l->version = v;
	l->version_seq = seq;
	l->delta = delta_open(v->data, v->len);
}

/* The next run of the version at hand. */
static bool version_entry(struct ledger *l, struct entry *e)
{
	const struct event_version *v = l->version;

	while (v && delta_next(&l->delta)) {
		*e = (struct entry){
			.kind = ENTRY_VERSION,
			.at = {v->h.t_ns, l->version_seq},
			.gpa = v->gpa + l->delta.off,
			.end = v->gpa + l->delta.off + l->delta.len,
			.bytes = l->delta.bytes,
			.since_ns = v->t0_ns,
			.ev = &v->h,
		};
		if (in_spec(l, e))
			return true;
	}
	l->version = NULL;
	return false;
}

/* False when the event is no entry. */
static bool entry_of(const struct ledger *l, const struct event *ev, u64 seq, struct entry *e)
{
	*e = (struct entry){.at = {ev->t_ns, seq}, .ev = ev};
	switch (ev->kind) {
	case EVENT_mmio: {
		const struct event_mmio *mmio = (const struct event_mmio *)ev;

		if (!mmio->write || mmio->done == MMIO_DONE_REQUESTED ||
		    mmio->len > sizeof(mmio->bytes))
			return false;
		e->kind = ENTRY_STORE;
		e->bytes = mmio->bytes;
		break;
	}
	case EVENT_store: {
		const struct event_store *store = (const struct event_store *)ev;

		if (store->smm || store->len > sizeof(store->bytes)) /* SMM's: other memory */
			return false;
		e->kind = ENTRY_STORE;
		e->bytes = store->bytes;
		break;
	}
	case EVENT_unseen: {
		const struct event_unseen *unseen = (const struct event_unseen *)ev;

		if (unseen->len > sizeof(unseen->data))
			return false;
		e->kind = ENTRY_UNSEEN;
		e->bytes = unseen->data;
		e->since_ns = unseen->t0_ns;
		break;
	}
	case EVENT_vq_sg: {
		const struct event_vq_sg *sg = (const struct event_vq_sg *)ev;

		if (!sg->write)
			return false;
		e->kind = ENTRY_TRANSFER;
		e->req = sg->req;
		break;
	}
	case EVENT_content: {
		const struct event_content *content = (const struct event_content *)ev;

		if (content->len > sizeof(content->data))
			return false;
		e->kind = content->why == CONTENT_WHY_DEVICE ? ENTRY_CAPTURE : ENTRY_LOOK;
		e->bytes = content->data;
		e->req = content->req;
		e->look = content->why;
		break;
	}
	default:
		return false;
	}
	if (!event_range(ev, &e->gpa, &e->end) || e->end <= e->gpa)
		return false;
	if (!in_spec(l, e))
		return false;
	return e->kind != ENTRY_STORE ||
	       coverage_on(l->coverage, ORIGIN_VCPU, e->gpa, e->end, e->at);
}

struct write entry_write(const struct entry *e)
{
	struct write w = {.at = e->at, .gpa = e->gpa, .end = e->end};

	switch (e->kind) {
	case ENTRY_STORE:
		w.origin = ORIGIN_VCPU;
		if (e->ev->kind == EVENT_mmio) {
			w.ev.mmio = *(const struct event_mmio *)e->ev;
			break;
		}
		const struct event_store *store = (const struct event_store *)e->ev;
		w.gva = store->gva;
		w.has_gva = true;
		w.raced = store->raced;
		w.ev.mmio = (struct event_mmio){
			.h = store->h,
			.gpa = store->gpa,
			.len = store->len,
			.write = 1,
			.done = MMIO_DONE_EXITED,
			.rip = store->pc,
			.cpl = 0xff,
			.mode = CPU_MODE_UNKNOWN,
		};
		memcpy(w.ev.mmio.bytes, store->bytes, sizeof(store->bytes));
		break;
	case ENTRY_TRANSFER:
		w.origin = ORIGIN_VIRTQUEUE;
		w.ev.sg = *(const struct event_vq_sg *)e->ev;
		w.request = (struct request){
			.at = e->at,
			.req = e->req,
			.dev = w.ev.sg.dev,
			.queue = w.ev.sg.queue,
		};
		break;
	case ENTRY_UNSEEN:
		w.origin = ORIGIN_UNSEEN;
		w.ev.h = *e->ev;
		w.since_ns = e->since_ns;
		w.why = ((const struct event_unseen *)e->ev)->why;
		break;
	case ENTRY_VERSION:
		w.ev.h = *e->ev;
		w.since_ns = e->since_ns;
		w.version_how = ((const struct event_version *)e->ev)->how;
		w.log_ns = ((const struct event_version *)e->ev)->log_ns;
		w.origin = w.version_how == VERSION_HOW_SCRUB ? ORIGIN_UNSEEN : ORIGIN_NONE;
		break;
	case ENTRY_CAPTURE:
	case ENTRY_LOOK:
		break;
	}
	return w;
}

int ledger_next(struct ledger *l, struct entry *e)
{
	for (;;) {
		const struct event *ev;
		u64 seq;

		if (version_entry(l, e))
			return 1;
		switch (cursor_next(l->cursor, &ev, &seq)) {
		case CURSOR_MORE:
			if (ev->kind == EVENT_version)
				version_begin(l, (const struct event_version *)ev, seq);
			else if (entry_of(l, ev, seq, e))
				return 1;
			break;
		case CURSOR_STORES:
		case CURSOR_TRUNCATED:
			break;
		case CURSOR_END:
			return 0;
		case CURSOR_CORRUPT:
		case CURSOR_IO:
			snprintf(l->message, sizeof(l->message), "%s", cursor_message(l->cursor));
			return -EBADMSG;
		}
	}
}

u64 ledger_chunks_read(const struct ledger *l)
{
	return cursor_chunks_read(l->cursor);
}

const char *ledger_message(const struct ledger *l)
{
	return l->message;
}

void ledger_close(struct ledger *l)
{
	if (!l)
		return;
	cursor_close(l->cursor);
	free(l);
}

static int request_order(const void *a, const void *b)
{
	const struct request *x = a, *y = b;

	return moment_before(x->at, y->at) ? -1 : moment_before(y->at, x->at);
}

/* A completion answers for the transfers after it, up to the queue's next one. */
static void request_match(struct request *requests, size_t n, const struct event_vq_push *push,
			  u64 seq)
{
	const struct moment at = {push->h.t_ns, seq};
	size_t lo = 0, hi = n;

	while (lo < hi) {
		const size_t mid = lo + (hi - lo) / 2;

		if (moment_before(requests[mid].at, at))
			lo = mid + 1;
		else
			hi = mid;
	}
	for (size_t i = lo; i < n && requests[i].at.t_ns <= at.t_ns + 1000000; i++) {
		struct request *request = &requests[i];

		if (request->req != push->req || request->dev != push->dev ||
		    request->queue != push->queue)
			continue;
		request->found = true;
		request->head = push->head;
		request->header_len = push->head_len < sizeof(request->header)
					      ? push->head_len
					      : sizeof(request->header);
		memcpy(request->header, push->header, request->header_len);
	}
}

/* Scans for completions in [t_min,t_max]. */
static int requests_scan(struct reader *r, struct request *requests, size_t n, u64 t_min, u64 t_max)
{
	static const bool kinds[EVENT_MAX] = {[EVENT_vq_push] = true};
	const struct cursor_spec spec = {
		.streams = 1u << STREAM_ACTIVITY,
		.t_min = t_min,
		.t_max = t_max ? t_max : 1,
		.kinds = kinds,
	};
	struct cursor *c = NULL;
	const int err = cursor_open(&c, r, &spec);

	if (err)
		return err;
	enum cursor_status status;
	const struct event *ev;
	u64 seq;
	while ((status = cursor_next(c, &ev, &seq)) != CURSOR_END && status != CURSOR_IO) {
		if (status == CURSOR_MORE && ev->kind == EVENT_vq_push)
			request_match(requests, n, (const struct event_vq_push *)ev, seq);
	}
	cursor_close(c);
	return 0;
}

/* One scan for all requests that lie in the same chunk: a completion has the time of its transfers.
 */
int ledger_requests(struct reader *r, struct request *requests, size_t n)
{
	if (!n)
		return 0;
	qsort(requests, n, sizeof(*requests), request_order);
	for (size_t i = 0, next; i < n; i = next) {
		const u64 t_min = requests[i].at.t_ns;
		u64 chunk_end = t_min;

		next = i + 1;
		struct chunk_info chunk;
		for (size_t k = 0; !reader_chunk_info(r, STREAM_ACTIVITY, k, &chunk); k++)
			if (chunk.t_min <= t_min && t_min <= chunk.t_max && chunk.t_max > chunk_end)
				chunk_end = chunk.t_max;
		while (next < n && requests[next].at.t_ns <= chunk_end)
			next++;
		const int err =
			requests_scan(r, requests + i, next - i, t_min, requests[next - 1].at.t_ns);
		if (err)
			return err;
	}
	return 0;
}

bool request_sector(const struct request *request, u64 *sector)
{
	const u8 *h = request->header;

	if (!request->found || request->header_len < 16)
		return false;
	const u32 type = h[0] | (u32)h[1] << 8 | (u32)h[2] << 16 | (u32)h[3] << 24;
	if (type > 1)
		return false;
	*sector = 0;
	for (unsigned i = 0; i < 8; i++)
		*sector |= (u64)h[8 + i] << 8 * i;
	return true;
}
