/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System calls as the agent makes them: straight to the kernel, so that its own calls do not come
 * back to it, with 0 or more for success and -errno otherwise, and errno left as it was.
 */
#ifndef VMBLAME_AGENT_SYS_H
#define VMBLAME_AGENT_SYS_H

#include "../formats/event.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/kvm.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Newer than some kernel headers (Linux 6.8, Documentation/virt/kvm/api.rst 4.140). */
#ifndef KVM_SET_USER_MEMORY_REGION2
struct kvm_userspace_memory_region2 {
	__u32 slot;
	__u32 flags;
	__u64 guest_phys_addr;
	__u64 memory_size;
	__u64 userspace_addr;
	__u64 guest_memfd_offset;
	__u32 guest_memfd;
	__u32 pad1;
	__u64 pad2[14];
};
#define KVM_SET_USER_MEMORY_REGION2 _IOW(KVMIO, 0x49, struct kvm_userspace_memory_region2)
#define KVM_MEM_GUEST_MEMFD	    (1UL << 2)
#endif

static inline int kvm_call(int fd, unsigned int req, void *arg)
{
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"((long)SYS_ioctl), "D"((long)fd), "S"((long)req), "d"(arg)
			 : "rcx", "r11", "memory");
	return (int)ret;
}

static inline u64 sys_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000000000 + (u64)ts.tv_nsec;
}

/* Waits while *word is val, for timeout_ns at most; may return early. 0 or -errno. */
static inline int sys_futex_wait(u32 *word, u32 val, u64 timeout_ns)
{
	struct timespec ts = {(time_t)(timeout_ns / 1000000000), (long)(timeout_ns % 1000000000)};
	int saved = errno;
	int err = syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, val, &ts, NULL, 0) ? -errno : 0;

	errno = saved;
	return err;
}

static inline void sys_futex_wake(u32 *word)
{
	int saved = errno;

	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 0x7fffffff, NULL, NULL, 0);
	errno = saved;
}

#endif
