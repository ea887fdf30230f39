// SPDX-License-Identifier: GPL-2.0-or-later
/* Live: the agent finds the VM however QEMU is started, and leaves everything else alone. */
#include "agent_harness.h"

static const struct agent_range whole = {GUEST_FROM, GUEST_FROM + GUEST_SIZE};

static void watched_and_well(struct harness *h)
{
	WAIT_FOR(h, harness_passes(h) >= 1);
	harness_guest_end(h);
	harness_expect_exit(h, GUEST_GOOD);
	EXPECT(h, harness_stores(h) == (u64)GUEST_STORES * harness_passes(h));
	EXPECT(h, harness_heard(h, AGENT_ENDING, 0));
}

/* A shell script that runs QEMU as a child of its own, and looks at its terminal by ioctls first.
 */
static void by_script(void)
{
	static const char script[] = "stty -a >/dev/null 2>&1\n\"$@\"\nexit $?\n";
	struct harness *h = harness_new("wrapper-script");
	char wrapper[64];
	int fd = memfd_create("script", 0);

	if (fd < 0 || write(fd, script, sizeof(script) - 1) != sizeof(script) - 1)
		abort();
	snprintf(wrapper, sizeof(wrapper), "/bin/sh /proc/%d/fd/%d", (int)getpid(), fd);
	h->wrapper = wrapper;
	harness_start_guest(h, AGENT_ARM, &whole, 1, "");
	watched_and_well(h);
	EXPECT(h, harness_heard(h, AGENT_HELLO, 0) &&
			  harness_heard(h, AGENT_HELLO, 0)->num[1] != (u64)h->pid &&
			  harness_heard(h, AGENT_HELLO, 0)->num[2] == (u64)h->pid);
	close(fd);
	harness_done(h);
}

static void by_exec(void)
{
	struct harness *h = harness_new("wrapper-execs");

	h->wrapper = "/usr/bin/env nice -n 1";
	harness_start_guest(h, AGENT_ARM, &whole, 1, "");
	watched_and_well(h);
	EXPECT(h, harness_heard(h, AGENT_HELLO, 0) &&
			  strstr(harness_heard(h, AGENT_HELLO, 0)->text, "qemu"));
	harness_done(h);
}

/* The process that we started ends at once; the agent speaks from another one, which goes on. */
static void daemonized(void)
{
	struct harness *h = harness_new("daemonize");
	char args[256];
	pid_t daemon = 0;
	u64 stores;

	snprintf(args, sizeof(args), "-m 16 -daemonize -serial null -bios %s", harness_firmware());
	harness_start(h, AGENT_ARM, &whole, 1, args);
	WAIT_FOR(h, h->exited);
	EXPECT(h, WIFEXITED(h->status) && WEXITSTATUS(h->status) == 0);
	WAIT_FOR(h, harness_heard(h, AGENT_VCPU, 0));
	if (!h->failed) {
		daemon = link_pid(h->link);
		EXPECT(h, daemon > 0 && daemon != h->pid);
		EXPECT(h, harness_heard(h, AGENT_HELLO, 0)->num[1] == (u64)daemon);
	}
	stores = harness_stores(h);
	WAIT_FOR(h, harness_stores(h) >= stores + GUEST_STORES);
	link_send(h->link, AGENT_DISARM, 0, 0, WHY_ENDED);
	WAIT_FOR(h, harness_heard(h, AGENT_OK, 0));
	if (daemon > 0)
		kill(daemon, SIGTERM);
	WAIT_FOR(h, h->eof);
	EXPECT(h, harness_heard(h, AGENT_ENDING, 0));
	harness_done(h);
}

static void sandboxed(void)
{
	struct harness *h = harness_new("sandbox");

	harness_start_guest(h, 0, &whole, 1,
			    "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,"
			    "resourcecontrol=deny");
	WAIT_FOR(h, harness_passes(h) >= 1);
	link_send(h->link, AGENT_ARM_NOW, 0, 0, WHY_NONE);
	WAIT_FOR(h, harness_stores(h) > GUEST_STORES);
	link_send(h->link, AGENT_OPEN, whole.gpa, 0x1000, WHY_PAGE_TABLE);
	WAIT_FOR(h, harness_heard(h, AGENT_OK, 1));
	link_send(h->link, AGENT_DISARM, 0, 0, WHY_ENDED);
	WAIT_FOR(h, harness_heard(h, AGENT_OK, 2));
	harness_guest_end(h);
	harness_expect_exit(h, GUEST_GOOD);
	EXPECT(h, harness_heard(h, AGENT_ENDING, 0));
	harness_done(h);
}

static bool told(struct harness *h, enum change_what what)
{
	const struct agent_msg *msg;

	for (int i = 0; (msg = harness_heard(h, AGENT_CHANGE, i)); i++)
		if (msg->num[0] == what)
			return true;
	return false;
}

/* Two vCPUs take turns, and that is told; unless they were to run at once. */
static void two_vcpus(void)
{
	static const enum change_what what[] = {CHANGE_WHAT_VCPUS_SERIALISED,
						CHANGE_WHAT_ORDER_RACY};

	for (int racy = 0; racy < 2; racy++) {
		struct harness *h = harness_new(racy ? "two-vcpus-racy" : "two-vcpus");

		harness_start_guest(h, AGENT_ARM | (racy ? AGENT_RACY : 0), &whole, 1, "-smp 2");
		WAIT_FOR(h, harness_passes(h) >= 2);
		EXPECT(h, told(h, what[racy]) && !told(h, what[!racy]));
		EXPECT(h, !harness_opened(h, WHY_MULTI_VCPU));
		harness_guest_end(h);
		harness_expect_exit(h, GUEST_GOOD);
		harness_done(h);
	}
}

/* A processor that is plugged in later takes its turns too. */
static void vcpu_plugged(void)
{
	struct harness *h = harness_new("vcpu-hotplug");

	harness_want_qmp(h);
	harness_start_guest(h, AGENT_ARM, &whole, 1, "-smp 1,maxcpus=2" QMP_ARGS);
	WAIT_FOR(h, harness_passes(h) >= 1);
	EXPECT(h, !told(h, CHANGE_WHAT_VCPUS_SERIALISED));
	harness_qmp(h, "{'execute':'device_add','arguments':{'driver':'qemu64-x86_64-cpu',"
		       "'socket-id':0,'core-id':1,'thread-id':0}}\n");
	WAIT_FOR(h, told(h, CHANGE_WHAT_VCPUS_SERIALISED));
	WAIT_FOR(h, harness_passes(h) >= 3);
	EXPECT(h, !harness_opened(h, WHY_MULTI_VCPU) && !link_shared(h->link)->disarm_why);
	harness_guest_end(h);
	harness_expect_exit(h, GUEST_GOOD);
	harness_done(h);
}

/* What QEMU starts itself knows nothing of us. */
static void children_clean(void)
{
	struct harness *h = harness_new("children-left-alone");
	int fd = memfd_create("environment", 0);
	char json[256], env[8192];
	ssize_t n;

	harness_want_qmp(h);
	harness_start_guest(h, AGENT_ARM, &whole, 1, QMP_ARGS);
	WAIT_FOR(h, harness_passes(h) >= 1);
	snprintf(json, sizeof(json),
		 "{'execute':'migrate','arguments':{'uri':'exec:env >/proc/%d/fd/%d; "
		 "cat >/dev/null'}}\n",
		 (int)getpid(), fd);
	harness_qmp(h, json);
	WAIT_FOR(h, strstr(h->qmp_out, "\"STOP\""));
	harness_qmp(h, "{'execute':'quit'}\n");
	harness_expect_exit(h, 0);
	n = pread(fd, env, sizeof(env) - 1, 0);
	env[n > 0 ? n : 0] = '\0';
	EXPECT(h, strstr(env, "PATH="));
	EXPECT(h, !strstr(env, "LD_PRELOAD") && !strstr(env, AGENT_ENV));
	EXPECT(h, harness_heard(h, AGENT_ENDING, 0));
	close(fd);
	harness_done(h);
}

int main(void)
{
	harness_require_kvm();
	by_script();
	by_exec();
	daemonized();
	sandboxed();
	two_vcpus();
	vcpu_plugged();
	children_clean();
	return harness_failures != 0;
}
