/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command table, and the choice of a command. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "trace.h"

#ifndef VMBLAME_VERSION
#define VMBLAME_VERSION "unknown"
#endif

#define FILE_RANGE_NOTE                                                               \
	"FILE is ./vmblame.vmb when left out. RANGE is START..END or START+LEN, in\n" \
	"guest-physical addresses, hexadecimal with 0x or with a suffix K, M or G;\n" \
	"START alone means one byte."

const struct command commands[] = {
	{"record", cmd_record, cmd_record_options, "-- VMM ARGS...",
	 "run a virtual machine and record the writes to its memory",
	 "Runs the VMM with its console untouched and records what is written to the\n"
	 "guest's memory. Without --mode and --watch that is every page that changes,\n"
	 "every 10 ms, and who could have. With --watch, every guest store to that range is\n"
	 "recorded with its address, bytes and code.\n\n"
	 "EVENT is SECONDS, reset, panic (the guest says so, by pvpanic), triple-fault,\n"
	 "virtio-error, exit, console:REGEX or mark:NAME (vmblame mark NAME, or mark-N by\n"
	 "SIGUSR1). Resets, panics, triple faults and virtio errors are marked by\n"
	 "themselves: reset-1, panic-1, ...; --at takes those names.",
	 "the VMM's own; 125 when recording failed, 126 or 127 when the VMM cannot be run"},
	{"mark", cmd_mark, cmd_mark_options, "[FILE] NAME",
	 "give this moment of a recording that runs a name",
	 "Puts a mark into the trace that is being recorded to FILE (./vmblame.vmb when left\n"
	 "out), for --at NAME. In pages and full mode the vCPUs stop for it, and memory is\n"
	 "known exactly as of then. NAME is a letter, then letters, digits, '-', '_' and '.'.",
	 NULL},
	{"check", cmd_check, cmd_check_options, "[VMM]",
	 "say what this machine can observe, and what would change it",
	 "Looks at the kernel, KVM, BPF, the VMM (qemu-system-x86_64 when left out) and\n"
	 "the permissions, and says for each probe, mode and class of writer whether it\n"
	 "is to be had here and, where not, why. Probes are attached for real, those on\n"
	 "the VMM's functions to a process of it that stands still, and taken off again.\n"
	 "Without root it says what root would add.\n\n"
	 "JSON: \"what\" (host, version, kvm, vmm, probe, writer, mode), \"name\",\n"
	 "\"available\" and, where there is something to say, \"detail\"; for a probe that\n"
	 "is attached \"how\" (tracepoint, fentry, kprobe, uprobe, uretprobe), \"target\"\n"
	 "and, on the VMM's functions, \"cost_ns\", about what a hit costs.",
	 "1 when pages or watch, the modes that record picks from, cannot be had"},
	{"who", cmd_who, cmd_who_options, "[FILE] RANGE", "name the last writer of each byte",
	 "Names, for each byte of RANGE, the last writers, with a verdict on how sure\n"
	 "that is. Bytes with the same answer come together.\n\n" FILE_RANGE_NOTE,
	 "3 when any byte has no answer (UNKNOWN, LOST)"},
	{"history", cmd_history, cmd_history_options, "[FILE] RANGE",
	 "list every write that touches a range",
	 "Lists every write that touches RANGE in order, with the bytes before and after\n"
	 "where they are known; and where events were lost and what could be seen "
	 "changed.\n\n" FILE_RANGE_NOTE,
	 NULL},
	{"show", cmd_show, cmd_show_options, "[FILE] RANGE", "show memory as it was at a time",
	 "Shows what RANGE held, as a hex dump. Bytes that are not known print as ??:\n"
	 "unknown is not zero.\n\n" FILE_RANGE_NOTE,
	 NULL},
	{"find", cmd_find, cmd_find_options, "[FILE] VALUE",
	 "find where memory held a value or a file, and when",
	 "Says where guest memory held VALUE, from when until when, and what completed\n"
	 "it: at any address, at any time. VALUE is u8:N, u16:N, u32:N or u64:N (a number\n"
	 "as a little-endian machine stores it), hex:BYTES or text:TEXT. With --file, the\n"
	 "pages that held the blocks of a file, in whatever order.\n"
	 "FILE is ./vmblame.vmb when left out.",
	 "3 when it was not found"},
	{"diff", cmd_diff, cmd_diff_options, "[FILE] T1 T2", "list what changed between two times",
	 "Lists the pages of guest memory that hold something else at T2 than at T1, with\n"
	 "the busiest of those that wrote there meanwhile. FILE is ./vmblame.vmb when left\n"
	 "out; times are 12.5s, 300ms, #EVENT or the name of a mark.",
	 NULL},
	{"info", cmd_info, cmd_info_options, "[FILE]", "say what a trace holds",
	 "Says what was recorded: how, how much, what was lost, which classes of writer\n"
	 "were observed where, what recording changed in the guest, and the versions of\n"
	 "everything that took part. FILE is ./vmblame.vmb when left out.",
	 NULL},
	{"verify", cmd_verify, cmd_verify_options, "[FILE]",
	 "check that a trace agrees with itself, or with a dump of memory",
	 "Reads and plays all of a trace, and says where it disagrees with itself: each\n"
	 "version of a page must have the sum that was recorded with it, each keyframe be\n"
	 "what the versions before it make, each chunk and the index be as they say of one\n"
	 "another. With --ram, memory at the end (or at T) is compared with a dump, and\n"
	 "the bytes that differ are listed. FILE is ./vmblame.vmb when left out.\n\n"
	 "JSON: one object for each disagreement (\"what\": sum, delta, keyframe, compared,\n"
	 "chunk; with --ram, differs), and at last one with the counts (all; ram).",
	 "1 when something disagrees; with --ram, 3 when nothing does, but some bytes are\n"
	 "not known"},
	{"index", cmd_index, cmd_index_options, "[FILE]",
	 "sort the stores of a trace by pages, to answer faster",
	 "Writes the stores of a trace of full mode once more, by pages, to FILE.pages:\n"
	 "who, history and show read them there when they are asked for a few pages, which\n"
	 "spares the stores to all others. That file is about as large as the trace, takes a\n"
	 "while to make, and may be removed at any time. FILE is ./vmblame.vmb when left out.",
	 NULL},
	{"export", cmd_export, cmd_export_options, "[FILE]", "write the events in another format",
	 "Writes the events of a trace, in order. FILE is ./vmblame.vmb when left out.", NULL},
	{"completion", cmd_completion, cmd_completion_options, "bash",
	 "print a completion script for the shell",
	 "Prints a script that completes commands, options and files:\n\n"
	 "  eval \"$(vmblame completion bash)\"",
	 NULL},
	{"manual", cmd_manual, cmd_manual_options, "", "print the manual page",
	 "Prints the manual page, for man -l or to be installed as vmblame.1.", NULL},
	{0},
};

const struct command *command_find(const char *name)
{
	for (const struct command *cmd = commands; cmd->name; cmd++) {
		if (!strcmp(cmd->name, name))
			return cmd;
	}
	return NULL;
}

static void help(FILE *f)
{
	fputs("vmblame: git blame for the memory of a virtual machine\n\n"
	      "usage: vmblame COMMAND [OPTIONS] ...\n\n",
	      f);
	for (const struct command *cmd = commands; cmd->name; cmd++)
		fprintf(f, "  %-12s %s\n", cmd->name, cmd->summary);
	fputs("\nvmblame help COMMAND tells more; vmblame --version tells the version.\n", f);
}

static int cmd_help(int argc, char **argv)
{
	if (argc < 2) {
		help(stdout);
		return 0;
	}
	const struct command *cmd = command_find(argv[1]);
	if (!cmd)
		return usage_error(NULL, "no such command: %s", argv[1]);
	options_help(stdout, cmd);
	return 0;
}

int main(int argc, char **argv)
{
	/* A reader of our output that goes away is an error to report, not a reason to die. */
	signal(SIGPIPE, SIG_IGN);
	if (argc < 2) {
		help(stderr);
		return 2;
	}
	const char *name = argv[1];
	if (!strcmp(name, "--version") || !strcmp(name, "version")) {
		puts("vmblame " VMBLAME_VERSION);
		return output_finish(0);
	}
	int status;

	if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h")) {
		status = cmd_help(argc - 1, argv + 1);
	} else {
		const struct command *cmd = command_find(name);

		if (!cmd)
			return usage_error(NULL, "no such command: %s", name);
		status = cmd->run(argc - 1, argv + 1);
	}
	/* What was printed must have arrived; a command that failed has said so already. */
	return status ? status : output_finish(0);
}
