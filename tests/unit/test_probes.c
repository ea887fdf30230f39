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

#include "user/kernel_btf.h"
#include "user/probes.h"
#include "user/source_bpf.h"

/* void f(struct kvm *, const struct kvm_memory_slot *, gfn_t), and a tracepoint of the same. */
static struct kernel_btf *make_btf(void)
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
	return kernel_btf_of(btf, NULL);
}

static void test_function(void **state)
{
	struct kernel_btf *k = make_btf();

	(void)state;
	assert_int_equal(kernel_btf_function(k, "f", "kvm* kvm_memory_slot* gfn_t"), BTF_MATCHES);
	assert_int_equal(kernel_btf_function(k, "f", "kvm*"), BTF_MATCHES);
	assert_int_equal(kernel_btf_function(k, "f", NULL), BTF_MATCHES);
	/* Others, more than there are, one more pointer, a beginning of a name. */
	assert_int_equal(kernel_btf_function(k, "f", "kvm_memory_slot* kvm* gfn_t"), BTF_DIFFERS);
	assert_int_equal(kernel_btf_function(k, "f", "kvm* kvm_memory_slot* gfn_t int"),
			 BTF_DIFFERS);
	assert_int_equal(kernel_btf_function(k, "f", "kvm**"), BTF_DIFFERS);
	assert_int_equal(kernel_btf_function(k, "f", "kvm* kvm_memory_slot* gfn"), BTF_DIFFERS);
	assert_int_equal(kernel_btf_function(k, "g", NULL), BTF_ABSENT);
	assert_int_equal(kernel_btf_function(k, "t", NULL), BTF_ABSENT);
	kernel_btf_close(k);
}

static void test_tracepoint(void **state)
{
	struct kernel_btf *k = make_btf();

	(void)state;
	assert_int_equal(kernel_btf_tracepoint(k, "t", "kvm* long_unsigned_int"), BTF_MATCHES);
	assert_int_equal(kernel_btf_tracepoint(k, "t", "void* kvm*"), BTF_DIFFERS);
	assert_int_equal(kernel_btf_tracepoint(k, "f", NULL), BTF_ABSENT);
	kernel_btf_close(k);
}

/* Each probe has a way, at most as many as a state holds, and those of one probe lie together. */
/* struct inner, struct far; struct kvm { inner; int x[2]; far * }; a module's struct svm { kvm; }.
 */
static void test_subset(void **state)
{
	struct btf *vmlinux = btf__new_empty(), *object = btf__new_empty(), *module, *out;
	const int word = btf__add_int(vmlinux, "int", 4, BTF_INT_SIGNED);
	const int inner = btf__add_struct(vmlinux, "inner", 4);

	(void)state;
	btf__add_field(vmlinux, "word", word, 0, 0);
	const int far = btf__add_struct(vmlinux, "far", 4);

	btf__add_field(vmlinux, "word", word, 0, 0);
	const int far_ptr = btf__add_ptr(vmlinux, far),
		  words = btf__add_array(vmlinux, word, word, 2);
	const int kvm = btf__add_struct(vmlinux, "kvm", 24);

	btf__add_field(vmlinux, "inner", inner, 0, 0);
	btf__add_field(vmlinux, "words", words, 32, 0);
	btf__add_field(vmlinux, "far", far_ptr, 128, 0);
	module = btf__new_empty_split(vmlinux);
	btf__add_struct(module, "svm", 24);
	btf__add_field(module, "kvm", kvm, 0, 0);
	btf__add_struct(object, "kvm___old", 0);
	btf__add_struct(object, "svm", 0);
	btf__add_struct(object, "absent", 0);

	struct kernel_btf *k = kernel_btf_of(vmlinux, module);

	assert_non_null(k);
	assert_int_equal(kernel_btf_subset(k, object, &out), 0);
	assert_true(btf__find_by_name(out, "absent") < 0 && btf__find_by_name(out, "far") < 0);
	/* The module's copy of struct kvm is one more. */
	for (int id = btf__find_by_name(out, "svm"), n = 0; n < 2; n++) {
		const struct btf_type *t = btf__type_by_id(out, id), *member;

		assert_int_equal(t->size, 24);
		assert_int_equal(btf_vlen(t), n ? 3 : 1);
		if (!n) {
			id = btf_members(t)->type;
			continue;
		}
		member = btf__type_by_id(out, btf_members(t)[0].type);
		assert_string_equal(btf__name_by_offset(out, member->name_off), "inner");
		member = btf__type_by_id(out, btf_members(t)[1].type);
		assert_true(btf_is_array(member) && btf_array(member)->nelems == 2);
		assert_int_equal(btf_members(t)[2].offset, 128);
		member = btf__type_by_id(out, btf_members(t)[2].type);
		assert_true(btf_is_ptr(member) && !member->type);
	}
	assert_true(btf__find_by_name_kind(out, "kvm", BTF_KIND_STRUCT) > 0);
	btf__free(out);
	btf__free(object);
	kernel_btf_close(k);
}

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
		cmocka_unit_test(test_means),	 cmocka_unit_test(test_subset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
