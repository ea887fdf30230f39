/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmblame info: what was recorded, how, and what could not be. */
#include "commands.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "census.h"
#include "formats/desc.h"
#include "formats/print.h"
#include "hot.h"
#include "progress.h"
#include "symbols.h"
#include "trace.h"
#include "view.h"

struct args {
	bool json;
	const char *hot;
	struct option_list symbols;
};

/* What --hot asks for. */
struct hottest {
	struct hot hot;
	struct symbols *symbols;
	u64 n; /* of each list; 0: not asked for */
};

static void hottest_cleanup(struct hottest *h)
{
	hot_cleanup(&h->hot);
	symbols_cleanup(&h->symbols);
}

const struct option cmd_info_options[] = {
	OPTION_TEXT(0, "hot", "N", struct args, hot,
		    "the N instructions and pages with most bytes stored"),
	OPTION_LIST(0, "symbols", "FILE[@BASE]", struct args, symbols,
		    "name the guest's code by this ELF file; may be repeated"),
	OPTION_FLAG(0, "json", struct args, json, "one JSON object"),
	OPTION_END,
};

static double event_bytes(const struct trace_info *info)
{
	return info->events ? (double)info->file_bytes / (double)info->events : 0;
}

/* Text. */

static void heading(const struct view *v, const char *text)
{
	printf("\n%s%s%s\n", tint(v, TINT_BOLD), text, TINT_OFF(v));
}

static int meta_text(void *arg, const char *key, const char *value)
{
	(void)arg;
	printf("  %-20s %s\n", key, value);
	return 0;
}

static void range_text(u64 gpa, u64 end)
{
	if (!gpa && end == UINT64_MAX)
		fputs("everything", stdout);
	else
		printf("0x%" PRIx64 "..0x%" PRIx64, gpa, end);
}

static void file_text(const struct trace *t)
{
	const struct trace_info *info = reader_info(t->reader);
	const time_t start = (time_t)(info->start_real_ns / 1000000000);
	struct tm tm;
	char date[64] = "?", end[40];

	if (gmtime_r(&start, &tm))
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S UTC", &tm);
	printf("file          %s\n", t->path);
	printf("state         %s\n", info->truncated ? "cut short: no end of file mark" : "whole");
	if (info->truncated && reader_message(t->reader))
		printf("              %s\n", reader_message(t->reader));
	printf("format        %u.%u\n", info->version_major, info->version_minor);
	printf("recorded      %s, %s\n", date, view_time(info->t_end_ns, end, sizeof(end)));
	printf("size          %" PRIu64 " bytes, %.2f an event, %zu chunks\n", info->file_bytes,
	       event_bytes(info), info->nchunks);
	printf("events        %" PRIu64 ", lost %" PRIu64 "\n", info->events, info->lost);
}

static void counts_text(const struct census *c)
{
	for (unsigned kind = 1; kind < EVENT_MAX; kind++) {
		if (c->kinds[kind])
			printf("  %-14s %12" PRIu64 "  %s\n", event_desc(kind)->name,
			       c->kinds[kind], event_desc(kind)->doc);
	}
}

static void origins_text(const struct census *c, const struct hottest *h)
{
	for (unsigned o = ORIGIN_VCPU; o < ORIGIN_MAX; o++) {
		if (o == ORIGIN_VCPU && c->kinds[EVENT_store] && !h->n)
			printf("  %-14s %12" PRIu64 " writes (--hot counts their bytes)\n",
			       origin_name(o), c->writes[o]);
		else if (o == ORIGIN_VCPU && c->kinds[EVENT_store])
			printf("  %-14s %12" PRIu64 " writes, %" PRIu64 " bytes\n", origin_name(o),
			       c->writes[o], c->written[o] + h->hot.bytes);
		else if (c->writes[o] || c->written[o])
			printf("  %-14s %12" PRIu64 " writes, %" PRIu64 " bytes\n", origin_name(o),
			       c->writes[o], c->written[o]);
	}
	printf("  %-14s %12" PRIu64 " accesses to devices; %" PRIu64 " requests came to nothing\n",
	       "mmio", c->device_accesses, c->requests_undone);
}

static void hot_text(const struct view *v, const struct hottest *h)
{
	struct symbol symbol;

	heading(v, "instructions, by bytes stored");
	for (size_t i = 0; i < h->hot.npcs && i < h->n; i++) {
		const struct hot_item *p = &h->hot.pcs[i];

		printf("  0x%-16" PRIx64 " %12" PRIu64 " bytes, %11" PRIu64 " writes", p->key,
		       p->bytes, p->writes);
		if (symbols_find(h->symbols, p->key, &symbol))
			printf("  %s", symbol.name);
		putchar('\n');
	}
	heading(v, "pages, by bytes stored");
	for (size_t i = 0; i < h->hot.npages && i < h->n; i++)
		printf("  0x%-16" PRIx64 " %12" PRIu64 " bytes, %11" PRIu64 " writes\n",
		       h->hot.pages[i].key, h->hot.pages[i].bytes, h->hot.pages[i].writes);
}

static void coverage_text(const struct state *s)
{
	for (size_t i = 0; i < s->coverage.ncovers; i++) {
		const struct cover *cover = &s->coverage.covers[i];
		const char *origin = origin_name(cover->ev.origin);
		char time[40];

		printf("  %18s  %-10s %-4s ", view_time(cover->at.t_ns, time, sizeof(time)),
		       origin ? origin : "?", cover->ev.on ? "seen" : "not");
		range_text(cover->gpa, cover->end);
		if (cover->ev.why != WHY_NONE)
			printf("  %s", why_name(cover->ev.why) ? why_name(cover->ev.why) : "?");
		putchar('\n');
	}
	if (!s->coverage.ncovers)
		puts("  nothing was observed");
}

static void losses_text(const struct state *s)
{
	for (size_t i = 0; i < s->coverage.nlosses; i++) {
		const struct loss *loss = &s->coverage.losses[i];
		char t0[40], t1[40];

		printf("  %12" PRIu64 "  %s to %s, ", loss->ev.count,
		       view_time(loss->ev.t0_ns, t0, sizeof(t0)),
		       view_time(loss->ev.t1_ns, t1, sizeof(t1)));
		range_text(loss->gpa, loss->end);
		for (unsigned o = ORIGIN_VCPU; o < ORIGIN_MAX; o++) {
			if (loss->ev.origins & 1u << o)
				printf(" %s", origin_name(o));
		}
		if (loss->ev.ring != UINT32_MAX)
			printf(", ring %u", loss->ev.ring);
		putchar('\n');
	}
}

static void notes_text(const struct census *c)
{
	for (size_t i = 0; i < c->nnotes; i++)
		print_event_text(stdout, &c->notes[i].ev.h, c->notes[i].seq);
	if (c->notes_left)
		printf("  and %" PRIu64 " more\n", c->notes_left);
}

/* Queues that the VMM did not serve itself. */
static void vhost_text(const struct view *v)
{
	bool any = false;

	for (size_t i = 0; i < v->state->nrings; i++) {
		const struct ring *ring = &v->state->rings[i];
		char name[48], queue[24] = "all queues", time[40];

		if (ring->backend == QUEUE_BACKEND_VMM)
			continue;
		if (!any)
			heading(v, "queues written past the VMM, unseen");
		any = true;
		if (ring->queue != QUEUE_ALL)
			snprintf(queue, sizeof(queue), "queue %u", ring->queue);
		printf("  %18s  %s %s by %s", view_time(ring->from.t_ns, time, sizeof(time)),
		       state_device_name(v->state, ring->dev, name, sizeof(name)), queue,
		       backend_text(ring->backend));
		if (ring->gpa < ring->end)
			printf(", used ring 0x%" PRIx64 "..0x%" PRIx64, ring->gpa, ring->end);
		if (!moment_is_end(ring->until))
			printf(", until %s", view_time(ring->until.t_ns, time, sizeof(time)));
		putchar('\n');
	}
}

static void info_text(const struct trace *t, const struct census *c, const struct hottest *h)
{
	const struct view v = {t->state, NULL, colour_wanted(stdout)};
	char name[48];

	file_text(t);
	printf("boots         %" PRIu64 "\n", c->boots);
	heading(&v, "recording");
	reader_meta_each(t->reader, meta_text, NULL);
	heading(&v, "events");
	counts_text(c);
	heading(&v, "writes to guest RAM");
	origins_text(c, h);
	if (h->n)
		hot_text(&v, h);
	heading(&v, "coverage");
	coverage_text(t->state);
	if (t->state->coverage.nlosses) {
		heading(&v, "lost");
		losses_text(t->state);
	}
	if (t->state->ndevices)
		heading(&v, "virtio devices");
	for (size_t i = 0; i < t->state->ndevices; i++)
		printf("  %s\n",
		       state_device_name(t->state, t->state->devices[i].dev, name, sizeof(name)));
	vhost_text(&v);
	if (c->nnotes)
		heading(&v, "resets, marks, probes, and what recording changed in the guest");
	notes_text(c);
}

/* JSON. */

static int meta_json(void *arg, const char *key, const char *value)
{
	json_str(arg, key, value);
	return 0;
}

static void range_json(struct json *j, u64 gpa, u64 end)
{
	if (!gpa && end == UINT64_MAX)
		return;
	json_hex(j, "gpa", gpa);
	json_hex(j, "gpa_end", end);
}

static void coverage_json(struct json *j, const struct state *s)
{
	json_open(j, "coverage", '[');
	for (size_t i = 0; i < s->coverage.ncovers; i++) {
		const struct cover *cover = &s->coverage.covers[i];
		const char *origin = origin_name(cover->ev.origin);

		json_open(j, NULL, '{');
		json_u64(j, "t_ns", cover->at.t_ns);
		json_str(j, "origin", origin ? origin : "?");
		json_bool(j, "on", cover->ev.on);
		if (cover->ev.why != WHY_NONE && why_name(cover->ev.why))
			json_str(j, "why", why_name(cover->ev.why));
		range_json(j, cover->gpa, cover->end);
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void losses_json(struct json *j, const struct state *s)
{
	json_open(j, "losses", '[');
	for (size_t i = 0; i < s->coverage.nlosses; i++) {
		const struct loss *loss = &s->coverage.losses[i];

		json_open(j, NULL, '{');
		json_u64(j, "count", loss->ev.count);
		json_u64(j, "t0_ns", loss->ev.t0_ns);
		json_u64(j, "t1_ns", loss->ev.t1_ns);
		range_json(j, loss->gpa, loss->end);
		json_open(j, "origins", '[');
		for (unsigned o = ORIGIN_VCPU; o < ORIGIN_MAX; o++) {
			if (loss->ev.origins & 1u << o)
				json_str(j, NULL, origin_name(o));
		}
		json_close(j, ']');
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void counts_json(struct json *j, const struct census *c)
{
	json_open(j, "kinds", '{');
	for (unsigned kind = 1; kind < EVENT_MAX; kind++) {
		if (c->kinds[kind])
			json_u64(j, event_desc(kind)->name, c->kinds[kind]);
	}
	json_close(j, '}');
	json_open(j, "origins", '{');
	for (unsigned o = ORIGIN_VCPU; o < ORIGIN_MAX; o++) {
		if (c->writes[o])
			json_u64(j, origin_name(o), c->writes[o]);
	}
	json_close(j, '}');
	json_u64(j, "device_accesses", c->device_accesses);
	json_u64(j, "requests_undone", c->requests_undone);
}

static const char *note_text(const struct note *n)
{
	return n->text[0] ? n->text : NULL;
}

static void notes_json(struct json *j, const struct census *c)
{
	json_open(j, "probes", '[');
	for (size_t i = 0; i < c->nnotes; i++) {
		const struct event_probe *probe = &c->notes[i].ev.probe;

		if (probe->h.kind != EVENT_probe)
			continue;
		json_open(j, NULL, '{');
		json_str(j, "name", c->notes[i].text);
		json_str(j, "how", probe_how_text(probe->how));
		json_u64(j, "err", probe->err);
		json_u64(j, "fired", probe->fired);
		json_close(j, '}');
	}
	json_close(j, ']');
	json_open(j, "changes", '[');
	for (size_t i = 0; i < c->nnotes; i++) {
		const struct event_change *change = &c->notes[i].ev.change;

		if (change->h.kind != EVENT_change)
			continue;
		json_open(j, NULL, '{');
		json_str(j, "what", change_what_text(change->what));
		if (change->why != WHY_NONE && why_name(change->why))
			json_str(j, "why", why_name(change->why));
		json_hex(j, "gpa", change->gpa);
		json_hex(j, "size", change->size);
		json_u64(j, "count", change->count);
		json_close(j, '}');
	}
	json_close(j, ']');
	json_open(j, "marks", '[');
	for (size_t i = 0; i < c->nnotes; i++) {
		if (c->notes[i].ev.h.kind != EVENT_mark || !note_text(&c->notes[i]))
			continue;
		json_open(j, NULL, '{');
		json_str(j, "name", c->notes[i].text);
		json_u64(j, "t_ns", c->notes[i].ev.h.t_ns);
		json_u64(j, "seq", c->notes[i].seq);
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void vhost_json(struct json *j, const struct state *s)
{
	char name[48];

	json_open(j, "vhost", '[');
	for (size_t i = 0; i < s->nrings; i++) {
		const struct ring *ring = &s->rings[i];

		if (ring->backend == QUEUE_BACKEND_VMM)
			continue;
		json_open(j, NULL, '{');
		json_u64(j, "t_ns", ring->from.t_ns);
		if (!moment_is_end(ring->until))
			json_u64(j, "t_end_ns", ring->until.t_ns);
		json_str(j, "dev", state_device_name(s, ring->dev, name, sizeof(name)));
		if (ring->queue != QUEUE_ALL)
			json_u64(j, "queue", ring->queue);
		json_str(j, "backend", backend_text(ring->backend));
		if (ring->gpa < ring->end) {
			json_hex(j, "used", ring->gpa);
			json_hex(j, "used_end", ring->end);
		}
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void hot_json(struct json *j, const char *name, const char *key,
		     const struct hot_item *items, size_t n, const struct symbols *symbols)
{
	struct symbol symbol;

	json_open(j, name, '[');
	for (size_t i = 0; i < n; i++) {
		json_open(j, NULL, '{');
		json_hex(j, key, items[i].key);
		json_u64(j, "bytes", items[i].bytes);
		json_u64(j, "writes", items[i].writes);
		if (symbols_find(symbols, items[i].key, &symbol))
			json_str(j, "symbol", symbol.name);
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void info_json(const struct trace *t, const struct census *c, const struct hottest *h)
{
	const struct trace_info *info = reader_info(t->reader);
	struct json j = {.f = stdout};
	char name[48];

	json_open(&j, NULL, '{');
	json_u64(&j, "v", 1);
	json_str(&j, "file", t->path);
	json_bool(&j, "truncated", info->truncated);
	json_u64(&j, "version_major", info->version_major);
	json_u64(&j, "version_minor", info->version_minor);
	json_u64(&j, "start_real_ns", info->start_real_ns);
	json_u64(&j, "start_mono_ns", info->start_mono_ns);
	json_u64(&j, "duration_ns", info->t_end_ns);
	json_u64(&j, "file_bytes", info->file_bytes);
	json_u64(&j, "whole_bytes", info->whole_bytes);
	json_double(&j, "event_bytes", event_bytes(info));
	json_u64(&j, "chunks", info->nchunks);
	json_u64(&j, "events", info->events);
	json_u64(&j, "lost", info->lost);
	json_u64(&j, "boots", c->boots);
	json_open(&j, "meta", '{');
	reader_meta_each(t->reader, meta_json, &j);
	json_close(&j, '}');
	counts_json(&j, c);
	coverage_json(&j, t->state);
	losses_json(&j, t->state);
	json_open(&j, "devices", '[');
	for (size_t i = 0; i < t->state->ndevices; i++)
		json_str(&j, NULL,
			 state_device_name(t->state, t->state->devices[i].dev, name, sizeof(name)));
	json_close(&j, ']');
	vhost_json(&j, t->state);
	notes_json(&j, c);
	if (h->n) {
		json_u64(&j, "bytes_stored", h->hot.bytes);
		hot_json(&j, "hot_instructions", "rip", h->hot.pcs,
			 h->hot.npcs < h->n ? h->hot.npcs : h->n, h->symbols);
		hot_json(&j, "hot_pages", "gpa", h->hot.pages,
			 h->hot.npages < h->n ? h->hot.npages : h->n, NULL);
	}
	json_close(&j, '}');
	json_end(&j);
}

int cmd_info(int argc, char **argv)
{
	struct args args = {0};
	struct operands operands;
	const char *path;
	char err[512];

	const enum options_status status = options_parse(argc, argv, &args, &operands);
	if (status != OPTIONS_OK)
		return status == OPTIONS_HELP ? 0 : 2;
	const int ret = operands_file(argv[0], &operands, &path);
	if (ret)
		return ret;
	CLEANUP(hottest_cleanup) struct hottest hottest = {0};
	if (args.hot && (size_parse(args.hot, &hottest.n) || !hottest.n))
		return usage_error(argv[0], "--hot %s: expected a number", args.hot);
	for (unsigned i = 0; i < args.symbols.n; i++) {
		if (symbols_add(&hottest.symbols, args.symbols.v[i], err, sizeof(err)))
			return fail("%s", err);
	}
	CLEANUP(trace_cleanup) struct trace trace = {0};
	if (trace_open(&trace, path))
		return 1;
	CLEANUP(census_cleanup) struct census census = {0};
	if (census_take(&census, trace.reader, trace.state, err, sizeof(err)))
		return fail("%s", err);
	const int hot =
		hottest.n ? hot_take(&hottest.hot, trace.reader, progress_show, err, sizeof(err))
			  : 0;
	progress_end();
	if (hot)
		return fail("%s", err);
	if (args.json)
		info_json(&trace, &census, &hottest);
	else
		info_text(&trace, &census, &hottest);
	return output_finish(0);
}
