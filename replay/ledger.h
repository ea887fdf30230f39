/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ledger: what of a trace's events touched the content of a range of guest RAM. A store to a
 * device's registers and a request that came to nothing do not appear here.
 */
#ifndef VMBLAME_LEDGER_H
#define VMBLAME_LEDGER_H

#include "state.h"

enum entry_kind {
	ENTRY_STORE,	/* a vCPU stored these bytes */
	ENTRY_TRANSFER, /* a device wrote this range; the bytes come in ENTRY_CAPTURE */
	ENTRY_CAPTURE,	/* the bytes that a transfer left, same `req`; before or after it */
	ENTRY_LOOK,	/* what RAM held at that moment; not a write */
	ENTRY_UNSEEN,	/* somebody wrote these bytes since `since_ns`, unseen */
	ENTRY_VERSION,	/* they changed since `since_ns`: a run of a page that was copied */
};

struct entry {
	enum entry_kind kind;
	struct moment at;
	u64 gpa, end;		/* whole, half-open, not empty */
	const u8 *bytes;	/* end - gpa of them; NULL for a transfer */
	u64 req;		/* transfer, capture */
	u8 look;		/* enum content_why */
	u64 since_ns;		/* unseen, version */
	const struct event *ev; /* lives, as `bytes` does, until the next call */
};

static inline bool entry_is_write(const struct entry *e)
{
	return e->kind != ENTRY_CAPTURE && e->kind != ENTRY_LOOK;
}

struct ledger_spec {
	u64 gpa, end;	     /* entries that touch it */
	struct moment limit; /* and lie before it */
	struct moment from;  /* and not before this */
	bool backward;
	/* As in struct cursor_spec. */
	bool (*wants)(void *arg, u64 gpa, const u64 *words);
	void *wants_arg;
};

struct ledger;
/* The reader and the coverage must outlive it. 0 or -errno. */
int ledger_open(struct ledger **out, struct reader *r, const struct coverage *coverage,
		const struct ledger_spec *spec);
/* 1: *e was set; 0: no more; -EBADMSG or -EIO: ledger_message() says what and where. */
int ledger_next(struct ledger *l, struct entry *e);
u64 ledger_chunks_read(const struct ledger *l);
const char *ledger_message(const struct ledger *l);
void ledger_close(struct ledger *l); /* NULL is fine */

/* The request that a transfer belongs to, from the completion before it. */
struct request {
	struct moment at; /* of the transfer: set these four */
	u64 req;
	u32 dev;
	u16 queue;
	bool found; /* the answer */
	u16 head;
	u8 header_len;
	u8 header[16];
};

/* An entry that is a write, kept. */
struct write {
	struct moment at;
	u64 gpa, end; /* whole */
	enum origin origin;
	union {
		struct event h;
		struct event_mmio mmio; /* ORIGIN_VCPU; of a `store` event what it tells of this */
		struct event_vq_sg sg;	/* ORIGIN_VIRTQUEUE */
	} ev;
	struct request request; /* ORIGIN_VIRTQUEUE */
	u64 since_ns;		/* of a window: it happened after this */
	u64 log_ns;		/* of a version: who wrote it had it opened after this */
	u8 version_how;		/* enum version_how: a page that was found changed; else NONE */
	enum why why;		/* ORIGIN_UNSEEN */
	u64 gva;		/* ORIGIN_VCPU, when has_gva */
	bool has_gva, raced;
};

struct write entry_write(const struct entry *e);

/* Looks up many at once (they are sorted by moment on return). What is not found stays so.
 * 0 or -errno. */
int ledger_requests(struct reader *r, struct request *requests, size_t n);

/* The first sector of a virtio-blk request (Virtio 1.2, 5.2.6). False when the header is short or
 * the request is not a read or a write. */
bool request_sector(const struct request *request, u64 *sector);

#endif
