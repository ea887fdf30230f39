/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parses a command line by a command's option rows, and prints its help from them. */
#include "options.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"

/* On one line, whatever the names in it hold. */
static void message(const char *fmt, va_list ap)
{
	char *text = NULL;

	fputs("vmblame: ", stderr);
	if (vasprintf(&text, fmt, ap) < 0)
		return;
	for (const char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			fprintf(stderr, "\\x%02x", (unsigned char)*c);
		else
			fputc(*c, stderr);
	free(text);
}

int fail(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	va_start(ap, fmt);
	message(fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return 1;
}

int usage_error(const char *command, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	message(fmt, ap);
	va_end(ap);
	fprintf(stderr, " (see vmblame %s%s-h)\n", command ? command : "", command ? " " : "");
	return 2;
}

bool colour_wanted(FILE *f)
{
	const char *no_color = getenv("NO_COLOR");

	return !(no_color && *no_color) && isatty(fileno(f));
}

static const struct option *option_find(const struct option *rows, const char *name, size_t len,
					char letter)
{
	for (; rows->name; rows++) {
		if (letter && rows->letter == letter)
			return rows;
		if (!letter && strlen(rows->name) == len && !memcmp(rows->name, name, len))
			return rows;
	}
	return NULL;
}

/* False when there is no room left in the list. */
static bool option_store(const struct option *row, void *args, const char *value)
{
	char *member = (char *)args + row->off;

	switch (row->type) {
	case OPTION_IS_FLAG:
		*(bool *)member = true;
		return true;
	case OPTION_IS_TEXT:
		*(const char **)member = value;
		return true;
	case OPTION_IS_LIST:
		break;
	}
	struct option_list *list = (struct option_list *)member;
	if (list->n == OPTION_LIST_MAX)
		return false;
	list->v[list->n++] = value;
	return true;
}

struct parse {
	const struct command *cmd;
	int argc;
	char **argv;
	int at; /* next argument */
	void *args;
};

/* Stores one option; `attached` is the value that came with it, or NULL. */
static enum options_status option_take(struct parse *p, const struct option *row,
				       const char *attached)
{
	const char *name = p->cmd->name;

	if (!row->arg && attached) {
		usage_error(name, "--%s takes no value", row->name);
		return OPTIONS_USAGE;
	}
	if (row->arg && !attached) {
		if (p->at >= p->argc) {
			usage_error(name, "--%s needs a value: %s", row->name, row->arg);
			return OPTIONS_USAGE;
		}
		attached = p->argv[p->at++];
	}
	if (!option_store(row, p->args, attached)) {
		usage_error(name, "--%s is given more than %d times", row->name, OPTION_LIST_MAX);
		return OPTIONS_USAGE;
	}
	return OPTIONS_OK;
}

static enum options_status long_option(struct parse *p, const char *text)
{
	const char *equals = strchr(text, '=');
	const size_t len = equals ? (size_t)(equals - text) : strlen(text);

	if (len == 4 && !memcmp(text, "help", 4)) {
		options_help(stdout, p->cmd);
		return OPTIONS_HELP;
	}
	const struct option *row = option_find(p->cmd->options, text, len, 0);
	if (!row) {
		usage_error(p->cmd->name, "no such option: --%.*s", (int)len, text);
		return OPTIONS_USAGE;
	}
	return option_take(p, row, equals ? equals + 1 : NULL);
}

/* A cluster of one-letter options. */
static enum options_status short_options(struct parse *p, const char *text)
{
	for (; *text; text++) {
		if (*text == 'h') {
			options_help(stdout, p->cmd);
			return OPTIONS_HELP;
		}
		const struct option *row = option_find(p->cmd->options, NULL, 0, *text);
		if (!row) {
			usage_error(p->cmd->name, "no such option: -%c", *text);
			return OPTIONS_USAGE;
		}
		const char *attached = row->arg && text[1] ? text + 1 : NULL;
		const enum options_status status = option_take(p, row, attached);
		if (status != OPTIONS_OK || row->arg)
			return status;
	}
	return OPTIONS_OK;
}

enum options_status options_parse(int argc, char **argv, void *args, struct operands *operands)
{
	struct parse p = {command_find(argv[0]), argc, argv, 1, args};

	*operands = (struct operands){.v = argv + 1};
	while (p.at < argc) {
		char *text = argv[p.at++];
		enum options_status status = OPTIONS_OK;

		if (!strcmp(text, "--")) {
			operands->rest = argv + p.at;
			operands->nrest = argc - p.at;
			break;
		}
		if (text[0] == '-' && text[1] == '-')
			status = long_option(&p, text + 2);
		else if (text[0] == '-' && text[1])
			status = short_options(&p, text + 1);
		else
			operands->v[operands->n++] = text;
		if (status != OPTIONS_OK)
			return status;
	}
	return OPTIONS_OK;
}

void options_help(FILE *f, const struct command *cmd)
{
	fprintf(f, "usage: vmblame %s%s%s%s\n\n%s\n\n", cmd->name,
		cmd->options->name ? " [OPTIONS]" : "", *cmd->operands ? " " : "", cmd->operands,
		cmd->about);
	fputs("options:\n", f);
	for (const struct option *row = cmd->options; row->name; row++) {
		char left[64];

		snprintf(left, sizeof(left), "%c%c%s--%s%s%s", row->letter ? '-' : ' ',
			 row->letter ? row->letter : ' ', row->letter ? ", " : "  ", row->name,
			 row->arg ? " " : "", row->arg ? row->arg : "");
		fprintf(f, "  %-26s %s%s\n", left,
			strlen(left) > 26 ? "\n                             " : "", row->help);
	}
	fprintf(f, "  %-26s %s\n", "-h, --help", "this text");
	if (cmd->exits)
		fprintf(f, "\nexit status: %s\n", cmd->exits);
}
