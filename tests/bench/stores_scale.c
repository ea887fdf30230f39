// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * stores_scale FILE TIMES OUT: the trace TIMES over, one after another, as if the guest did the
 * same again. What is said of the recording (coverage) and of memory before it is said once.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/desc.h"
#include "stores_again.h"
#include "stores_each.h"

struct scale {
	struct writer *w;
	struct again *again;
	u64 later_ns;
};

static void stores_flush(struct scale *sc)
{
	const int err = again_put(sc->again, sc->w);

	if (err)
		die("write", strerror(-err));
}

static void event_copy(struct scale *sc, const struct event *ev)
{
	const struct event_desc *desc = event_desc(ev->kind);
	u64 copy[1024];

	if (sc->later_ns && (ev->kind == EVENT_cover || ev->kind == EVENT_content))
		return;
	if (!desc || desc->size > sizeof(copy))
		die("event", "of no known kind");
	memcpy(copy, ev, desc->size);
	for (u16 i = 0; i < desc->nfields; i++)
		if (desc->fields[i].show == SHOW_NS)
			*(u64 *)((u8 *)copy + desc->fields[i].off) += sc->later_ns;
	((struct event *)copy)->t_ns += sc->later_ns;
	const int err = writer_put(sc->w, (const struct event *)copy, NULL);

	if (err)
		die("write", strerror(-err));
}

static int on_each(void *arg, const struct event *ev, u64 seq, const struct stores *s)
{
	struct scale *sc = arg;

	(void)seq;
	if (s) {
		again_add(sc->again, s, sc->later_ns);
		stores_flush(sc);
	} else {
		event_copy(sc, ev);
	}
	return 0;
}

static int meta_copy(void *arg, const char *key, const char *value)
{
	return writer_meta(arg, key, value);
}

int main(int argc, char **argv)
{
	struct scale sc = {.again = again_open()};

	if (argc != 4) {
		fprintf(stderr, "usage: stores_scale FILE TIMES OUT\n");
		return 2;
	}
	struct reader *r = each_open(argv[1]);
	const struct trace_info *info = reader_info(r);
	const struct writer_opts opts = {.start_mono_ns = info->start_mono_ns,
					 .start_real_ns = info->start_real_ns,
					 .stores = true};
	const int fd = open(argv[3], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int err = fd < 0 ? -errno : writer_open(&sc.w, fd, &opts);

	if (!err)
		err = reader_meta_each(r, meta_copy, sc.w);
	if (err)
		die(argv[3], strerror(-err));
	for (int i = 0; i < atoi(argv[2]); i++) {
		each_run(r, 0, on_each, &sc);
		sc.later_ns += info->t_end_ns + 1;
	}
	const u64 stores = writer_stats(sc.w)->kinds[EVENT_store];

	err = writer_close(sc.w);
	if (err)
		die(argv[3], strerror(-err));
	printf("%llu\n", (unsigned long long)stores);
	reader_close(r);
	again_close(sc.again);
	return 0;
}
