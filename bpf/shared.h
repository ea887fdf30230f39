/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the BPF programs and the recorder share besides events: limits, losses, counters.
 */
#ifndef VMBLAME_BPF_SHARED_H
#define VMBLAME_BPF_SHARED_H

#include "../formats/event.h"

#define MAX_WATCH    64
#define MAX_RINGS    512	     /* a power of two; one ring a CPU */
#define MAX_LOSSES   (2 * MAX_RINGS) /* of tracepoints, then of uprobes; by CPU */
#define MAX_VMS	     8
#define MAX_SLOTS    64
#define MAX_REQUESTS 16
#define MAX_SG	     64 /* segments told of a request, each way; the rest are counted */

/* KVM's back end; the recorder finds out which. */
enum backend { BACKEND_UNKNOWN, BACKEND_SVM, BACKEND_VMX, BACKEND_PVM };

/* Structures of the kernel's that are read by plain loads where that works (KVM_READ): their
 * numbers in the BTF of the kernel proper, 0 where it lacks them. */
#define KERNEL_TYPES(X) \
	X(kvm_vcpu) X(x86_emulate_ctxt) X(vcpu_svm) X(vmcb) X(vcpu_vmx) X(vcpu_pvm) X(timespec64)

#define TYPE_ID(name) u32 name;
struct type_ids {
	KERNEL_TYPES(TYPE_ID)
};
#undef TYPE_ID

/*
 * The probes by number: PROBE_ID_<name>. A program counts what it is there for under the number of
 * its probe, whichever of a probe's ways it is.
 */
#define PROBES_MAX				      128
#define PROBE(name, how, target, serves, modes, what) PROBE_ID_##name,
enum probe_id {
#include "../user/probes.def"
	NPROBES
};
#undef PROBE

/* How often each probe fired: one entry a CPU. */
struct fired {
	u64 n[PROBES_MAX];
};

/* What of KVM's BTF the programs cannot find for themselves; see user/host_mmu.h. */
struct mmu_facts {
	u64 zero_pfn;  /* the host's page of zeroes, 0 when not known */
	u32 ret_fixed; /* RET_PF_FIXED and RET_PF_SPURIOUS, ~0 when not known */
	u32 ret_spurious;
	u32 tdp_mmu; /* the TDP MMU is in use */
};

struct gpa_range {
	u64 gpa, end; /* half-open */
};

/*
 * Accesses of vCPUs come by the thousand and are all of one size, so they have a ring of their own:
 * an array of places per CPU, mapped into the recorder, which costs a vCPU less than half of what a
 * BPF ring buffer does. A place is taken by adding to `head`, and filled when its `commit` is its
 * number plus one; the recorder adds to `tail`.
 */
struct place {
	u64 commit;
	union {
		struct event h;
		struct event_mmio mmio;
		struct event_pio pio;
	};
};

#define PLACES_SPARE                                                                \
	16 /* so that programs that interrupt each other cannot overtake the reader \
	    */

struct ring_pos {
	u64 head; /* the programs' */
	u64 pad0[7];
	u64 tail; /* the recorder's */
	u64 pad1[7];
};

/* What did not fit into one ring since it was last told. */
struct ring_loss {
	u64 count;
	u64 t0_ns, t1_ns;
	u64 gpa, gpa_end;
	u64 origins; /* bits 1 << enum origin */
};

/* Where guest RAM lies in the VMM, address space 0; slot number is the index. */
struct ram_slot {
	u64 gpa, size, hva;
	u64 flags; /* KVM_MEM_* */
};

/* Where QEMU's address spaces lie in its process; 0 when not known. */
struct vmm_spaces {
	u64 memory, ports; /* address_space_memory, address_space_io */
};

/* Each is a reason why something is missing or was left out. */
#define COUNTERS(X)                                                                         \
	X(no_thread, "events without room for the thread's state")                          \
	X(bad_read, "reads of kernel or guest memory that failed")                          \
	X(retried, "stores that a fault made the guest repeat: asked for twice, done once") \
	X(superseded, "stores that KVM dropped and the agent did")                          \
	X(unasked, "stores to a watched page, outside the bytes asked for")                 \
	X(too_many_requests, "stores of one instruction beyond those held")                 \
	X(sg_left_out, "segments of a request beyond those told of")                        \
	X(unknown_queue, "requests of a queue that was made before the recording")          \
	X(mmio_faults, "page faults that were MMIO: told as such")                          \
	X(no_slot, "mappings whose memory slot was not found: not judged")                  \
	X(unattributed, "changes of mappings by tasks outside the VMM: whose is not known")

#define COUNTER_FIELD(name, text) u64 name;
struct counters {
	COUNTERS(COUNTER_FIELD)
};
#undef COUNTER_FIELD

#endif
