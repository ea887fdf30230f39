/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The page of the `vq` guest that is watched. What disk and processor write lies in it, but for the
 * end of the last request, which crosses into the next page.
 */
#ifndef GUESTS_VQ_LAYOUT_H
#define GUESTS_VQ_LAYOUT_H

#define VQ_PAGE_GPA   0x1800000
#define VQ_PAGE_BYTES 4096

#endif
