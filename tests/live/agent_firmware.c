// SPDX-License-Identifier: GPL-2.0-or-later
/* Live: SeaBIOS boots with its own memory watched, again and again, and finds its clock ticking. */
#include "agent_harness.h"

/* The shadow of the ROM (taken apart and put together by PAM), low memory, the top of RAM. */
static const struct agent_range firmware[] = {
	{0x0, 0x2000},
	{0xe0000, 0x100000},
	{0x3ff0000, 0x4000000},
};

#define BIOS_ARGS \
	"-m 64 -chardev stdio,id=log -device isa-debugcon,iobase=0x402,chardev=log" QMP_ARGS
#define BOOTED "No bootable device"

static void boots_and_resets(void)
{
	struct harness *h = harness_new("seabios-boot-and-resets");
	u64 stores;

	harness_want_qmp(h);
	harness_start(h, AGENT_ARM, firmware, 3, BIOS_ARGS);
	WAIT_FOR(h, harness_matches(h->out, BOOTED) == 1);
	EXPECT(h, harness_stores(h) > 10000);
	for (u32 i = 0; i < (getenv("VMBLAME_HOST") ? 1 : 3); i++) { /* nested hosts are slow */
		stores = harness_stores(h);
		harness_qmp(h, "{'execute':'system_reset'}\n");
		WAIT_FOR(h, harness_matches(h->out, BOOTED) == i + 2);
		EXPECT(h, harness_stores(h) > stores + 10000);
	}
	harness_qmp(h, "{'execute':'quit'}\n");
	harness_expect_exit(h, 0);
	EXPECT(h, harness_heard(h, AGENT_ENDING, 0));
	EXPECT(h, link_shared(h->link)->disarmed_ns == 0);
	harness_done(h);
}

/* All that SeaBIOS has to say about it. */
static const char *clock_lines(struct harness *h, char *buf, size_t len)
{
	const char *at = h->out;
	size_t n = 0;

	*buf = '\0';
	for (; (at = strstr(at, "kvmclock")) && n < len; at += strcspn(at, "\n"))
		n += (size_t)snprintf(buf + n, len - n, "%.*s; ", (int)strcspn(at, "\r\n"), at);
	return buf;
}

/* KVM writes the clock's page: it is opened before KVM gets to know it. SeaBIOS says how it found
 * it. */
static void clock_page(void)
{
	struct harness *plain = harness_new("kvmclock-without");
	struct harness *h = harness_new("kvmclock-page-opened");
	char want[256], got[256];

	harness_want_qmp(plain);
	harness_start(plain, 0, NULL, 0, BIOS_ARGS);
	WAIT_FOR(plain, strstr(plain->out, BOOTED));
	clock_lines(plain, want, sizeof(want));
	harness_done(plain);

	harness_want_qmp(h);
	harness_start(h, AGENT_ARM, firmware, 3, BIOS_ARGS);
	WAIT_FOR(h, strstr(h->out, BOOTED));
	clock_lines(h, got, sizeof(got));
	if (*want)
		WAIT_FOR(h, harness_opened(h, WHY_KVM_WRITES) >= 1);
	EXPECT(h, !harness_heard(h, AGENT_LACKS, 0));
	if (strcmp(want, got))
		harness_fail(h, "SeaBIOS says \"%s\", without the agent \"%s\"", got, want);
	printf("# %s\n", got);
	harness_done(h);
}

int main(void)
{
	harness_require_kvm();
	boots_and_resets();
	clock_page();
	return harness_failures != 0;
}
