// SPDX-License-Identifier: GPL-2.0-or-later
/* Live: every store to a watched range exits and is done, and watching starts and ends as
 * commanded. */
#include "agent_harness.h"

static const struct agent_range whole = {GUEST_FROM, GUEST_FROM + GUEST_SIZE};

/* Two ranges with a hole between, the second not at the slot's end either. */
static const struct agent_range two[] = {
	{GUEST_FROM + 0x1000, GUEST_FROM + 0x3000},
	{GUEST_FROM + 0x8000, GUEST_FROM + 0x9000},
};

static u64 stores_in(u64 bytes, u32 passes)
{
	return 2 * bytes / GUEST_STEP * passes;
}

static void armed_from_start(void)
{
	struct harness *h = harness_new("armed-from-start");

	harness_start_guest(h, AGENT_ARM, &whole, 1, "");
	WAIT_FOR(h, harness_passes(h) >= 2);
	EXPECT(h, harness_heard(h, AGENT_HELLO, 0));
	EXPECT(h, harness_heard(h, AGENT_SLOT, 0));
	EXPECT(h, harness_heard(h, AGENT_VCPU, 0));
	harness_guest_end(h);
	harness_expect_exit(h, GUEST_GOOD);
	EXPECT(h, harness_heard(h, AGENT_ENDING, 0));
	EXPECT(h, harness_stores(h) == stores_in(GUEST_SIZE, harness_passes(h)));
	EXPECT(h, link_shared(h->link)->unsent == 0);
	harness_done(h);
}

static void several_ranges(void)
{
	struct harness *h = harness_new("several-ranges");

	harness_start_guest(h, AGENT_ARM, two, 2, "");
	WAIT_FOR(h, harness_passes(h) >= 1);
	harness_guest_end(h);
	harness_expect_exit(h, GUEST_GOOD);
	EXPECT(h, harness_stores(h) == stores_in(0x3000, harness_passes(h)));
	harness_done(h);
}

static void passive(void)
{
	struct harness *h = harness_new("passive");

	harness_start_guest(h, 0, NULL, 0, "-smp 2");
	WAIT_FOR(h, harness_passes(h) >= 3);
	EXPECT(h, harness_heard(h, AGENT_VCPU, 0));
	EXPECT(h, !harness_heard(h, AGENT_SLOT, 0));
	harness_guest_end(h);
	harness_expect_exit(h, GUEST_GOOD);
	EXPECT(h, harness_heard(h, AGENT_ENDING, 0));
	harness_done(h);
}

/* Arms a running guest, opens pages of it, takes all off, each while it stores. */
static void commands(void)
{
	struct harness *h = harness_new("arm-open-disarm");
	u32 passes, count;

	harness_start_guest(h, 0, two, 2, "");
	WAIT_FOR(h, harness_passes(h) >= 1);
	EXPECT(h, harness_stores(h) == 0 && !harness_heard(h, AGENT_ARMED, 0));
	EXPECT(h, link_send(h->link, AGENT_ARM_NOW, 0, 0, WHY_NONE) == 0);
	WAIT_FOR(h, harness_heard(h, AGENT_OK, 0));
	EXPECT(h, harness_count(h, AGENT_ARMED) == 2);
	passes = harness_passes(h);
	WAIT_FOR(h, harness_passes(h) >= passes + 2);
	EXPECT(h, harness_stores(h) >= stores_in(0x3000, 1));

	link_send(h->link, AGENT_OPEN, two[0].gpa, 0x1000, WHY_PAGE_TABLE);
	WAIT_FOR(h, harness_heard(h, AGENT_OK, 1));
	EXPECT(h, harness_opened(h, WHY_PAGE_TABLE) == 1);
	count = (u32)harness_stores(h);
	WAIT_FOR(h, harness_stores(h) > count);

	link_send(h->link, AGENT_DISARM, 0, 0, WHY_ENDED);
	WAIT_FOR(h, harness_heard(h, AGENT_OK, 2));
	EXPECT(h, harness_opened(h, WHY_ENDED) == 2);
	count = (u32)harness_stores(h);
	passes = harness_passes(h);
	WAIT_FOR(h, harness_passes(h) >= passes + 3);
	EXPECT(h, harness_stores(h) == count);
	EXPECT(h, link_shared(h->link)->disarmed_ns == 0);
	harness_guest_end(h);
	harness_expect_exit(h, GUEST_GOOD);
	harness_done(h);
}

/* Opens page after page of a range, which ends in a slot of many pieces. */
static void open_each(void)
{
	struct harness *h = harness_new("open-each-page");
	u32 n = 0;

	harness_start_guest(h, AGENT_ARM, &whole, 1, "");
	WAIT_FOR(h, harness_stores(h) > 0);
	for (u64 gpa = whole.gpa; gpa < whole.end; gpa += 0x2000) {
		link_send(h->link, AGENT_OPEN, gpa, 1, WHY_PAGE_TABLE);
		n++;
		WAIT_FOR(h, harness_count(h, AGENT_OK) == n);
	}
	EXPECT(h, harness_opened(h, WHY_PAGE_TABLE) == n);
	WAIT_FOR(h, harness_passes(h) >= 3);
	harness_guest_end(h);
	harness_expect_exit(h, GUEST_GOOD);
	harness_done(h);
}

/* What the agent says of where the range lies is so, and it lies there until ENDING is answered. */
static void memory_at_end(void)
{
	struct harness *h = harness_new("memory-at-end");
	static u8 ram[GUEST_SIZE];
	const struct agent_msg *armed;
	u32 first;

	h->hold_ending = true;
	harness_start_guest(h, AGENT_ARM, &whole, 1, "");
	WAIT_FOR(h, harness_passes(h) >= 1);
	harness_guest_end(h);
	WAIT_FOR(h, harness_heard(h, AGENT_ENDING, 0));
	for (u32 i = 0; (armed = harness_heard(h, AGENT_ARMED, i)) && armed->num[0] != whole.gpa;
	     i++)
		;
	EXPECT(h, armed && armed->num[1] == GUEST_SIZE);
	EXPECT(h, armed && harness_read(h, armed->num[2], ram, sizeof(ram)));
	WAIT_FOR(h, harness_passes(h) > 0);
	memcpy(&first, ram, sizeof(first));
	for (u32 i = 0; i < GUEST_WORDS; i++) {
		u32 word;

		memcpy(&word, ram + i * GUEST_STEP, sizeof(word));
		EXPECT(h, word == first + i);
	}
	EXPECT(h, first >= 1);
	link_send(h->link, AGENT_OK, 0, 0, WHY_NONE);
	harness_expect_exit(h, GUEST_GOOD);
	EXPECT(h, first == harness_passes(h));
	harness_done(h);
}

int main(void)
{
	harness_require_kvm();
	armed_from_start();
	several_ranges();
	passive();
	commands();
	open_each();
	memory_at_end();
	return harness_failures != 0;
}
