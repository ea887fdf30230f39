// SPDX-License-Identifier: GPL-2.0-or-later
/* Who could have changed a page in a window, and what `who` makes of a page that was found changed.
 */
#include "tests/unit/scribe.h"

#include "formats/delta.h"
#include "replay/query.h"
#include "replay/suspects.h"

#define PAGE 0x5000u
#define TID  77

static struct scribe s;

/* A page that held zeroes: `text` at `off` now. */
static u64 version(u64 gpa, u32 off, const char *text, u64 t0_ns)
{
	static const u8 zeroes[DELTA_PAGE];
	struct event_version ev = {.gpa = gpa, .t0_ns = t0_ns, .how = VERSION_HOW_LOG};
	u8 page[DELTA_PAGE] = {0};

	memcpy(page + off, text, strlen(text));
	ev.len = (u16)delta_make(zeroes, page, ev.data);
	ev.sum = delta_sum(page);
	return scribe_put(&s, &ev.h, EVENT_version);
}

static void fault(u64 gpa, u64 error, u64 rip, u16 vcpu, bool linear)
{
	struct event_page_fault ev = {.h = {.vcpu = vcpu, .tid = TID + vcpu},
				      .gpa = linear ? 0 : gpa,
				      .gva = linear ? gpa : 0,
				      .linear = linear,
				      .error = error,
				      .rip = rip};

	scribe_put(&s, &ev.h, EVENT_page_fault);
}

static void dirty(u64 gpa, u64 error, u64 rip, u16 vcpu)
{
	struct event_dirty ev = {.h = {.vcpu = vcpu, .tid = vcpu == VCPU_NONE ? 5 : TID + vcpu},
				 .gpa = gpa,
				 .error = error ? error | DIRTY_IN_FAULT : 0,
				 .rip = rip};

	scribe_put(&s, &ev.h, EVENT_dirty);
}

static void transfer(u64 gpa, u32 len, u64 req)
{
	struct event_vq_sg ev = {.write = 1, .gpa = gpa, .len = len, .req = req};

	scribe_put(&s, &ev.h, EVENT_vq_sg);
}

static void vmm_write(enum vmm_site site, enum vmm_phase phase, u64 gpa, u64 len)
{
	const bool open = phase == VMM_PHASE_OPENED || phase == VMM_PHASE_OPEN;
	struct event_vmm_write ev = {.gpa = gpa,
				     .len = open ? 0 : len,
				     .span = site == VMM_SITE_MAP ? len : 0,
				     .site = site,
				     .phase = phase,
				     .placed = gpa != 0};

	scribe_put(&s, &ev.h, EVENT_vmm_write);
}

/* KVM's log was read at log_ns: from then on a vCPU that writes has to open the page. */
static u64 log_ns;

static struct suspects find(u64 gpa, u64 end, u64 since_ns)
{
	struct suspects found;
	char err[256];

	if (s.writer)
		scribe_read(&s);
	const struct suspicion of = {gpa, end, since_ns, log_ns, {s.t_ns, UINT64_MAX}};
	struct suspects_book *book;

	assert_int_equal(
		suspects_read(&book, s.reader, s.state, gpa, end, 0, UINT64_MAX, err, sizeof(err)),
		0);
	suspects_find(book, &of, &found);
	suspects_close(book);
	return found;
}

/* One store: a fault, and KVM's mark on its behalf. */
static void a_store_is_told_once(void **state)
{
	(void)state;
	scribe_begin(&s);
	fault(PAGE + 8, 7, 0x111, 0, false);
	dirty(PAGE, 7, 0x111, 0);
	version(PAGE, 8, "abcd", 0);
	const struct suspects found = find(PAGE + 8, PAGE + 12, 0);

	assert_int_equal(found.n, 1);
	assert_int_equal(found.list[0].kind, SUSPECT_STORE);
	assert_int_equal(found.list[0].rip, 0x111);
	scribe_end(&s);
}

/* A load opened the page: it is not the one that stored. */
static void a_load_is_no_store(void **state)
{
	(void)state;
	scribe_begin(&s);
	fault(PAGE, 5, 0x222, 1, false);
	dirty(PAGE, 5, 0x222, 1);
	version(PAGE, 8, "abcd", 0);
	const struct suspects found = find(PAGE + 8, PAGE + 12, 0);

	assert_int_equal(found.n, 1);
	assert_int_equal(found.list[0].kind, SUSPECT_LOAD);
	assert_int_equal(found.list[0].vcpu, 1);
	scribe_end(&s);
}

/* Other pages, other times. */
static void the_window_counts(void **state)
{
	(void)state;
	scribe_begin(&s);
	fault(PAGE, 7, 0x111, 0, false); /* before */
	const u64 since = log_ns = s.t_ns;
	fault(PAGE + 0x1000, 7, 0x222, 0, false);
	dirty(PAGE - 0x1000, 7, 0x333, 0);
	fault(PAGE, 7, 0x444, 1, false);
	version(PAGE, 8, "abcd", since);
	const struct suspects found = find(PAGE + 8, PAGE + 12, since);

	assert_int_equal(found.n, 1);
	assert_int_equal(found.list[0].rip, 0x444);
	log_ns = 0;
	scribe_end(&s);
}

/* The page was opened before it was copied, which is when the window begins. */
static void who_had_it_open_counts(void **state)
{
	(void)state;
	scribe_begin(&s);
	transfer(PAGE, 64, 1);
	fault(PAGE, 7, 0x111, 0, false);
	const u64 since = s.t_ns + 1;
	version(PAGE, 8, "abcd", since);
	const struct suspects found = find(PAGE + 8, PAGE + 12, since);

	assert_int_equal(found.n, 1);
	assert_int_equal(found.list[0].rip, 0x111);
	scribe_end(&s);
}

/* Shadow paging: the walk marks the tables first, then the page that was stored to. */
static void tables_on_the_way_are_no_store(void **state)
{
	(void)state;
	scribe_begin(&s);
	fault(0x7fff0008, 7, 0x111, 0, true);
	dirty(PAGE, 7, 0x111, 0); /* a table */
	dirty(0x9000, 7, 0x111, 0);
	dirty(0xa000, 7, 0x111, 0);
	version(PAGE, 8, "abcd", 0);
	struct suspects found = find(PAGE + 8, PAGE + 12, 0);

	assert_int_equal(found.n, 1);
	assert_int_equal(found.list[0].kind, SUSPECT_WALK);
	found = find(0xa000, 0xa001, 0);
	assert_int_equal(found.n, 1);
	assert_int_equal(found.list[0].kind, SUSPECT_STORE);
	scribe_end(&s);
}

static void kvm_writes(void **state)
{
	(void)state;
	scribe_begin(&s);
	fault(PAGE, 7 | FAULT_GUEST_WALK, 0x111, 0, false);
	dirty(PAGE, 0, 0x222, 1);
	dirty(PAGE, 0, 0, VCPU_NONE);
	version(PAGE, 8, "abcd", 0);
	const struct suspects found = find(PAGE + 8, PAGE + 12, 0);

	assert_int_equal(found.n, 3);
	assert_int_equal(found.list[0].kind, SUSPECT_WALK);
	assert_int_equal(found.list[1].kind, SUSPECT_MARK);
	assert_int_equal(found.list[2].kind, SUSPECT_KVM);
	scribe_end(&s);
}

/* The one that wrote the bytes comes first, the one beside them last. */
static void devices_are_ranked(void **state)
{
	(void)state;
	scribe_begin(&s);
	transfer(PAGE + 0x200, 0x200, 1);
	fault(PAGE, 7, 0x111, 0, false);
	transfer(PAGE - 4, 16, 2);
	transfer(PAGE + 0x1000, 16, 3);
	version(PAGE, 8, "abcd", 0);
	const struct suspects found = find(PAGE + 8, PAGE + 12, 0);

	assert_int_equal(found.n, 3);
	assert_int_equal(found.list[0].request.req, 2);
	assert_int_equal(found.list[1].rip, 0x111);
	assert_int_equal(found.list[2].request.req, 1);
	scribe_end(&s);
}

/* By a call that named the bytes: before whoever had the page opened. Nowhere in particular: after
 * all but what is known to lie beside them. */
static void the_vmm_is_ranked(void **state)
{
	(void)state;
	scribe_begin(&s);
	vmm_write(VMM_SITE_RW, VMM_PHASE_ABOUT, PAGE + 0x100, 4);
	vmm_write(VMM_SITE_RESET, VMM_PHASE_OPENED, 0, 0);
	fault(PAGE, 7, 0x111, 0, false);
	vmm_write(VMM_SITE_DEBUG, VMM_PHASE_ABOUT, PAGE + 10, 4);
	vmm_write(VMM_SITE_DEBUG, VMM_PHASE_ABOUT, PAGE + 0x1000, 4);
	transfer(PAGE, 64, 1);
	version(PAGE, 8, "abcd", 0);
	const struct suspects found = find(PAGE + 8, PAGE + 12, 0);

	assert_int_equal(found.n, 5);
	assert_int_equal(found.list[0].kind, SUSPECT_DEVICE);
	assert_int_equal(found.list[1].kind, SUSPECT_VMM);
	assert_int_equal(found.list[1].site, VMM_SITE_DEBUG);
	assert_true(found.list[1].bytes);
	assert_int_equal(found.list[2].kind, SUSPECT_STORE);
	assert_int_equal(found.list[3].kind, SUSPECT_VMM_SOMEWHERE);
	assert_int_equal(found.list[3].site, VMM_SITE_RESET);
	assert_int_equal(found.list[4].site, VMM_SITE_RW);
	assert_false(found.list[4].bytes);
	scribe_end(&s);
}

/* Told of before it is done: the copy before may have come in between. One that wrote, did. */
static void about_to_write(void **state)
{
	(void)state;
	scribe_begin(&s);
	vmm_write(VMM_SITE_MAP, VMM_PHASE_CLOSED, PAGE, 512);
	vmm_write(VMM_SITE_PHYSICAL, VMM_PHASE_ABOUT, PAGE + 8, 4);
	vmm_write(VMM_SITE_SET, VMM_PHASE_ABOUT, PAGE + 0x800, 4);
	s.t_ns += VMM_LATE_NS / 2;
	version(PAGE, 8, "abcd", s.t_ns);
	struct suspects found = find(PAGE + 8, PAGE + 12, s.t_ns - 1000);

	assert_int_equal(found.n, 1);
	assert_int_equal(found.list[0].site, VMM_SITE_PHYSICAL);
	found = find(PAGE + 8, PAGE + 12, s.t_ns + VMM_LATE_NS);
	assert_int_equal(found.n, 0);
	scribe_end(&s);
}

/* Once, by what tells most: a transfer, the end of a mapping; repeated writes by the last. */
static void the_same_is_told_once(void **state)
{
	(void)state;
	scribe_begin(&s);
	vmm_write(VMM_SITE_MAP, VMM_PHASE_OPENED, PAGE, 512);
	vmm_write(VMM_SITE_MAP, VMM_PHASE_OPENED, PAGE + 0x800, 512);
	transfer(PAGE, 512, 1);
	vmm_write(VMM_SITE_MAP, VMM_PHASE_CLOSED, PAGE, 512);
	vmm_write(VMM_SITE_MAP, VMM_PHASE_CLOSED, PAGE + 0x800, 512);
	vmm_write(VMM_SITE_MAP, VMM_PHASE_OPEN, PAGE + 0xc00, 64);
	for (u32 i = 0; i < 2 * SUSPECTS_MAX; i++)
		vmm_write(VMM_SITE_SET_DIRTY, VMM_PHASE_DONE, PAGE, 4096);
	const u64 last_ns = s.t_ns;
	version(PAGE, 8, "abcd", 0);
	const struct suspects found = find(PAGE + 8, PAGE + 12, 0);

	assert_int_equal(found.n, 4);
	assert_int_equal(found.more, 0);
	assert_int_equal(found.list[0].kind, SUSPECT_DEVICE);
	assert_int_equal(found.list[1].site, VMM_SITE_SET_DIRTY);
	assert_int_equal(found.list[1].at.t_ns, last_ns);
	assert_int_equal(found.list[2].gpa, PAGE + 0x800);
	assert_int_equal(found.list[2].phase, VMM_PHASE_CLOSED);
	assert_int_equal(found.list[3].phase, VMM_PHASE_OPEN);
	scribe_end(&s);
}

static void too_many_are_counted(void **state)
{
	(void)state;
	scribe_begin(&s);
	for (u32 i = 0; i < SUSPECTS_MAX + 5; i++)
		fault(PAGE, 7, 0x100 + i, 0, false);
	version(PAGE, 8, "abcd", 0);
	const struct suspects found = find(PAGE + 8, PAGE + 12, 0);

	assert_int_equal(found.n, SUSPECTS_MAX);
	assert_int_equal(found.more, 5);
	scribe_end(&s);
}

static struct {
	unsigned n;
	struct run run[8];
	struct answer answer[8];
	enum origin origin[8]; /* of the answer's write */
} told;

static int tell(void *arg, const struct run *run)
{
	(void)arg;
	assert_true(told.n < 8);
	told.run[told.n] = *run;
	if (run->answers[0].write)
		told.origin[told.n] = run->answers[0].write->origin;
	told.answer[told.n++] = run->answers[0];
	return 0;
}

static void ask(u64 gpa, u64 end)
{
	const struct query q = {.gpa = gpa, .end = end, .limit = MOMENT_END, .n = 1};
	char err[256];

	memset(&told, 0, sizeof(told));
	assert_int_equal(query_run(s.reader, s.state, &q, tell, NULL, NULL, err, sizeof(err)), 0);
}

/* Only the bytes that changed have candidates; what a device then wrote is its. */
static void who_answers_candidates(void **state)
{
	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0, 1 << 20);
	scribe_cover(&s, ORIGIN_VHOST, true, WHY_NONE, 0, 0);
	const u64 seq = version(PAGE, 8, "abcd", 1000);
	scribe_compared(&s, 0, 1 << 20, 0, 0);
	scribe_read(&s);
	ask(PAGE + 4, PAGE + 16);
	assert_int_equal(told.n, 3);
	assert_int_equal(told.answer[0].verdict, VERDICT_INITIAL);
	assert_int_equal(told.answer[1].verdict, VERDICT_CANDIDATES);
	assert_int_equal(told.run[1].gpa, PAGE + 8);
	assert_int_equal(told.run[1].end, PAGE + 12);
	assert_int_equal(told.answer[2].verdict, VERDICT_INITIAL);
	assert_int_equal(seq, 4);
	scribe_end(&s);
}

/* The page of the scrub, the classes in `covered` observed all the while, `more` put in between. */
static enum verdict scrubbed(u16 covered, void (*more)(void))
{
	static const u8 zeroes[DELTA_PAGE];
	struct event_version ev = {.gpa = PAGE, .how = VERSION_HOW_SCRUB};
	u8 page[DELTA_PAGE] = {[8] = 1};
	enum verdict verdict;

	scribe_begin(&s);
	for (unsigned o = ORIGIN_VCPU; o < ORIGIN_UNSEEN; o++)
		if (covered & 1u << o)
			scribe_cover(&s, (enum origin)o, true, WHY_NONE, 0,
				     o == ORIGIN_VHOST ? 0 : 1 << 20);
	ev.t0_ns = ev.log_ns = s.t_ns + 500;
	if (more)
		more();
	ev.len = (u16)delta_make(zeroes, page, ev.data);
	ev.sum = delta_sum(page);
	scribe_put(&s, &ev.h, EVENT_version);
	scribe_compared(&s, 0, 1 << 20, 0, 0);
	scribe_read(&s);
	ask(PAGE + 8, PAGE + 9);
	assert_int_equal(told.n, 1);
	verdict = told.answer[0].verdict;
	assert_int_equal(told.origin[0], ORIGIN_UNSEEN);
	scribe_end(&s);
	return verdict;
}

static void some_are_lost(void)
{
	struct event_lost ev = {.count = 1,
				.t0_ns = s.t_ns,
				.t1_ns = s.t_ns + 1000,
				.origins = 1 << ORIGIN_VIRTQUEUE};

	scribe_put(&s, &ev.h, EVENT_lost);
}

static void vhost_runs(void)
{
	scribe_cover(&s, ORIGIN_VHOST, false, WHY_VHOST, 0, 0);
}

static void vfio_is_there(void)
{
	scribe_cover(&s, ORIGIN_DMA, false, WHY_VFIO, 0, 0);
}

/* Everybody was watched, and nobody wrote: without any one of them that is not known. */
static void what_nobody_wrote_is_unexplained(void **state)
{
	const u16 all = (1u << ORIGIN_UNSEEN) - (1u << ORIGIN_VCPU);

	(void)state;
	assert_int_equal(scrubbed(all, NULL), VERDICT_UNEXPLAINED);
	for (unsigned o = ORIGIN_VCPU; o < ORIGIN_UNSEEN; o++)
		assert_int_equal(scrubbed((u16)(all & ~(1u << o)), NULL), VERDICT_UNKNOWN);
	assert_int_equal(scrubbed(all, some_are_lost), VERDICT_LOST);
	assert_int_equal(scrubbed(all, vhost_runs), VERDICT_UNKNOWN);
	assert_int_equal(told.answer[0].why, WHY_VHOST);
	assert_int_equal(scrubbed(all, vfio_is_there), VERDICT_UNKNOWN);
	assert_int_equal(told.answer[0].why, WHY_VFIO);
}

/* Said where all of them are of one class, and nobody else can have written. */
static void one_class_alone(void **state)
{
	const u16 all = (1u << ORIGIN_UNSEEN) - (1u << ORIGIN_VCPU);
	const struct write log = {.version_how = VERSION_HOW_LOG};
	const struct write device = {.version_how = VERSION_HOW_DEVICE};
	struct suspects of = {.n = 2, .list = {{.kind = SUSPECT_STORE}, {.kind = SUSPECT_LOAD}}};

	(void)state;
	assert_int_equal(suspects_class(&of, &log, all), ORIGIN_VCPU);
	assert_int_equal(suspects_class(&of, &log, all & ~(1u << ORIGIN_DMA)), ORIGIN_NONE);
	of.more = 1;
	assert_int_equal(suspects_class(&of, &log, all), ORIGIN_NONE);
	of.more = 0;
	of.list[1].kind = SUSPECT_DEVICE;
	assert_int_equal(suspects_class(&of, &log, all), ORIGIN_NONE);
	/* The log has it: the transfer alone it was not. */
	of.list[0].kind = SUSPECT_RING;
	assert_int_equal(suspects_class(&of, &log, all), ORIGIN_NONE);
	assert_int_equal(suspects_class(&of, &device, all), ORIGIN_VIRTQUEUE);
	of.n = 0;
	assert_int_equal(suspects_class(&of, &log, all), ORIGIN_NONE);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_store_is_told_once),
		cmocka_unit_test(a_load_is_no_store),
		cmocka_unit_test(the_window_counts),
		cmocka_unit_test(who_had_it_open_counts),
		cmocka_unit_test(tables_on_the_way_are_no_store),
		cmocka_unit_test(kvm_writes),
		cmocka_unit_test(devices_are_ranked),
		cmocka_unit_test(the_vmm_is_ranked),
		cmocka_unit_test(about_to_write),
		cmocka_unit_test(the_same_is_told_once),
		cmocka_unit_test(too_many_are_counted),
		cmocka_unit_test(who_answers_candidates),
		cmocka_unit_test(what_nobody_wrote_is_unexplained),
		cmocka_unit_test(one_class_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
