/* SPDX-License-Identifier: GPL-2.0-or-later */
/* net: where the receive buffers and the receive queue's rings lie. */
#ifndef GUESTS_NET_LAYOUT_H
#define GUESTS_NET_LAYOUT_H

#define NET_BUFFERS_GPA	  0x1800000
#define NET_BUFFER_BYTES  512
#define NET_BUFFERS	  8
#define NET_BUFFERS_BYTES 4096	    /* of all */
#define NET_RINGS_GPA	  0x1900000 /* descriptors, avail; used on the next page boundary */
#define NET_RINGS_BYTES	  0x3000
#define NET_STAMP_GPA	  0x1a00000 /* what the processor alone writes */

#endif
