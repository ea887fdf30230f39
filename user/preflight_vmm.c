// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The preflight's look at the VMM's program: where it is, its version, whether the agent can be
 * loaded into it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "user/elfsym.h"
#include "user/launch.h"
#include "user/preflight.h"
#include "user/preflight_spawn.h"

/* The first line of what `VMM --version` prints. */
static void tell_version(struct preflight *p)
{
	char *argv[] = {p->path, "--version", NULL};
	char text[256];
	ssize_t n = 0;
	int out;
	const pid_t pid = preflight_spawn(argv, &out);

	if (pid < 0) {
		preflight_tell(p, "vmm", "version", false, "cannot be run: %s", strerror(-pid));
		return;
	}
	for (size_t len = 0; len < sizeof(text) - 1; len += (size_t)n) {
		n = read(out, text + len, sizeof(text) - 1 - len);
		if (n <= 0) {
			text[len] = '\0';
			break;
		}
		text[len + (size_t)n] = '\0';
	}
	close(out);
	preflight_reap(pid);
	text[strcspn(text, "\r\n")] = '\0';
	preflight_tell(p, "vmm", "version", *text, "%s",
		       *text ? text : "it does not tell with --version");
}

void preflight_vmm(struct preflight *p)
{
	char id[130] = "";
	const int err = launch_find(p->vmm, p->path, sizeof(p->path));

	if (err) {
		p->path[0] = '\0';
		preflight_tell(p, "vmm", p->vmm, false, "%s", strerror(-err));
		return;
	}
	preflight_tell(p, "vmm", p->path, true, "%s", "");
	tell_version(p);
	p->no_preload = elfsym_no_preload(p->path);
	preflight_tell(p, "vmm", "agent", !p->no_preload, "%s",
		       p->no_preload ? p->no_preload : "can be loaded into it");
	if (!elfsym_build_id(p->path, id, sizeof(id)) && *id)
		preflight_tell(p, "vmm", "build-id", true, "%s", id);
}
