// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Looks things up in BTF by walking it: KVM's modules first, which are small, then the kernel.
 */
#include "user/kernel_btf.h"

#include <bpf/btf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODULES_MAX 3

struct kernel_btf {
	struct btf *vmlinux;
	struct btf *module[MODULES_MAX]; /* split: on top of vmlinux; NULL where there is none */
};

int kernel_btf_open(struct kernel_btf **out)
{
	static const char *const names[MODULES_MAX] = {"kvm", "kvm_amd", "kvm_intel"};
	struct kernel_btf *k = calloc(1, sizeof(*k));

	*out = NULL;
	if (!k)
		return -ENOMEM;
	k->vmlinux = btf__load_vmlinux_btf();
	if (!k->vmlinux) {
		const int err = errno ? -errno : -ENOENT;

		kernel_btf_close(k);
		return err;
	}
	for (size_t i = 0; i < MODULES_MAX; i++)
		k->module[i] = btf__load_module_btf(names[i], k->vmlinux);
	*out = k;
	return 0;
}

void kernel_btf_close(struct kernel_btf *k)
{
	if (!k)
		return;
	for (size_t i = 0; i < MODULES_MAX; i++)
		btf__free(k->module[i]);
	btf__free(k->vmlinux);
	free(k);
}

static u32 find(const struct btf *btf, u32 first, const char *name, u32 kind)
{
	const u32 n = btf__type_cnt(btf);

	for (u32 id = first; id < n; id++) {
		const struct btf_type *t = btf__type_by_id(btf, id);

		if (btf_kind(t) == kind && !strcmp(btf__name_by_offset(btf, t->name_off), name))
			return id;
	}
	return 0;
}

/* Writes "kvm_memory_slot*" for `const struct kvm_memory_slot *`. */
static void type_name(const struct btf *btf, u32 id, char *out, size_t size)
{
	const struct btf_type *t = btf__type_by_id(btf, id);
	unsigned stars = 0;
	size_t len;

	while (t && (btf_is_ptr(t) || btf_is_mod(t))) {
		stars += btf_is_ptr(t);
		t = btf__type_by_id(btf, t->type);
	}
	snprintf(out, size, "%s",
		 !t || !t->name_off ? "void" : btf__name_by_offset(btf, t->name_off));
	for (char *c = out; *c; c++)
		if (*c == ' ')
			*c = '_';
	for (len = strlen(out); stars && len + 1 < size; stars--, len++) {
		out[len] = '*';
		out[len + 1] = '\0';
	}
}

static bool types_match(const struct btf *btf, const struct btf_type *proto, u32 skip,
			const char *types)
{
	const struct btf_param *params = btf_params(proto);
	const u32 n = btf_vlen(proto);
	char name[128];

	for (u32 i = skip; *types; i++) {
		const size_t len = strcspn(types, " ");

		if (i >= n)
			return false;
		type_name(btf, params[i].type, name, sizeof(name));
		if (strlen(name) != len || memcmp(name, types, len))
			return false;
		types += len + (types[len] == ' ');
	}
	return true;
}

enum btf_match btf_match_function(const struct btf *btf, u32 first, const char *name,
				  const char *types)
{
	const u32 id = find(btf, first, name, BTF_KIND_FUNC);
	const struct btf_type *proto;

	if (!id)
		return BTF_ABSENT;
	proto = btf__type_by_id(btf, btf__type_by_id(btf, id)->type);
	if (!proto || !btf_is_func_proto(proto))
		return BTF_ABSENT;
	return !types || types_match(btf, proto, 0, types) ? BTF_MATCHES : BTF_DIFFERS;
}

/* A tracepoint's arguments are those of `typedef void (*btf_trace_NAME)(void *, ...)`. */
enum btf_match btf_match_tracepoint(const struct btf *btf, u32 first, const char *name,
				    const char *types)
{
	const struct btf_type *t;
	char full[128];
	u32 id;

	snprintf(full, sizeof(full), "btf_trace_%s", name);
	id = find(btf, first, full, BTF_KIND_TYPEDEF);
	if (!id)
		return BTF_ABSENT;
	t = btf__type_by_id(btf, btf__type_by_id(btf, id)->type);
	if (t && btf_is_ptr(t))
		t = btf__type_by_id(btf, t->type);
	if (!t || !btf_is_func_proto(t))
		return BTF_ABSENT;
	return !types || types_match(btf, t, 1, types) ? BTF_MATCHES : BTF_DIFFERS;
}

typedef enum btf_match (*match_fn)(const struct btf *btf, u32 first, const char *name,
				   const char *types);

static enum btf_match match(const struct kernel_btf *k, match_fn fn, const char *name,
			    const char *types)
{
	for (size_t i = 0; i < MODULES_MAX; i++) {
		enum btf_match m;

		if (!k->module[i])
			continue;
		m = fn(k->module[i], btf__type_cnt(k->vmlinux), name, types);
		if (m != BTF_ABSENT)
			return m;
	}
	return fn(k->vmlinux, 1, name, types);
}

enum btf_match kernel_btf_function(const struct kernel_btf *k, const char *name, const char *types)
{
	return match(k, btf_match_function, name, types);
}

enum btf_match kernel_btf_tracepoint(const struct kernel_btf *k, const char *name,
				     const char *types)
{
	return match(k, btf_match_tracepoint, name, types);
}

static bool enumerator(const struct btf *btf, u32 first, const char *name, u32 *value)
{
	const u32 n = btf__type_cnt(btf);

	for (u32 id = first; id < n; id++) {
		const struct btf_type *t = btf__type_by_id(btf, id);

		if (btf_kind(t) != BTF_KIND_ENUM)
			continue;
		for (u32 i = 0; i < btf_vlen(t); i++)
			if (!strcmp(btf__name_by_offset(btf, btf_enum(t)[i].name_off), name)) {
				*value = btf_enum(t)[i].val;
				return true;
			}
	}
	return false;
}

bool kernel_btf_enumerator(const struct kernel_btf *k, const char *name, u32 *value)
{
	for (size_t i = 0; i < MODULES_MAX; i++)
		if (k->module[i] &&
		    enumerator(k->module[i], btf__type_cnt(k->vmlinux), name, value))
			return true;
	return enumerator(k->vmlinux, 1, name, value);
}

u32 kernel_btf_struct_id(const struct kernel_btf *k, const char *name)
{
	return find(k->vmlinux, 1, name, BTF_KIND_STRUCT);
}

u32 kernel_btf_function_id(const struct kernel_btf *k, const char *name)
{
	return find(k->vmlinux, 1, name, BTF_KIND_FUNC);
}
