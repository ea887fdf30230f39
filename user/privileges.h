/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the recorder may still do once it records: guests are hostile, and it reads what they make.
 */
#ifndef VMBLAME_PRIVILEGES_H
#define VMBLAME_PRIVILEGES_H

enum privileges {
	PRIVILEGES_ATTACH, /* attach uprobes to the VMM, open its memory, send it signals */
	PRIVILEGES_READ,   /* read its memory, send it signals */
	PRIVILEGES_SIGNAL, /* send it signals */
};

/* Gives up all other capabilities, for good, and the ways to get them back. 0 or -errno; without
 * capabilities to give up it does nothing. */
int privileges_keep(enum privileges what);

#endif
