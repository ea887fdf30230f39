/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The judge: from the entries that touch a piece of memory, and from what was observed there, to
 * verdicts. Every rule about what may be claimed stands here.
 */
#ifndef VMBLAME_JUDGE_H
#define VMBLAME_JUDGE_H

#include "pile.h"

/* A piece whose bytes are touched by the same entries. */
struct piece {
	const struct pile *pile;
	const struct state *state;
	u64 gpa, end;
	const size_t
		*active; /* entries that hold the piece: indices into pile->kept, newest first */
	size_t nactive;
};

/* Fills at most n answers (those of older writers only behind a WRITTEN-BY) and returns how many,
 * at least 1. answers[].bytes and .old point into the pile. 0: the bytes of the piece differ in
 * what later looks show; ask byte by byte. */
unsigned piece_judge(const struct piece *p, struct moment limit, struct answer *answers,
		     unsigned n);

#endif
