// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * stores_codec FILE: CPU time to decode a trace's stores, and to encode them again, level and zstd
 * as a recorder does: "DECODE_NS ENCODE_NS STORES", each time of one store.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "stores_again.h"
#include "stores_each.h"

#define WINDOW (1u << 20) /* stores that are encoded at a stretch */

struct codec {
	struct writer *w;
	struct again *again;
	double encode_ns;
	u64 stores, sum;
};

/* All that decoding gives, once. */
static int on_decoded(void *arg, const struct event *ev, u64 seq, const struct stores *s)
{
	struct codec *c = arg;

	(void)ev, (void)seq;
	c->stores += s->n;
	c->sum += s->v[s->n - 1].gpa;
	return 0;
}

static void encode(struct codec *c)
{
	const double start = cpu_ns();
	const int err = again_put(c->again, c->w);

	c->encode_ns += cpu_ns() - start;
	if (err)
		die("encode", strerror(-err));
}

static int on_stores(void *arg, const struct event *ev, u64 seq, const struct stores *s)
{
	struct codec *c = arg;

	(void)ev, (void)seq;
	again_add(c->again, s, 0);
	if (again_count(c->again) >= WINDOW)
		encode(c);
	return 0;
}

int main(int argc, char **argv)
{
	const struct writer_opts opts = {.stores = true};
	struct codec c = {.again = again_open()};

	if (argc != 2) {
		fprintf(stderr, "usage: stores_codec FILE\n");
		return 2;
	}
	struct reader *r = each_open(argv[1]);
	double decode_ns = cpu_ns();

	each_run(r, 1u << STREAM_STORES, on_decoded, &c);
	decode_ns = cpu_ns() - decode_ns;

	const int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	const int err = fd < 0 ? -errno : writer_open(&c.w, fd, &opts);

	if (err)
		die("/dev/null", strerror(-err));
	each_run(r, 1u << STREAM_STORES, on_stores, &c);
	encode(&c);
	const double start = cpu_ns();
	if (writer_close(c.w))
		die("encode", "the writer failed");
	c.encode_ns += cpu_ns() - start;
	reader_close(r);
	again_close(c.again);
	if (!c.stores)
		die(argv[1], "no stores");
	printf("%.3f %.3f %llu\n", decode_ns / (double)c.stores, c.encode_ns / (double)c.stores,
	       (unsigned long long)c.stores);
	return 0;
}
