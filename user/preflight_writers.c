// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The preflight's writers: which classes of writer are seen here, and for those that are not,
 * whether this host has them at all.
 */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "user/cleanup.h"
#include "user/preflight.h"

/* Processes that have a device open whose path begins so. */
struct users {
	const char *prefix;
	char text[256]; /* "qemu-system-x86 (123), ..." */
};

static void users_add(struct users *u, const char *pid)
{
	const size_t len = strlen(u->text);
	char path[300], name[32] = "?";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	f = fopen(path, "re");
	if (f && fgets(name, sizeof(name), f))
		name[strcspn(name, "\n")] = '\0';
	if (f)
		fclose(f);
	snprintf(u->text + len, sizeof(u->text) - len, "%s%s (%s)", len ? ", " : "", name, pid);
}

static void users_of_process(struct users *users, size_t n, const char *pid)
{
	char path[300], target[256];
	bool told[8] = {false};
	struct dirent *entry;
	DIR *fds;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	fds = opendir(path);
	while (fds && (entry = readdir(fds))) {
		const ssize_t len =
			readlinkat(dirfd(fds), entry->d_name, target, sizeof(target) - 1);

		if (len < 0)
			continue;
		target[len] = '\0';
		for (size_t i = 0; i < n; i++)
			if (!told[i] &&
			    !strncmp(target, users[i].prefix, strlen(users[i].prefix))) {
				users_add(&users[i], pid);
				told[i] = true;
			}
	}
	if (fds)
		closedir(fds);
}

static void users_find(struct users *users, size_t n)
{
	struct dirent *entry;
	DIR *proc = opendir("/proc");

	while (proc && (entry = readdir(proc)))
		if (isdigit((unsigned char)entry->d_name[0]))
			users_of_process(users, n, entry->d_name);
	if (proc)
		closedir(proc);
}

/* The names among them that are loaded or built in. */
static const char *modules(const char *const *names, char *buf, size_t size)
{
	size_t len = 0;
	char path[128];

	*buf = '\0';
	for (; *names && len < size; names++) {
		snprintf(path, sizeof(path), "/sys/module/%s", *names);
		if (!access(path, F_OK))
			len += (size_t)snprintf(buf + len, size - len, "%s%s", len ? ", " : "",
						*names);
	}
	return buf;
}

/* "; loaded here: x, y; in use by z (1)", or that it is not. */
static const char *presence(const struct preflight *p, const char *loaded, const char *used,
			    char *buf, size_t size)
{
	if (!*loaded && !*used)
		snprintf(buf, size, "; not loaded on this host");
	else
		snprintf(buf, size, "; loaded here%s%s, in use by %s", *loaded ? ": " : "", loaded,
			 *used	   ? used
			 : p->root ? "nobody"
				   : "nobody that can be told without root");
	return buf;
}

static void tell_encrypted(struct preflight *p)
{
	static const struct {
		const char *module, *parameter, *name;
	} kinds[] = {{"kvm_amd", "sev", "SEV"},
		     {"kvm_amd", "sev_es", "SEV-ES"},
		     {"kvm_amd", "sev_snp", "SEV-SNP"},
		     {"kvm_intel", "tdx", "TDX"}};
	char list[64] = "", value[16];

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (preflight_parameter(kinds[i].module, kinds[i].parameter, value,
					sizeof(value)) &&
		    strchr("Yy1", *value))
			snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s",
				 *list ? ", " : "", kinds[i].name);
	preflight_tell(p, "writer", "SEV/TDX guests", false,
		       "their memory cannot be read from outside, nor are their stores; %s%s",
		       *list ? "this host can run them: " : "this host runs none", list);
}

static void tell_vhost(struct preflight *p)
{
	static const char *const vhosts[] = {"vhost_net", "vhost_vsock", "vhost_scsi", "vhost_vdpa",
					     NULL};
	static const char *const vfios[] = {"vfio_pci", "vfio_mdev", NULL};
	struct users users[] = {{.prefix = "/dev/vhost-"}, {.prefix = "/dev/vfio/"}};
	const char *told = p->vhost_seen
				   ? "queues that it serves are detected, and answer UNKNOWN vhost"
				   : "no probe would detect it";
	char list[128], text[512];

	users_find(users, 2);
	preflight_tell(p, "writer", "vhost", false, "%s%s", told,
		       presence(p, modules(vhosts, list, sizeof(list)), users[0].text, text,
				sizeof(text)));
	preflight_tell(p, "writer", "vhost-user", false, "%s",
		       p->vhost_seen
			       ? "queues that another process serves are detected, and answer "
				 "UNKNOWN vhost-user"
			       : "no probe would detect it");
	preflight_tell(
		p, "writer", "VFIO", false,
		"devices passed through write unseen, and nothing says so%s",
		presence(p, modules(vfios, list, sizeof(list)), users[1].text, text, sizeof(text)));
}

void preflight_writers(struct preflight *p)
{
	const bool vcpu = p->bpf && p->kvm && p->readonly && p->vcpu_seen;

	preflight_tell(p, "writer", "vcpu", vcpu, "%s",
		       vcpu ? "in watched ranges" : "needs what mode watch needs");
	preflight_tell(p, "writer", "virtqueue", p->bpf && p->devices_seen, "%s",
		       p->bpf && p->devices_seen ? "virtio devices in the VMM"
						 : "needs the virtqueue probes");
	preflight_tell(p, "writer", "dma", p->vmm_seen, "other devices (AHCI, e1000, VGA): %s",
		       p->vmm_seen ? "in pages mode, as candidates" : "needs the vmm probes");
	preflight_tell(p, "writer", "vmm", p->vmm_seen, "loaders, loadvm, balloons, debuggers: %s",
		       p->vmm_seen ? "in pages mode, as candidates" : "needs the vmm probes");
	preflight_tell(p, "writer", "kvm", false, "%s",
		       "clocks, steal time: their pages are detected, and answer UNKNOWN "
		       "kvm-writes");
	tell_vhost(p);
	tell_encrypted(p);
}
