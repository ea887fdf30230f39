/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the running kernel's BTF, and that of KVM's modules, says of tracepoints, functions and
 * enumerators: asked before loading, so that nothing is loaded that cannot attach.
 */
#ifndef VMBLAME_KERNEL_BTF_H
#define VMBLAME_KERNEL_BTF_H

#include <stdbool.h>

#include "formats/event.h"

struct btf;
struct kernel_btf;

enum btf_match {
	BTF_ABSENT,  /* no such tracepoint or function */
	BTF_DIFFERS, /* its arguments are of other types */
	BTF_MATCHES,
};

/* 0 or -errno. */
int kernel_btf_open(struct kernel_btf **out);
void kernel_btf_close(struct kernel_btf *k);

/* `types` are those of the arguments from the first on, with a space between them: "kvm* gfn_t";
 * qualifiers left out, spaces within one as _; there may be more. NULL: whatever they are. */
enum btf_match kernel_btf_function(const struct kernel_btf *k, const char *name, const char *types);
enum btf_match kernel_btf_tracepoint(const struct kernel_btf *k, const char *name,
				     const char *types);

/* The value of an enumerator, wherever it is declared. */
bool kernel_btf_enumerator(const struct kernel_btf *k, const char *name, u32 *value);

/* The number of a structure or function in the BTF of the kernel proper, 0 when it has none. */
u32 kernel_btf_struct_id(const struct kernel_btf *k, const char *name);
u32 kernel_btf_function_id(const struct kernel_btf *k, const char *name);

/*
 * A BTF of nothing but what CO-RE asks for: all types of the kernel's, KVM's included, that have
 * the name of a type in `object`, an object file's BTF, and what they hold; pointers lead to void.
 * libbpf looks through the whole of a BTF for each type that an object refers to, and the kernel's
 * has more than 100,000. The caller frees *out (btf__free). 0 or -errno.
 */
int kernel_btf_subset(const struct kernel_btf *k, const struct btf *object, struct btf **out);

/* For tests: of a BTF, and one on top of it or NULL. It owns them; NULL on failure. */
struct kernel_btf *kernel_btf_of(struct btf *vmlinux, struct btf *module);

#endif
