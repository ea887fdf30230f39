// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A QEMU TCG plugin that reports each store of the guest to the recorder, through rings in memory
 * that the recorder made (ring.h).
 *
 *	-plugin vmblame-plugin.so,fd=N,alive=M[,audit=1]
 *
 * fd: the shared memory; alive: the read end of a pipe whose write end only the recorder has;
 *audit: ask QEMU about every instruction, see below.
 *
 * QEMU before 9.0 calls a callback for stores at inline loads too, more often than at stores
 * (accel/tcg/plugin-gen.c, op_rw(): `cb->rw & (w + 1)`, where w is no longer 0 or 1 since 7.0 but
 * enum qemu_plugin_mem_rw itself). By the same slip a callback for loads is called at inline stores
 * only. So, on x86, once both were seen to be so: instructions that store inline get a callback for
 * loads, those that never store get none, all others one for stores.
 */
#include "plugin.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROOFS 64 /* as often must each half of the slip be seen */

PLUGIN_EXPORT int qemu_plugin_version = 1;
PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_plugin_info *info,
				      int argc, char **argv);

enum mode { MODE_PLAIN, MODE_LEARN, MODE_QUICK };

static qemu_plugin_id_t own_id;
static u32 mode, left;

/* What an instruction stores that never stores is the processor's own doing: QEMU before 8.1 leaves
 * the callbacks of a block's last instruction in place (plugin_gen_disable_mem_helpers() comes
 * after the jump), so that the frame of an interrupt that follows is told as that instruction's. */
static struct insn no_insn = {.stores = INSN_NEVER};
static bool is_x86;
static u32 loads_at_w, stores_at_r, loads_at_r;
static qemu_insn_data_v1 *data_v1;
static qemu_insn_data_v3 *data_v3;

/* QEMU looks at the version when it has loaded us: it must be one that this QEMU takes, and what we
 * use is the same in all of them. qemu_plugin_scoreboard_new() came with version 2. */
__attribute__((constructor)) static void version_choose(void)
{
	if (dlsym(RTLD_DEFAULT, "qemu_plugin_scoreboard_new"))
		qemu_plugin_version = 2;
}

static void learn(void)
{
	u32 old = MODE_LEARN, new = MODE_LEARN;

	if (__atomic_load_n(&loads_at_r, __ATOMIC_RELAXED))
		new = MODE_PLAIN;
	else if (__atomic_load_n(&loads_at_w, __ATOMIC_RELAXED) >= PROOFS &&
		 __atomic_load_n(&stores_at_r, __ATOMIC_RELAXED) >= PROOFS)
		new = MODE_QUICK;
	if (new != MODE_LEARN &&
	    __atomic_compare_exchange_n(&mode, &old, new, false, __ATOMIC_RELAXED,
					__ATOMIC_RELAXED) &&
	    new == MODE_QUICK)
		__atomic_store_n(&shared_ring->quick, 1, __ATOMIC_RELAXED);
}

void calibrate_load(void)
{
	if (__atomic_load_n(&mode, __ATOMIC_RELAXED) == MODE_LEARN)
		__atomic_fetch_add(&loads_at_w, 1, __ATOMIC_RELAXED);
}

/* The probe: a callback for loads beside the one for stores. */
static void probe_callback(unsigned vcpu, u32 info, u64 gva, void *arg)
{
	(void)vcpu;
	(void)gva;
	(void)arg;
	if (__atomic_load_n(&mode, __ATOMIC_RELAXED) == MODE_LEARN)
		__atomic_fetch_add(qemu_plugin_mem_is_store(info) ? &stores_at_r : &loads_at_r, 1,
				   __ATOMIC_RELAXED);
}

static void insn_translate(struct qemu_plugin_insn *qemu_insn)
{
	const u32 how = __atomic_load_n(&mode, __ATOMIC_RELAXED);
	enum insn_stores stores = INSN_MAYBE;
	u8 bytes[16] = {0};
	size_t len = qemu_plugin_insn_size(qemu_insn);
	const void *data;
	struct insn *insn;

	if (len > sizeof(bytes))
		len = sizeof(bytes);
	if (data_v3) {
		len = data_v3(qemu_insn, bytes, len);
	} else {
		data = data_v1(qemu_insn);
		if (data)
			memcpy(bytes, data, len);
	}
	if (is_x86)
		stores = insn_x86_stores(bytes, len);
	if (how == MODE_QUICK && stores == INSN_NEVER)
		return;
	insn = stores == INSN_NEVER
		       ? &no_insn
		       : insn_get(qemu_plugin_insn_vaddr(qemu_insn), bytes, len, stores);
	if (!insn) {
		plugin_fail("no memory for another instruction: its stores are not seen");
		return;
	}
	qemu_plugin_register_vcpu_mem_cb(
		qemu_insn, store_callback, QEMU_PLUGIN_CB_NO_REGS,
		how == MODE_QUICK && stores == INSN_INLINE ? QEMU_PLUGIN_MEM_R : QEMU_PLUGIN_MEM_W,
		insn);
	if (how == MODE_LEARN && stores != INSN_MAYBE)
		qemu_plugin_register_vcpu_mem_cb(qemu_insn, probe_callback, QEMU_PLUGIN_CB_NO_REGS,
						 QEMU_PLUGIN_MEM_R, insn);
}

/* Whether the callbacks can be taken away. QEMU before 8.0 does not clear plugin_mem_cbs on its way
 * out of a block: what the last instruction left there is freed with the translated code, and the
 * next helper that accesses memory, that of an interrupt's frame, takes it for callbacks and aborts
 * (plugins/core.c, qemu_plugin_vcpu_mem_cb()). Instructions that have callbacks clear it again. */
static bool can_leave(void)
{
	return qemu_plugin_version >= 2;
}

static void translate_callback(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	const size_t n = qemu_plugin_tb_n_insns(tb);

	(void)id;
	if (producer_dead() && can_leave())
		return;
	if (__atomic_load_n(&mode, __ATOMIC_RELAXED) == MODE_LEARN)
		learn();
	for (size_t i = 0; i < n; i++)
		insn_translate(qemu_plugin_tb_get_insn(tb, i));
}

static void left_callback(qemu_plugin_id_t id)
{
	(void)id;
}

/* A reset takes all callbacks away and drops the translated code, and keeps us loaded. Where that
 * is not safe, they stay, and do nothing. */
void plugin_leave(void)
{
	if (can_leave() && !__atomic_exchange_n(&left, 1, __ATOMIC_RELAXED))
		qemu_plugin_reset(own_id, left_callback);
}

/* Both are called with QEMU's big lock held (softmmu/cpus.c, qemu_wait_io_event()), so nothing here
 * may wait; under thread=single they are not called. */
static void idle_callback(qemu_plugin_id_t id, unsigned vcpu)
{
	struct producer *p = own_producer;

	(void)id;
	if (!p || producer_dead())
		return;
	if (producer_room_slow(p, 1, false)) {
		producer_say_one(p, RING_IDLE, vcpu, now_ns());
		producer_publish(p);
	}
	__atomic_store_n(&p->shared->idle, 1, __ATOMIC_RELEASE);
}

static void resume_callback(qemu_plugin_id_t id, unsigned vcpu)
{
	(void)id;
	(void)vcpu;
	if (own_producer)
		__atomic_store_n(&own_producer->shared->idle, 0, __ATOMIC_RELEASE);
}

static void exit_callback(qemu_plugin_id_t id, void *arg)
{
	(void)id;
	(void)arg;
	producer_end();
}

static bool number_arg(const char *arg, const char *name, int *out)
{
	const size_t len = strlen(name);
	char *end;
	long value;

	if (strncmp(arg, name, len) || arg[len] != '=')
		return false;
	value = strtol(arg + len + 1, &end, 10);
	if (end == arg + len + 1 || *end || value < 0 || value > 0x7fffffff)
		return false;
	*out = (int)value;
	return true;
}

/* What is wrong goes to stderr as long as there is nobody else to tell it to. */
static int refuse(const char *what, const char *name)
{
	char text[128];

	snprintf(text, sizeof(text), "%s%s", what, name ? name : "");
	if (shared_ring)
		plugin_fail(text);
	else
		fprintf(stderr, "vmblame plugin: %s\n", text);
	return -1;
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_plugin_info *info, int argc,
			char **argv)
{
	int fd = -1, alive = -1, audit = 0;
	const char *wrong;

	for (int i = 0; i < argc; i++)
		if (!number_arg(argv[i], "fd", &fd) && !number_arg(argv[i], "alive", &alive) &&
		    !number_arg(argv[i], "audit", &audit))
			return refuse("not understood: ", argv[i]);
	wrong = producer_open(fd, alive);
	if (wrong)
		return refuse(wrong, NULL);
	wrong = ram_exports();
	if (wrong)
		return refuse("this QEMU does not export ", wrong);
	if (!info->system_emulation)
		return refuse("not a whole machine is emulated", NULL);
	if (info->version.cur >= 3)
		*(void **)&data_v3 = dlsym(RTLD_DEFAULT, "qemu_plugin_insn_data");
	else
		*(void **)&data_v1 = dlsym(RTLD_DEFAULT, "qemu_plugin_insn_data");
	if (!data_v1 && !data_v3)
		return refuse("this QEMU does not export ", "qemu_plugin_insn_data");
	own_id = id;
	is_x86 = !strcmp(info->target_name, "x86_64") || !strcmp(info->target_name, "i386");
	mode = audit || !is_x86 ? MODE_PLAIN : MODE_LEARN;
	shared_ring->exact = qemu_plugin_mem_get_value != NULL;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translate_callback);
	qemu_plugin_register_vcpu_idle_cb(id, idle_callback);
	qemu_plugin_register_vcpu_resume_cb(id, resume_callback);
	qemu_plugin_register_atexit_cb(id, exit_callback, NULL);
	__atomic_store_n(&shared_ring->ready, 1, __ATOMIC_RELEASE);
	return 0;
}
