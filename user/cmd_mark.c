// SPDX-License-Identifier: GPL-2.0-or-later
/* vmblame mark: a moment with a name, in a recording that runs. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "formats/print.h"
#include "user/commands.h"
#include "user/control.h"
#include "user/trace.h"

struct args {
	bool json;
};

const struct option cmd_mark_options[] = {
	OPTION_FLAG(0, "json", struct args, json, "one JSON object"),
	OPTION_END,
};

static void tell_json(const char *name, const struct control_answer *a)
{
	struct json j = {.f = stdout};

	json_open(&j, NULL, '{');
	json_u64(&j, "v", 1);
	json_str(&j, "mark", name);
	json_u64(&j, "t_ns", a->t_ns);
	json_bool(&j, "exact", a->exact);
	json_u64(&j, "lag_ns", a->lag_ns);
	json_close(&j, '}');
	json_end(&j);
}

int cmd_mark(int argc, char **argv)
{
	struct args args = {0};
	struct operands operands = {0};
	struct control_answer answer;
	const char *path = TRACE_DEFAULT, *name;
	char err[512];
	u8 uuid[16];

	const enum options_status status = options_parse(argc, argv, &args, &operands);
	if (status != OPTIONS_OK)
		return status == OPTIONS_HELP ? 0 : 2;
	if (operands.n < 1 || operands.n > 2 || operands.nrest)
		return usage_error("mark", "it takes a FILE, which may be left out, and a NAME");
	name = operands.v[operands.n - 1];
	if (operands.n == 2)
		path = operands.v[0];
	if (!mark_name_good(name))
		return usage_error("mark", "'%s': %s", name, MARK_NAME_RULE);
	if (reader_uuid(path, uuid, err, sizeof(err)))
		return fail("%s", err);
	const int ret = control_ask(uuid, name, &answer);
	if (ret == -ECONNREFUSED)
		return fail("%s: no recording to it runs", path);
	if (ret == -ECONNRESET)
		return fail("%s: its recorder listens to only its own user and root", path);
	if (ret == -EPROTO)
		return fail("%s: its recorder is of another version", path);
	if (ret)
		return fail("%s: its recorder does not answer: %s", path, strerror(-ret));
	if (answer.error[0])
		return fail("%s: %s", path, answer.error);
	if (args.json)
		tell_json(name, &answer);
	else
		printf("%s at %.6f s%s\n", name, (double)answer.t_ns / 1e9,
		       answer.exact ? ": memory is known exactly as of then" : "");
	return 0;
}
