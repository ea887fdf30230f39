/* SPDX-License-Identifier: GPL-2.0-or-later */
/* balloon: what is given to the balloon, its queue's rings, and memory for debuggers. */
#ifndef GUESTS_BALLOON_LAYOUT_H
#define GUESTS_BALLOON_LAYOUT_H

#define BALLOON_PAGES_GPA   0x1800000
#define BALLOON_PAGES_BYTES 0x4000
#define BALLOON_RINGS_GPA   0x1900000
#define BALLOON_RINGS_BYTES 0x3000
#define BALLOON_LIST_GPA    0x1a00000 /* numbers of the pages, 4 bytes each */
#define BALLOON_GO_GPA	    0x1b00000 /* zero until it may go on */
#define BALLOON_FREE_GPA    0x1c00000 /* nobody in the guest stores here */
#define BALLOON_FREE_BYTES  0x4000

#endif
