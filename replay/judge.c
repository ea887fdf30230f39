/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules, in order: lost events; a gap in the watch on guest stores; a gap in the watch on
 * devices; memory that the VMM writes unseen; a later look that disagrees. Only what passes all is
 * WRITTEN-BY.
 */
#include "judge.h"

#include <stdio.h>
#include <string.h>

#include "formats/desc.h"

#define CLASSES_ALL ((1u << ORIGIN_UNSEEN) - (1u << ORIGIN_VCPU))

struct case_file {
	const struct piece *piece;
	struct moment limit;
	const struct kept *write; /* last one before limit, or NULL */
	size_t first, after;	  /* looks since the write are in active[first..after) */
	struct horizon vcpu, virtqueue;
	struct moment from; /* the write, or when every class was being observed */
};

static bool kept_is_write(const struct kept *k)
{
	return k->kind != ENTRY_CAPTURE && k->kind != ENTRY_LOOK;
}

static const struct kept *active(const struct piece *p, size_t i)
{
	return &p->pile->kept[p->active[i]];
}

/* The piece's bytes in an entry that has bytes. */
static const u8 *slice(const struct piece *p, const struct kept *k)
{
	return k->bytes + (p->gpa - k->gpa);
}

/* What a write left in the piece, or NULL when it was not captured. */
static const u8 *write_bytes(const struct piece *p, const struct kept *w)
{
	if (w->kind != ENTRY_TRANSFER)
		return slice(p, w);
	for (size_t i = 0; i < p->nactive; i++) {
		const struct kept *k = active(p, i);

		if (k->kind == ENTRY_CAPTURE && k->req == w->req &&
		    (k->req || k->at.t_ns == w->at.t_ns))
			return slice(p, k);
	}
	return NULL;
}

static bool observed_since(const struct horizon *h, struct moment from)
{
	return h->on && !moment_before(from, h->since);
}

/* Whether nothing can have written the piece unseen between two moments. */
static bool trusted_between(const struct piece *p, struct moment from, struct moment limit)
{
	const struct coverage *c = &p->pile->coverage;
	const struct horizon vcpu = coverage_horizon(c, ORIGIN_VCPU, p->gpa, limit);
	const struct horizon virtqueue = coverage_horizon(c, ORIGIN_VIRTQUEUE, p->gpa, limit);
	struct losses losses;

	coverage_losses(c, p->gpa, from, limit, &losses);
	return !losses.count && observed_since(&vcpu, from) && observed_since(&virtqueue, from) &&
	       coverage_blind(c, ORIGIN_VHOST, p->gpa, from, limit).level == BLIND_NOT &&
	       !state_ring(p->state, p->gpa, from, limit);
}

/* What the piece held before active[i], which is a write; NULL when not known. */
static const u8 *old_bytes(const struct piece *p, size_t i)
{
	const struct moment limit = active(p, i)->at;

	while (++i < p->nactive) {
		const struct kept *k = active(p, i);

		if (k->kind == ENTRY_CAPTURE)
			continue;
		if (!trusted_between(p, k->at, limit))
			return NULL;
		return k->kind == ENTRY_LOOK ? slice(p, k) : write_bytes(p, k);
	}
	return NULL;
}

#define SECONDS(ns) (unsigned long long)((ns) / 1000000000), (unsigned long long)((ns) % 1000000000)

static const char *class_text(enum origin origin)
{
	return origin == ORIGIN_VCPU ? "guest stores here" : "virtqueue writes";
}

/* The sentence on the last write seen, for verdicts that do not name a writer. */
static void last_seen(const struct case_file *c, char *buf, size_t size)
{
	if (c->write)
		snprintf(buf, size, "; the last write seen is #%llu at %llu.%09llu s",
			 (unsigned long long)c->write->at.seq, SECONDS(c->write->at.t_ns));
	else
		buf[0] = 0;
}

static void answer_gap(const struct case_file *c, struct answer *a, enum origin origin,
		       const struct horizon *h)
{
	const char *why = why_name(h->why);
	char seen[80], gap[200];

	last_seen(c, seen, sizeof(seen));
	if (h->on)
		snprintf(gap, sizeof(gap), "%s were not observed before %llu.%09llu s (%s)",
			 class_text(origin), SECONDS(h->since.t_ns), why ? why : "?");
	else if (h->off.seq)
		snprintf(gap, sizeof(gap), "%s were no longer observed from %llu.%09llu s on (%s)",
			 class_text(origin), SECONDS(h->off.t_ns), why ? why : "?");
	else
		snprintf(gap, sizeof(gap), "%s were not observed", class_text(origin));
	a->verdict = VERDICT_UNKNOWN;
	a->why = h->why;
	snprintf(a->detail, sizeof(a->detail), "%s%s", gap, seen);
}

static bool rule_lost(const struct case_file *c, struct answer *a)
{
	struct losses losses;
	char seen[80], where[64] = "";

	coverage_losses(&c->piece->pile->coverage, c->piece->gpa,
			c->write ? c->write->at : MOMENT_START, c->limit, &losses);
	if (!losses.count)
		return false;
	if (losses.gpa || losses.end != UINT64_MAX)
		snprintf(where, sizeof(where), " over 0x%llx..0x%llx",
			 (unsigned long long)losses.gpa, (unsigned long long)losses.end);
	last_seen(c, seen, sizeof(seen));
	a->verdict = VERDICT_LOST;
	a->lost = losses.count;
	snprintf(a->detail, sizeof(a->detail),
		 "%llu events were dropped between %llu.%09llu s and %llu.%09llu s%s%s",
		 (unsigned long long)losses.count, SECONDS(losses.t0_ns), SECONDS(losses.t1_ns),
		 where, seen);
	return true;
}

static u16 covers_since(const struct case_file *c)
{
	u16 covers = 0;

	for (unsigned o = ORIGIN_VCPU; o < ORIGIN_UNSEEN; o++) {
		const struct horizon h =
			coverage_horizon(&c->piece->pile->coverage, o, c->piece->gpa, c->limit);

		if (observed_since(&h, c->from))
			covers |= (u16)(1u << o);
	}
	return covers;
}

/* Whether memory was compared with what was seen since `from`, so that other writers would show. */
static bool compared_since(const struct piece *p, struct moment from, struct moment limit)
{
	const struct comparison *c = state_comparison(p->state, p->gpa, limit);

	if (!c || moment_before(c->at, from))
		return false;
	for (size_t i = 0; i < p->pile->nlater; i++)
		if (p->pile->later[i].gpa < p->end && p->gpa < p->pile->later[i].end)
			return false;
	return true;
}

/* The memory changed, and nothing that was seen changed it. */
static bool rule_unseen(const struct case_file *c, struct answer *a)
{
	const struct write *w = a->write;
	struct losses losses;
	const char *who = "a device, or the emulator itself";

	if (!w || w->origin != ORIGIN_UNSEEN || w->version_how)
		return false;
	coverage_losses(&c->piece->pile->coverage, c->piece->gpa, (struct moment){w->since_ns, 0},
			w->at, &losses);
	if (losses.count) {
		a->verdict = VERDICT_LOST;
		a->lost = losses.count;
		snprintf(a->detail, sizeof(a->detail),
			 "changed between %llu.%09llu s and %llu.%09llu s, while %llu events were "
			 "dropped: one of them may have been the store",
			 SECONDS(w->since_ns), SECONDS(w->at.t_ns),
			 (unsigned long long)losses.count);
		return true;
	}
	if (w->why == WHY_PAGE_TABLE)
		who = "the walk of a page table that marks what is used";
	else if (w->why == WHY_MULTI_VCPU)
		who = "one of several vCPUs that stored here at once: which came last is not "
		      "known";
	else if (w->why == WHY_EMULATION)
		who = "the emulator itself, as it delivers an interrupt";
	a->verdict = VERDICT_UNKNOWN;
	a->why = w->why;
	a->covers = covers_since(c);
	snprintf(a->detail, sizeof(a->detail),
		 "changed between %llu.%09llu s and %llu.%09llu s by %s%s", SECONDS(w->since_ns),
		 SECONDS(w->at.t_ns),
		 w->why == WHY_MULTI_VCPU ? "" : "what no instruction's store did: ", who);
	return true;
}

/* Without a write, an observation that had a gap tells nothing of the time before it. */
static bool rule_gap(struct case_file *c, struct answer *a)
{
	const struct {
		enum origin origin;
		const struct horizon *h;
	} classes[] = {{ORIGIN_VCPU, &c->vcpu}, {ORIGIN_VIRTQUEUE, &c->virtqueue}};

	c->from = c->write ? c->write->at : MOMENT_START;
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
		const struct horizon *h = classes[i].h;
		const bool whole = c->write ? observed_since(h, c->write->at) : h->on && h->first;

		if (!whole && classes[i].origin != ORIGIN_VCPU &&
		    compared_since(c->piece, c->from, c->limit))
			continue;
		if (!whole) {
			answer_gap(c, a, classes[i].origin, h);
			return true;
		}
		if (!c->write && moment_before(c->from, h->since))
			c->from = h->since;
	}
	return false;
}

static bool is_version(const struct case_file *c)
{
	return c->write && c->piece->pile->writes[c->write->write].version_how;
}

static bool rule_ring(const struct case_file *c, struct answer *a)
{
	const struct ring *ring = state_ring(c->piece->state, c->piece->gpa, c->from, c->limit);
	char name[48], seen[80];

	/* Found changed, it is no more than one of those who could have. */
	if (!ring || is_version(c))
		return false;
	last_seen(c, seen, sizeof(seen));
	a->verdict = VERDICT_UNKNOWN;
	a->why = WHY_NO_PROBE;
	snprintf(a->detail, sizeof(a->detail),
		 "in the used ring of %s queue %u, which the VMM writes through cached pointers, "
		 "unseen%s",
		 state_device_name(c->piece->state, ring->dev, name, sizeof(name)), ring->queue,
		 seen);
	return true;
}

/* "vhost" names the class; what it may have done is worse than what nobody watched. */
static void answer_vhost(const struct case_file *c, struct answer *a, const struct blind *vhost,
			 const char *but)
{
	const struct ring *ring = state_vhost(c->piece->state, c->piece->gpa, c->from, c->limit);
	const bool used = ring && ring->gpa <= c->piece->gpa && c->piece->gpa < ring->end;
	char name[48] = "vhost", queue[24] = "", seen[80];

	if (ring)
		state_device_name(c->piece->state, ring->dev, name, sizeof(name));
	if (ring && ring->queue != QUEUE_ALL)
		snprintf(queue, sizeof(queue), " queue %u", ring->queue);
	last_seen(c, seen, sizeof(seen));
	a->verdict = VERDICT_UNKNOWN;
	a->why = vhost->why;
	snprintf(a->detail, sizeof(a->detail), "%s %s%s, which %s writes unseen%s%s",
		 used			      ? "in the used ring of"
		 : vhost->level == BLIND_HERE ? "in memory that the guest gave to"
					      : "the guest may have given this memory to",
		 name, queue, why_name(vhost->why), but, seen);
}

/* Memory that was vhost's to write, or vhost not observed at all. */
static bool rule_vhost(const struct case_file *c, struct answer *a)
{
	const struct moment from = c->write ? c->write->at : MOMENT_START;
	const struct blind vhost = coverage_blind(&c->piece->pile->coverage, ORIGIN_VHOST,
						  c->piece->gpa, from, c->limit);
	char seen[80];

	if (vhost.level != BLIND_HERE)
		return false;
	if (vhost.why != WHY_NO_PROBE) {
		answer_vhost(c, a, &vhost, "");
		return true;
	}
	last_seen(c, seen, sizeof(seen));
	a->verdict = VERDICT_UNKNOWN;
	a->why = vhost.why;
	snprintf(a->detail, sizeof(a->detail),
		 "whether vhost, which writes unseen, served a device was not observed%s", seen);
	return true;
}

enum looks { LOOKS_NONE, LOOKS_AGREE, LOOKS_DIFFER };

/* Compares the looks since the write with what it left, or with each other. *bytes receives what
 * the piece is known to hold, *odd the look that says otherwise; without a write c->from then moves
 * to the first look. LOOKS_NONE: there was nothing to compare. */
static enum looks looks_compare(struct case_file *c, const u8 **bytes, const struct kept **odd)
{
	const struct piece *p = c->piece;
	const u8 *expected = c->write ? write_bytes(p, c->write) : NULL;
	enum looks result = LOOKS_NONE;
	struct moment first = c->from;

	*bytes = expected;
	for (size_t i = c->after; i-- > c->first;) {
		const struct kept *k = active(p, i);

		if (k->kind != ENTRY_LOOK || moment_before(k->at, c->from))
			continue;
		if (!expected) {
			expected = slice(p, k);
			first = c->write ? c->from : k->at;
			continue;
		}
		result = LOOKS_AGREE;
		if (memcmp(expected, slice(p, k), p->end - p->gpa)) {
			*odd = k;
			c->from = first;
			return LOOKS_DIFFER;
		}
	}
	if (!c->write)
		*bytes = expected;
	return result;
}

/* Whether the memory was looked at after a moment. */
static bool looked_since(const struct case_file *c, struct moment since)
{
	for (size_t i = c->first; i < c->after; i++)
		if (active(c->piece, i)->kind == ENTRY_LOOK)
			return moment_before(since, active(c->piece, i)->at);
	return false;
}

static void answer_differ(const struct case_file *c, struct answer *a, const struct kept *odd)
{
	a->covers = covers_since(c);
	const bool all = (a->covers & CLASSES_ALL) == CLASSES_ALL;
	char seen[80];

	last_seen(c, seen, sizeof(seen));
	a->verdict = all ? VERDICT_UNEXPLAINED : VERDICT_UNKNOWN;
	a->why = all ? WHY_NONE : WHY_NO_PROBE;
	snprintf(a->detail, sizeof(a->detail),
		 "at %llu.%09llu s memory held other bytes, and no write that was seen put them "
		 "there%s%s",
		 SECONDS(odd->at.t_ns), all ? "" : "; not every class of writer was observed",
		 seen);
}

static void answer_initial(const struct case_file *c, struct answer *a, enum looks looks)
{
	const bool compared = compared_since(c->piece, c->from, c->limit);
	const char *sure = looks == LOOKS_AGREE ? "" : "; no later look at the memory confirms it";

	a->verdict = VERDICT_INITIAL;
	if (compared && !observed_since(&c->virtqueue, c->from))
		snprintf(
			a->detail, sizeof(a->detail),
			"no instruction stored here from %llu.%09llu s on, and whenever memory was "
			"compared it held what it had held; devices were not observed",
			SECONDS(c->from.t_ns));
	else if (compared)
		snprintf(a->detail, sizeof(a->detail),
			 "nobody who was observed wrote here from %llu.%09llu s on, and whenever "
			 "memory was compared it held what it had held",
			 SECONDS(c->from.t_ns));
	else
		snprintf(a->detail, sizeof(a->detail),
			 "not written since it has been observed, from %llu.%09llu s on%s",
			 SECONDS(c->from.t_ns), sure);
}

/* Found by comparison, while none of those who are observed wrote: all of them together are
 * everybody, or not. */
static void answer_silent(struct case_file *c, struct answer *a)
{
	const struct write *w = a->write;
	const struct coverage *coverage = &c->piece->pile->coverage;
	struct losses losses;

	c->from = (struct moment){w->since_ns, 0};
	a->covers = covers_since(c);
	coverage_losses(coverage, c->piece->gpa, c->from, w->at, &losses);
	const bool all = (a->covers & CLASSES_ALL) == CLASSES_ALL;
	const bool vhost =
		coverage_blind(coverage, ORIGIN_VHOST, c->piece->gpa, c->from, w->at).level !=
		BLIND_NOT;
	a->verdict = losses.count    ? VERDICT_LOST
		     : all && !vhost ? VERDICT_UNEXPLAINED
				     : VERDICT_UNKNOWN;
	a->lost = losses.count;
	const struct horizon dma = coverage_horizon(coverage, ORIGIN_DMA, c->piece->gpa, w->at);
	const bool vfio = dma.why == WHY_VFIO && !observed_since(&dma, c->from);
	if (a->verdict == VERDICT_UNKNOWN)
		a->why = vhost ? WHY_VHOST : vfio ? WHY_VFIO : WHY_NO_PROBE;
	snprintf(a->detail, sizeof(a->detail),
		 "changed between %llu.%09llu s and %llu.%09llu s, and nobody who was observed "
		 "wrote%s",
		 SECONDS(w->since_ns), SECONDS(w->at.t_ns),
		 losses.count ? "; but events were dropped meanwhile"
		 : vhost      ? "; but vhost, which writes unseen, had memory then"
		 : all	      ? ": faults of the host's memory, stray stores of the VMM and a "
				"damaged page cache look like this"
			      : "; not every class of writer was");
}

/* The page was found changed: who did it was not seen. */
static void answer_candidates(struct case_file *c, struct answer *a)
{
	const struct write *w = a->write;

	if (w->version_how == VERSION_HOW_SCRUB) {
		answer_silent(c, a);
		return;
	}
	c->from = (struct moment){w->since_ns, 0};
	a->covers = covers_since(c);
	a->verdict = VERDICT_CANDIDATES;
	snprintf(a->detail, sizeof(a->detail),
		 "changed between %llu.%09llu s and %llu.%09llu s; nobody was seen to store these "
		 "bytes",
		 SECONDS(w->since_ns), SECONDS(w->at.t_ns));
}

/* False when the piece must be judged byte by byte. */
static bool case_judge(struct case_file *c, struct answer *a)
{
	const struct piece *p = c->piece;
	const struct kept *odd = NULL;
	struct blind vhost;
	enum looks looks;

	*a = (struct answer){
		.write = c->write ? &p->pile->writes[c->write->write] : NULL,
	};
	c->vcpu = coverage_horizon(&p->pile->coverage, ORIGIN_VCPU, p->gpa, c->limit);
	c->virtqueue = coverage_horizon(&p->pile->coverage, ORIGIN_VIRTQUEUE, p->gpa, c->limit);
	if (c->write) {
		a->bytes = write_bytes(p, c->write);
		a->old = old_bytes(p, c->after);
	}
	const bool gap_or_lost =
		rule_lost(c, a) || rule_unseen(c, a) || rule_vhost(c, a) || rule_gap(c, a);
	c->from = c->write ? c->write->at : c->from;
	a->covers = covers_since(c);
	if (gap_or_lost || rule_ring(c, a))
		return true;
	looks = looks_compare(c, &a->bytes, &odd);
	if (looks == LOOKS_DIFFER && p->end - p->gpa > 1)
		return false;
	vhost = coverage_blind(&p->pile->coverage, ORIGIN_VHOST, p->gpa, c->from, c->limit);
	if (vhost.level && looks == LOOKS_DIFFER) {
		answer_vhost(c, a, &vhost, "; a later look shows other bytes");
	} else if (vhost.level && !looked_since(c, vhost.since)) {
		answer_vhost(c, a, &vhost, "; no later look at the memory shows that it did not");
	} else if (looks == LOOKS_DIFFER) {
		answer_differ(c, a, odd);
	} else if (c->write && a->write->version_how) {
		answer_candidates(c, a);
	} else if (c->write) {
		a->verdict = VERDICT_WRITTEN_BY;
	} else {
		answer_initial(c, a, looks);
	}
	return true;
}

unsigned piece_judge(const struct piece *p, struct moment limit, struct answer *answers, unsigned n)
{
	size_t i = 0;

	for (unsigned rank = 0; rank < n; rank++) {
		struct case_file c = {.piece = p, .limit = limit, .first = i};

		while (i < p->nactive && !kept_is_write(active(p, i)))
			i++;
		c.after = i;
		c.write = i < p->nactive ? active(p, i) : NULL;
		if (!case_judge(&c, &answers[rank]))
			return 0;
		if (answers[rank].verdict != VERDICT_WRITTEN_BY)
			return rank + 1;
		limit = c.write->at;
		i++;
	}
	return n;
}
