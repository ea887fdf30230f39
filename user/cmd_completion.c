/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmblame completion: a bash completion script, made from the command and option tables. */
#include "commands.h"

#include <string.h>

#include "trace.h"

const struct option cmd_completion_options[] = {OPTION_END};

struct args {
	char none;
};

static void options_words(const struct command *cmd)
{
	for (const struct option *row = cmd->options; row->name; row++) {
		if (row->letter)
			printf("-%c ", row->letter);
		printf("--%s ", row->name);
	}
	fputs("-h --help", stdout);
}

static void bash_script(void)
{
	puts("# bash completion for vmblame");
	puts("_vmblame()");
	puts("{");
	puts("\tlocal cur=${COMP_WORDS[COMP_CWORD]} words=");
	puts("\tCOMPREPLY=()");
	puts("\tif [ \"$COMP_CWORD\" -eq 1 ]; then");
	fputs("\t\twords='", stdout);
	for (const struct command *cmd = commands; cmd->name; cmd++)
		printf("%s ", cmd->name);
	puts("help --version'");
	puts("\telse");
	puts("\t\tcase ${COMP_WORDS[1]} in");
	for (const struct command *cmd = commands; cmd->name; cmd++) {
		printf("\t\t%s) words='", cmd->name);
		options_words(cmd);
		puts("' ;;");
	}
	fputs("\t\thelp) words='", stdout);
	for (const struct command *cmd = commands; cmd->name; cmd++)
		printf("%s%s", cmd == commands ? "" : " ", cmd->name);
	puts("' ;;");
	puts("\t\tesac");
	puts("\t\tcase $cur in -*) ;; *) [ \"${COMP_WORDS[1]}\" = help ] || words= ;; esac");
	puts("\tfi");
	puts("\tif [ -n \"$words\" ]; then");
	puts("\t\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))");
	puts("\telse");
	puts("\t\tcompopt -o default 2> /dev/null");
	puts("\tfi");
	puts("}");
	puts("complete -F _vmblame vmblame");
}

int cmd_completion(int argc, char **argv)
{
	struct args args = {0};
	struct operands operands;

	const enum options_status status = options_parse(argc, argv, &args, &operands);
	if (status != OPTIONS_OK)
		return status == OPTIONS_HELP ? 0 : 2;
	if (operands.n != 1 || operands.nrest || strcmp(operands.v[0], "bash"))
		return usage_error(argv[0], "the shell to complete for: bash");
	bash_script();
	return output_finish(0);
}
