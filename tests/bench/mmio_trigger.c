// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mmio_trigger [-c CPU] [-p PAUSE_MS] STORES: a VMM of a few lines whose guest does nothing but
 * MMIO stores into a coalesced zone, so that the tracepoint kvm_mmio fires at the highest rate that
 * this host's KVM has and what a tracer adds to each shows. It stores in batches, and sleeps before
 * each so that no tracer's buffer need overflow.
 *
 * Prints three numbers: nanoseconds of this thread's CPU time a store, as the median of the batches
 * (others who use the machine disturb some) and on the whole, and how many stores were made, those
 * before the clock was started included: what a tracer must have seen.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define CODE_GPA    0x1000
#define ZONE_GPA    0xb0000
#define ZONE_BYTES  0x8000
#define WARM_UP	    20000
#define BATCH	    5000
#define BATCHES_MAX 4096

struct vm {
	int vcpu_fd;
	struct kvm_run *run;
	struct kvm_coalesced_mmio_ring *ring;
	uint32_t room; /* entries of the ring */
};

static int fail(const char *what)
{
	fprintf(stderr, "mmio_trigger: %s: %s\n", what, strerror(errno));
	return -1;
}

static double cpu_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static int vm_make(struct vm *vm)
{
	/* mov ax,0xb000; mov es,ax; again: mov cx,0x4000; xor di,di; rep stosw; jmp again */
	static const uint8_t code[] = {0xb8, 0x00, 0xb0, 0x8e, 0xc0, 0xb9, 0x00,
				       0x40, 0x31, 0xff, 0xf3, 0xab, 0xeb, 0xf7};
	const struct kvm_coalesced_mmio_zone zone = {.addr = ZONE_GPA, .size = ZONE_BYTES};
	const struct kvm_regs regs = {.rip = CODE_GPA, .rflags = 2};
	struct kvm_userspace_memory_region slot = {.memory_size = 0x10000};
	struct kvm_sregs sregs;
	const long page = sysconf(_SC_PAGESIZE);
	const int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm < 0)
		return fail("/dev/kvm");
	const int fd = ioctl(kvm, KVM_CREATE_VM, 0);
	const int ring_page = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);
	const int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	uint8_t *const ram = mmap(NULL, slot.memory_size, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (fd < 0 || size <= 0 || ram == MAP_FAILED)
		return fail("KVM_CREATE_VM");
	if (ring_page <= 0) {
		errno = ENOTSUP;
		return fail("coalesced MMIO");
	}
	ioctl(fd, KVM_SET_TSS_ADDR, 0xfffbd000ul);
	memcpy(ram + CODE_GPA, code, sizeof(code));
	slot.userspace_addr = (uintptr_t)ram;
	if (ioctl(fd, KVM_SET_USER_MEMORY_REGION, &slot) ||
	    ioctl(fd, KVM_REGISTER_COALESCED_MMIO, &zone))
		return fail("memory");
	vm->vcpu_fd = ioctl(fd, KVM_CREATE_VCPU, 0);
	if (vm->vcpu_fd < 0 || ioctl(vm->vcpu_fd, KVM_GET_SREGS, &sregs))
		return fail("KVM_CREATE_VCPU");
	vm->run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu_fd, 0);
	if (vm->run == MAP_FAILED)
		return fail("struct kvm_run");
	vm->ring = (void *)((uint8_t *)vm->run + ring_page * page);
	vm->room = (uint32_t)(((size_t)page - sizeof(*vm->ring)) /
			      sizeof(vm->ring->coalesced_mmio[0]));
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	if (ioctl(vm->vcpu_fd, KVM_SET_SREGS, &sregs) || ioctl(vm->vcpu_fd, KVM_SET_REGS, &regs))
		return fail("registers");
	return 0;
}

/* Runs the guest until at least `want` more stores are made: a ring full of them and one that
 * exits, again and again. Returns how many, or -1. */
static long vm_stores(struct vm *vm, long want)
{
	long n = 0;

	while (n < want) {
		if (ioctl(vm->vcpu_fd, KVM_RUN, 0))
			return fail("KVM_RUN");
		if (vm->run->exit_reason != KVM_EXIT_MMIO) {
			fprintf(stderr, "mmio_trigger: exit reason %u\n", vm->run->exit_reason);
			return -1;
		}
		n += 1 + (vm->ring->last + vm->room - vm->ring->first) % vm->room;
		vm->ring->first = vm->ring->last;
	}
	return n;
}

static int compare_doubles(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	static double batch_ns[BATCHES_MAX];
	struct vm vm = {0};
	struct timespec pause = {0};
	size_t nbatches = 0;
	cpu_set_t cpus;
	int opt;

	while ((opt = getopt(argc, argv, "c:p:")) == 'c' || opt == 'p') {
		if (opt == 'p') {
			pause.tv_nsec = strtol(optarg, NULL, 0) % 1000 * 1000000;
			continue;
		}
		CPU_ZERO(&cpus);
		CPU_SET(strtoul(optarg, NULL, 0) % CPU_SETSIZE, &cpus);
		if (sched_setaffinity(0, sizeof(cpus), &cpus))
			return fail("sched_setaffinity") != 0;
	}
	const long want = optind < argc ? strtol(argv[optind], NULL, 0) : 0;

	if (opt != -1 || want <= 0) {
		fprintf(stderr, "usage: mmio_trigger [-c CPU] [-p PAUSE_MS] STORES\n");
		return 2;
	}
	if (vm_make(&vm))
		return 1;
	long made = vm_stores(&vm, WARM_UP);

	if (made < 0)
		return 1;
	const long from = made;
	double all_ns = 0;

	while (made - from < want) {
		nanosleep(&pause, NULL);
		const double before_ns = cpu_now_ns();
		const long n = vm_stores(&vm, BATCH);
		const double ns = cpu_now_ns() - before_ns;

		if (n < 0)
			return 1;
		made += n;
		all_ns += ns;
		if (nbatches < BATCHES_MAX)
			batch_ns[nbatches++] = ns / (double)n;
	}
	qsort(batch_ns, nbatches, sizeof(batch_ns[0]), compare_doubles);
	printf("%.1f %.1f %ld\n", batch_ns[nbatches / 2], all_ns / (double)(made - from), made);
	return 0;
}
