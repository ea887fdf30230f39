// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Where a store went. QEMU's struct qemu_plugin_hwaddr is opaque and changed in 8.0; which of the
 * two it is, is found by the first store to RAM: its address in QEMU is within RAM's ranges, or the
 * guest-physical one is what the API says. (Before 8.0 the API gives an offset into QEMU's list of
 * RAM blocks for RAM, which is no guest-physical address: plugins/api.c.)
 */
#include "plugin.h"

u32 place_layout;

#define LAYOUT_TRIES 10000 /* stores to RAM that fit neither layout */

static u32 misfits;
static const struct place lost = {.kind = PLACE_LOST};

static u32 layout_find(struct producer *p, const struct qemu_plugin_hwaddr *hw, u64 gva)
{
	const struct hwaddr_v6 *v6 = (const void *)hw;
	const struct hwaddr_v8 *v8 = (const void *)hw;

	if (v6->is_io || qemu_plugin_hwaddr_is_io(hw) || !v6->is_store)
		return 0;
	if (ram_by_host(&p->ram, v6->host) && !((v6->host ^ gva) & ~PAGE_MASK))
		return PLACE_V6;
	/* A host address that is not in the map can be hidden RAM before the map is complete. */
	if (!ram_by_gpa(&p->ram, v8->gpa) || ((v8->gpa ^ gva) & ~PAGE_MASK))
		return 0;
	return v8->gpa == qemu_plugin_hwaddr_phys_addr(hw) ? PLACE_V8 : 0;
}

/* QEMU's own sum, oas + offset, is wrong for a section that begins within its region
 * (qemu_plugin_hwaddr_phys_addr(), 7.2): it serves to check how a section is laid out. After a
 * store that changed the memory map QEMU shows the section as saved before (save_iotlb_data()). */
static struct place io_v6(const struct qemu_plugin_hwaddr *hw, u64 gva)
{
	const struct hwaddr_v6 *v6 = (const void *)hw;
	const struct memory_section *s = v6->io.section;
	u64 gpa;

	if (!s || qemu_plugin_hwaddr_phys_addr(hw) != s->gpa + v6->io.offset ||
	    v6->io.offset - s->offset_in_region >= (u64)s->size)
		return lost;
	gpa = s->gpa + v6->io.offset - s->offset_in_region;
	return (gpa ^ gva) & ~PAGE_MASK ? lost : (struct place){.kind = PLACE_IO, .gpa = gpa};
}

static struct place ram_place(const struct ram_range *r, u64 gpa, u64 host)
{
	return (struct place){.kind = r->readonly ? PLACE_ROM : PLACE_RAM,
			      .hidden = r->hidden,
			      .gpa = gpa,
			      .host = host};
}

struct place place_find(struct producer *p, u32 info, u64 gva)
{
	const struct qemu_plugin_hwaddr *hw = qemu_plugin_get_hwaddr(info, gva);
	u32 layout = __atomic_load_n(&place_layout, __ATOMIC_RELAXED);
	const struct ram_range *r;

	if (!hw)
		return lost;
	if (!layout) {
		layout = layout_find(p, hw, gva);
		if (!layout) {
			if (!qemu_plugin_hwaddr_is_io(hw) &&
			    __atomic_add_fetch(&misfits, 1, __ATOMIC_RELAXED) == LAYOUT_TRIES)
				plugin_fail(
					"QEMU tells where stores go in a way that is not known");
			return lost;
		}
		__atomic_store_n(&place_layout, layout, __ATOMIC_RELAXED);
	}
	if (layout == PLACE_V6) {
		const u64 host = ((const struct hwaddr_v6 *)(const void *)hw)->host;

		if (qemu_plugin_hwaddr_is_io(hw))
			return io_v6(hw, gva);
		r = ram_by_host(&p->ram, host);
		return r ? ram_place(r, host - r->host + r->gpa, host) : lost;
	}
	const u64 gpa = ((const struct hwaddr_v8 *)(const void *)hw)->gpa;

	if (qemu_plugin_hwaddr_is_io(hw))
		return (struct place){.kind = PLACE_IO, .gpa = gpa};
	r = ram_by_gpa(&p->ram, gpa);
	return r ? ram_place(r, gpa, gpa - r->gpa + r->host) : lost;
}
