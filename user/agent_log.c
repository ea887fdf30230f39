// SPDX-License-Identifier: GPL-2.0-or-later
/* KVM's dirty log of the VM, and what pages mode does with it. */
#include "agent_state.h"

#include "agent_sys.h"

static int log_get(void *ctx, u32 id, u64 *bitmap)
{
	struct kvm_dirty_log log = {.slot = id, .dirty_bitmap = bitmap};

	return kvm_call(((struct agent *)ctx)->vm_fd, KVM_GET_DIRTY_LOG, &log);
}

static int log_clear(void *ctx, u32 id, u64 first, u32 npages, const u64 *bitmap)
{
	struct kvm_clear_dirty_log log = {.slot = id,
					  .num_pages = npages,
					  .first_page = first,
					  .dirty_bitmap = (void *)bitmap};

	return kvm_call(((struct agent *)ctx)->vm_fd, KVM_CLEAR_DIRTY_LOG, &log);
}

const struct dirty_ops agent_dirty_kvm = {.get = log_get, .clear = log_clear};

void agent_log(struct agent *a, bool on)
{
	if (!a->pages.shared || a->pages.on == on)
		return;
	a->pages.on = on;
	for (u32 as = 0; as < SLOTS_SPACES; as++)
		for (u32 i = 0; i < a->slots.nslots[as]; i++) {
			struct slot *s = &a->slots.slot[as][i];

			if (s->used)
				slots_set(&a->slots, as << 16 | i, s->flags, s->gpa, s->size,
					  s->hva);
			if (s->used)
				pages_note_all(&a->pages, s);
		}
}

void agent_harvest(struct agent *a, bool hold)
{
	u64 t0_ns;
	u32 set;

	if (!a->pages.on)
		return;
	if (hold && !a->held)
		a->held = !run_pause(&a->run);
	t0_ns = sys_now_ns();
	set = pages_harvest(&a->pages, &a->slots, &agent_dirty_kvm, a, &a->scratch);
	agent_say(a, AGENT_HARVESTED, t0_ns, set, a->held, 0);
}
