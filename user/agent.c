// SPDX-License-Identifier: GPL-2.0-or-later
/* Interposes ioctl() in the VMM: asleep until the process makes a VM, then between it and KVM. */
#include "agent.h"

#include "agent_state.h"
#include "agent_sys.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

static struct agent agent = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.vm_fd = -1,
	.link = {.fd = -1, .shared = &agent.link.none},
};

/* The vCPU that this thread ran last. */
static __thread struct vcpu *my_vcpu __attribute__((tls_model("initial-exec")));

static int slot_install(void *ctx, u32 id, u32 flags, u64 gpa, u64 size, u64 hva)
{
	struct agent *a = ctx;
	struct kvm_userspace_memory_region r = {id, pages_flags(&a->pages, flags, size), gpa, size,
						hva};

	return kvm_call(a->vm_fd, KVM_SET_USER_MEMORY_REGION, &r);
}

static int vcpus_pause(void *ctx)
{
	return run_pause(&((struct agent *)ctx)->run);
}

static void vcpus_resume(void *ctx)
{
	run_resume(&((struct agent *)ctx)->run);
}

static void slot_report(void *ctx, enum agent_type type, u64 gpa, u64 size, u64 last)
{
	if (type == AGENT_CHANGE)
		agent_say(ctx, type, CHANGE_WHAT_SLOT_SPLIT, gpa, size, 1);
	else
		agent_say(ctx, type, gpa, size, last, 0);
}

static const struct slots_ops slots_kvm = {
	.set = slot_install,
	.pause = vcpus_pause,
	.resume = vcpus_resume,
	.report = slot_report,
};

/* --- the VM's ioctls; all with the lock held, all return the result or -errno --- */

/* slots_set() in pages mode: what was written to memory that goes is taken down before. */
static int logged_set(struct agent *a, struct slot *s, u32 id, u32 flags, u64 gpa, u64 size,
		      u64 hva)
{
	const bool leaves = s && (!size || gpa != s->gpa), stays = s && !leaves;
	const u32 before = stays ? s->flags : 0;
	const bool paused = leaves && a->pages.on && !run_pause(&a->run);
	int err;

	if (leaves)
		pages_leave(&a->pages, &a->slots, s, id, &agent_dirty_kvm, a, &a->scratch);
	if (leaves && a->pages.on && !paused) /* somebody may be writing still */
		pages_note_all(&a->pages, s);
	err = slots_set(&a->slots, id, flags, gpa, size, hva);
	if (paused)
		run_resume(&a->run);
	s = slots_find(&a->slots, id);
	if (err || !s)
		return err;
	if (!stays)
		pages_note_all(&a->pages, s);
	if ((before ^ flags) & KVM_MEM_LOG_DIRTY_PAGES)
		pages_vmm_logs(&a->pages, s, id, flags & KVM_MEM_LOG_DIRTY_PAGES);
	return 0;
}

static int on_memory_region(struct agent *a, u32 id, u32 flags, u64 gpa, u64 size, u64 hva)
{
	struct slot *s = slots_find(&a->slots, id);
	u64 old_gpa = s ? s->gpa : gpa, old_size = s ? s->size : 0, old_hva = s ? s->hva : hva;
	int err = a->pages.shared ? logged_set(a, s, id, flags, gpa, size, hva)
				  : slots_set(&a->slots, id, flags, gpa, size, hva);
	u64 num[6] = {id >> 16, id & 0xffff, flags, gpa, size, hva};

	if (!size) {
		num[3] = old_gpa;
		num[5] = old_hva;
	}
	if (!err && (a->pages.shared || slots_configured(&a->slots, gpa, gpa + size) ||
		     slots_configured(&a->slots, old_gpa, old_gpa + old_size)))
		agent_link_send(&a->link, AGENT_SLOT, num, NULL);
	return err;
}

static int on_memory_region2(struct agent *a, const struct kvm_userspace_memory_region2 *r)
{
	int err;

	if (!(r->flags & KVM_MEM_GUEST_MEMFD))
		return on_memory_region(a, r->slot, r->flags, r->guest_phys_addr, r->memory_size,
					r->userspace_addr);
	err = kvm_call(a->vm_fd, KVM_SET_USER_MEMORY_REGION2, (void *)r);
	if (!err && r->memory_size)
		slots_skip(&a->slots, r->slot >> 16, r->guest_phys_addr, r->memory_size);
	return err;
}

static int on_get_dirty_log(struct agent *a, struct kvm_dirty_log *log)
{
	struct slot *s = slots_find(&a->slots, log->slot);

	if (!s)
		return kvm_call(a->vm_fd, KVM_GET_DIRTY_LOG, log);
	const int err = dirty_get(&a->slots, s, log->slot, &agent_dirty_kvm, a, &a->scratch,
				  log->dirty_bitmap);
	if (!err && a->pages.shared)
		pages_vmm_got(&a->pages, s, log->slot, log->dirty_bitmap);
	return err;
}

static int on_clear_dirty_log(struct agent *a, struct kvm_clear_dirty_log *log)
{
	struct slot *s = slots_find(&a->slots, log->slot);

	if (!s)
		return kvm_call(a->vm_fd, KVM_CLEAR_DIRTY_LOG, log);
	if (a->pages.shared)
		pages_vmm_clears(&a->pages, s, log->slot, log->first_page, log->num_pages,
				 log->dirty_bitmap);
	return dirty_clear(&a->slots, s, log->slot, &agent_dirty_kvm, a, &a->scratch,
			   log->first_page, log->num_pages, log->dirty_bitmap);
}

static int on_create_vcpu(struct agent *a, u32 id)
{
	int fd = kvm_call(a->vm_fd, KVM_CREATE_VCPU, (void *)(unsigned long)id);

	/* A vCPU that runs as it likes would lose updates of the others. */
	if (fd >= 0 && (run_add(&a->run, fd, id) || agent_turns(a)))
		agent_disarm(a, WHY_MULTI_VCPU, true);
	return fd;
}

static int on_enable_cap(struct agent *a, const struct kvm_enable_cap *cap)
{
	struct kvm_enable_cap ours = *cap;
	int ret;

	if (cap->cap == KVM_CAP_X86_USER_SPACE_MSR && a->watching)
		ours.args[0] |= KVM_MSR_EXIT_REASON_FILTER;
	if (cap->cap == KVM_CAP_EXIT_ON_EMULATION_FAILURE && a->emulation_cap)
		ours.args[0] |= 1;
	ret = kvm_call(a->vm_fd, KVM_ENABLE_CAP, &ours);
	if (ret)
		return ret;
	if (cap->cap == KVM_CAP_X86_USER_SPACE_MSR)
		a->msr.vmm_reasons = cap->args[0];
	if (cap->cap == KVM_CAP_EXIT_ON_EMULATION_FAILURE)
		a->emulation_cap_vmm = cap->args[0] & 1;
	if (cap->cap == KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) {
		a->pages.manual = cap->args[0] & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;
		a->pages.initially_set = cap->args[0] & KVM_DIRTY_LOG_INITIALLY_SET;
	}
	return 0;
}

static int on_msr_filter(struct agent *a, struct kvm_msr_filter *filter)
{
	/* First the VMM's own alone: KVM tells it what is wrong with it. */
	int ret = kvm_call(a->vm_fd, KVM_X86_SET_MSR_FILTER, filter);

	if (!ret)
		ret = msr_vmm_filter(&a->msr, filter);
	if (!ret && a->msr.installed)
		msr_install(&a->msr, a->vm_fd);
	return ret;
}

/* A capability as the VMM is to see it. */
static int on_check_extension(struct agent *a, int fd, unsigned long cap)
{
	int ret = kvm_call(fd, KVM_CHECK_EXTENSION, (void *)cap);

	if (ret <= 0)
		return ret;
	if (cap == KVM_CAP_NR_MEMSLOTS)
		return (int)slots_answer((u32)ret);
	if (!(a->watching || a->pages.shared) ||
	    (cap != KVM_CAP_DIRTY_LOG_RING && cap != KVM_CAP_DIRTY_LOG_RING_ACQ_REL))
		return ret;
	if (!a->ring_told)
		agent_say(a, AGENT_CHANGE, CHANGE_WHAT_RING_OFF, 0, 0, 1);
	a->ring_told = true;
	return 0;
}

static int on_vm_ioctl(struct agent *a, u32 req, void *arg)
{
	const struct kvm_userspace_memory_region *r = arg;

	switch (req) {
	case KVM_SET_USER_MEMORY_REGION:
		return on_memory_region(a, r->slot, r->flags, r->guest_phys_addr, r->memory_size,
					r->userspace_addr);
	case KVM_SET_USER_MEMORY_REGION2:
		return on_memory_region2(a, arg);
	case KVM_GET_DIRTY_LOG:
		return on_get_dirty_log(a, arg);
	case KVM_CLEAR_DIRTY_LOG:
		return on_clear_dirty_log(a, arg);
	case KVM_CREATE_VCPU:
		return on_create_vcpu(a, (u32)(unsigned long)arg);
	case KVM_ENABLE_CAP:
		return on_enable_cap(a, arg);
	case KVM_X86_SET_MSR_FILTER:
		return on_msr_filter(a, arg);
	case KVM_CHECK_EXTENSION:
		return on_check_extension(a, a->vm_fd, (unsigned long)arg);
	default:
		return kvm_call(a->vm_fd, req, arg);
	}
}

/* Those among them that concern the agent: the others do not even take the lock. */
static bool vm_ioctl_ours(u32 req)
{
	return req == KVM_SET_USER_MEMORY_REGION || req == KVM_SET_USER_MEMORY_REGION2 ||
	       req == KVM_GET_DIRTY_LOG || req == KVM_CLEAR_DIRTY_LOG || req == KVM_CREATE_VCPU ||
	       req == KVM_ENABLE_CAP || req == KVM_X86_SET_MSR_FILTER || req == KVM_CHECK_EXTENSION;
}

/* --- a vCPU's ioctls --- */

static int vcpu_run(struct agent *a, struct vcpu *v, void *arg)
{
	bool again;
	int ret;

	if (a->pages.shared && v->run) /* so that it can be paused */
		return run_enter(&a->run, v, arg);
	if (!a->watching || !v->run)
		return kvm_call(v->fd, KVM_RUN, arg);

	do {
		bool storing = false;

		ret = run_enter(&a->run, v, arg);
		again = agent_exit(a, v, ret, &storing);
		run_left(&a->run, v, ret, storing);
	} while (__builtin_expect(again, 0));
	return ret;
}

/* The first KVM_RUN of this thread on this vCPU. */
static void vcpu_begin(struct agent *a, struct vcpu *v)
{
	static const u64 why[6] = {WHY_KVM_WRITES};
	bool first;

	pthread_mutex_lock(&a->lock);
	first = !run_ran(&a->run);
	if (run_begin(&a->run, v))
		agent_disarm(a, WHY_NO_AGENT, true);
	if (a->watching)
		run_kick_prepare(); /* the BPF programs kick too */
	agent_say(a, AGENT_VCPU, v->id, (u64)v->tid, 0, 0);
	if (first && a->watching && a->slots.watch.n && msr_install(&a->msr, a->vm_fd))
		agent_link_send(
			&a->link, AGENT_LACKS, why,
			"KVM's MSR filter cannot be used: pages that KVM writes (kvmclock) go "
			"unnoticed");
	pthread_mutex_unlock(&a->lock);
	my_vcpu = v;
	if (a->pages.shared)
		agent_starting(a);
}

static int on_vcpu_ioctl(struct agent *a, struct vcpu *v, u32 req, void *arg)
{
	const struct kvm_msrs *msrs = arg;

	if (req == KVM_RUN) {
		vcpu_begin(a, v);
		return vcpu_run(a, v, arg);
	}
	if (req == KVM_SET_GUEST_DEBUG)
		v->debug = *(const struct kvm_guest_debug *)arg;
	if (a->watching && (req == KVM_SET_MSRS || req == KVM_SET_CPUID2)) {
		pthread_mutex_lock(&a->lock);
		if (req == KVM_SET_CPUID2)
			msr_cpuid(&a->msr, arg);
		else /* KVM takes 1,000 or so at most (KVM_MAX_MSR_ENTRIES) */
			for (u32 i = 0; i < msrs->nmsrs && i < 1024; i++)
				agent_open_kvm_page(a, msrs->entries[i].index,
						    msrs->entries[i].data);
		pthread_mutex_unlock(&a->lock);
	}
	return kvm_call(v->fd, req, arg);
}

/* --- making the VM --- */

/* Takes this library out of a list like LD_PRELOAD's, in place. */
static void preload_remove(char *list)
{
	Dl_info info;
	const char *self;
	char *out = list;

	if (!dladdr((void *)preload_remove, &info) || !info.dli_fname)
		return;
	self = strrchr(info.dli_fname, '/');
	self = self ? self + 1 : info.dli_fname;
	for (char *at = list; *at;) {
		size_t len = strcspn(at, ": "), skip = len + (at[len] != '\0');
		size_t n = strlen(self);

		if (!len || (len >= n && !memcmp(at + len - n, self, n) &&
			     (len == n || at[len - n - 1] == '/'))) {
			at += skip;
			continue;
		}
		if (out != list)
			*out++ = ':';
		memmove(out, at, len);
		out += len;
		at += skip;
	}
	*out = '\0';
}

/* The VMM's children are none of our business. */
static void environment_clean(void)
{
	char *preload = getenv("LD_PRELOAD");

	if (preload) {
		preload_remove(preload);
		if (!*preload)
			unsetenv("LD_PRELOAD");
	}
	unsetenv(AGENT_ENV);
}

static void on_exit_handler(void)
{
	agent_ending(&agent);
}

/* Introduces this process to the recorder. The phase after it is LINKED or INERT. */
static void recorder_find(struct agent *a, int kvm_fd)
{
	const char *name = getenv(AGENT_ENV);
	int nslots;

	a->phase = PHASE_INERT;
	nslots = kvm_call(kvm_fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_NR_MEMSLOTS);
	if (!name || nslots <= 0 || agent_link_open(&a->link, name)) {
		environment_clean();
		return;
	}
	environment_clean();
	a->pid = getpid();
	a->watching = a->link.nranges > 0;
	a->pages.shared = a->link.pages;
	slots_init(&a->slots, &slots_kvm, a, (u32)nslots, a->link.range, a->link.nranges);
	a->phase = PHASE_LINKED;
}

static void vm_refuse(struct agent *a, enum why why, const char *text)
{
	const u64 num[6] = {why};

	agent_link_send(&a->link, AGENT_REFUSED, num, text);
}

static bool is_kvm(int fd)
{
	return kvm_call(fd, KVM_GET_API_VERSION, NULL) == KVM_API_VERSION;
}

static bool is_vm(int fd)
{
	return !is_kvm(fd) && kvm_call(fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_USER_MEMORY) > 0;
}

/* With the lock held. The VM's descriptor, or -errno. */
static int vm_create(struct agent *a, int kvm_fd, void *arg)
{
	int fd, size = kvm_call(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);

	if (a->phase == PHASE_IDLE)
		recorder_find(a, kvm_fd);
	if (a->phase == PHASE_LINKED && a->watching &&
	    (kvm_call(kvm_fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_READONLY_MEM) <= 0 ||
	     kvm_call(kvm_fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_IMMEDIATE_EXIT) <= 0)) {
		vm_refuse(a, WHY_NO_AGENT, "this KVM has no read-only memory or no immediate exit");
		return -EINVAL;
	}
	fd = kvm_call(kvm_fd, KVM_CREATE_VM, arg);
	if (fd < 0 || size <= 0)
		return fd;
	if (a->phase == PHASE_ACTIVE && (fd == a->vm_fd || !is_vm(a->vm_fd))) {
		/* The one before was closed: it was made to look at KVM. */
		slots_forget(&a->slots);
		memset(&a->msr, 0, sizeof(a->msr));
		pages_forget(&a->pages);
		a->run.nvcpus = 0;
		a->emulation_cap = a->emulation_cap_vmm = false;
		a->vm_fd = fd;
	} else if (a->phase == PHASE_LINKED) {
		if (atexit(on_exit_handler) || agent_thread_start(a)) {
			vm_refuse(a, WHY_NO_AGENT, "the agent could not start its thread");
			agent_link_close(&a->link);
			a->phase = PHASE_INERT;
			return fd;
		}
		a->vm_fd = fd;
		__atomic_store_n(&a->phase, PHASE_ACTIVE, __ATOMIC_RELEASE);
	} else {
		return fd;
	}
	a->run.mmap_size = (size_t)size;
	if (a->link.flags & AGENT_ARM)
		agent_arm(a);
	return fd;
}

/* Any ioctl of KVM's type. */
static int on_kvm_ioctl(struct agent *a, int fd, u32 req, void *arg)
{
	u32 phase = __atomic_load_n(&a->phase, __ATOMIC_ACQUIRE);
	struct vcpu *v;
	int ret;

	if (phase == PHASE_INERT || (phase == PHASE_IDLE && !getenv(AGENT_ENV)))
		return kvm_call(fd, req, arg);
	/* Descriptors are used again: /dev/kvm may have the number of a VM that was closed. */
	if ((req == KVM_CREATE_VM || req == KVM_CHECK_EXTENSION) && is_kvm(fd)) {
		pthread_mutex_lock(&a->lock);
		ret = req == KVM_CREATE_VM ? vm_create(a, fd, arg)
					   : on_check_extension(a, fd, (unsigned long)arg);
		pthread_mutex_unlock(&a->lock);
		return ret;
	}
	if (phase != PHASE_ACTIVE)
		return kvm_call(fd, req, arg);
	if (fd == a->vm_fd && vm_ioctl_ours(req)) {
		pthread_mutex_lock(&a->lock);
		ret = on_vm_ioctl(a, req, arg);
		pthread_mutex_unlock(&a->lock);
		return ret;
	}
	v = run_find(&a->run, fd);
	if (v)
		return on_vcpu_ioctl(a, v, req, arg);
	return kvm_call(fd, req, arg);
}

static int libc_result(int ret, int saved)
{
	errno = ret < 0 ? -ret : saved;
	return ret < 0 ? -1 : ret;
}

static int ioctl_next(int fd, unsigned long req, void *arg)
{
	typedef int (*ioctl_fn)(int, unsigned long, ...);
	static ioctl_fn next;
	ioctl_fn fn = __atomic_load_n(&next, __ATOMIC_RELAXED);

	if (!fn) {
		int saved = errno;

		*(void **)&fn = dlsym(RTLD_NEXT, "ioctl");
		__atomic_store_n(&next, fn, __ATOMIC_RELAXED);
		errno = saved;
	}
	if (!fn)
		return (int)syscall(SYS_ioctl, fd, req, arg);
	return fn(fd, req, arg);
}

__attribute__((visibility("default"))) int ioctl(int fd, unsigned long req, ...)
{
	struct vcpu *v = my_vcpu;
	int saved = errno;
	va_list ap;
	void *arg;

	va_start(ap, req);
	arg = va_arg(ap, void *);
	va_end(ap);
	/* The kernel looks at 32 bits; VMMs pass int, which sign-extends. */
	if ((u32)req == KVM_RUN && v && v->fd == fd && v->run)
		return libc_result(vcpu_run(&agent, v, arg), saved);
	if (((u32)req >> 8 & 0xff) == KVMIO)
		return libc_result(on_kvm_ioctl(&agent, fd, (u32)req, arg), saved);
	return ioctl_next(fd, req, arg);
}
