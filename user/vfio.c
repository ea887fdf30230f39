// SPDX-License-Identifier: GPL-2.0-or-later
/* By what the process has open: /proc/PID/fd. */
#include "user/vfio.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool vfio_used(pid_t pid)
{
	const struct dirent *entry;
	char path[64], target[4096];
	bool found = false;
	DIR *fds;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	fds = opendir(path);
	while (fds && !found && (entry = readdir(fds))) {
		const ssize_t n = readlinkat(dirfd(fds), entry->d_name, target, sizeof(target) - 1);

		if (n <= 0)
			continue;
		target[n] = '\0';
		found = strstr(target, "/dev/vfio/") || !strcmp(target, "/dev/iommu");
	}
	if (fds)
		closedir(fds);
	return found;
}
