// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * All groups of probes, one object. Each program is named group__hook and is off until the recorder
 * asks for it.
 */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "event.h"

#include "../user/agent.h"

#include "exits.bpf.h"
#include "machine.bpf.h"
#include "mmu.bpf.h"
#include "vhost.bpf.h"
#include "virtqueue.bpf.h"
#include "vmm.bpf.h"

char LICENSE[] SEC("license") = "GPL";
