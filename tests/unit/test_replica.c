/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The replica, compared with the memory of a process: a child of ours, which does as it is told. */
#include "user/replica.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE  4096ull
#define AREA  (8ull << 20) /* of each kind */
#define GPA_A 0x100000ull  /* where the guest has them */
#define GPA_F 0x40000000ull

enum order { ORDER_WRITE = 1, ORDER_FREE };

/* What the child is told: one byte at a time, or a page given back. */
struct told {
	enum order order;
	u64 hva;
	u8 byte;
};

/* The VMM: its areas lie where they lay in the test when it was forked. */
struct vmm {
	pid_t pid;
	int orders, done;
	u8 *anonymous, *file; /* AREA each; `file` is a memfd */
};

static void vmm_live(int orders, int done)
{
	struct told t;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(orders, &t, sizeof(t)) == sizeof(t)) {
		if (t.order == ORDER_WRITE)
			*(volatile u8 *)(uintptr_t)t.hva = t.byte;
		else
			madvise((void *)(uintptr_t)t.hva, PAGE, MADV_DONTNEED);
		if (write(done, "", 1) != 1)
			break;
	}
	_exit(0);
}

static int vmm_start(void **state)
{
	struct vmm *v = calloc(1, sizeof(*v));
	const int memfd = memfd_create("ram", MFD_CLOEXEC);
	int orders[2], done[2];

	if (!v || memfd < 0 || ftruncate(memfd, AREA) || pipe(orders) || pipe(done))
		return -1;
	v->anonymous = mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	v->file = mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	close(memfd);
	v->pid = fork();
	if (v->pid < 0 || v->anonymous == MAP_FAILED || v->file == MAP_FAILED)
		return -1;
	if (!v->pid) {
		close(orders[1]);
		close(done[0]);
		vmm_live(orders[0], done[1]);
	}
	close(orders[0]);
	close(done[1]);
	v->orders = orders[1];
	v->done = done[0];
	*state = v;
	return 0;
}

static void vmm_end(struct vmm *v)
{
	if (v->pid) {
		kill(v->pid, SIGKILL);
		waitpid(v->pid, NULL, 0);
	}
	v->pid = 0;
}

static int vmm_stop(void **state)
{
	struct vmm *v = *state;

	vmm_end(v);
	close(v->orders);
	close(v->done);
	munmap(v->anonymous, AREA);
	munmap(v->file, AREA);
	free(v);
	return 0;
}

static void tell(const struct vmm *v, enum order order, const u8 *at, u8 byte)
{
	const struct told t = {order, (u64)(uintptr_t)at, byte};
	char done;

	assert_int_equal(write(v->orders, &t, sizeof(t)), sizeof(t));
	assert_int_equal(read(v->done, &done, 1), 1);
}

static void vmm_write(const struct vmm *v, u8 *at, const char *text)
{
	for (size_t i = 0; text[i]; i++)
		tell(v, ORDER_WRITE, at + i, (u8)text[i]);
}

/* What a comparison told, in text: "100010 abc<...; ", 'h' before it where hidden; '.' for a 0. */
struct heard {
	char text[1024];
	size_t used;
	int stop; /* returned at the first */
	u64 read;
	s64 differed;
};

static int hear(void *arg, const struct replica_difference *d)
{
	struct heard *h = arg;
	const u8 *sides[] = {d->now, d->was};

	h->used += (size_t)snprintf(h->text + h->used, sizeof(h->text) - h->used, "%s%llx ",
				    d->hidden ? "h" : "", (unsigned long long)d->gpa);
	assert_true(h->used + 2 * d->len + 8u < sizeof(h->text));
	for (unsigned side = 0; side < 2; side++) {
		for (unsigned i = 0; i < d->len; i++)
			h->text[h->used++] = sides[side][i] ? (char)sides[side][i] : '.';
		h->used += (size_t)sprintf(h->text + h->used, "%s", side ? "; " : "<");
	}
	assert_true(d->gpa % PAGE + d->len <= PAGE);
	return h->stop;
}

static s64 compare(struct replica *r, const struct vmm *v, const char *expected)
{
	struct heard h = {.used = 0};

	h.differed = replica_compare(r, v->pid, hear, &h, &h.read);
	assert_string_equal(h.text, expected);
	assert_true(h.differed >= 0);
	assert_int_equal(h.read % PAGE, 0);
	return h.differed;
}

/* As a store that was seen. */
static void store(struct replica *r, u64 gpa, bool hidden, const char *text)
{
	u8 *page = replica_page(r, gpa & ~(PAGE - 1), hidden);

	assert_non_null(page);
	memcpy(page + gpa % PAGE, text, strlen(text));
}

static struct replica *mapped(const struct vmm *v)
{
	const struct replica_part parts[] = {
		{.gpa = GPA_A, .size = AREA, .hva = (u64)(uintptr_t)v->anonymous},
		{.gpa = GPA_F, .size = AREA, .hva = (u64)(uintptr_t)v->file},
	};
	struct replica *r;
	size_t n;

	assert_int_equal(replica_open(&r), 0);
	assert_null(replica_page(r, GPA_A, false));
	assert_int_equal(replica_map(r, parts, 2), 0);
	assert_memory_equal(replica_parts(r, &n), parts, sizeof(parts));
	assert_int_equal(n, 2);
	return r;
}

static void runs_of_bytes_that_differ(void **state)
{
	const struct vmm *v = *state;
	struct replica *r = mapped(v);

	assert_int_equal(compare(r, v, ""), 0);
	vmm_write(v, v->anonymous + 0x10, "abc");
	vmm_write(v, v->anonymous + 0x14, "d");
	vmm_write(v, v->anonymous + 0x1ffe, "wxyz"); /* across a page */
	vmm_write(v, v->anonymous + AREA - 1, "E");
	vmm_write(v, v->file + 0x200000 - 1, "fg"); /* across a region */
	assert_int_equal(compare(r, v,
				 "100010 abc<...; 100014 d<.; 101ffe wx<..; 102000 yz<..; "
				 "8fffff E<.; 401fffff f<.; 40200000 g<.; "),
			 11);
	/* The same again: nothing is taken over by itself. */
	store(r, GPA_A + 0x10, false, "aXc");
	store(r, GPA_A + 0x1ffe, false, "wx");
	store(r, GPA_A + 0x2000, false, "yz");
	store(r, GPA_A + AREA - 1, false, "E");
	store(r, GPA_F + 0x1fffff, false, "f");
	store(r, GPA_F + 0x200000, false, "g");
	assert_int_equal(compare(r, v, "100011 b<X; 100014 d<.; "), 2);
	store(r, GPA_A + 0x11, false, "bc");
	store(r, GPA_A + 0x14, false, "d");
	assert_int_equal(compare(r, v, ""), 0);
	/* A store that memory does not have: somebody wrote over it. */
	store(r, GPA_A + 0x15, false, "S");
	assert_int_equal(compare(r, v, "100015 .<S; "), 1);
	replica_close(r);
}

/* Pages that the VMM never touched are no reason to read them; nor is there memory for them. */
static void holes_are_not_read(void **state)
{
	const struct vmm *v = *state;
	const struct replica_part part = {
		.gpa = GPA_A, .size = AREA, .hva = (u64)(uintptr_t)v->anonymous};
	struct heard h = {.used = 0};
	struct replica *r;

	assert_int_equal(replica_open(&r), 0);
	assert_int_equal(replica_map(r, &part, 1), 0);
	vmm_write(v, v->anonymous + 3 * PAGE, "a");
	vmm_write(v, v->anonymous + 700 * PAGE, "b");
	assert_int_equal(replica_compare(r, v->pid, hear, &h, &h.read), 2);
	assert_string_equal(h.text, "103000 a<.; 3bc000 b<.; ");
	assert_int_equal(h.read, 2 * PAGE);
	replica_close(r);
}

/* A page that the VMM gave back holds zeros: what was stored there is gone. */
static void a_page_that_was_given_back(void **state)
{
	const struct vmm *v = *state;
	struct replica *r = mapped(v);

	vmm_write(v, v->anonymous + 5 * PAGE, "ab");
	store(r, GPA_A + 5 * PAGE, false, "ab");
	assert_int_equal(compare(r, v, ""), 0);
	tell(v, ORDER_FREE, v->anonymous + 5 * PAGE, 0);
	assert_int_equal(compare(r, v, "105000 ..<ab; "), 2);
	replica_close(r);
}

/* Whoever has the memfd writes to pages that the VMM itself never touched. */
static void shared_memory_that_another_writes(void **state)
{
	const struct vmm *v = *state;
	struct replica *r = mapped(v);

	v->file[9 * PAGE + 1] = 'o';
	assert_int_equal(compare(r, v, "40009001 o<.; "), 1);
	replica_close(r);
}

/* Memory stays what it is, wherever the guest finds it. */
static void mapped_elsewhere(void **state)
{
	const struct vmm *v = *state;
	const u64 hva = (u64)(uintptr_t)v->anonymous;
	const struct replica_part parts[] = {
		{.gpa = 0, .size = 2 * PAGE, .hva = hva + 4 * PAGE},
		{.gpa = 0x8000, .size = 2 * PAGE, .hva = hva, .readonly = true},
		{.gpa = 0xa0000, .size = PAGE, .hva = hva + 2 * PAGE, .hidden = true},
	};
	struct replica *r = mapped(v);

	store(r, GPA_A, false, "ab");
	store(r, GPA_A + 4 * PAGE, false, "cd");
	vmm_write(v, v->anonymous, "ab");
	vmm_write(v, v->anonymous + 4 * PAGE, "cd");
	assert_int_equal(replica_map(r, parts, 3), 0);
	assert_int_equal(compare(r, v, ""), 0);
	assert_memory_equal(replica_page(r, 0, false), "cd", 3);
	assert_memory_equal(replica_page(r, 0x8123, false), "ab", 3);
	/* Hidden or not is not the same place; what lies nowhere is no RAM. */
	assert_null(replica_page(r, 0xa0000, false));
	assert_null(replica_page(r, 0, true));
	assert_null(replica_page(r, 2 * PAGE, false));
	assert_null(replica_page(r, UINT64_MAX, false));
	assert_null(replica_page(r, GPA_A, false));
	vmm_write(v, v->anonymous + 2 * PAGE + 8, "smm");
	vmm_write(v, v->anonymous + 1, "ROM");
	assert_int_equal(compare(r, v, "8001 ROM<b..; ha0008 smm<...; "), 6);
	store(r, 0xa0008, true, "smm");
	assert_int_equal(compare(r, v, "8001 ROM<b..; "), 3);
	/* What is not mapped is not looked at. */
	vmm_write(v, v->anonymous + 100 * PAGE, "x");
	assert_int_equal(compare(r, v, "8001 ROM<b..; "), 3);
	replica_close(r);
}

static void too_many_parts(void **state)
{
	static struct replica_part parts[REPLICA_PARTS + 1];
	struct replica *r;
	size_t n;

	(void)state;
	assert_int_equal(replica_open(&r), 0);
	assert_int_equal(replica_map(r, parts, REPLICA_PARTS + 1), -E2BIG);
	assert_int_equal(replica_map(r, parts, REPLICA_PARTS), 0);
	replica_parts(r, &n);
	assert_int_equal(n, REPLICA_PARTS);
	replica_close(r);
	replica_close(NULL);
}

/* More regions than its table begins with: one byte in each. */
static void many_regions(void **state)
{
	const u64 region = 2 << 20, n = 600;
	const struct replica_part part = {.size = n * region, .hva = 1ull << 40};
	struct replica *r;

	(void)state;
	assert_int_equal(replica_open(&r), 0);
	assert_int_equal(replica_map(r, &part, 1), 0);
	for (u64 i = 0; i < n; i++)
		memcpy(replica_page(r, i * region + (i % 512) * PAGE, false), &i, sizeof(i));
	for (u64 i = 0; i < n; i++)
		assert_memory_equal(replica_page(r, i * region + (i % 512) * PAGE, false), &i,
				    sizeof(i));
	replica_close(r);
}

static void a_function_that_fails_ends_it(void **state)
{
	const struct vmm *v = *state;
	struct replica *r = mapped(v);
	struct heard h = {.stop = -ENOSPC};

	vmm_write(v, v->anonymous, "a b");
	assert_int_equal(replica_compare(r, v->pid, hear, &h, NULL), -ENOSPC);
	assert_string_equal(h.text, "100000 a b<...; ");
	replica_close(r);
}

static void memory_that_is_not_there(void **state)
{
	struct vmm *v = *state;
	struct replica *r = mapped(v);
	const struct replica_part part = {.size = 4 * PAGE, .hva = 0x10000};
	struct heard h = {.used = 0};

	assert_int_equal(replica_map(r, &part, 1), 0);
	assert_int_equal(replica_compare(r, v->pid, hear, &h, NULL), -EFAULT);
	vmm_end(v);
	replica_close(r);
}

static void a_process_that_is_gone(void **state)
{
	struct vmm *v = *state;
	struct replica *r = mapped(v);
	struct heard h = {.used = 0};
	const pid_t pid = v->pid;

	vmm_write(v, v->anonymous, "a");
	kill(pid, SIGKILL);
	/* Dead, and not yet waited for: its memory is gone already. */
	siginfo_t info;
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_true(replica_compare(r, pid, hear, &h, NULL) < 0);
	vmm_end(v);
	assert_int_equal(replica_compare(r, pid, hear, &h, NULL), -ESRCH);
	assert_string_equal(h.text, "");
	replica_close(r);
}

#define WITH_VMM(test) cmocka_unit_test_setup_teardown(test, vmm_start, vmm_stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_VMM(runs_of_bytes_that_differ),  WITH_VMM(holes_are_not_read),
		WITH_VMM(a_page_that_was_given_back), WITH_VMM(shared_memory_that_another_writes),
		WITH_VMM(mapped_elsewhere),	      cmocka_unit_test(too_many_parts),
		cmocka_unit_test(many_regions),	      WITH_VMM(a_function_that_fails_ends_it),
		WITH_VMM(memory_that_is_not_there),   WITH_VMM(a_process_that_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
