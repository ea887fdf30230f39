// SPDX-License-Identifier: GPL-2.0-or-later
/* Live: whatever becomes of the recorder, the guest gets its RAM back and finishes its work. */
#include "agent_harness.h"

static const struct agent_range whole = {GUEST_FROM, GUEST_FROM + GUEST_SIZE};

/* Passes go on once nothing is watched, and the guest finds all its stores done. */
static void guest_finishes(struct harness *h)
{
	u32 passes = harness_passes(h);

	WAIT_FOR(h, harness_passes(h) >= passes + 3);
	harness_guest_end(h);
	harness_expect_exit(h, GUEST_GOOD);
}

static void stalled(void)
{
	struct harness *h = harness_new("heartbeat-stops");
	u64 stores;

	harness_start_guest(h, AGENT_ARM, &whole, 1, "");
	WAIT_FOR(h, harness_passes(h) >= 1);
	h->no_beat = true;
	WAIT_FOR(h, __atomic_load_n(&link_shared(h->link)->disarmed_ns, __ATOMIC_ACQUIRE));
	EXPECT(h, link_shared(h->link)->disarm_why == WHY_STALLED);
	WAIT_FOR(h, h->eof);
	EXPECT(h, harness_opened(h, WHY_STALLED) == 1);
	stores = harness_stores(h);
	guest_finishes(h);
	EXPECT(h, harness_stores(h) == stores);
	harness_done(h);
}

static void hung_up(void)
{
	struct harness *h = harness_new("recorder-hangs-up");
	const struct agent_shared *shared;

	harness_start_guest(h, AGENT_ARM, &whole, 1, "");
	WAIT_FOR(h, harness_passes(h) >= 1);
	/* The link unmaps its memory as it closes: keep a view of our own. */
	shared = mremap((void *)link_shared(h->link), 0, sizeof(*shared), MREMAP_MAYMOVE);
	EXPECT(h, shared != MAP_FAILED);
	link_close(h->link);
	h->link = NULL;
	if (!h->failed)
		WAIT_FOR(h, __atomic_load_n(&shared->disarmed_ns, __ATOMIC_ACQUIRE));
	EXPECT(h, shared->disarm_why == WHY_ENDED);
	guest_finishes(h);
	harness_done(h);
}

/* Plays the recorder in a child that is killed; the guest's pipes stay with us. */
static void killed(int round)
{
	struct harness *h = harness_new("recorder-killed");
	int ready[2];
	pid_t recorder;
	char c;

	if (pipe2(ready, O_CLOEXEC))
		abort();
	harness_start_guest(h, AGENT_ARM, &whole, 1, "");
	fflush(stdout);
	recorder = fork();
	if (recorder == 0) {
		u32 stores = 0;

		h->from_guest = -1;
		h->pid = 0;
		while (!h->failed && stores < (u32)(1 + round * 97)) {
			harness_poll(h, 1);
			stores = link_pid(h->link) ? (u32)harness_stores(h) : 0;
		}
		if (write(ready[1], "r", 1) != 1)
			_exit(1);
		for (;;)
			harness_poll(h, 100);
	}
	link_close(h->link); /* ours; the child has its own descriptors of it */
	h->link = NULL;
	if (read(ready[0], &c, 1) != 1)
		harness_fail(h, "the recorder did not begin");
	kill(recorder, SIGKILL);
	waitpid(recorder, NULL, 0);
	guest_finishes(h);
	close(ready[0]);
	close(ready[1]);
	harness_done(h);
}

/* Nobody listens any more when QEMU makes its VM. */
static void unreachable(void)
{
	struct harness *h = harness_new("recorder-unreachable");
	struct link_opts opts = {.dropped_fd = -1, .uid = geteuid()};
	struct link *gone;
	char name[128];

	if (link_open(&gone, &opts))
		abort();
	snprintf(name, sizeof(name), "%s", link_name(gone));
	link_close(gone);
	h->agent_name = name;
	harness_start_guest(h, AGENT_ARM, &whole, 1, "");
	WAIT_FOR(h, harness_passes(h) >= 1);
	EXPECT(h, h->nheard == 0 && harness_stores(h) == 0);
	guest_finishes(h);
	harness_done(h);
}

int main(void)
{
	harness_require_kvm();
	stalled();
	hung_up();
	for (int round = 0; round < 20; round++)
		killed(round);
	unreachable();
	return harness_failures != 0;
}
