/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The commands: one row each in main.c, one cmd_x.c each, which defines
 *	int cmd_x(int argc, char **argv)	argv[0] is the command's name; the exit status
 *	const struct option cmd_x_options[]	ended by OPTION_END
 */
#ifndef VMBLAME_COMMANDS_H
#define VMBLAME_COMMANDS_H

#include "options.h"

struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const struct option *options;
	const char *operands; /* as shown in the usage line */
	const char *summary;  /* one line */
	const char *about;    /* paragraphs for -h and the manual; lines of at most 78 columns */
	const char *exits;    /* exit statuses beyond 0, 1 and 2; NULL when there are none */
};

/* In main.c; ended by a row without a name. */
extern const struct command commands[];

/* NULL when there is none of that name. */
const struct command *command_find(const char *name);

int cmd_record(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_index(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_who(int argc, char **argv);
int cmd_history(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_find(int argc, char **argv);
int cmd_diff(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_completion(int argc, char **argv);
int cmd_mark(int argc, char **argv);
int cmd_manual(int argc, char **argv);

extern const struct option cmd_record_options[];
extern const struct option cmd_check_options[];
extern const struct option cmd_index_options[];
extern const struct option cmd_info_options[];
extern const struct option cmd_who_options[];
extern const struct option cmd_history_options[];
extern const struct option cmd_show_options[];
extern const struct option cmd_find_options[];
extern const struct option cmd_diff_options[];
extern const struct option cmd_verify_options[];
extern const struct option cmd_export_options[];
extern const struct option cmd_completion_options[];
extern const struct option cmd_mark_options[];
extern const struct option cmd_manual_options[];

#endif
