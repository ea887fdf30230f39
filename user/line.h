/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A line of text put together by hand, since a history has millions: printf takes three quarters of
 * the time there. What does not fit is left out.
 */
#ifndef VMBLAME_LINE_H
#define VMBLAME_LINE_H

#include <string.h>

#include "formats/event.h"

struct line {
	char *at, *end; /* one byte behind is there for the NUL */
};

static inline struct line line_of(char *buf, size_t size)
{
	return (struct line){buf, buf + size - 1};
}

static inline void line_put(struct line *l, const char *text, size_t n)
{
	const size_t room = (size_t)(l->end - l->at);

	n = n < room ? n : room;
	memcpy(l->at, text, n);
	l->at += n;
	*l->at = '\0';
}

static inline void line_text(struct line *l, const char *text)
{
	line_put(l, text, strlen(text));
}

/* At least `width` digits. */
static inline void line_dec(struct line *l, u64 v, unsigned width)
{
	char digits[20], *p = digits + sizeof(digits);

	do {
		*--p = (char)('0' + v % 10);
		v /= 10;
	} while (v || digits + sizeof(digits) - p < width);
	line_put(l, p, (size_t)(digits + sizeof(digits) - p));
}

/* 0x and as many digits as it takes. */
static inline void line_hex(struct line *l, u64 v)
{
	char digits[18], *p = digits + sizeof(digits);

	do {
		*--p = "0123456789abcdef"[v & 15];
		v >>= 4;
	} while (v);
	*--p = 'x';
	*--p = '0';
	line_put(l, p, (size_t)(digits + sizeof(digits) - p));
}

/* Two digits a byte with spaces between, at most `most` of them, then an ellipsis. */
static inline void line_bytes(struct line *l, const u8 *bytes, u64 n, u64 most)
{
	for (u64 i = 0; i < n && i < most; i++) {
		const char digits[] = {' ', "0123456789abcdef"[bytes[i] >> 4],
				       "0123456789abcdef"[bytes[i] & 15]};

		line_put(l, digits + !i, sizeof(digits) - !i);
	}
	if (n > most)
		line_text(l, " ...");
}

#endif
