// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mmio_trigger N: a VMM of a few lines whose guest does nothing but MMIO stores into a coalesced zone,
 * so that the tracepoint kvm_mmio fires at the highest rate that this host's KVM has and what a
 * tracer adds to each shows. Prints nanoseconds of this thread's CPU time a store.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define CODE_GPA   0x1000
#define ZONE_GPA   0xb0000
#define ZONE_BYTES 0x8000
#define WARM_UP	   20000

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static double cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * 1e9 + ts.tv_nsec;
}

int main(int argc, char **argv)
{
	/* mov ax,0xb000; mov es,ax; again: mov cx,0x4000; xor di,di; rep stosw; jmp again */
	static const uint8_t code[] = {0xb8, 0x00, 0xb0, 0x8e, 0xc0, 0xb9, 0x00,
				       0x40, 0x31, 0xff, 0xf3, 0xab, 0xeb, 0xf7};
	const long want = argc > 1 ? atol(argv[1]) : 1000000;
	struct kvm_coalesced_mmio_zone zone = {.addr = ZONE_GPA, .size = ZONE_BYTES};
	struct kvm_userspace_memory_region slot = {.memory_size = 0x10000};
	struct kvm_regs regs = {.rip = CODE_GPA, .rflags = 2};
	struct kvm_coalesced_mmio_ring *ring;
	struct kvm_sregs sregs;
	struct kvm_run *run;
	uint8_t *ram;
	double start = 0;
	long n = 0, from = 0;
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm, vcpu, page, size;

	if (kvm < 0)
		return fail("/dev/kvm");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	page = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	ram = mmap(NULL, slot.memory_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (vm < 0 || page <= 0 || size <= 0 || ram == MAP_FAILED)
		return fail("KVM_CREATE_VM");
	ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000ul);
	memcpy(ram + CODE_GPA, code, sizeof(code));
	slot.userspace_addr = (uintptr_t)ram;
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) ||
	    ioctl(vm, KVM_REGISTER_COALESCED_MMIO, &zone))
		return fail("memory");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (vcpu < 0 || run == MAP_FAILED || ioctl(vcpu, KVM_GET_SREGS, &sregs))
		return fail("KVM_CREATE_VCPU");
	ring = (void *)((uint8_t *)run + page * sysconf(_SC_PAGESIZE));
	sregs.cs.base = sregs.cs.selector = 0;
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) || ioctl(vcpu, KVM_SET_REGS, &regs))
		return fail("registers");
	while (n - from < want) {
		uint32_t room = (sysconf(_SC_PAGESIZE) - sizeof(*ring)) / sizeof(ring->coalesced_mmio[0]);

		if (ioctl(vcpu, KVM_RUN, 0))
			return fail("KVM_RUN");
		if (run->exit_reason != KVM_EXIT_MMIO) {
			fprintf(stderr, "exit reason %u\n", run->exit_reason);
			return 1;
		}
		n += 1 + (ring->last + room - ring->first) % room;
		ring->first = ring->last;
		if (!from && n > WARM_UP) {
			from = n;
			start = cpu_ns();
		}
	}
	printf("%.1f\n", (cpu_ns() - start) / (n - from));
	return 0;
}
