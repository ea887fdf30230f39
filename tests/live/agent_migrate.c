// SPDX-License-Identifier: GPL-2.0-or-later
/* Live: QEMU's own dirty logging over a slot in pieces: migration, calc-dirty-rate, VGA. */
#include "agent_harness.h"

static const struct agent_range two[] = {
	{GUEST_FROM + 0x1000, GUEST_FROM + 0x3000},
	{GUEST_FROM + 0x8000, GUEST_FROM + 0x9000},
};

/* The guest moves, while it stores, into a QEMU without a watch, and checks there what it stored
 * here: a page that the log missed would hold an older pass. */
static void migrates(void)
{
	struct harness *h = harness_new("migrate"), *to = harness_new("migrate-target");
	char path[] = "/tmp/vmblame-agent-XXXXXX", text[256];
	int fd = mkstemp(path);

	if (fd < 0)
		abort();
	close(fd);
	harness_want_qmp(h);
	harness_start_guest(h, AGENT_ARM, two, 2, QMP_ARGS);
	WAIT_FOR(h, harness_passes(h) >= 2);
	/* Slow at first, so that the guest dirties pages behind the copy's back. */
	harness_qmp(h, "{'execute':'migrate-set-parameters','arguments':"
		       "{'max-bandwidth':200000,'downtime-limit':1}}\n");
	snprintf(text, sizeof(text), "{'execute':'migrate','arguments':{'uri':'exec:cat >%s'}}\n",
		 path);
	harness_qmp(h, text);
	WAIT_FOR(h, harness_passes(h) >= 12);
	harness_qmp(h, "{'execute':'migrate-set-parameters','arguments':"
		       "{'max-bandwidth':1000000000,'downtime-limit':2000}}\n");
	WAIT_FOR(h, strstr(h->qmp_out, "\"STOP\""));
	do
		harness_qmp(h, "{'execute':'query-migrate'}\n");
	while (!h->failed && !strstr(h->qmp_out, "\"status\": \"completed\""));
	harness_qmp(h, "{'execute':'quit'}\n");
	harness_expect_exit(h, 0);

	snprintf(text, sizeof(text), "-incoming exec:cat<%s", path);
	harness_start_guest(to, 0, NULL, 0, text);
	WAIT_FOR(to, harness_passes(to) >= 2);
	harness_guest_end(to);
	harness_expect_exit(to, GUEST_GOOD);
	unlink(path);
	harness_done(to);
	harness_done(h);
}

static void dirty_rate(void)
{
	struct harness *h = harness_new("calc-dirty-rate");

	harness_want_qmp(h);
	harness_start_guest(h, AGENT_ARM, two, 2, QMP_ARGS);
	WAIT_FOR(h, harness_passes(h) >= 1);
	harness_qmp(h, "{'execute':'calc-dirty-rate','arguments':"
		       "{'calc-time':1,'mode':'dirty-bitmap'}}\n");
	do
		harness_qmp(h, "{'execute':'query-dirty-rate'}\n");
	while (!h->failed && !strstr(h->qmp_out, "\"status\": \"measured\""));
	harness_guest_end(h);
	harness_expect_exit(h, GUEST_GOOD);
	EXPECT(h, harness_stores(h) >= (u64)2 * 0x3000 / GUEST_STEP * (harness_passes(h) - 1));
	harness_done(h);
}

/* A screen dump of the firmware's text. */
static size_t screen(struct harness *h, const char *path, u8 *buf, size_t len)
{
	char json[256];
	FILE *f;
	size_t n = 0;

	snprintf(json, sizeof(json), "{'execute':'screendump','arguments':{'filename':'%s'}}\n",
		 path);
	harness_qmp(h, json);
	f = fopen(path, "r");
	if (f) {
		n = fread(buf, 1, len, f);
		fclose(f);
	}
	return n;
}

static size_t differing(const u8 *a, const u8 *b, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += a[i] != b[i];
	return n;
}

/* Bytes of a blinking cursor: a cell of 9 by 16 pixels. */
#define CURSOR (9 * 16 * 3)

static void vga(void)
{
	static const struct agent_range frame_buffer = {0xfd010000, 0xfd020000};
	static u8 dump[2][4 << 20];
	static const char args[] = "-m 64 -vga std -chardev stdio,id=log "
				   "-device isa-debugcon,iobase=0x402,chardev=log" QMP_ARGS;
	char path[] = "/tmp/vmblame-agent-XXXXXX";
	size_t n[2];
	int fd = mkstemp(path);

	if (fd < 0)
		abort();
	close(fd);
	for (int i = 0; i < 2; i++) {
		struct harness *h = harness_new(i ? "vga-watched" : "vga-plain");

		harness_want_qmp(h);
		harness_start(h, AGENT_ARM, &frame_buffer, (u32)i, args);
		WAIT_FOR(h, strstr(h->out, "No bootable device"));
		n[i] = screen(h, path, dump[i], sizeof(dump[i]));
		EXPECT(h, n[i] > 10000);
		if (i) {
			EXPECT(h, harness_heard(h, AGENT_ARMED, 0));
			EXPECT(h, n[0] == n[1] && differing(dump[0], dump[1], n[0]) <= CURSOR);
		}
		harness_qmp(h, "{'execute':'quit'}\n");
		harness_expect_exit(h, 0);
		harness_done(h);
	}
	unlink(path);
}

int main(void)
{
	harness_require_kvm();
	migrates();
	dirty_rate();
	vga();
	return harness_failures != 0;
}
