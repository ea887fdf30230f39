/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmblame manual: the manual page in roff, made from the command and option tables. */
#include "commands.h"

#include "trace.h"

const struct option cmd_manual_options[] = {OPTION_END};

struct args {
	char none;
};

/* Text that roff must not interpret. */
static void roff(const char *text)
{
	bool start = true;

	for (; *text; text++) {
		if (*text == '\\')
			fputs("\\e", stdout);
		else if (*text == '-')
			fputs("\\-", stdout);
		else if (start && (*text == '.' || *text == '\''))
			printf("\\&%c", *text);
		else if (*text == '\n' && text[1] == '\n')
			fputs("\n.PP", stdout);
		else if (*text != '\n' || text[1] != '\n')
			putchar(*text);
		start = *text == '\n';
		if (*text == '\n' && text[1] == '\n')
			text++, putchar('\n');
	}
}

static void command_section(const struct command *cmd)
{
	printf(".SS vmblame %s%s%s%s\n", cmd->name, cmd->options->name ? " [OPTIONS]" : "",
	       *cmd->operands ? " " : "", cmd->operands);
	roff(cmd->about);
	puts("");
	for (const struct option *row = cmd->options; row->name; row++) {
		fputs(".TP\n.B ", stdout);
		if (row->letter)
			printf("\\-%c, ", row->letter);
		fputs("\\-\\-", stdout);
		roff(row->name);
		if (row->arg)
			printf(" \\fI%s\\fR", row->arg);
		puts("");
		roff(row->help);
		puts("");
	}
	if (cmd->exits) {
		fputs(".PP\nExit status: ", stdout);
		roff(cmd->exits);
		puts(".");
	}
}

static void manual(void)
{
	puts(".\\\" SPDX-License-Identifier: GPL-2.0-or-later");
	puts(".\\\" Made by `vmblame manual`; do not edit.");
	puts(".TH VMBLAME 1 \"2026-11-22\" \"vmblame " VMBLAME_VERSION "\" \"User Commands\"");
	puts(".SH NAME\nvmblame \\- git blame for the memory of a virtual machine");
	puts(".SH SYNOPSIS\n.B vmblame\n.I COMMAND\n[\\fIOPTIONS\\fR] ...");
	puts(".SH DESCRIPTION");
	puts("Records the writes that reach the memory of a KVM/QEMU guest while it boots or "
	     "runs,");
	puts("and answers afterwards, for any byte: who wrote it, when, from where in the code, "
	     "and how sure that is.");
	puts(".SH COMMANDS");
	for (const struct command *cmd = commands; cmd->name; cmd++)
		command_section(cmd);
	puts(".SH TIMES");
	puts("A time counts from the start of the recording: 12.5s, 300ms, 40us, 7ns, or a plain "
	     "number of seconds; #N is the moment of event number N; anything else is the name "
	     "of a mark.");
	puts(".SH EXIT STATUS");
	puts("0 when all went well, 1 on a failure, with one line on standard error, 2 on a wrong "
	     "command line; further ones are told with their command.");
	puts(".SH ENVIRONMENT\n.TP\n.B NO_COLOR\nWhen set, nothing is coloured.");
	puts(".SH FILES\n.TP\n.B ./vmblame.vmb\nThe trace, where none is named.");
}

int cmd_manual(int argc, char **argv)
{
	struct args args = {0};
	struct operands operands;

	const enum options_status status = options_parse(argc, argv, &args, &operands);
	if (status != OPTIONS_OK)
		return status == OPTIONS_HELP ? 0 : 2;
	if (operands.n || operands.nrest)
		return usage_error(argv[0], "no operands are taken");
	manual();
	return output_finish(0);
}
