// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Looks things up in BTF by name, through a hash table of its own: libbpf goes through all types
 * each time. KVM's modules come first, then the kernel.
 */
#include "user/kernel_btf.h"

#include <bpf/btf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define MODULES_MAX 3
#define NPARTS	    (MODULES_MAX + 1)

/* The types that one BTF adds to the one below it. */
struct part {
	struct btf *btf; /* NULL where there is none */
	u32 first;
	u32 *slots; /* ids by their names' hash, 0 for empty: types of one name follow each other */
	u32 mask;
};

struct kernel_btf {
	struct part
		parts[NPARTS]; /* modules, split: on top of the kernel's own, which is the last */
};

static const char *name_of(const struct btf *btf, const struct btf_type *t)
{
	const char *name = btf__name_by_offset(btf, t->name_off);

	return name ? name : "";
}

static u32 slot_of(const struct part *p, const char *name, size_t len)
{
	return XXH3_64bits(name, len) & p->mask;
}

static int part_index(struct part *p)
{
	const u32 end = btf__type_cnt(p->btf);
	u32 size = 16;

	while (size < 2 * (end - p->first))
		size *= 2;
	p->slots = calloc(size, sizeof(*p->slots));
	if (!p->slots)
		return -ENOMEM;
	p->mask = size - 1;
	for (u32 id = p->first; id < end; id++) {
		const char *name = name_of(p->btf, btf__type_by_id(p->btf, id));
		u32 at;

		if (!*name)
			continue;
		at = slot_of(p, name, strlen(name));
		while (p->slots[at])
			at = (at + 1) & p->mask;
		p->slots[at] = id;
	}
	return 0;
}

/* The types with the name's first `len` characters for theirs, one at a time: *at is 0 at first.
 * 0 when there are no more. */
static u32 next(const struct part *p, const char *name, size_t len, u32 *at)
{
	const u32 home = slot_of(p, name, len);

	for (;;) {
		const u32 id = p->slots[(home + (*at)++) & p->mask];
		const char *found;

		if (!id)
			return 0;
		found = name_of(p->btf, btf__type_by_id(p->btf, id));
		if (!strncmp(found, name, len) && !found[len])
			return id;
	}
}

static u32 find(const struct part *p, const char *name, u32 kind)
{
	u32 at = 0, id;

	if (!p->btf)
		return 0;
	do
		id = next(p, name, strlen(name), &at);
	while (id && btf_kind(btf__type_by_id(p->btf, id)) != kind);
	return id;
}

struct kernel_btf *kernel_btf_of(struct btf *vmlinux, struct btf *module)
{
	struct kernel_btf *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->parts[0] = (struct part){.btf = module, .first = btf__type_cnt(vmlinux)};
	k->parts[MODULES_MAX] = (struct part){.btf = vmlinux, .first = 1};
	for (size_t i = 0; i < NPARTS; i++)
		if (k->parts[i].btf && part_index(&k->parts[i])) {
			kernel_btf_close(k);
			return NULL;
		}
	return k;
}

int kernel_btf_open(struct kernel_btf **out)
{
	static const char *const names[MODULES_MAX] = {"kvm", "kvm_amd", "kvm_intel"};
	struct btf *vmlinux = btf__load_vmlinux_btf();
	struct kernel_btf *k;

	*out = NULL;
	if (!vmlinux)
		return errno ? -errno : -ENOENT;
	k = kernel_btf_of(vmlinux, NULL);
	if (!k) {
		btf__free(vmlinux);
		return -ENOMEM;
	}
	for (size_t i = 0; i < MODULES_MAX; i++) {
		struct part *p = &k->parts[i];

		*p = (struct part){.btf = btf__load_module_btf(names[i], vmlinux),
				   .first = btf__type_cnt(vmlinux)};
		if (p->btf && part_index(p)) {
			kernel_btf_close(k);
			return -ENOMEM;
		}
	}
	*out = k;
	return 0;
}

void kernel_btf_close(struct kernel_btf *k)
{
	if (!k)
		return;
	for (size_t i = 0; i < NPARTS; i++) {
		free(k->parts[i].slots);
		btf__free(k->parts[i].btf);
	}
	free(k);
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

static enum btf_match match_function(const struct part *p, const char *name, const char *types)
{
	const u32 id = find(p, name, BTF_KIND_FUNC);
	const struct btf_type *proto;

	if (!id)
		return BTF_ABSENT;
	proto = btf__type_by_id(p->btf, btf__type_by_id(p->btf, id)->type);
	if (!proto || !btf_is_func_proto(proto))
		return BTF_ABSENT;
	return !types || types_match(p->btf, proto, 0, types) ? BTF_MATCHES : BTF_DIFFERS;
}

/* A tracepoint's arguments are those of `typedef void (*btf_trace_NAME)(void *, ...)`. */
static enum btf_match match_tracepoint(const struct part *p, const char *name, const char *types)
{
	const struct btf_type *t;
	char full[128];
	u32 id;

	snprintf(full, sizeof(full), "btf_trace_%s", name);
	id = find(p, full, BTF_KIND_TYPEDEF);
	if (!id)
		return BTF_ABSENT;
	t = btf__type_by_id(p->btf, btf__type_by_id(p->btf, id)->type);
	if (t && btf_is_ptr(t))
		t = btf__type_by_id(p->btf, t->type);
	if (!t || !btf_is_func_proto(t))
		return BTF_ABSENT;
	return !types || types_match(p->btf, t, 1, types) ? BTF_MATCHES : BTF_DIFFERS;
}

typedef enum btf_match (*match_fn)(const struct part *p, const char *name, const char *types);

static enum btf_match match(const struct kernel_btf *k, match_fn fn, const char *name,
			    const char *types)
{
	enum btf_match m = BTF_ABSENT;

	for (size_t i = 0; i < NPARTS && m == BTF_ABSENT; i++)
		m = fn(&k->parts[i], name, types);
	return m;
}

enum btf_match kernel_btf_function(const struct kernel_btf *k, const char *name, const char *types)
{
	return match(k, match_function, name, types);
}

enum btf_match kernel_btf_tracepoint(const struct kernel_btf *k, const char *name,
				     const char *types)
{
	return match(k, match_tracepoint, name, types);
}

static bool enumerator(const struct part *p, const char *name, u32 *value)
{
	const struct btf *btf = p->btf;
	const u32 n = btf ? btf__type_cnt(btf) : 0;

	for (u32 id = p->first; id < n; id++) {
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
	bool found = false;

	for (size_t i = 0; i < NPARTS && !found; i++)
		found = enumerator(&k->parts[i], name, value);
	return found;
}

u32 kernel_btf_struct_id(const struct kernel_btf *k, const char *name)
{
	return find(&k->parts[MODULES_MAX], name, BTF_KIND_STRUCT);
}

u32 kernel_btf_function_id(const struct kernel_btf *k, const char *name)
{
	return find(&k->parts[MODULES_MAX], name, BTF_KIND_FUNC);
}

/* What a subset is made of. */
struct copying {
	struct btf *to;
	u32 *copies; /* by the ids of the BTF that is copied from; 0 for not yet */
};

static int copy(struct copying *c, const struct btf *from, u32 id);

/* The i-th number of a type in `t`, which holds n of them. */
static u32 *reference(struct btf_type *t, u32 i, u32 *n)
{
	switch (btf_kind(t)) {
	case BTF_KIND_TYPEDEF:
	case BTF_KIND_CONST:
	case BTF_KIND_VOLATILE:
	case BTF_KIND_RESTRICT:
	case BTF_KIND_TYPE_TAG:
		*n = 1;
		return &t->type;
	case BTF_KIND_ARRAY:
		*n = 2;
		return i ? &btf_array(t)->index_type : &btf_array(t)->type;
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		*n = btf_vlen(t);
		return &btf_members(t)[i].type;
	default:
		*n = 0;
		return NULL;
	}
}

/* What a type holds by value: this ends, since no structure holds itself. */
static int copy_held(struct copying *c, const struct btf *from, u32 id)
{
	u32 n = 1;

	for (u32 i = 0; i < n; i++) {
		const struct btf_type *t = btf__type_by_id(c->to, c->copies[id]);
		u32 *held = reference((struct btf_type *)t, i, &n);
		u32 inner;
		int err;

		if (i >= n)
			break;
		inner = *held;
		err = copy(c, from, inner);
		if (err)
			return err;
		/* The types may have moved. */
		t = btf__type_by_id(c->to, c->copies[id]);
		*reference((struct btf_type *)t, i, &n) = c->copies[inner];
	}
	return 0;
}

static int copy(struct copying *c, const struct btf *from, u32 id)
{
	const struct btf_type *t = btf__type_by_id(from, id);
	int new;

	if (!id || c->copies[id])
		return 0;
	if (!t)
		return -EINVAL;
	/* What is behind a pointer is another type's business, and functions' are not looked at. */
	new = btf_is_ptr(t) || btf_is_func_proto(t) ? btf__add_ptr(c->to, 0)
						    : btf__add_type(c->to, from, t);
	if (new < 0)
		return new;
	c->copies[id] = new;
	return copy_held(c, from, id);
}

static bool is_wanted(const struct btf_type *t)
{
	switch (btf_kind(t)) {
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
	case BTF_KIND_ENUM:
	case BTF_KIND_ENUM64:
	case BTF_KIND_TYPEDEF:
		return true;
	default:
		return false;
	}
}

/* All that have the first `len` characters of a name for theirs. */
static int copy_named(struct copying *c, const struct part *p, const char *name, size_t len)
{
	u32 at = 0, id;
	int err = 0;

	while (!err && (id = next(p, name, len, &at)))
		if (is_wanted(btf__type_by_id(p->btf, id)))
			err = copy(c, p->btf, id);
	return err;
}

/* Without the flavour, "___" and what follows. */
static size_t essential(const char *name)
{
	const char *flavour = strstr(name, "___");

	return flavour && flavour > name ? (size_t)(flavour - name) : strlen(name);
}

static int copy_wanted(struct copying *c, const struct part *p, const struct btf *object)
{
	const u32 n = btf__type_cnt(object);
	int err = 0;

	for (u32 id = 1; id < n && !err; id++) {
		const struct btf_type *t = btf__type_by_id(object, id);
		const char *name = name_of(object, t);

		if (*name && is_wanted(t))
			err = copy_named(c, p, name, essential(name));
	}
	return err;
}

int kernel_btf_subset(const struct kernel_btf *k, const struct btf *object, struct btf **out)
{
	struct copying c = {.to = btf__new_empty()};
	int err = 0;

	*out = NULL;
	if (!c.to)
		return -ENOMEM;
	/* A module's types refer to those of the kernel, by numbers that are the next module's,
	 * too. */
	for (size_t i = NPARTS; i-- > 0 && !err;) {
		const struct part *p = &k->parts[i];

		if (!p->btf)
			continue;
		c.copies = calloc(btf__type_cnt(p->btf), sizeof(*c.copies));
		err = c.copies ? copy_wanted(&c, p, object) : -ENOMEM;
		free(c.copies);
	}
	if (err)
		btf__free(c.to);
	else
		*out = c.to;
	return err;
}
