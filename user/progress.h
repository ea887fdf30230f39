/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How far long work is: a line on the terminal that rewrites itself, from the second second on.
 */
#ifndef VMBLAME_PROGRESS_H
#define VMBLAME_PROGRESS_H

#include "formats/event.h"

/* For the `progress` of what plays a trace. Says nothing when stderr is no terminal. */
void progress_show(u64 done, u64 all);
/* Takes the line away. */
void progress_end(void);

#endif
