/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stores by the hundred million: the body of a chunk of the `stores` stream. Each store is
 * predicted from those before it in the chunk, by the instruction that made it (its site); a byte
 * of code says which predictions held, and columns hold what did not. docs/format.md, section 4,
 * says it in words.
 *
 * What seldom changes from one store to the next (time, thread, vCPU, where a page lies) is told
 * beside the stores, at the place where it changes.
 */
#ifndef VMBLAME_STORES_H
#define VMBLAME_STORES_H

#include "chunk.h"

#define STORES_MAX (1u << 17) /* of one chunk */
/* Sites of one chunk: a code for "none" must be left. */
#define STORES_SITES 65535u
/* Sites of a recording. */
#define STORES_SITE_IDS (1u << 24)
/* Threads whose address spaces are told apart. */
#define STORES_LANES 64u
/* Guest-virtual pages are mapped through this many places; two may share one. */
#define STORES_MAPS 4096u

enum stores_block {
	STORES_WORDS, /* 512 bits a page of the chunk's page set: the 8-byte words that are touched
		       */
	STORES_SITE,  /* sites in the order of their first stores */
	STORES_ASIDE, /* time, thread, vCPU, mappings, numbers: what changed, and before which store
		       */
	STORES_CODES, /* a byte a store */
	STORES_KNOWN, /* u16: a site that was not expected */
	STORES_STEP,  /* varint: address, from the site's last one */
	STORES_SIDE,  /* varint: address, from that of the store before */
	STORES_VALUE1, /* values of 1, 2, 4, 8 bytes */
	STORES_VALUE2,
	STORES_VALUE4,
	STORES_VALUE8,
	STORES_NEAR1, /* u8, u16: value, from the site's last one */
	STORES_NEAR2,
	STORES_BLOCKS
};

/* A store as a source gives it; the layout is that of the plugin's ring. */
struct store_raw {
	u64 gva;
	u64 value; /* the bytes as a little-endian number */
	u32 site;
	u32 spare;
};

static inline u32 stores_map_slot(u64 gva)
{
	return (u32)((gva >> 12) ^ (gva >> 24)) & (STORES_MAPS - 1);
}

/* One access of one instruction. */
struct store_site {
	u64 pc;	 /* linear address of the instruction */
	u8 size; /* bytes: 1, 2, 4, 8 */
	u8 part; /* which part of a wider access, from 0; at most 31 */
};

struct stores_encoder;
int stores_encoder_open(struct stores_encoder **out);
void stores_encoder_close(struct stores_encoder *e); /* NULL is fine */

/* Says what site number `id` is, before its first store; again with other facts, it is another site
 * from then on. 0, -EINVAL or -ENOMEM. */
int stores_site(struct stores_encoder *e, u32 id, const struct store_site *site);
/* Where the page of gva lies from now on, for stores of that lane. Multiples of 4096. smm: in the
 * address space that SMM has. To be told again where another page that shares its place
 * (stores_map_slot()) was told of. 0, -EINVAL or -ENOMEM. */
int stores_map(struct stores_encoder *e, unsigned lane, u64 gva, u64 gpa, bool smm);
/* What holds for the stores that follow. */
void stores_time(struct stores_encoder *e, u64 t_ns);
void stores_thread(struct stores_encoder *e, u32 tid, u16 vcpu);

/* The next store raced with one of another thread: which came first is not known. */
void stores_raced(struct stores_encoder *e);

/* Takes stores of a lane that are numbered from seq on, as many as the chunk still holds; returns
 * how many. A store of a site that nobody told of, or to a page that nobody mapped, is -EINVAL,
 * when it is the first; -ENOMEM. */
long stores_put(struct stores_encoder *e, unsigned lane, const struct store_raw *s, size_t n,
		u64 seq);
u32 stores_count(const struct stores_encoder *e);
bool stores_full(const struct stores_encoder *e);

/* Ends the chunk: its blocks and page set live until stores_reset(); of *h events, seq_*, t_* are
 * set. 0 or -ENOMEM. */
int stores_seal(struct stores_encoder *e, struct chunk_head *h, struct buf *pages,
		const struct buf *blocks[STORES_BLOCKS]);
void stores_reset(struct stores_encoder *e);

/* A store, decoded. */
struct store {
	u64 gva, gpa;
	u64 value;
	u16 site; /* in stores.sites */
	u8 size;
	u8 smm;
	u8 raced;
};

/* Stores that follow one another and share all this. */
struct stores {
	u32 n; /* 1 to STORES_BATCH */
	const struct store *v;
	const struct store_site *sites;
	u64 seq;  /* of the first; one more for each after it */
	u64 t_ns; /* they are not older than this, nor younger than the thread's next t_ns */
	u32 tid;
	u16 vcpu;
};

#define STORES_BATCH 1024u

struct stores_decoder;
int stores_decoder_open(struct stores_decoder **out);
void stores_decoder_close(struct stores_decoder *d); /* NULL is fine */
/* Begins with the body of a chunk; header and blocks must stay while it is decoded. 0, or -EBADMSG
 * with *why. */
int stores_begin(struct stores_decoder *d, const struct chunk_head *h,
		 const struct span blocks[STORES_BLOCKS], const char **why);
/* The next stores; they live until the next call. 1; 0 at the end of the chunk; -EBADMSG. */
int stores_next(struct stores_decoder *d, struct stores *out, const char **why);

/* Words of a page, as a set of bits. */
#define STORES_PAGE_WORDS 512u
#define STORES_PAGE_BYTES (STORES_PAGE_WORDS / 8)

/* The checksum of a chunk's page set and words in its header, so that they can be believed without
 * the rest of the chunk. */
u32 stores_words_sum(struct span pages, struct span words);
/* Whether the words of a chunk (its page set and its block STORES_WORDS) touch [gpa,end), and
 * wants(), unless it is NULL, says that one of these words of the page at gpa matters (bit i % 64
 * of words[i / 64]: the 8 bytes from 8 i on). True when they are malformed: nothing can be ruled
 * out then. */
bool stores_words_touch(struct span pages, struct span words, u64 gpa, u64 end,
			bool (*wants)(void *arg, u64 gpa, const u64 *words), void *arg);

#endif
