// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The consumer of the plugin's rings. Every field of a record is checked before it is used; what is
 * wrong ends the draining for good, with one line that says what.
 */
#include "rings.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RAM_MOST 4096 /* ranges of a map */

struct ring {
	struct ring_head *head;
	const struct ring_record *rec;
	u64 tail, told; /* consumed; what the producer was told of it */
	u64 t_ns;
	u64 *said; /* a bit a site; NULL until the ring is used */
	struct rings_map *map;
	struct rings_ram *ram;
	u32 nram;
	bool has_vcpu, has_ram, in_ram, ended;
};

struct rings {
	int fd, alive[2];
	u32 capacity, park;
	size_t size;
	struct ring_shared *shared;
	struct rings_site *site;
	u32 nsites;
	struct ring ring[RINGS_MAX];
	u64 records, stores;
	u64 end_ns;
	bool end_seen, end_told;
	char error[256];
};

/* A control record, copied. */
struct said {
	u32 kind, at; /* enum ring_control */
	u64 word[RING_WORDS];
};

static __attribute__((format(printf, 2, 3))) int bad(struct rings *r, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(r->error, sizeof(r->error), format, ap);
	va_end(ap);
	return -EBADMSG;
}

static void *memory(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

static int shared_make(struct rings *r, u32 flags)
{
	r->size = ring_shared_size(r->capacity);
	r->fd = memfd_create("vmblame-rings", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (r->fd < 0 || ftruncate(r->fd, (off_t)r->size) ||
	    fcntl(r->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) ||
	    pipe2(r->alive, O_CLOEXEC))
		return -errno;
	r->shared = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
	if (r->shared == MAP_FAILED) {
		r->shared = NULL;
		return -errno;
	}
	r->site = memory(RING_SITES * sizeof(*r->site));
	if (!r->site)
		return -ENOMEM;
	r->shared->magic = RING_MAGIC;
	r->shared->version = RING_VERSION;
	r->shared->capacity = r->capacity;
	r->shared->flags = flags;
	for (u32 i = 0; i < RINGS_MAX; i++) {
		r->ring[i].head = ring_head_at(r->shared, i);
		r->ring[i].rec = ring_records_at(r->shared, r->capacity, i);
	}
	return 0;
}

int rings_open(struct rings **out, u32 capacity, u32 flags)
{
	struct rings *r;
	int err;

	if (capacity < RING_LEAST || capacity > RING_MOST || capacity & (capacity - 1))
		return -EINVAL;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->capacity = capacity;
	r->fd = r->alive[0] = r->alive[1] = -1;
	err = shared_make(r, flags);
	if (err) {
		rings_close(r);
		return err;
	}
	*out = r;
	return 0;
}

void rings_close(struct rings *r)
{
	if (!r)
		return;
	rings_handed_over(r);
	if (r->alive[1] >= 0)
		close(r->alive[1]);
	for (u32 i = 0; i < RINGS_MAX; i++) {
		if (r->ring[i].said)
			munmap(r->ring[i].said, RING_SITES / 8);
		free(r->ring[i].map);
		free(r->ring[i].ram);
	}
	if (r->site)
		munmap(r->site, RING_SITES * sizeof(*r->site));
	if (r->shared)
		munmap(r->shared, r->size);
	if (r->fd >= 0)
		close(r->fd);
	free(r);
}

void rings_only(struct rings *r, const struct ring_range *ranges, size_t n)
{
	memcpy(r->shared->only, ranges, n * sizeof(*ranges));
	r->shared->nonly = (u32)n;
}

int rings_fd(const struct rings *r)
{
	return r->fd;
}

int rings_alive_fd(const struct rings *r)
{
	return r->alive[0];
}

void rings_handed_over(struct rings *r)
{
	if (r->alive[0] >= 0)
		close(r->alive[0]);
	r->alive[0] = -1;
}

int rings_ready(struct rings *r)
{
	const u32 ready = __atomic_load_n(&r->shared->ready, __ATOMIC_ACQUIRE);
	char text[sizeof(r->shared->text)];

	if (ready < 2)
		return (int)ready;
	memcpy(text, r->shared->text, sizeof(text));
	text[sizeof(text) - 1] = '\0';
	for (char *c = text; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	if (!r->error[0])
		snprintf(r->error, sizeof(r->error), "%s", text);
	return -ENOTSUP;
}

const char *rings_error(const struct rings *r)
{
	return r->error;
}

static void futex_wake(u32 *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, 0x7fffffff, NULL, NULL, 0);
}

static bool said(const struct ring *g, u32 site)
{
	return g->said[site >> 6] >> (site & 63) & 1;
}

const struct rings_site *rings_site(const struct rings *r, u32 number)
{
	return number < RING_SITES && r->site[number].known ? &r->site[number] : NULL;
}

static bool mapped(const struct ring *g, u64 gva)
{
	return g->map[ring_map_slot(gva)].gva == (gva & ~(u64)0xfff);
}

const struct rings_map *rings_maps(const struct rings *r, u32 ring)
{
	return ring < RINGS_MAX ? r->ring[ring].map : NULL;
}

const struct rings_map *rings_map(const struct rings *r, u32 ring, u64 gva)
{
	if (ring >= RINGS_MAX || !r->ring[ring].map || !mapped(&r->ring[ring], gva))
		return NULL;
	return &r->ring[ring].map[ring_map_slot(gva)];
}

static void maps_forget(struct ring *g)
{
	for (u32 i = 0; i < RING_MAPS; i++)
		g->map[i].gva = RINGS_NO_PAGE;
}

static int ring_begin(struct ring *g)
{
	g->said = memory(RING_SITES / 8);
	g->map = malloc(RING_MAPS * sizeof(*g->map));
	g->ram = malloc(RAM_MOST * sizeof(*g->ram));
	if (!g->said || !g->map || !g->ram)
		return -ENOMEM;
	maps_forget(g);
	return 0;
}

static const struct ring_record *record_at(const struct rings *r, const struct ring *g, u64 at)
{
	return &g->rec[at & (r->capacity - 1)];
}

static int store_check(struct rings *r, const struct ring *g, const struct ring_record *rec)
{
	/* Read once: it may change under us. */
	const u32 site = __atomic_load_n(&rec->site, __ATOMIC_RELAXED);
	const u32 at = __atomic_load_n(&rec->at, __ATOMIC_RELAXED);
	const u64 page = at >> 12 < RING_MAPS ? g->map[at >> 12].gva : RINGS_NO_PAGE;
	const u32 number = (u32)(g - r->ring);

	if (site >= RING_SITES || !said(g, site))
		return bad(r, "ring %u: store by site %u, which is not known", number, site);
	if (!g->has_vcpu || !g->has_ram)
		return bad(r, "ring %u: store before its vCPU or RAM", number);
	if (page == RINGS_NO_PAGE || !mapped(g, page + (at & 0xfff) + r->site[site].size - 1))
		return bad(r, "ring %u: store at 0x%x, which is not mapped", number, at);
	return 0;
}

/* The stores from g->tail on, at most n: how many were taken, or negative. */
static s64 take_stores(struct rings *r, struct ring *g, u64 n, const struct rings_ops *ops,
		       void *arg)
{
	const struct ring_record *rec = record_at(r, g, g->tail);
	const u64 room = r->capacity - (g->tail & (r->capacity - 1));
	u64 count = 0;
	int err = 0;

	if (n > room)
		n = room;
	if (ops->unchecked && n > RINGS_BATCH)
		n = RINGS_BATCH;
	for (; count < n && rec[count].site < RING_CONTROL; count++) {
		err = ops->unchecked ? 0 : store_check(r, g, &rec[count]);
		if (err)
			return err;
	}
	if (count && ops->stores)
		err = ops->stores(arg, (u32)(g - r->ring), rec, count);
	if (err)
		return err;
	r->stores += count;
	return (s64)count;
}

static int take_site(struct rings *r, struct ring *g, const struct said *c,
		     const struct rings_ops *ops, void *arg)
{
	const u32 number = (u32)(g - r->ring);
	const u64 shape = c->word[1];
	struct rings_site site = {.pc = c->word[0],
				  .size = (u8)shape,
				  .len = (u8)(shape >> 8),
				  .part = (u16)(shape >> 16),
				  .known = 1};
	struct rings_site *at;
	int err = 0;

	if (c->at >= RING_SITES || shape >> 32 || !site.size || site.size & (site.size - 1) ||
	    site.size > 8 || site.len > 16 || site.part >= 64)
		return bad(r, "ring %u: not a site: %u, %llx", number, c->at,
			   (unsigned long long)shape);
	memcpy(site.insn, &c->word[2], sizeof(site.insn));
	at = &r->site[c->at];
	if (at->known && memcmp(at, &site, sizeof(site)))
		return bad(r, "ring %u: site %u was another one", number, c->at);
	if (!said(g, c->at) && ops->site)
		err = ops->site(arg, number, c->at, &site);
	if (err)
		return err;
	r->nsites += !at->known;
	*at = site;
	g->said[c->at >> 6] |= (u64)1 << (c->at & 63);
	return 0;
}

static int take_map(struct rings *r, struct ring *g, const struct said *c,
		    const struct rings_ops *ops, void *arg)
{
	const struct rings_map map = {.gva = c->word[0], .gpa = c->word[1], .smm = c->at};
	int err = 0;

	if ((map.gva | map.gpa) & 0xfff || c->at > 1)
		return bad(r, "ring %u: not a mapping", (u32)(g - r->ring));
	if (ops->map)
		err = ops->map(arg, (u32)(g - r->ring), &map);
	if (!err)
		g->map[ring_map_slot(map.gva)] = map;
	return err;
}

static int take_io(struct rings *r, struct ring *g, const struct said *c,
		   const struct rings_ops *ops, void *arg)
{
	const struct rings_io io = {.gpa = c->word[0],
				    .value = c->word[1],
				    .site = c->at,
				    .gva = c->word[2],
				    .known = c->word[3]};
	const u32 number = (u32)(g - r->ring);

	if (c->at >= RING_SITES || !said(g, c->at) || c->word[3] > 1 || !g->has_vcpu)
		return bad(r, "ring %u: not a store to a device", number);
	return ops->io ? ops->io(arg, number, &io) : 0;
}

static int take_range(struct rings *r, struct ring *g, const struct said *c)
{
	const struct rings_ram ram = {.gpa = c->word[0],
				      .host = c->word[1],
				      .size = c->word[2],
				      .readonly = c->at & RING_ROM,
				      .hidden = c->at & RING_HIDDEN};
	const struct rings_ram *last = g->nram ? &g->ram[g->nram - 1] : NULL;

	if (!g->in_ram || g->nram >= RAM_MOST || c->at > (RING_ROM | RING_HIDDEN) || !ram.size ||
	    ram.gpa + ram.size < ram.gpa || ram.host + ram.size < ram.host ||
	    (last && last->hidden > ram.hidden) ||
	    (last && last->hidden == ram.hidden && last->gpa + last->size > ram.gpa))
		return bad(r, "ring %u: not a range of RAM: 0x%llx", (u32)(g - r->ring),
			   (unsigned long long)ram.gpa);
	g->ram[g->nram++] = ram;
	return 0;
}

static int take_ram_end(struct rings *r, struct ring *g, const struct rings_ops *ops, void *arg)
{
	int err = 0;

	if (!g->in_ram)
		return bad(r, "ring %u: the end of no map of RAM", (u32)(g - r->ring));
	if (ops->ram)
		err = ops->ram(arg, (u32)(g - r->ring), g->ram, g->nram);
	if (err)
		return err;
	g->in_ram = false;
	g->has_ram = true;
	return 0;
}

static int take_said(struct rings *r, struct ring *g, const struct said *c,
		     const struct rings_ops *ops, void *arg)
{
	const u32 number = (u32)(g - r->ring);
	int err = 0;

	if (g->in_ram && c->kind != RING_RANGE && c->kind != RING_RAM_END)
		return bad(r, "ring %u: a map of RAM that does not end", number);
	if ((c->kind == RING_VCPU || c->kind == RING_IDLE) && c->at >= VCPU_NONE)
		return bad(r, "ring %u: no vCPU", number);
	switch ((enum ring_control)c->kind) {
	case RING_SITE:
		return take_site(r, g, c, ops, arg);
	case RING_MAP:
		return take_map(r, g, c, ops, arg);
	case RING_IO:
		return take_io(r, g, c, ops, arg);
	case RING_RANGE:
		return take_range(r, g, c);
	case RING_RAM_END:
		return take_ram_end(r, g, ops, arg);
	case RING_RAM:
		g->in_ram = true;
		g->has_ram = false;
		g->nram = 0;
		maps_forget(g);
		return 0;
	case RING_TIME:
		if (c->word[0] < g->t_ns)
			return bad(r, "ring %u: time goes back", number);
		err = ops->time ? ops->time(arg, number, c->word[0]) : 0;
		g->t_ns = err ? g->t_ns : c->word[0];
		return err;
	case RING_VCPU:
		err = ops->vcpu ? ops->vcpu(arg, number, c->at) : 0;
		g->has_vcpu = true;
		return err;
	case RING_LOST:
		if (!c->word[0] || !c->at || c->at > RING_LOST_SITES)
			return bad(r, "ring %u: not a loss", number);
		return ops->lost ? ops->lost(arg, number, c->word[0], c->word[1], c->at) : 0;
	case RING_IDLE:
		return ops->idle ? ops->idle(arg, number, c->at, c->word[0]) : 0;
	case RING_END:
		g->ended = r->end_seen = true;
		r->end_ns = c->word[0];
		return 0;
	case RING_WORD:
	case RING_CONTROL_MAX:
		break;
	}
	return bad(r, "ring %u: record of kind %u", number, c->kind - RING_CONTROL);
}

/* The control record at g->tail; n records are there. How many were taken, 0: the rest of it is not
 * there yet. */
static s64 take_control(struct rings *r, struct ring *g, u64 n, const struct rings_ops *ops,
			void *arg)
{
	struct ring_record rec = *record_at(r, g, g->tail);
	struct said c = {.kind = rec.site, .at = rec.at, .word = {rec.word}};
	const u32 words = ring_words(c.kind);
	int err;

	if (n < words)
		return 0;
	for (u32 i = 1; i < words; i++) {
		rec = *record_at(r, g, g->tail + i);
		if (rec.site != RING_WORD)
			return bad(r, "ring %u: record of kind %u ends early", (u32)(g - r->ring),
				   c.kind - RING_CONTROL);
		c.word[i] = rec.word;
	}
	err = take_said(r, g, &c, ops, arg);
	return err ? err : (s64)words;
}

static void tell_tail(struct ring *g)
{
	if (g->told == g->tail)
		return;
	g->told = g->tail;
	__atomic_store_n(&g->head->tail, g->tail, __ATOMIC_RELEASE);
	__atomic_store_n(&g->head->tail_low, (u32)g->tail, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&g->head->waiting, __ATOMIC_SEQ_CST))
		futex_wake(&g->head->tail_low);
}

static s64 ring_drain(struct rings *r, struct ring *g, const struct rings_ops *ops, void *arg)
{
	const u64 head = __atomic_load_n(&g->head->head, __ATOMIC_ACQUIRE), first = g->tail;
	s64 taken = 0;

	if (head - g->tail > r->capacity)
		return bad(r, "ring %u: more records than it holds", (u32)(g - r->ring));
	if (head != g->tail && g->ended)
		return bad(r, "ring %u: records after the end", (u32)(g - r->ring));
	if (!g->said)
		taken = ring_begin(g);
	while (taken >= 0 && g->tail != head) {
		if (record_at(r, g, g->tail)->site < RING_CONTROL && !g->in_ram)
			taken = take_stores(r, g, head - g->tail, ops, arg);
		else
			taken = take_control(r, g, head - g->tail, ops, arg);
		if (taken <= 0)
			break;
		g->tail += (u64)taken;
		if (g->tail - g->told >= r->capacity / 8)
			tell_tail(g);
	}
	tell_tail(g);
	r->records += g->tail - first;
	return taken < 0 ? taken : (s64)(g->tail - first);
}

static s64 drain_all(struct rings *r, const struct rings_ops *ops, void *arg)
{
	const u32 n = __atomic_load_n(&r->shared->nrings, __ATOMIC_ACQUIRE);
	s64 sum = 0;

	if (n > RINGS_MAX)
		return bad(r, "%u rings", n);
	for (u32 i = 0; i < n; i++) {
		const s64 taken = ring_drain(r, &r->ring[i], ops, arg);

		if (taken < 0)
			return taken;
		sum += taken;
	}
	return sum;
}

s64 rings_drain(struct rings *r, const struct rings_ops *ops, void *arg)
{
	s64 sum, more;

	sum = drain_all(r, ops, arg);
	if (sum < 0 || !r->end_seen || r->end_told)
		return sum;
	/* What other rings got before the end may have come after we looked at them. */
	more = drain_all(r, ops, arg);
	if (more < 0)
		return more;
	more += sum;
	if (ops->end) {
		const int err = ops->end(arg, r->end_ns);

		if (err)
			return err;
	}
	r->end_told = true;
	return more;
}

void rings_tick(struct rings *r)
{
	__atomic_fetch_add(&r->shared->tick, 1, __ATOMIC_RELEASE);
}

void rings_park(struct rings *r)
{
	if (r->park & 1)
		return;
	__atomic_store_n(&r->shared->park, ++r->park, __ATOMIC_SEQ_CST);
	rings_tick(r);
}

bool rings_parked(const struct rings *r)
{
	const u32 n = __atomic_load_n(&r->shared->nrings, __ATOMIC_ACQUIRE);

	for (u32 i = 0; i < n && i < RINGS_MAX; i++) {
		const struct ring_head *h = r->ring[i].head;

		if (__atomic_load_n(&h->parked, __ATOMIC_ACQUIRE) != r->park &&
		    !__atomic_load_n(&h->idle, __ATOMIC_ACQUIRE))
			return false;
	}
	return true;
}

void rings_unpark(struct rings *r)
{
	if (!(r->park & 1))
		return;
	__atomic_store_n(&r->shared->park, ++r->park, __ATOMIC_SEQ_CST);
	futex_wake(&r->shared->park);
}

void rings_end(struct rings *r)
{
	__atomic_store_n(&r->shared->ended, 1, __ATOMIC_RELEASE);
	futex_wake(&r->shared->ended);
}

u32 rings_thread(const struct rings *r, u32 ring)
{
	return ring < RINGS_MAX ? __atomic_load_n(&r->ring[ring].head->thread, __ATOMIC_RELAXED)
				: 0;
}

void rings_totals(const struct rings *r, struct rings_totals *out)
{
	*out = (struct rings_totals){.records = r->records, .stores = r->stores};
	out->sites = r->nsites;
	out->rings = __atomic_load_n(&r->shared->nrings, __ATOMIC_RELAXED);
	out->exact = __atomic_load_n(&r->shared->exact, __ATOMIC_RELAXED);
	out->quick = __atomic_load_n(&r->shared->quick, __ATOMIC_RELAXED);
	out->unringed = __atomic_load_n(&r->shared->unringed, __ATOMIC_RELAXED);
	for (u32 i = 0; i < RINGS_MAX; i++) {
		out->lost += __atomic_load_n(&r->ring[i].head->lost, __ATOMIC_RELAXED);
		out->rom += __atomic_load_n(&r->ring[i].head->rom, __ATOMIC_RELAXED);
	}
}
