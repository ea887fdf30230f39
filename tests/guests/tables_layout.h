/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the `tables` guest has its page tables, which are watched, and what they map, which is not.
 * Operation n has table n and page n to itself.
 */
#define TABLES_GPA   0x1800000
#define TABLES_OPS   16
#define TABLES_BYTES 0x10000
#define MAPPED_GPA   0x1900000
