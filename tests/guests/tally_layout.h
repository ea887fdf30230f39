/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the `tally` guest does, and how often: the one place that says so. */
#ifndef GUESTS_TALLY_LAYOUT_H
#define GUESTS_TALLY_LAYOUT_H

#define TALLY_RESETS   1	 /* through port 0xcf9, before all but the first touches */
#define LOADED_GPA     0x2000000 /* pages that nobody touched before: one load from each */
#define LOADED_PAGES   64
#define STORED_GPA     0x2400000 /* the same with one store */
#define STORED_PAGES   64
#define DIRTY_GPA      0x2800000 /* stored to over and over, until a byte comes on the serial port */
#define DIRTY_PAGES    32
#define WATCHED_GPA    0x2c00000 /* for who wants to watch */
#define WATCHED_STORES 16
#define MMIO_GPA       0xd0000000 /* where nothing is */
#define MMIO_STORES    300
#define MMIO_LOADS     200
#define TALLY_PORT     0x5e0 /* likewise */
#define PORT_WRITES    250
#define PORT_READS     150
#define DISK_SECTOR    1000 /* requests of one sector each, the sectors in their order */
#define DISK_REQUESTS  20

#endif
