/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the plugin uses of QEMU: the plugin API (include/qemu/qemu-plugin.h) and functions that QEMU
 * exports to its modules, which are looked up at run time (ram.c).
 *
 * API versions: 1 from QEMU 4.2 on, 2 from 9.0, 3 from 9.1, 4 from 9.2. QEMU refuses a plugin whose
 * version is below QEMU_PLUGIN_MIN_VERSION (plugins/plugin.h): 0 up to 8.2, then 2.
 *
 * Types of our own stand for QEMU's opaque ones; names are QEMU's.
 */
#ifndef VMBLAME_PLUGIN_QEMU_H
#define VMBLAME_PLUGIN_QEMU_H

#include "formats/event.h"

#include <stdbool.h>

#define PLUGIN_EXPORT __attribute__((visibility("default")))
#define PLUGIN_WEAK   __attribute__((weak))

typedef u64 qemu_plugin_id_t;
typedef u32 qemu_plugin_meminfo_t;

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_hwaddr;

/* qemu_info_t; target_name has been its first member always. */
struct qemu_plugin_info {
	const char *target_name;
	struct {
		int min, cur;
	} version;
	bool system_emulation;
	int smp_vcpus, max_vcpus; /* only when system_emulation */
};

enum qemu_plugin_mem_rw { QEMU_PLUGIN_MEM_R = 1, QEMU_PLUGIN_MEM_W };
#define QEMU_PLUGIN_CB_NO_REGS 0

/* With qemu_plugin_mem_get_value(). A number of the guest's, in the host's byte order. */
struct qemu_plugin_mem_value {
	int type;
	union {
		u8 u8;
		u16 u16;
		u32 u32;
		u64 u64;
		struct {
			u64 low, high;
		} u128;
	} data;
};

typedef void qemu_plugin_simple_cb(qemu_plugin_id_t id);
typedef void qemu_plugin_udata_cb(qemu_plugin_id_t id, void *udata);
typedef void qemu_plugin_vcpu_simple_cb(qemu_plugin_id_t id, unsigned vcpu);
typedef void qemu_plugin_vcpu_mem_cb(unsigned vcpu, qemu_plugin_meminfo_t info, u64 vaddr,
				     void *udata);
typedef void qemu_plugin_tb_trans_cb(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, qemu_plugin_tb_trans_cb *cb);
void qemu_plugin_register_vcpu_idle_cb(qemu_plugin_id_t id, qemu_plugin_vcpu_simple_cb *cb);
void qemu_plugin_register_vcpu_resume_cb(qemu_plugin_id_t id, qemu_plugin_vcpu_simple_cb *cb);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, qemu_plugin_udata_cb *cb, void *udata);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, qemu_plugin_vcpu_mem_cb *cb,
				      int flags, int rw, void *udata);
void qemu_plugin_reset(qemu_plugin_id_t id, qemu_plugin_simple_cb *cb);

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t idx);
u64 qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);

unsigned qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t info);
bool qemu_plugin_mem_is_big_endian(qemu_plugin_meminfo_t info);
bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t info);
struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(qemu_plugin_meminfo_t info, u64 vaddr);
bool qemu_plugin_hwaddr_is_io(const struct qemu_plugin_hwaddr *haddr);
u64 qemu_plugin_hwaddr_phys_addr(const struct qemu_plugin_hwaddr *haddr);

/* qemu_plugin_insn_data(), looked up: gives a pointer up to API version 2, copies from 3 on. */
typedef const void *qemu_insn_data_v1(const struct qemu_plugin_insn *insn);
typedef size_t qemu_insn_data_v3(const struct qemu_plugin_insn *insn, void *dest, size_t len);

/* From QEMU 9.2 on, API version 4: what the access of the running callback stored or loaded. */
PLUGIN_WEAK struct qemu_plugin_mem_value qemu_plugin_mem_get_value(qemu_plugin_meminfo_t info);

/*
 * struct qemu_plugin_hwaddr, as include/qemu/plugin-memory.h has it. Which one it is, is found out
 * at run time (place.c).
 */
struct hwaddr_v6 { /* 6.0 to 7.2 */
	bool is_io, is_store;
	union {
		struct {
			const struct memory_section *section;
			u64 offset; /* in section->mr */
		} io;
		u64 host; /* RAM: the address in QEMU */
	};
};

struct hwaddr_v8 { /* from 8.0 on */
	bool is_io, is_store;
	u64 gpa;
	const void *mr; /* of a device */
};

_Static_assert(offsetof(struct hwaddr_v6, host) == offsetof(struct hwaddr_v8, gpa),
	       "store_callback() reads either");

/* MemoryRegionSection (include/exec/memory.h); later versions add members at the end. */
struct memory_section {
	__int128 size;
	void *mr, *fv;
	u64 offset_in_region;
	u64 gpa; /* offset_within_address_space */
	bool readonly, nonvolatile, unmergeable;
	u64 room[8];
};

#endif
