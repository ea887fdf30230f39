/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Prints any event from its description: one line of text, or one JSON object. Also the small JSON
 * emitter that everything in vmblame prints with.
 */
#ifndef VMBLAME_PRINT_H
#define VMBLAME_PRINT_H

#include <stdbool.h>
#include <stdio.h>

#include "event.h"

/* "   0.123456789 #42 boot 0 vcpu 0 mmio gpa 0x... len 4 ..." and a newline. Fields that hold
 * "nothing" (no vCPU, count 0) are left out. */
void print_event_text(FILE *f, const struct event *ev, u64 seq);

/* {"v":1,"seq":42,"event":"mmio","t_ns":...,"gpa":"0x...","bytes":"hex",...} and a newline.
 * GPA, GVA and HEX fields are "0x..." strings, BYTES hex strings, DEC and NS numbers, enumerations
 * their names (the number when it has none). */
void print_event_json(FILE *f, const struct event *ev, u64 seq);

/* A JSON object or array being printed; strings are escaped, bytes that are not UTF-8 become
 * U+FFFD. */
struct json {
	FILE *f;
	bool comma;
};
void json_open(struct json *j, const char *key, char bracket); /* '{' or '['; key may be NULL */
void json_close(struct json *j, char bracket);		       /* '}' or ']' */
void json_str(struct json *j, const char *key, const char *value);
void json_strn(struct json *j, const char *key, const char *value, size_t len);
void json_u64(struct json *j, const char *key, u64 value);
void json_s64(struct json *j, const char *key, s64 value);
void json_hex(struct json *j, const char *key, u64 value);		       /* "0x..." */
void json_bytes(struct json *j, const char *key, const u8 *bytes, size_t len); /* "hex" */
void json_bool(struct json *j, const char *key, bool value);
void json_double(struct json *j, const char *key, double value);
void json_end(struct json *j); /* closes nothing: prints the newline after a whole object */

#endif
