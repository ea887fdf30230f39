/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The plugin's inside: instructions and their sites (site.c), the producer's side of a ring
 * (producer.c), where guest RAM lies (ram.c), where a store went (place.c), the store callback
 * (store.c), and the entry (plugin.c).
 *
 * A thread that runs vCPUs has a struct producer of its own; nothing but the table of instructions
 * is shared between threads.
 */
#ifndef VMBLAME_PLUGIN_H
#define VMBLAME_PLUGIN_H

#include "qemu.h"
#include "ring.h"

#include <time.h>

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define PAGE_MASK (~(u64)0xfff)

static inline u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000000000 + (u64)ts.tv_nsec;
}

/* Whether an instruction stores to guest memory by code that QEMU generates inline. */
enum insn_stores {
	INSN_MAYBE,  /* not known, or by a helper function */
	INSN_INLINE, /* inline, if at all */
	INSN_NEVER,
};

/* x86, in any mode; len as QEMU says it. */
enum insn_stores insn_x86_stores(const u8 *bytes, size_t len);

/* site.c: an instruction, the user data of its callbacks. Never freed. */
struct insn {
	u64 fast[2]; /* a store's meminfo | how << 32, see site_how(); 0: free */
	u32 load;    /* the meminfo of a load, once one was seen */
	u32 site[8]; /* by log2 of the size: 1 + its first site's number; [7]: of its single bytes
		      */
	u64 pc;
	u8 bytes[16];
	u8 len;
	u8 stores; /* enum insn_stores */
};

#define HOW_LOAD      0xffffffffu /* no store at all */
#define HOW_LOST      0xfffffffeu /* no site's number left */
#define HOW_WIDE      0x04000000u /* from here on: more than 8 bytes, or one of these two */
#define HOW_SHIFT(h)  ((h) >> 24) /* log2 of the bytes, at most 6 */
#define HOW_SITE(h)   ((h)&0xffffff)
#define INSN_BYTES    7 /* index into site[] */
#define INSN_PARTS(s) ((s) > 3 ? 1u << ((s)-3) : 1u)

/* The instruction at pc; the same one whenever it is translated again. NULL: no memory. */
struct insn *insn_get(u64 pc, const u8 *bytes, size_t len, enum insn_stores stores);

/* What the access is: site | log2 of the size << 24, HOW_LOAD or HOW_LOST. */
u32 site_how_slow(struct insn *insn, u32 info);

static inline u32 site_how(struct insn *insn, u32 info)
{
	const u64 fast = __atomic_load_n(&insn->fast[0], __ATOMIC_RELAXED);

	return likely((u32)fast == info) ? (u32)(fast >> 32) : site_how_slow(insn, info);
}

/* The first of 64 sites, one for each byte of the access; HOW_LOST when there is none left. */
u32 site_bytes(struct insn *insn);

/* ram.c: main memory's ranges, as one thread saw them last. */
#define RAM_RANGES 256

struct ram_range {
	u64 gpa, host, size;
	bool readonly;
	bool hidden; /* RAM of a block that is mapped around it, behind a device: SMRAM */
};

struct ram {
	void *view; /* FlatView, with a reference */
	u32 n;
	struct ram_range range[RAM_RANGES];
};

/* NULL, or the name of a function that this QEMU does not export. */
const char *ram_exports(void);

/* Takes the map again if QEMU's is another one than at the last call. True when it differs. */
bool ram_refresh(struct ram *ram);

/* struct AddressSpace's current_map; NULL until it is found. */
extern void **ram_current_map;

/* True when QEMU has another view than ram's. For each store: one load. */
static inline bool ram_is_old(const struct ram *ram)
{
	void **map = __atomic_load_n(&ram_current_map, __ATOMIC_RELAXED);

	return map && __atomic_load_n(map, __ATOMIC_RELAXED) != ram->view;
}

const struct ram_range *ram_by_host(const struct ram *ram, u64 host);
const struct ram_range *ram_by_gpa(const struct ram *ram, u64 gpa);

/* producer.c */
struct producer {
	struct ring_head *shared;
	struct ring_record *rec;
	u64 head, tail; /* tail: the consumer's, as last read */
	u32 capacity;
	u32 number, vcpu;
	u32 quick_vcpu;	    /* vcpu, when nothing is in the way of the quick path; else ~0 */
	u64 tick, tick_ram; /* as last seen; when the map was looked at */
	bool ticked;	    /* since the last rest */
	u64 lost, lost_since_ns;
	u32 lost_why;
	struct ram ram;
	bool ram_said;
	struct {
		u64 gva, place; /* page; place_page() */
	} map[RING_MAPS];
	u64 *said; /* a bit a site */
};

/* The calling thread's; NULL when it has none (yet). */
extern __thread struct producer *own_producer __attribute__((tls_model("initial-exec")));
extern struct ring_shared *shared_ring;

/* Whether anybody wants to know of a store to this page. */
bool producer_wants(u64 gpa);

/* Takes the recorder's memory: 0, or what is wrong with it. */
const char *producer_open(int fd, int alive_fd);

/* Gives the calling thread its producer; NULL when the recorder is gone or there is none left. */
struct producer *producer_get(void);

/* Makes room for n records: waits, if need be and allowed. False: there is none. */
bool producer_room_slow(struct producer *p, u32 n, bool wait);

static inline bool producer_room(struct producer *p, u32 n)
{
	return likely(p->head + n - p->tail <= p->capacity) || producer_room_slow(p, n, true);
}

/* The consumer had the line that comes next but a few: asks for it before it is written to. */
static inline void producer_ahead(const struct producer *p)
{
	const struct ring_record *r = &p->rec[(p->head + 96) & (p->capacity - 1)];

#ifdef __x86_64__
	__asm__ volatile("prefetchw %0" : : "m"(*r));
#else
	__builtin_prefetch(r, 1);
#endif
}

/* Puts a record; there is room. It is seen after producer_publish(). */
static inline void producer_put(struct producer *p, u64 word, u32 site, u32 at)
{
	p->rec[p->head++ & (p->capacity - 1)] = (struct ring_record){word, site, at};
}

/* Puts a control record, of ring_words() words; there is room. */
void producer_say(struct producer *p, enum ring_control control, u32 at, const u64 *words);
static inline void producer_say_one(struct producer *p, enum ring_control control, u32 at, u64 word)
{
	producer_say(p, control, at, &word);
}

static inline void producer_publish(struct producer *p)
{
	__atomic_store_n(&p->shared->head, p->head, __ATOMIC_RELEASE);
}

/* A store that could not be told. */
void producer_lost(struct producer *p, enum ring_lost why);
/* Says what was lost; there is room for two records. */
void producer_say_lost(struct producer *p);

/* At a new tick: time. */
void producer_tick(struct producer *p);
/* After that, with all told that the thread has stored: parking. False when it has nothing to tell
 * any more. */
bool producer_rest(struct producer *p);

/* True once the recorder is gone: all goes on without us. */
bool producer_dead(void);

/* The VMM ends: tells so, and waits for the recorder. */
void producer_end(void);

/* Says, once, that the plugin cannot work. */
void plugin_fail(const char *text);

/* place.c */
enum place_kind { PLACE_RAM, PLACE_ROM, PLACE_IO, PLACE_LOST };

struct place {
	enum place_kind kind;
	bool hidden;
	u64 gpa;
	u64 host; /* of RAM */
};

/* How struct qemu_plugin_hwaddr is laid out; 0: not known yet. */
enum place_layout { PLACE_V6 = 6, PLACE_V8 = 8 };
extern u32 place_layout;

/* Where the byte at gva of the access went. Valid in the access's callback only. */
struct place place_find(struct producer *p, u32 info, u64 gva);

/* store.c */
void store_callback(unsigned vcpu, u32 info, u64 gva, void *insn);

/* plugin.c: a load came to a callback for stores. */
void calibrate_load(void);
/* The recorder is gone: QEMU shall call us no more. Called by a vCPU's thread. */
void plugin_leave(void);

#endif
