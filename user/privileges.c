// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the recorder may still do once it records.
 */
#include "user/privileges.h"

#include <errno.h>
#include <stddef.h>
#include <sys/capability.h>
#include <sys/prctl.h>

/* kill(2) of another user's process. */
static const cap_value_t to_signal[] = {CAP_KILL};
/* process_vm_readv(2) from another user's process. */
static const cap_value_t to_read[] = {CAP_SYS_PTRACE};
/* BPF links; uprobe perf events, for which perf_uprobe_event_init() still asks CAP_SYS_ADMIN;
 * opening the VMM's executable and /proc/PID/mem. */
static const cap_value_t to_attach[] = {CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, CAP_SYS_PTRACE,
					CAP_DAC_READ_SEARCH};

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static int keep(cap_t have, cap_t want, const cap_value_t *list, int n)
{
	for (int i = 0; i < n; i++) {
		cap_flag_value_t set;

		if (cap_get_flag(have, list[i], CAP_PERMITTED, &set) || set != CAP_SET)
			continue;
		if (cap_set_flag(want, CAP_PERMITTED, 1, &list[i], CAP_SET) ||
		    cap_set_flag(want, CAP_EFFECTIVE, 1, &list[i], CAP_SET))
			return -errno;
	}
	return 0;
}

int privileges_keep(enum privileges what)
{
	cap_t have = cap_get_proc(), want = cap_init();
	int err = have && want ? 0 : -errno;

	if (!err)
		err = keep(have, want, to_signal, COUNT(to_signal));
	if (!err && what == PRIVILEGES_READ)
		err = keep(have, want, to_read, COUNT(to_read));
	if (!err && what == PRIVILEGES_ATTACH)
		err = keep(have, want, to_attach, COUNT(to_attach));
	if (!err && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || cap_set_proc(want)))
		err = -errno;
	cap_free(have);
	cap_free(want);
	return err;
}
