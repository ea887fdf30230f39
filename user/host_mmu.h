/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the mmu probes have to be told of the host's KVM: it is in no structure that they could
 * read.
 */
#ifndef VMBLAME_HOST_MMU_H
#define VMBLAME_HOST_MMU_H

#include "bpf/shared.h"
#include "user/kernel_btf.h"

/* What cannot be found out stays as "not known"; see struct mmu_facts. */
void host_mmu_facts(const struct kernel_btf *k, struct mmu_facts *facts);

#endif
