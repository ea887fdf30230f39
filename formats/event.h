/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Events: the structures that events.def describes.
 *
 * One structure serves as the record in a BPF ring and as the decoded record; the encoding in the
 * file follows from the field types. This header needs nothing of libc, so that the BPF programs
 * include it too (they have the integer types from vmlinux.h).
 *
 * In a ring t_ns is CLOCK_MONOTONIC; in a file it counts from the start of the recording
 * (the recorder subtracts). Byte arrays are in memory order. Addresses are bytes.
 */
#ifndef VMBLAME_EVENT_H
#define VMBLAME_EVENT_H

#ifndef __VMLINUX_H__
#include <stddef.h>
#include <stdint.h>
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int16_t s16;
typedef int64_t s64;
#endif

#include "events.def"

#define VCPU_NONE    0xffff
#define QUEUE_ALL    0xffff	 /* all queues of a device: which ones is not known */
#define BOOT_UNKNOWN 0xffffffffu /* resets are not observed */

/* Enumerations: enum origin { ORIGIN_VCPU = 1, ... }, and so on. */
#define STREAM_ITEM(num, name, text) STREAM_##name = (num),
enum stream { ENUM_STREAM(STREAM_ITEM) STREAM_MAX };
#undef STREAM_ITEM
#define ORIGIN_ITEM(num, name, text) ORIGIN_##name = (num),
enum origin { ENUM_ORIGIN(ORIGIN_ITEM) ORIGIN_MAX };
#undef ORIGIN_ITEM
#define WHY_ITEM(num, name, text) WHY_##name = (num),
enum why { ENUM_WHY(WHY_ITEM) WHY_MAX };
#undef WHY_ITEM
#define CPU_MODE_ITEM(num, name, text) CPU_MODE_##name = (num),
enum cpu_mode { ENUM_CPU_MODE(CPU_MODE_ITEM) };
#undef CPU_MODE_ITEM
#define MMIO_DONE_ITEM(num, name, text) MMIO_DONE_##name = (num),
enum mmio_done { ENUM_MMIO_DONE(MMIO_DONE_ITEM) };
#undef MMIO_DONE_ITEM
#define BACKEND_ITEM(num, name, text) QUEUE_BACKEND_##name = (num),
enum queue_backend { ENUM_BACKEND(BACKEND_ITEM) };
#undef BACKEND_ITEM
#define CONTENT_WHY_ITEM(num, name, text) CONTENT_WHY_##name = (num),
enum content_why { ENUM_CONTENT_WHY(CONTENT_WHY_ITEM) };
#undef CONTENT_WHY_ITEM
#define VERSION_HOW_ITEM(num, name, text) VERSION_HOW_##name = (num),
enum version_how { ENUM_VERSION_HOW(VERSION_HOW_ITEM) };
#undef VERSION_HOW_ITEM
#define VERSION_PAGE 4096u /* bytes from event_version.gpa on that it tells of */

/* Bits of event_page_fault.error: the processor's (Intel SDM 3A, 4.7), and KVM's PFERR_GUEST_PAGE
 * (arch/x86/include/asm/kvm_host.h). */
#define FAULT_STORE	 2u
#define FAULT_GUEST_WALK (1ull << 33) /* the walk of the guest's own page tables */
/* Of event_dirty.error. */
#define DIRTY_IN_FAULT		    (1ull << 63)
#define CRASH_ITEM(num, name, text) CRASH_##name = (num),
enum crash { ENUM_CRASH(CRASH_ITEM) };
#undef CRASH_ITEM
#define PROBE_HOW_ITEM(num, name, text) PROBE_HOW_##name = (num),
enum probe_how { ENUM_PROBE_HOW(PROBE_HOW_ITEM) };
#undef PROBE_HOW_ITEM
#define CHANGE_WHAT_ITEM(num, name, text) CHANGE_WHAT_##name = (num),
enum change_what { ENUM_CHANGE_WHAT(CHANGE_WHAT_ITEM) };
#undef CHANGE_WHAT_ITEM
#define RESET_CAUSE_ITEM(num, name, text) RESET_CAUSE_##name = (num),
enum reset_cause { ENUM_RESET_CAUSE(RESET_CAUSE_ITEM) };
#undef RESET_CAUSE_ITEM
#define VIRTIO_ID_ITEM(num, name, text) VIRTIO_ID_##name = (num),
enum virtio_id { ENUM_VIRTIO_ID(VIRTIO_ID_ITEM) };
#undef VIRTIO_ID_ITEM
#define FAST_RESULT_ITEM(num, name, text) FAST_RESULT_##name = (num),
enum fast_result { ENUM_FAST_RESULT(FAST_RESULT_ITEM) };
#undef FAST_RESULT_ITEM
#define MMU_ITEM(num, name, text) MMU_##name = (num),
enum mmu { ENUM_MMU(MMU_ITEM) };
#undef MMU_ITEM
#define ZAP_ITEM(num, name, text) ZAP_##name = (num),
enum zap { ENUM_ZAP(ZAP_ITEM) };
#undef ZAP_ITEM
#define DIRTY_VIA_ITEM(num, name, text) DIRTY_VIA_##name = (num),
enum dirty_via { ENUM_DIRTY_VIA(DIRTY_VIA_ITEM) };
#undef DIRTY_VIA_ITEM
#define WRITABLE_ITEM(num, name, text) WRITABLE_##name = (num),
enum writable { ENUM_WRITABLE(WRITABLE_ITEM) };
#undef WRITABLE_ITEM
#define VMM_SITE_ITEM(num, name, text) VMM_SITE_##name = (num),
enum vmm_site { ENUM_VMM_SITE(VMM_SITE_ITEM) VMM_SITE_MAX };
#undef VMM_SITE_ITEM
#define VMM_PHASE_ITEM(num, name, text) VMM_PHASE_##name = (num),
enum vmm_phase { ENUM_VMM_PHASE(VMM_PHASE_ITEM) };
#undef VMM_PHASE_ITEM
/* Of writes that come by the thousand, to the same page or nobody knows where, one is told of in
 * this time, on each thread. */
#define VMM_SLACK_NS 1000000ull
/* What is about to be written is so after this at the latest: a thread may have to wait for a
 * processor. */
#define VMM_LATE_NS 250000000ull

/* Numbers of the kinds: EVENT_mmio = 1, ... */
#define EVENT_NUMBER(num, name, stream, fields, doc) EVENT_##name = (num),
enum event_kind { EVENT_NONE, EVENTS(EVENT_NUMBER) EVENT_MAX };
#undef EVENT_NUMBER

#define EVENT_FIELD(type, name, codec, show, doc)	      type name;
#define EVENT_ARRAY(type, max, name, count, codec, show, doc) type name[max];

/* The part that every event starts with. */
struct event {
	EVENT_HEADER_FIELDS(EVENT_FIELD)
};

/* struct event_mmio { struct event h; u64 gpa; ... }, and so on. */
#define EVENT_STRUCT(num, name, stream, fields, doc) \
	struct event_##name {                        \
		struct event h;                      \
		fields(EVENT_FIELD, EVENT_ARRAY)     \
	};
EVENTS(EVENT_STRUCT)
#undef EVENT_STRUCT
#undef EVENT_FIELD
#undef EVENT_ARRAY

_Static_assert(sizeof(struct event) == 24, "the header is 24 bytes");

#endif
