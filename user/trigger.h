/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The moments at which a recording starts and ends: --from and --until.
 */
#ifndef VMBLAME_TRIGGER_H
#define VMBLAME_TRIGGER_H

#include <regex.h>
#include <stdbool.h>

#include "formats/event.h"

enum trigger_kind { TRIGGER_NONE, TRIGGER_TIME, TRIGGER_RESET, TRIGGER_EXIT, TRIGGER_CONSOLE };

struct trigger {
	enum trigger_kind kind;
	bool hit;
	u64 t_ns;      /* TRIGGER_TIME: after the start of the recording */
	regex_t regex; /* TRIGGER_CONSOLE: extended, matched against one line as it grows */
	char line[4096];
	unsigned len;
};

/* SECONDS (as duration_parse() takes them), `reset`, `exit` or `console:REGEX`. 0, or -EINVAL with
 * a line in err. */
int trigger_parse(struct trigger *t, const char *text, char *err, size_t err_size);
void trigger_free(struct trigger *t);

/* Each returns true when it is this that pulls the trigger; never again after that. */
bool trigger_event(struct trigger *t, const struct event *ev);
bool trigger_time(struct trigger *t, u64 now_ns);

/* Whether the guest's console is in the middle of a line after this event, `open` before it. */
bool console_line_open(bool open, const struct event *ev);

#endif
