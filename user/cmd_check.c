// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vmblame check: what this host lets us observe, found out by loading and attaching for real.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/print.h"
#include "user/commands.h"
#include "user/preflight.h"
#include "user/view.h"

struct args {
	const char *vmm;
	bool json;
};

const struct option cmd_check_options[] = {
	OPTION_TEXT(0, "vmm", "PROGRAM", struct args, vmm, "the same as VMM"),
	OPTION_FLAG(0, "json", struct args, json, "one JSON object a line"),
	OPTION_END,
};

static void tell_json(void *arg, const struct fact *fact)
{
	struct json j = {.f = stdout};

	(void)arg;
	json_open(&j, NULL, '{');
	json_u64(&j, "v", 1);
	json_str(&j, "what", fact->what);
	json_str(&j, "name", fact->name);
	json_bool(&j, "available", fact->available);
	if (*fact->detail)
		json_str(&j, "detail", fact->detail);
	if (fact->how)
		json_str(&j, "how", fact->how);
	if (fact->target)
		json_str(&j, "target", fact->target);
	if (fact->cost_ns)
		json_u64(&j, "cost_ns", fact->cost_ns);
	json_close(&j, '}');
	json_end(&j);
}

/* Facts come as they are found out; in text those of one section stand together. Each line begins
 * with its section's name, for grep and awk. */
static const struct {
	const char *what, *title;
} titles[] = {
	{"host", "The host"},
	{"version", "Versions"},
	{"kvm", "KVM"},
	{"vmm", "The VMM"},
	{"probe", "Probes: attached, and taken off again"},
	{"writer", "Who writes guest memory: is it seen?"},
	{"mode", "Modes of record"},
};

#define SECTIONS (sizeof(titles) / sizeof(titles[0]))

struct report {
	struct view view;
	struct {
		FILE *f; /* into text; NULL while there is nothing */
		char *text;
		size_t bytes;
	} sections[SECTIONS];
};

static void tell_text(void *arg, const struct fact *fact)
{
	struct report *r = arg;
	size_t i = 0;

	while (i < SECTIONS - 1 && strcmp(titles[i].what, fact->what))
		i++;
	if (!r->sections[i].f)
		r->sections[i].f = open_memstream(&r->sections[i].text, &r->sections[i].bytes);
	if (!r->sections[i].f)
		return;
	fprintf(r->sections[i].f, "%-8s %-34s %s%-3s%s %s\n", fact->what, fact->name,
		tint(&r->view, fact->available ? TINT_GOOD : TINT_WARN),
		fact->available ? "yes" : "no", TINT_OFF(&r->view), fact->detail);
}

static void report_print(struct report *r)
{
	for (size_t i = 0; i < SECTIONS; i++) {
		if (!r->sections[i].f)
			continue;
		fclose(r->sections[i].f);
		printf("%s%s%s%s\n%s", i ? "\n" : "", tint(&r->view, TINT_BOLD), titles[i].title,
		       TINT_OFF(&r->view), r->sections[i].text);
		free(r->sections[i].text);
	}
}

int cmd_check(int argc, char **argv)
{
	struct args args = {0};
	struct operands operands = {0};
	struct report report = {.view = {.colour = colour_wanted(stdout)}};
	struct preflight p = {.tell = tell_text, .arg = &report};

	switch (options_parse(argc, argv, &args, &operands)) {
	case OPTIONS_OK:
		break;
	case OPTIONS_HELP:
		return 0;
	case OPTIONS_USAGE:
		return 2;
	}
	if (operands.n > 1 || operands.nrest || (operands.n && args.vmm))
		return usage_error("check", "it takes one operand, the VMM's program");
	if (args.json)
		p.tell = tell_json;
	p.vmm = operands.n ? operands.v[0] : args.vmm ? args.vmm : "qemu-system-x86_64";
	preflight_host(&p);
	preflight_kvm(&p);
	preflight_vmm(&p);
	preflight_probes(&p);
	preflight_writers(&p);
	const bool all = preflight_modes(&p);
	if (!args.json)
		report_print(&report);
	return all ? 0 : 1;
}
