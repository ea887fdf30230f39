/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory, played forward from the beginning: every write that is in the trace, in order, to
 * all of RAM or a part of it. What a question that has no address (what changed? where was this?)
 * looks at.
 */
#ifndef VMBLAME_FILM_H
#define VMBLAME_FILM_H

#include "state.h"

#define FILM_PAGE 4096u

struct film_page {
	u64 gpa;
	u8 *bytes; /* FILM_PAGE */
	u8 *known; /* a bit a byte; NULL: all are */
	u64 user;  /* the caller's; 0 at first */
};

/* A write, within one page. */
struct film_write {
	struct moment at;
	u64 gpa;
	u32 len;
	const u8 *bytes;
	enum origin origin; /* ORIGIN_NONE: a look at memory, which is no write */
	u8 look;	    /* of such a one enum content_why */
	u64 pc;		    /* ORIGIN_VCPU: linear */
	u64 since_ns;	    /* ORIGIN_UNSEEN, and of a version */
	bool version;	    /* the page was found changed; the origin is not known by this */
	u16 vcpu;
};

struct film;

struct film_spec {
	u64 gpa, end;	     /* what is played: pages that touch it */
	struct moment limit; /* writes before it */
	u64 pages_max;	     /* of memory; 0: no bound */
	/* Before a write is done, and after it. NULL: not called. They return 0, or what ends it.
	 */
	int (*before)(void *arg, const struct film_page *p, const struct film_write *w);
	int (*after)(void *arg, struct film_page *p, const struct film_write *w);
	/* All that is read: each event, or stores, before it is played. Where it is set, that is
	 * all of the trace, whatever is played of it; NULL: not called. Returns as above. */
	each_fn *every;
	/* After a version was done as a whole, in place of before() and after() for each of its
	 * runs; whole: its delta is well-formed up to its end. NULL: these are called. As above.
	 */
	int (*version)(void *arg, const struct film_page *p, const struct event_version *v,
		       struct moment at, bool whole);
	/* Now and then: how far it is, in writes. May be NULL. */
	void (*progress)(u64 done, u64 all);
	void *arg;
};

/* Plays it. 0, what a function returned, or -errno with a line in err: -E2BIG when more pages are
 * written than pages_max. *out is set in any case but -ENOMEM; film_close() it. */
int film_play(struct film **out, struct reader *r, const struct state *s,
	      const struct film_spec *spec, char *err, size_t err_size);
/* Goes on from where it stood, up to another limit. */
int film_go_on(struct film *f, const struct film_spec *spec, char *err, size_t err_size);
void film_close(struct film *f); /* NULL is fine */

/* The page at gpa as it is now, or NULL when nothing was ever written there. */
struct film_page *film_page(const struct film *f, u64 gpa);
/* Pages in no order. */
size_t film_pages(const struct film *f);
struct film_page *film_page_number(const struct film *f, size_t i);
/* Bytes that lie in up to two pages; false when any of them is not known. What was never written
 * is zero and known where all of RAM was observed from the beginning. */
bool film_read(const struct film *f, u64 gpa, u8 *to, size_t n);

#endif
