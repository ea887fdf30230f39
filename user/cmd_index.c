/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmblame index: the stores of a trace once more, by pages, in a file beside it. */
#include "commands.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/by_page.h"
#include "progress.h"
#include "trace.h"

struct args {
	bool force, quiet;
};

const struct option cmd_index_options[] = {
	OPTION_FLAG(0, "force", struct args, force, "make it again where it is there already"),
	OPTION_FLAG('q', "quiet", struct args, quiet, "no closing line"),
	OPTION_END,
};

static char temp[4096 + 8]; /* the file's name until it is whole */

static void interrupted(int signal)
{
	unlink(temp);
	raise(signal); /* SA_RESETHAND: ends the process */
}

static void clean_up_on_signals(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	struct sigaction old;

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (!sigaction(signals[i], NULL, &old) && old.sa_handler == SIG_DFL)
			sigaction(signals[i],
				  &(struct sigaction){.sa_handler = interrupted,
						      .sa_flags = (int)SA_RESETHAND | SA_NODEFER},
				  NULL);
}

int cmd_index(int argc, char **argv)
{
	struct args args = {0};
	struct operands operands;
	const char *path, *why;
	char beside[4096], err[512] = "";
	struct by_page_opts opts = {.progress = progress_show};
	struct by_page_stats stats;

	const enum options_status status = options_parse(argc, argv, &args, &operands);
	if (status != OPTIONS_OK)
		return status == OPTIONS_HELP ? 0 : 2;
	int ret = operands_file(argv[0], &operands, &path);
	if (ret)
		return ret;
	CLEANUP(trace_cleanup) struct trace trace = {0};
	if (trace_open_alone(&trace, path))
		return 1;
	if (snprintf(beside, sizeof(beside), "%s" BY_PAGE_SUFFIX, path) >= (int)sizeof(beside))
		return fail("%s: %s", path, strerror(ENAMETOOLONG));
	if (reader_by_page(trace.reader, &why) && !args.force) {
		if (!args.quiet)
			fprintf(stderr, "vmblame: %s is there already\n", beside);
		return 0;
	}
	snprintf(temp, sizeof(temp), "%s.XXXXXX", beside);
	const int fd = mkostemp(temp, O_CLOEXEC);
	if (fd < 0)
		return fail("%s: %s", beside, strerror(errno));
	clean_up_on_signals();
	if (fchmod(fd, 0600) || by_page_write(trace.reader, fd, &opts, &stats, err, sizeof(err))) {
		progress_end();
		unlink(temp);
		return fail("%s: %s", path, err[0] ? err : strerror(errno));
	}
	progress_end();
	if (rename(temp, beside)) {
		ret = fail("%s: %s", beside, strerror(errno));
		unlink(temp);
		return ret;
	}
	if (!args.quiet)
		fprintf(stderr, "vmblame: %s: %" PRIu64 " stores by pages, %.1f MB (%s: %.1f MB)\n",
			beside, stats.stores, (double)stats.bytes / 1e6, path,
			(double)reader_info(trace.reader)->file_bytes / 1e6);
	return 0;
}
