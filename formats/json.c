// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The JSON emitter: commas, escapes, and bytes that are not UTF-8 turned into U+FFFD. Streams are
 * not locked: one thread prints.
 */
#include "print.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Bytes of the UTF-8 sequence at s (1..4), or 0 when it is none (Unicode 15, table 3-7). */
static size_t utf8_len(const u8 *s, size_t len)
{
	static const struct {
		u8 lo, hi, lo2, hi2, len;
	} forms[] = {
		{0x00, 0x7f, 0, 0, 1},	     {0xc2, 0xdf, 0x80, 0xbf, 2},
		{0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
		{0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
		{0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4},
		{0xf4, 0xf4, 0x80, 0x8f, 4},
	};

	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		const size_t n = forms[i].len;

		if (s[0] < forms[i].lo || s[0] > forms[i].hi)
			continue;
		if (n > len || (n > 1 && (s[1] < forms[i].lo2 || s[1] > forms[i].hi2)))
			return 0;
		for (size_t k = 2; k < n; k++)
			if ((s[k] & 0xc0) != 0x80)
				return 0;
		return n;
	}
	return 0;
}

static void json_quote(FILE *f, const char *text, size_t len)
{
	const u8 *s = (const u8 *)text;

	putc_unlocked('"', f);
	for (size_t i = 0, n; i < len; i += n) {
		const u8 c = s[i];

		n = 1;
		if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
			putc_unlocked(c, f);
			continue;
		}
		n = utf8_len(s + i, len - i);
		if (n == 0) {
			n = 1;
			fputs_unlocked("\\ufffd", f);
		} else if (c == '"' || c == '\\') {
			putc_unlocked('\\', f);
			putc_unlocked(c, f);
		} else if (c == '\n') {
			fputs_unlocked("\\n", f);
		} else if (c == '\t') {
			fputs_unlocked("\\t", f);
		} else if (c < 0x20 || c == 0x7f) {
			fprintf(f, "\\u%04x", c);
		} else {
			fwrite_unlocked(s + i, 1, n, f);
		}
	}
	putc_unlocked('"', f);
}

static void json_key(struct json *j, const char *key)
{
	if (j->comma)
		putc_unlocked(',', j->f);
	j->comma = true;
	if (key) {
		json_quote(j->f, key, strlen(key));
		putc_unlocked(':', j->f);
	}
}

void json_open(struct json *j, const char *key, char bracket)
{
	json_key(j, key);
	putc_unlocked(bracket, j->f);
	j->comma = false;
}

void json_close(struct json *j, char bracket)
{
	putc_unlocked(bracket, j->f);
	j->comma = true;
}

void json_strn(struct json *j, const char *key, const char *value, size_t len)
{
	json_key(j, key);
	json_quote(j->f, value, len);
}

void json_str(struct json *j, const char *key, const char *value)
{
	json_strn(j, key, value, strlen(value));
}

void json_u64(struct json *j, const char *key, u64 value)
{
	json_key(j, key);
	fprintf(j->f, "%" PRIu64, value);
}

void json_s64(struct json *j, const char *key, s64 value)
{
	json_key(j, key);
	fprintf(j->f, "%" PRId64, value);
}

void json_hex(struct json *j, const char *key, u64 value)
{
	json_key(j, key);
	fprintf(j->f, "\"0x%" PRIx64 "\"", value);
}

void json_bytes(struct json *j, const char *key, const u8 *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";

	json_key(j, key);
	putc_unlocked('"', j->f);
	for (size_t i = 0; i < len; i++) {
		putc_unlocked(digits[bytes[i] >> 4], j->f);
		putc_unlocked(digits[bytes[i] & 15], j->f);
	}
	putc_unlocked('"', j->f);
}

void json_bool(struct json *j, const char *key, bool value)
{
	json_key(j, key);
	fputs_unlocked(value ? "true" : "false", j->f);
}

void json_double(struct json *j, const char *key, double value)
{
	json_key(j, key);
	if (isfinite(value))
		fprintf(j->f, "%.9g", value);
	else
		fputs_unlocked("null", j->f);
}

void json_end(struct json *j)
{
	putc_unlocked('\n', j->f);
	j->comma = false;
}
