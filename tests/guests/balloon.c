// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Fills pages, says "balloon: filled", and when a debugger has written to BALLOON_GO_GPA gives them
 * to a virtio balloon. When they are gone it says "balloon: ready", and stays: what changes from
 * then on is the VMM's doing.
 */
#include "balloon_layout.h"
#include "guest.h"
#include "legacy.h"

#define VIRTIO_BALLOON_PCI 0x10021af4u
#define BALLOON_FILL	   0xb5b5b5b5u
#define NPAGES		   (BALLOON_PAGES_BYTES / RING_PAGE)

unsigned guest_main(void)
{
	volatile u32 *pages = (volatile u32 *)BALLOON_PAGES_GPA;
	volatile u32 *list = (volatile u32 *)BALLOON_LIST_GPA;
	u32 polls = 0;

	serial_text("vmblame test guest: balloon\n");
	for (u32 i = 0; i < BALLOON_PAGES_BYTES / 4; i++)
		pages[i] = BALLOON_FILL;
	for (u32 i = 0; i < NPAGES; i++)
		list[i] = BALLOON_PAGES_GPA / RING_PAGE + i;

	serial_text("balloon: filled\n");
	while (!*(volatile u32 *)BALLOON_GO_GPA)
		;

	const u16 io = pci_find(VIRTIO_BALLOON_PCI, "no virtio balloon on PCI bus 0");

	legacy_reset(io);

	volatile struct used *used = legacy_queue(io, BALLOON_RINGS_GPA, BALLOON_RINGS_BYTES, 1,
						  BALLOON_LIST_GPA, NPAGES * sizeof(*list), 0);

	legacy_go(io);
	while (!used->idx)
		if (++polls == POLLS_MAX)
			guest_panic("the balloon does not take its pages");
	serial_text("balloon: ready\n");
	for (;;)
		__asm__ volatile("hlt");
}
