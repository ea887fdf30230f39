// SPDX-License-Identifier: GPL-2.0-or-later
/* The loop over all that a trace holds. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "reader.h"
#include "stores.h"

#define PROGRESS_EACH (1u << 20)

int reader_each(struct reader *r, const struct cursor_spec *spec, each_fn *fn, void *arg,
		void (*progress)(u64 done, u64 all), char *err, size_t err_size)
{
	struct cursor *c = NULL;
	int ret = cursor_open(&c, r, spec);
	u64 done = 0, told = 0;

	err[0] = '\0';
	for (bool more = true; more && !ret;) {
		const struct event *ev;
		u64 seq;

		switch (cursor_next(c, &ev, &seq)) {
		case CURSOR_STORES:
			ret = fn(arg, NULL, 0, cursor_stores(c));
			done += cursor_stores(c)->n;
			break;
		case CURSOR_MORE:
			ret = fn(arg, ev, seq, NULL);
			done++;
			break;
		case CURSOR_TRUNCATED:
			break;
		case CURSOR_END:
			more = false;
			break;
		case CURSOR_CORRUPT:
		case CURSOR_IO:
			ret = -EBADMSG;
			snprintf(err, err_size, "%s", cursor_message(c));
			break;
		}
		if (progress && done - told >= PROGRESS_EACH) {
			told = done;
			progress(done, reader_info(r)->events);
		}
	}
	cursor_close(c);
	if (ret < 0 && !err[0])
		snprintf(err, err_size, "cannot read the trace: %s", strerror(-ret));
	return ret;
}
