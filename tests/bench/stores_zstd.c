// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * stores_zstd FILE: what zstd -3 makes of a trace's stores as structs of 32 bytes, of one window of
 * a million in 16: "STORES BYTES" of the sample, then "FILE_STORES FILE_BYTES INDEX_BYTES".
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <zstd.h>

#include "stores_each.h"

#define WINDOW (1u << 20)
#define EACH   16

struct naive {
	u64 gpa, value, pc;
	u32 size, vcpu;
};

struct sample {
	struct naive *window;
	size_t n;
	ZSTD_CCtx *zstd;
	void *out;
	size_t out_max;
	u64 all, sampled, bytes;
};

static void compress(struct sample *p)
{
	const size_t got = ZSTD_compressCCtx(p->zstd, p->out, p->out_max, p->window,
					     p->n * sizeof(*p->window), 3);

	if (ZSTD_isError(got))
		die("zstd", ZSTD_getErrorName(got));
	p->sampled += p->n;
	p->bytes += got;
	p->n = 0;
}

static int on_stores(void *arg, const struct event *ev, u64 seq, const struct stores *s)
{
	struct sample *p = arg;

	(void)ev, (void)seq;
	for (u32 i = 0; i < s->n; i++, p->all++) {
		const struct store *v = &s->v[i];

		if (p->all / WINDOW % EACH != EACH / 2)
			continue;
		p->window[p->n++] = (struct naive){.gpa = v->gpa,
						   .value = v->value,
						   .pc = s->sites[v->site].pc,
						   .size = v->size,
						   .vcpu = s->vcpu};
		if (p->n == WINDOW)
			compress(p);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct sample p = {.out_max = ZSTD_compressBound(WINDOW * sizeof(struct naive))};
	struct stat st;

	if (argc != 2 || stat(argv[1], &st)) {
		fprintf(stderr, "usage: stores_zstd FILE\n");
		return 2;
	}
	p.window = malloc(WINDOW * sizeof(*p.window));
	p.out = malloc(p.out_max);
	p.zstd = ZSTD_createCCtx();
	if (!p.window || !p.out || !p.zstd)
		die(argv[1], "out of memory");
	struct reader *r = each_open(argv[1]);

	each_run(r, 1u << STREAM_STORES, on_stores, &p);
	if (p.n)
		compress(&p);
	reader_close(r);
	printf("%llu %llu\n%llu %llu %llu\n", (unsigned long long)p.sampled,
	       (unsigned long long)p.bytes, (unsigned long long)p.all,
	       (unsigned long long)st.st_size, (unsigned long long)each_index_bytes(argv[1]));
	return 0;
}
