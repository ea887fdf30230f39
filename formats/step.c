// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Times as tokens and bits.
 */
#include "step.h"

static void bits_put(struct step_writer *w, u64 v, unsigned n)
{
	/* At most 61 bits are asked for, and fewer than 8 are waiting. */
	w->word |= (unsigned __int128)v << w->nword;
	w->nword += n;
	if (!buf_reserve(&w->bits, 16))
		return;
	for (; w->nword >= 8; w->nword -= 8, w->word >>= 8)
		w->bits.data[w->bits.len++] = (u8)w->word;
}

void step_put(struct step_writer *w, struct step *s, u64 step)
{
	const u64 z = zigzag(step - step_predict(s));
	struct buf *tokens = &w->tokens[step_class(s)];

	if (z < 8) {
		buf_u8(tokens, (u8)z);
	} else {
		const unsigned low = 61 - (unsigned)__builtin_clzll(z);

		buf_u8(tokens, (u8)(4 + 4 * low + ((z >> low) & 3)));
		bits_put(w, z & ((1ull << low) - 1), low);
	}
	step_update(s, step, z);
}

void step_flush(struct step_writer *w)
{
	if (w->nword)
		buf_u8(&w->bits, (u8)w->word);
	w->word = 0;
	w->nword = 0;
}

void step_writer_reset(struct step_writer *w)
{
	for (unsigned i = 0; i < STEP_CLASSES; i++)
		w->tokens[i].len = 0;
	w->bits.len = 0;
	w->word = 0;
	w->nword = 0;
}

void step_writer_free(struct step_writer *w)
{
	for (unsigned i = 0; i < STEP_CLASSES; i++)
		buf_free(&w->tokens[i]);
	buf_free(&w->bits);
}

static u64 bits_take(struct step_reader *r, unsigned n)
{
	u64 v = 0;

	for (unsigned got = 0; got < n;) {
		if (r->nword == 0) {
			const size_t left = span_left(&r->bits);
			const unsigned bytes = left < 8 ? (unsigned)left : 8;

			if (bytes == 0) {
				r->bad = true;
				return 0;
			}
			r->word = load_le(r->bits.p, bytes);
			r->bits.p += bytes;
			r->nword = 8 * bytes;
		}
		const unsigned part = n - got < r->nword ? n - got : r->nword;

		v |= (r->word & ((1ull << part) - 1)) << got; /* part < 64: n is at most 61 */
		r->word >>= part;
		r->nword -= part;
		got += part;
	}
	return v;
}

u64 step_take(struct step_reader *r, struct step *s)
{
	struct span *tokens = &r->tokens[step_class(s)];
	u64 z = span_u8(tokens);

	if (tokens->bad || z > STEP_TOKEN_MAX)
		r->bad = true;
	if (z >= 8) {
		const unsigned low = (unsigned)(z - 4) / 4;

		z = (4 + (z & 3)) << low;
		z |= bits_take(r, low);
	}
	const u64 step = step_predict(s) + unzigzag(z);

	step_update(s, step, z);
	return step;
}
