/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random guests whose every write is known, seen or not, against what the analyzer claims: whoever
 * is named did it, bytes that are called known are right, INITIAL means that nobody wrote.
 */
#include "scribe.h"

#include <stdlib.h>

#include "replay/history.h"
#include "replay/memory.h"
#include "replay/query.h"

#define BASE   0xfe0ull /* across a page boundary */
#define BYTES  48
#define STEPS  160
#define GUESTS 300

/* A byte as it truly is. */
struct cell {
	u8 value;
	u64 writer;    /* number of the event; 0: nobody; UNSEEN */
	bool observed; /* the write fell under full observation */
};
#define UNSEEN UINT64_MAX

struct guest {
	struct scribe scribe;
	unsigned seed;
	struct cell cells[BYTES];
	bool vcpu[BYTES], virtqueue; /* observed */
	u64 req;
	struct {
		struct moment at; /* just before this event */
		struct cell cells[BYTES];
	} then[STEPS];
	unsigned nthen;
	u64 claims; /* how often something was claimed */
};

static unsigned rnd(struct guest *g, unsigned n)
{
	return (unsigned)rand_r(&g->seed) / 7 % n;
}

static void change(struct guest *g, unsigned at, unsigned len, const char *bytes, u64 writer)
{
	for (unsigned i = at; i < at + len; i++) {
		g->cells[i].value = (u8)bytes[i - at];
		g->cells[i].writer = writer;
		g->cells[i].observed = g->vcpu[i] && g->virtqueue;
	}
}

static void spell(struct guest *g, char *bytes, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		bytes[i] = (char)('a' + rnd(g, 26));
	bytes[len] = 0;
}

static void guest_store(struct guest *g, bool lost)
{
	const unsigned len = 1 + rnd(g, 8), at = rnd(g, BYTES - len);
	struct scribe *s = &g->scribe;
	bool seen = false;
	char bytes[9];

	spell(g, bytes, len);
	for (unsigned i = at; i < at + len; i++)
		seen |= g->vcpu[i];
	if (!seen) {
		change(g, at, len, bytes, UNSEEN);
	} else if (lost) {
		s->t_ns += 1000;
		change(g, at, len, bytes, UNSEEN);
		const u64 t = s->t_ns;
		if (rnd(g, 2))
			scribe_store(s, BASE, "", MMIO_DONE_REQUESTED);
		scribe_loss(s, 1, t, t, BASE + at, BASE + at + len, 1 << ORIGIN_VCPU);
	} else {
		if (!rnd(g, 4))
			scribe_store(s, BASE + at, "zzzz", MMIO_DONE_REQUESTED);
		change(g, at, len, bytes, scribe_store(s, BASE + at, bytes, MMIO_DONE_EXITED));
	}
}

static void guest_transfer(struct guest *g)
{
	const unsigned len = 1 + rnd(g, 20), at = rnd(g, BYTES - len), order = rnd(g, 3);
	char bytes[32];

	spell(g, bytes, len);
	if (!g->virtqueue) {
		change(g, at, len, bytes, UNSEEN);
		return;
	}
	g->req++;
	if (order == 1) {
		scribe_content(&g->scribe, CONTENT_WHY_DEVICE, g->req, BASE + at, bytes);
		g->scribe.t_ns -= 1000;
	}
	change(g, at, len, bytes, scribe_transfer(&g->scribe, g->req, g->req, BASE + at, len));
	if (order == 2) {
		g->scribe.t_ns -= 1000;
		scribe_content(&g->scribe, CONTENT_WHY_DEVICE, g->req, BASE + at, bytes);
	}
}

static void guest_look(struct guest *g)
{
	const unsigned len = 1 + rnd(g, 30), at = rnd(g, BYTES - len);
	char bytes[32] = "";

	for (unsigned i = 0; i < len; i++)
		bytes[i] = (char)g->cells[at + i].value;
	scribe_content(&g->scribe, rnd(g, 2) ? CONTENT_WHY_START : CONTENT_WHY_MARK, 0, BASE + at,
		       bytes);
}

static void guest_cover(struct guest *g)
{
	const unsigned len = 1 + rnd(g, BYTES / 2), at = rnd(g, BYTES - len);
	const bool on = rnd(g, 4) != 0;

	if (!rnd(g, 4)) {
		g->virtqueue = on;
		scribe_cover(&g->scribe, ORIGIN_VIRTQUEUE, on, on ? WHY_NONE : WHY_NO_PROBE, 0, 0);
		return;
	}
	for (unsigned i = at; i < at + len; i++)
		g->vcpu[i] = on;
	scribe_cover(&g->scribe, ORIGIN_VCPU, on, on ? WHY_NONE : WHY_PAGE_TABLE, BASE + at, len);
}

static void guest_step(struct guest *g)
{
	switch (rnd(g, 24)) {
	case 0:
		guest_cover(g);
		break;
	case 1:
		guest_store(g, true);
		break;
	case 2:
	case 3:
		guest_look(g);
		break;
	case 4:
	case 5:
		guest_transfer(g);
		break;
	default:
		guest_store(g, false);
	}
}

static void guest_run(struct guest *g, unsigned seed)
{
	memset(g, 0, sizeof(*g));
	g->seed = seed;
	scribe_begin(&g->scribe);
	for (unsigned i = 0; i < BYTES; i++)
		g->cells[i].value = '.';
	if (rnd(g, 8)) {
		scribe_cover(&g->scribe, ORIGIN_VIRTQUEUE, true, WHY_NONE, 0, 0);
		g->virtqueue = true;
	}
	if (rnd(g, 4)) {
		scribe_cover(&g->scribe, ORIGIN_VCPU, true, WHY_NONE, BASE + 4, BYTES - 8);
		for (unsigned i = 4; i < BYTES - 4; i++)
			g->vcpu[i] = true;
	}
	for (unsigned i = 0; i < STEPS; i++) {
		guest_step(g);
		/* A step's events share no time with the next step's. */
		g->scribe.t_ns += 500;
		g->then[i].at = (struct moment){g->scribe.t_ns, 0};
		memcpy(g->then[i].cells, g->cells, sizeof(g->cells));
		g->scribe.t_ns += 500;
	}
	g->nthen = STEPS;
	scribe_read(&g->scribe);
}

struct question {
	struct guest *guest;
	const struct cell *cells; /* the truth */
	u64 next;		  /* where the next run must begin */
};

static int judge_run(void *arg, const struct run *run)
{
	struct question *q = arg;
	const struct answer *a = &run->answers[0];

	assert_int_equal(run->gpa, q->next);
	q->next = run->end;
	for (u64 gpa = run->gpa; gpa < run->end; gpa++) {
		const struct cell *cell = &q->cells[gpa - BASE];
		const u64 i = gpa - run->gpa;

		if (a->verdict == VERDICT_WRITTEN_BY) {
			assert_int_equal(a->write->at.seq, cell->writer);
			q->guest->claims++;
		}
		if (a->verdict == VERDICT_INITIAL) {
			assert_false(cell->writer && cell->observed);
			q->guest->claims++;
		}
		if (a->bytes && (a->verdict == VERDICT_WRITTEN_BY || !a->write))
			assert_int_equal(a->bytes[i], cell->value);
	}
	return 0;
}

static void ask(struct guest *g, struct moment limit, const struct cell *cells, unsigned n)
{
	struct question question = {g, cells, BASE};
	const struct query q = {BASE, BASE + BYTES, limit, n};
	char err[256] = "";
	u8 data[BYTES];
	bool known[BYTES];

	if (query_run(g->scribe.reader, g->scribe.state, &q, judge_run, &question, NULL, err,
		      sizeof(err)))
		fail_msg("%s", err);
	assert_int_equal(question.next, BASE + BYTES);
	if (memory_read(g->scribe.reader, g->scribe.state, BASE, BYTES, limit, data, known, err,
			sizeof(err)))
		fail_msg("%s", err);
	for (unsigned i = 0; i < BYTES; i++) {
		if (known[i]) {
			assert_int_equal(data[i], cells[i].value);
			g->claims++;
		}
	}
}

static void claims_are_true(void **state)
{
	static struct guest g;
	u64 claims = 0;

	(void)state;
	for (unsigned seed = 1; seed <= GUESTS; seed++) {
		guest_run(&g, seed);
		ask(&g, MOMENT_END, g.cells, 1);
		for (unsigned i = 0; i < 8; i++) {
			const unsigned at = rnd(&g, g.nthen);

			ask(&g, g.then[at].at, g.then[at].cells, 1 + rnd(&g, 3));
		}
		claims += g.claims;
		scribe_end(&g.scribe);
	}
	/* An analyzer that claims nothing is no use. */
	assert_true(claims > GUESTS * BYTES);
}

/* Replays the history of a guest against its truth at each step. */
static int judge_item(void *arg, const struct history_item *item)
{
	struct guest *g = arg;
	const struct cell *before = NULL, *after = NULL;

	if (item->event)
		return 0;
	for (unsigned i = 0; i < g->nthen && !after; i++) {
		if (!moment_before(g->then[i].at, item->write->at)) {
			after = g->then[i].cells;
			before = i ? g->then[i - 1].cells : NULL;
		}
	}
	assert_non_null(after);
	for (u64 gpa = item->gpa; gpa < item->end; gpa++) {
		const u64 i = gpa - item->gpa;

		assert_int_equal(after[gpa - BASE].writer, item->write->at.seq);
		if (item->bytes) {
			assert_int_equal(item->bytes[i], after[gpa - BASE].value);
			g->claims++;
		}
		if (item->old) {
			assert_int_equal(item->old[i], before ? before[gpa - BASE].value : '.');
			g->claims++;
		}
	}
	return 0;
}

static void histories_are_true(void **state)
{
	static struct guest g;
	u64 claims = 0;

	(void)state;
	for (unsigned seed = 1; seed <= GUESTS; seed++) {
		const struct history h = {BASE, BASE + BYTES, MOMENT_START, MOMENT_END};
		char err[256] = "";

		guest_run(&g, 1000 + seed);
		if (history_run(g.scribe.reader, g.scribe.state, &h, judge_item, &g, err,
				sizeof(err)))
			fail_msg("%s", err);
		claims += g.claims;
		scribe_end(&g.scribe);
	}
	assert_true(claims > GUESTS * BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(claims_are_true),
		cmocka_unit_test(histories_are_true),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
