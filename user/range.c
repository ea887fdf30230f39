/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads sizes, ranges and times, exactly or not at all: nothing is guessed, nothing wraps. */
#include "range.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

/* Reads digits of the base from *p on; *p is left behind them. */
static int digits_parse(const char **p, unsigned base, u64 *out)
{
	u64 value = 0;
	const char *start = *p;

	for (;; (*p)++) {
		const char c = **p;
		unsigned digit;

		if (c >= '0' && c <= '9')
			digit = c - '0';
		else if (base == 16 && isxdigit((unsigned char)c))
			digit = tolower((unsigned char)c) - 'a' + 10;
		else
			break;
		if (value > (UINT64_MAX - digit) / base)
			return -ERANGE;
		value = value * base + digit;
	}
	if (*p == start)
		return -EINVAL;
	*out = value;
	return 0;
}

/* A number with its suffix, from *p on. */
static int size_read(const char **p, u64 *out)
{
	if ((*p)[0] == '0' && ((*p)[1] == 'x' || (*p)[1] == 'X')) {
		*p += 2;
		return digits_parse(p, 16, out);
	}
	const int err = digits_parse(p, 10, out);
	if (err)
		return err;

	static const char suffixes[] = "kmgt";
	const char *suffix = **p ? strchr(suffixes, tolower((unsigned char)**p)) : NULL;
	if (!suffix)
		return 0;
	(*p)++;
	if (**p == 'i' && ((*p)[1] == 'B' || (*p)[1] == 'b'))
		*p += 2;
	else if (**p == 'B' || **p == 'b')
		(*p)++;
	const unsigned shift = 10 * (unsigned)(suffix - suffixes + 1);
	if (*out > UINT64_MAX >> shift)
		return -ERANGE;
	*out <<= shift;
	return 0;
}

int size_parse(const char *text, u64 *out)
{
	const int err = size_read(&text, out);

	if (err)
		return err;
	return *text ? -EINVAL : 0;
}

int range_parse(const char *text, struct range *out)
{
	u64 start, second;
	int err = size_read(&text, &start);

	if (err)
		return err;
	if (!*text) {
		if (start == UINT64_MAX)
			return -ERANGE;
		*out = (struct range){start, start + 1};
		return 0;
	}

	bool length = false;
	if (*text == '+') {
		length = true;
		text++;
	} else if (!strncmp(text, "..", 2)) {
		text += 2;
	} else {
		return -EINVAL;
	}
	err = size_read(&text, &second);
	if (err)
		return err;
	if (*text)
		return -EINVAL;
	if (length) {
		if (second > UINT64_MAX - start)
			return -ERANGE;
		second += start;
	}
	if (second <= start)
		return -ERANGE;
	*out = (struct range){start, second};
	return 0;
}

bool mark_name_good(const char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789-_.";
	const size_t len = strspn(name, letters);

	return len && !name[len] && len <= MARK_NAME_MAX && !strchr("0123456789-_.", name[0]);
}

const char *range_complaint(int err)
{
	if (err == -ERANGE)
		return "is empty, backwards or beyond 64 bits";
	return "is not a range: START..END, START+LEN or START, in hex with 0x or with K, M, G";
}

int duration_parse(const char *text, u64 *out_ns)
{
	static const struct {
		const char *name;
		u64 ns;
	} units[] = {{"ns", 1},
		     {"us", 1000},
		     {"ms", 1000000},
		     {"s", 1000000000},
		     {"min", 60000000000ull},
		     {"", 1000000000}};
	u64 whole = 0, fraction = 0, scale = 1;
	const char *p = text;
	const int err = digits_parse(&p, 10, &whole);

	if (err)
		return err;
	if (*p == '.') {
		p++;
		if (!isdigit((unsigned char)*p))
			return -EINVAL;
		for (; isdigit((unsigned char)*p); p++) {
			if (scale >= 1000000000)
				continue;
			fraction = fraction * 10 + (u64)(*p - '0');
			scale *= 10;
		}
	}
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(p, units[i].name))
			continue;
		if (whole > UINT64_MAX / units[i].ns)
			return -ERANGE;
		const u64 ns = whole * units[i].ns;
		const u64 part = (u64)((unsigned __int128)fraction * units[i].ns / scale);
		if (ns > UINT64_MAX - part)
			return -ERANGE;
		*out_ns = ns + part;
		return 0;
	}
	return -EINVAL;
}

int when_parse(const char *text, struct when *out)
{
	if (!*text)
		return -EINVAL;
	if (!strncmp(text, "mark:", 5) && text[5]) {
		*out = (struct when){.kind = WHEN_MARK, .mark = text + 5};
		return 0;
	}
	if (*text == '#') {
		const char *p = text + 1;

		*out = (struct when){.kind = WHEN_EVENT};
		const int err = digits_parse(&p, 10, &out->seq);
		if (err == -ERANGE)
			return err;
		if (!err && !*p)
			return 0;
	} else {
		*out = (struct when){.kind = WHEN_TIME};
		const int err = duration_parse(text, &out->t_ns);
		if (err != -EINVAL)
			return err;
	}
	*out = (struct when){.kind = WHEN_MARK, .mark = text};
	return 0;
}
