/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Option rows: a command's options as data. The parser, -h, the manual page and the shell
 *completion all come from the same rows.
 *
 *	struct args {
 *		bool json;
 *		const char *before;
 *		struct option_list symbols;
 *	};
 *	const struct option cmd_x_options[] = {
 *		OPTION_FLAG(0, "json", struct args, json, "one JSON object a line"),
 *		OPTION_TEXT(0, "before", "T", struct args, before, "writes before this time only"),
 *		OPTION_LIST(0, "symbols", "FILE[@BASE]", struct args, symbols, "..."),
 *		OPTION_END,
 *	};
 */
#ifndef VMBLAME_OPTIONS_H
#define VMBLAME_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct command; /* commands.h */

enum option_type {
	OPTION_IS_FLAG, /* bool */
	OPTION_IS_TEXT, /* const char *, the last one holds */
	OPTION_IS_LIST, /* struct option_list */
};

#define OPTION_LIST_MAX 64

/* An option that may be given several times. */
struct option_list {
	unsigned n;
	const char *v[OPTION_LIST_MAX];
};

struct option {
	char letter;	  /* 0: none */
	const char *name; /* without the dashes */
	const char *arg;  /* NULL for a flag */
	const char *help; /* one sentence, no full stop */
	enum option_type type;
	size_t off; /* of the member in the command's struct args */
};

#define OPTION_FLAG(letter, name, args, member, help)                            \
	{                                                                        \
		letter, name, NULL, help, OPTION_IS_FLAG, offsetof(args, member) \
	}
#define OPTION_TEXT(letter, name, arg, args, member, help)                      \
	{                                                                       \
		letter, name, arg, help, OPTION_IS_TEXT, offsetof(args, member) \
	}
#define OPTION_LIST(letter, name, arg, args, member, help)                      \
	{                                                                       \
		letter, name, arg, help, OPTION_IS_LIST, offsetof(args, member) \
	}
#define OPTION_END                                     \
	{                                              \
		0, NULL, NULL, NULL, OPTION_IS_FLAG, 0 \
	}

/* What is left of the command line. */
struct operands {
	int n;
	char **v; /* points into argv, which is reordered */
	int nrest;
	char **rest; /* what follows "--", NULL when there was none */
};

enum options_status {
	OPTIONS_OK,
	OPTIONS_HELP,  /* -h or --help: the help went to stdout; return 0 */
	OPTIONS_USAGE, /* the error went to stderr; return 2 */
};

/* Reads argv[1..] into *args (zeroed by the caller) by the rows of the command called argv[0].
 * Options and operands may be mixed; `--name VALUE`, `--name=VALUE`, `-n VALUE` and `-nVALUE` are
 * understood. Strings point into argv. */
enum options_status options_parse(int argc, char **argv, void *args, struct operands *operands);

/* The help of one command, from its rows. */
void options_help(FILE *f, const struct command *cmd);

/* "vmblame: TEXT" and where to find help on stderr; returns 2. */
int usage_error(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "vmblame: TEXT" on stderr; returns 1. */
int fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Whether to colour what goes to f: a terminal, and NO_COLOR is not set. */
bool colour_wanted(FILE *f);

#endif
