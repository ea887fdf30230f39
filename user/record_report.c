// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a recording says about itself: facts at its start, the fate of each probe, and the closing
 * lines on the terminal.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "formats/desc.h"
#include "user/record_pages.h"

/* The command line as a shell would take it. */
static void quote_args(FILE *f, char *const *argv)
{
	for (; *argv; argv++) {
		bool plain = **argv && !(*argv)[strspn(*argv, "abcdefghijklmnopqrstuvwxyz"
							      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
							      "0123456789-_=+,./:@%")];

		if (plain) {
			fputs(*argv, f);
		} else {
			fputc('\'', f);
			for (const char *c = *argv; *c; c++)
				*c == '\'' ? (void)fputs("'\\''", f) : (void)fputc(*c, f);
			fputc('\'', f);
		}
		if (argv[1])
			fputc(' ', f);
	}
}

static void fact_args(struct record *r)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return;
	quote_args(f, r->opts->argv);
	if (!fclose(f))
		writer_meta(r->writer, "vmm.args", text);
	free(text);
}

static void fact_ranges(struct record *r)
{
	char text[MAX_WATCH * 48];
	size_t len = 0;

	text[0] = '\0';
	for (size_t i = 0; i < r->opts->nasked; i++)
		len += snprintf(text + len, sizeof(text) - len, "%s0x%" PRIx64 "..0x%" PRIx64,
				i ? " " : "", r->opts->asked[i].gpa, r->opts->asked[i].end);
	if (len)
		writer_meta(r->writer,
			    strcmp(r->opts->mode, "full") ? "record.watch" : "record.only", text);
}

void record_facts(struct record *r)
{
	struct utsname host;
	char text[256];

	r->look_left = LOOK_MAX;
	writer_meta(r->writer, "vmblame.version", VMBLAME_VERSION);
	writer_meta(r->writer, "record.mode", r->opts->mode);
	fact_ranges(r);
	fact_args(r);
	if (!uname(&host)) {
		snprintf(text, sizeof(text), "%s %s %s", host.sysname, host.release, host.machine);
		writer_meta(r->writer, "host.kernel", text);
	}
}

static void tell_probes(struct record *r)
{
	struct probe_state states[PROBES_MAX];
	size_t n = source_bpf_probes(r->bpf, states, PROBES_MAX);

	for (size_t i = 0; i < n; i++) {
		struct event_probe ev = {
			.h = {.t_ns = r->ended_ns, .kind = EVENT_probe, .vcpu = VCPU_NONE},
			.how = states[i].how,
			.origin = states[i].origin,
			.err = states[i].err,
			.fired = states[i].fired,
		};

		ev.name_len = strnlen(states[i].name, sizeof(ev.name));
		memcpy(ev.name, states[i].name, ev.name_len);
		writer_put(r->writer, &ev.h, NULL);
	}
}

void record_outcome(struct record *r)
{
	struct counters counters;
	u64 unreplayed;
	char text[32];

	tell_probes(r);
	source_bpf_counters(r->bpf, &counters);
#define COUNTER_META(name, what)                                         \
	if (counters.name) {                                             \
		snprintf(text, sizeof(text), "%" PRIu64, counters.name); \
		writer_meta(r->writer, "count." #name, text);            \
	}
	COUNTERS(COUNTER_META)
#undef COUNTER_META
	snprintf(text, sizeof(text), "%" PRIu64, r->stores);
	writer_meta(r->writer, "count.stores", text);
	unreplayed = __atomic_load_n(&link_shared(r->link)->unreplayed, __ATOMIC_RELAXED);
	if (unreplayed) {
		snprintf(text, sizeof(text), "%" PRIu64, unreplayed);
		writer_meta(r->writer, "count.unreplayed", text);
		record_say(
			"%s stores that KVM dropped could not be done for it: the guest may suffer",
			text);
	}
}

static const char *size_text(u64 bytes, char *buf, size_t size)
{
	if (bytes < 10000)
		snprintf(buf, size, "%" PRIu64 " bytes", bytes);
	else if (bytes < 10000000)
		snprintf(buf, size, "%.1f kB", bytes / 1e3);
	else
		snprintf(buf, size, "%.1f MB", bytes / 1e6);
	return buf;
}

/* What nothing here can see, and what was opened along the way. */
static void say_unobservable(struct record *r)
{
	char list[256] = "";
	size_t len = 0;

	if (r->npages && (r->refused || !source_bpf_covers(r->bpf, ORIGIN_VCPU)))
		len += snprintf(list + len, sizeof(list) - len, "vcpu, ");
	if (!source_bpf_covers(r->bpf, ORIGIN_VIRTQUEUE))
		len += snprintf(list + len, sizeof(list) - len, "virtqueue, ");
	snprintf(list + len, sizeof(list) - len, "%s",
		 record_covers_vmm(r) ? "each store of the vCPUs"
		 : r->log	      ? "each store of the vCPUs, dma, vmm"
		 : r->npages	      ? "dma, vmm, kvm"
				      : "stores to RAM by vCPUs, dma, vmm, kvm");
	if (r->vhost_blind)
		strncat(list, ", vhost", sizeof(list) - strlen(list) - 1);
	record_say("not observed: %s", list);
	for (unsigned why = 1; why < WHY_MAX; why++)
		if (r->opened_bytes[why] && why != WHY_NO_RAM && why != WHY_ENDED)
			record_say("not watched any more: %" PRIu64 " bytes (%s)",
				   r->opened_bytes[why], why_name(why));
}

static void say_changes(struct record *r)
{
	static const char *const names[] = {
#define CHANGE_TEXT(num, name, text) [num] = text,
		ENUM_CHANGE_WHAT(CHANGE_TEXT)
#undef CHANGE_TEXT
	};
	char list[256];
	size_t len = 0;

	for (size_t i = 1; i < sizeof(names) / sizeof(names[0]); i++)
		if (r->changes[i] && len < sizeof(list))
			len += snprintf(list + len, sizeof(list) - len, "%s%s: %" PRIu64,
					len ? ", " : "", names[i], r->changes[i]);
	if (len)
		record_say("changed in the guest: %s", list);
}

void record_summary(struct record *r)
{
	const struct writer_stats *stats = &r->stats;
	char size[32], each[48] = "", stores[48] = "";

	if (r->line_open && isatty(STDOUT_FILENO) && isatty(STDERR_FILENO))
		fputc('\n', stderr);
	if (!r->vmm)
		record_say("the VMM made no KVM virtual machine that could be observed");
	if (stats->events)
		snprintf(each, sizeof(each), ", %.2f bytes an event",
			 (double)stats->bytes / stats->events);
	if (r->npages)
		snprintf(stores, sizeof(stores), "%" PRIu64 " watched stores, ", r->stores);
	if (r->write_err)
		record_say("%s: kept the first %s, up to the last whole chunk", r->opts->out_path,
			   size_text(stats->bytes, size, sizeof(size)));
	else
		record_say("%s: kept %s%" PRIu64 " events of %.3f s, lost %" PRIu64 " (%s%s)",
			   r->opts->out_path, stores, stats->events, r->ended_ns / 1e9, stats->lost,
			   size_text(stats->bytes, size, sizeof(size)), each);
	if (r->log && r->log->begun)
		record_pages_summary(r);
	if (r->npages && r->vmm && r->from_hit && !r->refused && !r->armed_once)
		record_say("nothing was watched: no RAM ever lay in the ranges, or the VMM did "
			   "not wait for us");
	say_unobservable(r);
	say_changes(r);
}
