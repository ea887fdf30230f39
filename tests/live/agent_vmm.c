// SPDX-License-Identifier: GPL-2.0-or-later
/* Live: a VMM of our own under the agent, for what QEMU does not let one see exactly: dirty logs
 * page by page, MSRs that name pages, instructions that KVM cannot emulate, stores that KVM
 * dropped. */
#include "agent_harness.h"

#include <linux/kvm.h>
#include <pthread.h>
#include <sys/ioctl.h>

#define RAM_PAGES 150
#define RAM_BYTES (RAM_PAGES * 4096u)
#define CODE	  0x1000u

static const struct agent_range watched[] = {{0x20000, 0x30000}, {0x41000, 0x42000}};

/* --- the VMM, in a process of its own: says "ok" or what is wrong --- */

struct vmm {
	int kvm, vm, vcpu;
	u8 *ram;
	struct kvm_run *run;
	u32 mmio_writes;
};

__attribute__((format(printf, 1, 2), noreturn)) static void vmm_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf(" (%s)\n", strerror(errno));
	fflush(stdout);
	exit(1);
}

#define MUST(cond)                                               \
	do {                                                     \
		if (!(cond))                                     \
			vmm_die("line %d: %s", __LINE__, #cond); \
	} while (0)

static void vmm_map(struct vmm *v, u32 flags)
{
	struct kvm_userspace_memory_region r = {
		.flags = flags, .memory_size = RAM_BYTES, .userspace_addr = (u64)v->ram};

	MUST(ioctl(v->vm, KVM_SET_USER_MEMORY_REGION, &r) == 0);
}

static void vmm_open(struct vmm *v, u32 flags, u64 manual_protect)
{
	static union {
		struct kvm_cpuid2 cpuid;
		u8 room[sizeof(struct kvm_cpuid2) + 256 * sizeof(struct kvm_cpuid_entry2)];
	} set = {.cpuid = {.nent = 256}};
	struct kvm_enable_cap cap = {.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
				     .args = {manual_protect}};
	int size;

	v->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	v->vm = ioctl(v->kvm, KVM_CREATE_VM, 0);
	MUST(v->vm >= 0);
	MUST(ioctl(v->vm, KVM_SET_TSS_ADDR, 0xfffbd000ul) == 0);
	if (manual_protect)
		MUST(ioctl(v->vm, KVM_ENABLE_CAP, &cap) == 0);
	v->ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	MUST(v->ram != MAP_FAILED);
	vmm_map(v, flags);
	v->vcpu = ioctl(v->vm, KVM_CREATE_VCPU, 0);
	MUST(v->vcpu >= 0);
	size = ioctl(v->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	v->run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, v->vcpu, 0);
	MUST(v->run != MAP_FAILED);
	MUST(ioctl(v->kvm, KVM_GET_SUPPORTED_CPUID, &set) == 0);
	MUST(ioctl(v->vcpu, KVM_SET_CPUID2, &set) == 0);
}

/* Runs real-mode code up to its HLT, playing QEMU's part in each store. The last exit's reason. */
static u32 vmm_run(struct vmm *v, const void *code, size_t len)
{
	struct kvm_regs regs = {.rip = CODE, .rflags = 2, .rsp = 0x8000};
	struct kvm_sregs sregs;

	memcpy(v->ram + CODE, code, len);
	MUST(ioctl(v->vcpu, KVM_GET_SREGS, &sregs) == 0);
	sregs.cs.base = sregs.cs.selector = 0;
	MUST(ioctl(v->vcpu, KVM_SET_SREGS, &sregs) == 0);
	MUST(ioctl(v->vcpu, KVM_SET_REGS, &regs) == 0);
	for (;;) {
		int ret = ioctl(v->vcpu, KVM_RUN, 0);

		if (ret < 0 && errno == EINTR) {
			/* We have no use for it, so we would never clear it. */
			MUST(!v->run->immediate_exit);
			continue;
		}
		MUST(ret == 0);
		if (v->run->exit_reason != KVM_EXIT_MMIO)
			return v->run->exit_reason;
		MUST(v->run->mmio.is_write);
		MUST(v->run->mmio.phys_addr + v->run->mmio.len <= RAM_BYTES);
		memcpy(v->ram + v->run->mmio.phys_addr, v->run->mmio.data, v->run->mmio.len);
		v->mmio_writes++;
	}
}

static bool page_watched(u64 page)
{
	for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++)
		if (page >= watched[i].gpa >> 12 && page < watched[i].end >> 12)
			return true;
	return false;
}

/* Stores to every third page from 16 to 139. */
static const u8 code_stores[] = {
	0xb8, 0x00, 0x10,		    /*	  mov $0x1000, %ax */
	0x8e, 0xc0,			    /* 1: mov %ax, %es */
	0x26, 0xc6, 0x06, 0x10, 0x00, 0x77, /*	  movb $0x77, %es:0x10 */
	0x05, 0x00, 0x03,		    /*	  add $0x300, %ax */
	0x3d, 0x00, 0x8c,		    /*	  cmp $0x8c00, %ax */
	0x72, 0xf0,			    /*	  jb 1b */
	0xf4,				    /*	  hlt */
};

static bool page_stored(u64 page)
{
	return page >= 16 && page < 0x8c && (page - 16) % 3 == 0;
}

static void expect_log(struct vmm *v, u64 clear_from, u64 clear_to, bool none)
{
	u64 bitmap[(RAM_PAGES + 63) / 64 + 1];
	struct kvm_dirty_log log = {.dirty_bitmap = bitmap};

	memset(bitmap, 0x5a, sizeof(bitmap));
	MUST(ioctl(v->vm, KVM_GET_DIRTY_LOG, &log) == 0);
	for (u64 p = 0; p < RAM_PAGES; p++) {
		bool want = page_stored(p) && !page_watched(p) && !none &&
			    !(p >= clear_from && p < clear_to);

		/* A dirty mark is no store: KVM marks what it maps writable for a fetch, too. */
		if (p == CODE >> 12 && !none)
			continue;
		if ((bitmap[p / 64] >> p % 64 & 1) != want)
			vmm_die("page %d: dirty should be %d", (int)p, want);
	}
	MUST(bitmap[(RAM_PAGES + 63) / 64] == 0x5a5a5a5a5a5a5a5a);
}

static void vmm_stores(struct vmm *v)
{
	u32 stores = 0;

	MUST(vmm_run(v, code_stores, sizeof(code_stores)) == KVM_EXIT_HLT);
	for (u64 p = 0; p < RAM_PAGES; p++) {
		MUST(v->ram[p * 4096 + 0x10] == (page_stored(p) ? 0x77 : 0) || p == CODE >> 12);
		stores += page_stored(p) && page_watched(p);
	}
	MUST(v->mmio_writes == stores);
}

static void vmm_dirty(struct vmm *v)
{
	vmm_open(v, KVM_MEM_LOG_DIRTY_PAGES, 0);
	vmm_stores(v);
	expect_log(v, 0, 0, false);
	expect_log(v, 0, 0, true);
	vmm_map(v, 0);
	vmm_map(v, KVM_MEM_LOG_DIRTY_PAGES);
	v->mmio_writes = 0;
	vmm_stores(v);
	expect_log(v, 0, 0, false);
}

static void vmm_clear(struct vmm *v)
{
	u64 all[4] = {~0ull, ~0ull, ~0ull, ~0ull};
	struct kvm_clear_dirty_log clear = {.first_page = 64, .num_pages = 64, .dirty_bitmap = all};

	vmm_open(v, KVM_MEM_LOG_DIRTY_PAGES, KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);
	vmm_stores(v);
	expect_log(v, 0, 0, false);
	MUST(ioctl(v->vm, KVM_CLEAR_DIRTY_LOG, &clear) == 0);
	expect_log(v, 64, 128, false);
	clear.first_page = 0;
	clear.num_pages = RAM_PAGES;
	MUST(ioctl(v->vm, KVM_CLEAR_DIRTY_LOG, &clear) == 0);
	expect_log(v, 0, 0, true);
	clear.first_page = 3;
	MUST(ioctl(v->vm, KVM_CLEAR_DIRTY_LOG, &clear) == -1 && errno == EINVAL);
}

/* A VM that was made only to look at it, then the real one. */
static void vmm_probe(struct vmm *v)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm = ioctl(kvm, KVM_CREATE_VM, 0);

	MUST(vm >= 0);
	MUST(ioctl(vm, KVM_CREATE_VCPU, 0) >= 0);
	/* Its vCPU's descriptor holds it open; this is the number that comes again. */
	close(vm);
	vmm_open(v, 0, 0);
	vmm_stores(v);
}

static void vmm_caps(struct vmm *v)
{
	vmm_open(v, 0, 0);
	MUST(ioctl(v->kvm, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS) ==
	     syscall(16, v->kvm, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS) - 512);
	MUST(ioctl(v->vm, KVM_CHECK_EXTENSION, KVM_CAP_DIRTY_LOG_RING) == 0);
	MUST(ioctl(v->vm, KVM_CHECK_EXTENSION, KVM_CAP_DIRTY_LOG_RING_ACQ_REL) == 0);
	MUST(ioctl(v->vm, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY) > 0);
	MUST(ioctl(v->vm, KVM_CREATE_VCPU, 1) >= 0);
	vmm_stores(v);
}

struct pvclock {
	u32 version, pad0;
	u64 tsc_timestamp, system_time;
	u32 tsc_to_system_mul;
	signed char tsc_shift;
	u8 flags, pad[2];
};

/* Names a page to KVM for the clock, by the guest's own WRMSR, and sees it filled in. */
static void vmm_clock_at(struct vmm *v, u32 gpa)
{
	u8 code[] = {
		0x66, 0xb9, 0x01, 0x4d, 0x56, 0x4b, /* mov $0x4b564d01, %ecx */
		0x66, 0xb8, 0,	  0,	0,    0,    /* mov $gpa|1, %eax */
		0x66, 0x31, 0xd2,		    /* xor %edx, %edx */
		0x0f, 0x30,			    /* wrmsr */
		0xf4,				    /* hlt */
	};
	static const u8 nothing[] = {0xf4};
	union {
		struct kvm_msrs msrs;
		u8 room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} get = {.msrs = {.nmsrs = 1}};
	struct pvclock clock;
	u32 data = gpa | 1;

	memcpy(code + 8, &data, 4);
	MUST(vmm_run(v, code, sizeof(code)) == KVM_EXIT_HLT);
	MUST(vmm_run(v, nothing, sizeof(nothing)) == KVM_EXIT_HLT);
	get.msrs.entries[0].index = 0x4b564d01;
	MUST(ioctl(v->vcpu, KVM_GET_MSRS, &get) == 1 && get.msrs.entries[0].data == data);
	memcpy(&clock, v->ram + gpa, sizeof(clock));
	MUST(clock.version && clock.version % 2 == 0 && clock.tsc_to_system_mul);
}

static void vmm_clock(struct vmm *v)
{
	vmm_open(v, 0, 0);
	vmm_clock_at(v, 0x60000);
	vmm_clock_at(v, 0x21040);
	vmm_clock_at(v, 0x41fe0);
}

/* The VMM's filter of its own goes on working. */
static void vmm_filter(struct vmm *v)
{
	static u8 none[8];
	static const u8 code[] = {
		0x66, 0xb9, 0x35, 0, 0, 0, /* mov $0x35, %ecx */
		0x0f, 0x32,		   /* rdmsr */
		0xa3, 0x00, 0x20,	   /* mov %ax, 0x2000 */
		0xf4,			   /* hlt */
	};
	struct kvm_enable_cap cap = {.cap = KVM_CAP_X86_USER_SPACE_MSR,
				     .args = {KVM_MSR_EXIT_REASON_FILTER}};
	struct kvm_msr_filter filter = {.ranges = {{KVM_MSR_FILTER_READ, 1, 0x35, none}}};

	vmm_open(v, 0, 0);
	MUST(ioctl(v->vm, KVM_ENABLE_CAP, &cap) == 0);
	MUST(ioctl(v->vm, KVM_X86_SET_MSR_FILTER, &filter) == 0);
	memset(&filter, 0x5a, sizeof(filter)); /* nobody keeps a pointer */
	MUST(vmm_run(v, code, sizeof(code)) == KVM_EXIT_X86_RDMSR);
	MUST(v->run->msr.index == 0x35);
	v->run->msr.data = 0x1234;
	v->run->msr.error = 0;
	MUST(ioctl(v->vcpu, KVM_RUN, 0) == 0 && v->run->exit_reason == KVM_EXIT_HLT);
	MUST(v->ram[0x2000] == 0x34 && v->ram[0x2001] == 0x12);
	vmm_clock_at(v, 0x22000);
}

/* A store that KVM's emulator does not know. With real hardware it is done, with the page open for
 * that long; where all instructions are emulated it stays the error that it is without us. The
 * watch goes on. */
static void vmm_unemulated(struct vmm *v)
{
	static const u8 code[] = {
		0xb8, 0x00, 0x20,	      /* mov $0x2000, %ax */
		0x8e, 0xc0,		      /* mov %ax, %es */
		0x26, 0xdf, 0x36, 0x00, 0x00, /* fbstp %es:0 */
		0xf4,			      /* hlt */
	};
	u32 reason;

	vmm_open(v, 0, 0);
	reason = vmm_run(v, code, sizeof(code));
	MUST(reason == KVM_EXIT_HLT || (reason == KVM_EXIT_INTERNAL_ERROR &&
					v->run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION));
	printf("%s\n", reason == KVM_EXIT_HLT ? "done" : "failed");
	fflush(stdout);
	v->mmio_writes = 0;
	MUST(vmm_run(v, code_stores, sizeof(code_stores)) == KVM_EXIT_HLT);
	MUST(v->mmio_writes > 0);
}

/* The recorder left stores to be done: see the case below. */
static void vmm_dropped(struct vmm *v)
{
	static const u8 nothing[] = {0xf4};
	char go;

	vmm_open(v, 0, 0);
	MUST(vmm_run(v, nothing, sizeof(nothing)) == KVM_EXIT_HLT);
	printf("ready\n");
	fflush(stdout);
	MUST(read(0, &go, 1) == 1);
	MUST(vmm_run(v, nothing, sizeof(nothing)) == KVM_EXIT_HLT);
	MUST(!memcmp(v->ram + 0x2fffc, "\1\2\5\6", 4));
	MUST(v->ram[0x30000] == 0 && v->ram[0x1fff0] == 0);
}

static void *spin_end(void *ram)
{
	char go;

	if (read(0, &go, 1) == 1)
		__atomic_store_n((u8 *)ram + 0x2000, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* A guest that never leaves KVM_RUN by itself, in a VMM that has no use for SIGUSR1. */
static void vmm_spin(struct vmm *v)
{
	static const u8 code[] = {
		0x80, 0x3e, 0x00, 0x20, 0x00, /* 1: cmpb $0, 0x2000 */
		0x74, 0xf9,		      /*    je 1b */
		0xf4,			      /*    hlt */
	};
	pthread_t thread;

	vmm_open(v, 0, 0);
	MUST(pthread_create(&thread, NULL, spin_end, v->ram) == 0);
	MUST(vmm_run(v, code, sizeof(code)) == KVM_EXIT_HLT);
	MUST(pthread_join(thread, NULL) == 0);
	MUST(vmm_run(v, code_stores, sizeof(code_stores)) == KVM_EXIT_HLT);
	MUST(v->mmio_writes == 0);
}

static const struct {
	const char *name;
	void (*run)(struct vmm *v);
} parts[] = {
	{"dirty-log", vmm_dirty},	{"clear-dirty-log", vmm_clear}, {"probe-vm", vmm_probe},
	{"capabilities", vmm_caps},	{"kvmclock", vmm_clock},	{"msr-filter", vmm_filter},
	{"unemulated", vmm_unemulated}, {"dropped", vmm_dropped},	{"spin", vmm_spin},
};

static int vmm_main(const char *name)
{
	static struct vmm v;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (!strcmp(parts[i].name, name)) {
			parts[i].run(&v);
			printf("ok\n");
			return 0;
		}
	}
	return 2;
}

/* --- the recorder --- */

static struct harness *part_start(const char *name, int dropped_fd)
{
	struct harness *h = harness_new(name);
	char *argv[] = {"/proc/self/exe", "vmm", (char *)name, NULL};

	h->dropped_fd = dropped_fd;
	harness_spawn(h, AGENT_ARM, watched, 2, argv);
	return h;
}

static void part_end(struct harness *h)
{
	harness_expect_exit(h, 0);
	EXPECT(h, harness_heard(h, AGENT_ENDING, 0));
	EXPECT(h, link_shared(h->link)->unsent == 0);
	harness_done(h);
}

static void part_plain(const char *name)
{
	struct harness *h = part_start(name, -1);

	part_end(h);
}

static void capabilities(void)
{
	struct harness *h = part_start("capabilities", -1);
	const struct agent_msg *m;
	u32 ring = 0, turns = 0;

	WAIT_FOR(h, harness_heard(h, AGENT_ENDING, 0));
	for (u32 i = 0; (m = harness_heard(h, AGENT_CHANGE, i)); i++) {
		ring += m->num[0] == CHANGE_WHAT_RING_OFF;
		turns += m->num[0] == CHANGE_WHAT_VCPUS_SERIALISED;
	}
	EXPECT(h, ring == 1 && turns == 1);
	EXPECT(h, harness_count(h, AGENT_REFUSED) == 0);
	part_end(h);
}

static void clock_pages(const char *name, u32 opened)
{
	struct harness *h = part_start(name, -1);

	WAIT_FOR(h, harness_heard(h, AGENT_ENDING, 0));
	EXPECT(h, harness_opened(h, WHY_KVM_WRITES) == opened);
	EXPECT(h, !harness_heard(h, AGENT_LACKS, 0));
	part_end(h);
}

static void unemulated(void)
{
	struct harness *h = part_start("unemulated", -1);

	const struct agent_msg *m;
	u64 stepped = 0;

	WAIT_FOR(h, harness_heard(h, AGENT_ENDING, 0));
	for (u32 i = 0; (m = harness_heard(h, AGENT_CHANGE, i)); i++)
		stepped += m->num[0] == CHANGE_WHAT_STEPPED ? m->num[3] : 0;
	EXPECT(h, stepped == (strstr(h->out, "done") ? 1 : 0));
	EXPECT(h, !harness_opened(h, WHY_EMULATION) && !link_shared(h->link)->disarm_why);
	part_end(h);
}

static void dropped(void)
{
	struct agent_dropped *d;
	int fd = memfd_create("dropped", MFD_CLOEXEC);
	struct harness *h;

	if (ftruncate(fd, AGENT_VCPUS * sizeof(*d)))
		abort();
	d = mmap(NULL, AGENT_VCPUS * sizeof(*d), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	h = part_start("dropped", fd);
	WAIT_FOR(h, strstr(h->out, "ready"));
	/* In order, the later over the earlier; out of the range or across its end: not done. */
	d->store[0].gpa = 0x2fffc;
	d->store[0].len = 4;
	memcpy(d->store[0].bytes, "\1\2\3\4", 4);
	d->store[1].gpa = 0x2fffe;
	d->store[1].len = 2;
	memcpy(d->store[1].bytes, "\5\6", 2);
	d->store[2].gpa = 0x2ffff;
	d->store[2].len = 2;
	memset(d->store[2].bytes, 0x99, 2);
	d->store[3].gpa = 0x1fff0;
	d->store[3].len = 1;
	d->store[3].bytes[0] = 0x99;
	d->store[4].gpa = 0x20000;
	d->store[4].len = 17;
	__atomic_store_n(&d->n, 5, __ATOMIC_RELEASE);
	harness_guest_end(h);
	WAIT_FOR(h, harness_heard(h, AGENT_ENDING, 0));
	EXPECT(h, d->n == 0);
	EXPECT(h, link_shared(h->link)->replayed == 2);
	EXPECT(h, link_shared(h->link)->unreplayed == 3);
	part_end(h);
	munmap(d, AGENT_VCPUS * sizeof(*d));
	close(fd);
}

static void spin(void)
{
	struct harness *h = part_start("spin", -1);

	WAIT_FOR(h, harness_heard(h, AGENT_VCPU, 0));
	for (u32 i = 0; i < 8; i++) {
		link_send(h->link, AGENT_OPEN, 0x21000 + i * 0x2000, 0x1000, WHY_PAGE_TABLE);
		WAIT_FOR(h, harness_count(h, AGENT_OK) == i + 1);
	}
	link_send(h->link, AGENT_ARM_NOW, 0, 0, WHY_NONE);
	WAIT_FOR(h, harness_count(h, AGENT_OK) == 9);
	EXPECT(h, harness_opened(h, WHY_PAGE_TABLE) == 8);
	link_send(h->link, AGENT_DISARM, 0, 0, WHY_ENDED);
	WAIT_FOR(h, harness_count(h, AGENT_OK) == 10);
	EXPECT(h, harness_opened(h, WHY_ENDED) == 9);
	harness_guest_end(h);
	part_end(h);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "vmm"))
		return vmm_main(argv[2]);
	harness_require_kvm();
	part_plain("dirty-log");
	part_plain("clear-dirty-log");
	part_plain("probe-vm");
	capabilities();
	clock_pages("kvmclock", 2);
	clock_pages("msr-filter", 1);
	unemulated();
	dropped();
	spin();
	return harness_failures != 0;
}
