// SPDX-License-Identifier: GPL-2.0-or-later
/* The table of probes and its ways; what BTF says of a function's arguments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <bpf/btf.h>
#include <errno.h>
#include <string.h>

#include "user/probes.h"
#include "user/source_bpf.h"

/* void f(struct kvm *, const struct kvm_memory_slot *, gfn_t), and a tracepoint of the same. */
static struct btf *make_btf(void)
{
	struct btf *btf = btf__new_empty();
	const int u64_id = btf__add_int(btf, "long unsigned int", 8, 0);
	const int gfn = btf__add_typedef(btf, "gfn_t", u64_id);
	const int kvm = btf__add_ptr(btf, btf__add_struct(btf, "kvm", 8));
	const int slot =
		btf__add_ptr(btf, btf__add_const(btf, btf__add_struct(btf, "kvm_memory_slot", 8)));
	const int context = btf__add_ptr(btf, 0);
	const int proto = btf__add_func_proto(btf, 0);

	btf__add_func_param(btf, "kvm", kvm);
	btf__add_func_param(btf, "memslot", slot);
	btf__add_func_param(btf, "gfn", gfn);
	btf__add_func(btf, "f", BTF_FUNC_STATIC, proto);
	const int trace = btf__add_func_proto(btf, 0);

	btf__add_func_param(btf, NULL, context);
	btf__add_func_param(btf, NULL, kvm);
	btf__add_func_param(btf, NULL, u64_id);
	btf__add_typedef(btf, "btf_trace_t", btf__add_ptr(btf, trace));
	return btf;
}

static void test_function(void **state)
{
	struct btf *btf = make_btf();

	(void)state;
	assert_int_equal(btf_match_function(btf, 1, "f", "kvm* kvm_memory_slot* gfn_t"),
			 BTF_MATCHES);
	assert_int_equal(btf_match_function(btf, 1, "f", "kvm*"), BTF_MATCHES);
	assert_int_equal(btf_match_function(btf, 1, "f", NULL), BTF_MATCHES);
	/* Others, more than there are, one more pointer, a beginning of a name. */
	assert_int_equal(btf_match_function(btf, 1, "f", "kvm_memory_slot* kvm* gfn_t"),
			 BTF_DIFFERS);
	assert_int_equal(btf_match_function(btf, 1, "f", "kvm* kvm_memory_slot* gfn_t int"),
			 BTF_DIFFERS);
	assert_int_equal(btf_match_function(btf, 1, "f", "kvm**"), BTF_DIFFERS);
	assert_int_equal(btf_match_function(btf, 1, "f", "kvm* kvm_memory_slot* gfn"), BTF_DIFFERS);
	assert_int_equal(btf_match_function(btf, 1, "g", NULL), BTF_ABSENT);
	assert_int_equal(btf_match_function(btf, 1, "t", NULL), BTF_ABSENT);
	/* Only from a number on, as in a module's part. */
	assert_int_equal(btf_match_function(btf, btf__type_cnt(btf), "f", NULL), BTF_ABSENT);
	btf__free(btf);
}

static void test_tracepoint(void **state)
{
	struct btf *btf = make_btf();

	(void)state;
	assert_int_equal(btf_match_tracepoint(btf, 1, "t", "kvm* long_unsigned_int"), BTF_MATCHES);
	assert_int_equal(btf_match_tracepoint(btf, 1, "t", "void* kvm*"), BTF_DIFFERS);
	assert_int_equal(btf_match_tracepoint(btf, 1, "f", NULL), BTF_ABSENT);
	btf__free(btf);
}

/* Each probe has a way, at most as many as a state holds, and those of one probe lie together. */
static void test_table(void **state)
{
	size_t ways[NPROBES] = {0};

	(void)state;
	for (size_t w = 0; w < nway_rows; w++) {
		const struct way_row *row = &way_rows[w];

		assert_true(row->probe < NPROBES);
		if (row->kind == WAYS) {
			assert_int_equal(ways[row->probe], 0);
			continue;
		}
		assert_int_not_equal(way_how(row), PROBE_HOW_UNAVAILABLE);
		assert_true(*row->target && *row->program);
		assert_true(!w || !ways[row->probe] || way_rows[w - 1].probe == row->probe);
		ways[row->probe]++;
	}
	for (size_t i = 0; i < NPROBES; i++)
		assert_in_range(ways[i], 1, PROBE_WAYS_MAX);
}

static void test_names(void **state)
{
	const char *const group[] = {"mmu", NULL}, *const one[] = {"mmu__zap_page", NULL};

	(void)state;
	assert_true(probe_listed(group, "mmu__zap_page") && probe_listed(one, "mmu__zap_page"));
	assert_false(probe_listed(one, "mmu__zap_range") || probe_listed(group, "exits__kvm_mmio"));
	assert_false(probe_listed(NULL, "mmu__zap_page"));
	assert_true(probe_group_known("mmu") && probe_known("mmu__zap_page"));
	assert_false(probe_group_known("mm") || probe_group_known("") || probe_known("mmu"));
}

/* What the kernel lacks altogether is said before it is asked for the function. */
static void test_means(void **state)
{
	const struct means none = {.fentry = EPERM, .kprobe = EOPNOTSUPP};

	(void)state;
	for (size_t w = 0; w < nway_rows; w++) {
		if (way_rows[w].kind == FENTRY)
			assert_int_equal(way_lacks(&way_rows[w], NULL, &none), EPERM);
		else if (way_rows[w].kind == KPROBE)
			assert_int_equal(way_lacks(&way_rows[w], NULL, &none), EOPNOTSUPP);
		else if (!way_rows[w].types)
			assert_int_equal(way_lacks(&way_rows[w], NULL, &none), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_function), cmocka_unit_test(test_tracepoint),
		cmocka_unit_test(test_table),	 cmocka_unit_test(test_names),
		cmocka_unit_test(test_means),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
