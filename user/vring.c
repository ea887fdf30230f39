// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A split virtqueue seen from outside (Virtio 1.2 section 2.7).
 */
#include "user/vring.h"

#include <errno.h>

#define DESC_NEXT     1u
#define DESC_WRITE    2u
#define DESC_INDIRECT 4u
#define TABLE_MAX     (1u << 12) /* descriptors of an indirect table */

struct desc {
	u64 gpa;
	u32 bytes;
	u16 flags;
	u16 next;
};

/* A table of descriptors: the queue's own, or an indirect one. */
struct table {
	const struct guestram *g;
	u64 gpa;
	u32 size;
};

static bool reads(const struct guestram *g, u64 gpa, void *buf, size_t bytes)
{
	return guestram_read(g, gpa, buf, bytes) == (ssize_t)bytes;
}

/* Follows a chain from descriptor `at` on; one that refers to a table leads there. False when it
 * leads nowhere. */
static bool chain_follow(struct table table, u16 at, void (*fn)(void *arg, u64 gpa, u64 bytes),
			 void *arg)
{
	bool nested = false;

	for (u32 left = table.size; left && at < table.size; left--) {
		struct desc d;

		if (!reads(table.g, table.gpa + 16ull * at, &d, sizeof(d)))
			return false;
		if (d.flags & DESC_INDIRECT && !nested) {
			nested = true;
			table = (struct table){table.g, d.gpa, d.bytes / sizeof(d)};
			if (table.size > TABLE_MAX)
				return false;
			left = table.size + 1;
			at = 0;
			continue;
		}
		if (d.flags & DESC_WRITE && d.bytes)
			fn(arg, d.gpa, d.bytes);
		if (!(d.flags & DESC_NEXT))
			return true;
		at = d.next;
	}
	return false;
}

int vring_follow(struct vring *v, const struct guestram *g,
		 void (*fn)(void *arg, u64 gpa, u64 bytes), void *arg)
{
	u16 idx, heads[VRING_SIZE_MAX];
	int ret = 0;

	if (!v->size || v->size > VRING_SIZE_MAX || v->size & (v->size - 1))
		return -EINVAL;
	if (!reads(g, v->avail + 2, &idx, sizeof(idx)))
		return -EAGAIN;
	if (v->begun && idx == v->seen)
		return 0;
	if (!reads(g, v->avail + 4, heads, v->size * sizeof(heads[0])))
		return -EAGAIN;
	u32 n = v->begun ? (u16)(idx - v->seen) : v->size;
	if (n > v->size) {
		n = v->size;
		ret = -EOVERFLOW;
	}
	for (u32 i = 1; i <= n; i++) {
		const u16 head = heads[(u16)(idx - i) & (v->size - 1)];

		/* Until its first round is over the ring holds what nobody has written yet. */
		if (!chain_follow((struct table){g, v->desc, v->size}, head, fn, arg) && v->begun &&
		    !ret)
			ret = -EINVAL;
	}
	v->begun = true;
	v->seen = idx;
	return ret ? ret : (int)n;
}
