// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What full mode is measured against: plugins that do little with a guest's stores, or do with them
 * what comes to mind first. For one vCPU, or several in one thread.
 *
 *	-plugin store_plugin.so,mode=MODE[,out=FILE]
 *
 * empty: is called. count: counts stores and loads; FILE receives "STORES LOADS". naive: structs of
 * 32 bytes to FILE. text: lines as of QEMU's contrib/plugins/execlog.c to FILE.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "user/plugin/qemu.h"

PLUGIN_EXPORT int qemu_plugin_version = 1;
PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_plugin_info *info,
				      int argc, char **argv);

struct naive {
	u64 gpa, value, pc;
	u32 size, vcpu;
};

static qemu_plugin_vcpu_mem_cb *callback;
static int rw = QEMU_PLUGIN_MEM_W;
static FILE *out;
static u64 stores, loads;
static struct naive buffer[2048];
static size_t nbuffer;

/* As in user/plugin/plugin.c. */
__attribute__((constructor)) static void version_choose(void)
{
	if (dlsym(RTLD_DEFAULT, "qemu_plugin_scoreboard_new"))
		qemu_plugin_version = 2;
}

static void on_empty(unsigned vcpu, u32 info, u64 gva, void *pc)
{
	(void)vcpu;
	(void)info;
	(void)gva;
	(void)pc;
}

static void on_count(unsigned vcpu, u32 info, u64 gva, void *pc)
{
	(void)vcpu;
	(void)gva;
	(void)pc;
	if (qemu_plugin_mem_is_store(info))
		stores++;
	else
		loads++;
}

static void naive_flush(void)
{
	fwrite(buffer, sizeof(*buffer), nbuffer, out);
	nbuffer = 0;
}

static void on_naive(unsigned vcpu, u32 info, u64 gva, void *pc)
{
	struct qemu_plugin_hwaddr *hw;

	if (!qemu_plugin_mem_is_store(info) || !(hw = qemu_plugin_get_hwaddr(info, gva)) ||
	    qemu_plugin_hwaddr_is_io(hw))
		return;
	struct naive *n = &buffer[nbuffer++];
	const size_t size = 1u << qemu_plugin_mem_size_shift(info);

	*n = (struct naive){.gpa = qemu_plugin_hwaddr_phys_addr(hw),
			    .pc = (u64)(uintptr_t)pc,
			    .size = (u32)size,
			    .vcpu = vcpu};
	/* Before QEMU 8.0 the host's address is at hand, after the store; from 9.2 on the value. */
	if (qemu_plugin_mem_get_value)
		n->value = qemu_plugin_mem_get_value(info).data.u64;
	else if (((const struct hwaddr_v6 *)hw)->host >> 40)
		memcpy(&n->value, (const void *)(uintptr_t)((const struct hwaddr_v6 *)hw)->host,
		       size < 8 ? size : 8);
	if (nbuffer == sizeof(buffer) / sizeof(*buffer))
		naive_flush();
}

static void on_text(unsigned vcpu, u32 info, u64 gva, void *pc)
{
	if (qemu_plugin_mem_is_store(info))
		fprintf(out, "%u, 0x%llx, 0x%08llx, %u\n", vcpu, (unsigned long long)(uintptr_t)pc,
			(unsigned long long)gva, 1u << qemu_plugin_mem_size_shift(info));
}

static void on_block(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	(void)id;
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		void *const pc = (void *)(uintptr_t)qemu_plugin_insn_vaddr(insn);

		qemu_plugin_register_vcpu_mem_cb(insn, callback, QEMU_PLUGIN_CB_NO_REGS, rw, pc);
	}
}

static void on_exit(qemu_plugin_id_t id, void *arg)
{
	(void)id;
	(void)arg;
	if (callback == on_count)
		fprintf(out, "%llu %llu\n", (unsigned long long)stores, (unsigned long long)loads);
	if (callback == on_naive)
		naive_flush();
	if (out)
		fclose(out);
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_plugin_info *info, int argc,
			char **argv)
{
	static const struct {
		const char *name;
		qemu_plugin_vcpu_mem_cb *callback;
	} modes[] = {
		{"mode=empty", on_empty},
		{"mode=count", on_count},
		{"mode=naive", on_naive},
		{"mode=text", on_text},
	};

	(void)info;
	for (int i = 0; i < argc; i++) {
		for (size_t k = 0; k < sizeof(modes) / sizeof(*modes); k++)
			if (!strcmp(argv[i], modes[k].name))
				callback = modes[k].callback;
		if (!strncmp(argv[i], "out=", 4) && !(out = fopen(argv[i] + 4, "w")))
			return -1;
	}
	if (!callback || (!out && callback != on_empty))
		return -1;
	if (callback == on_count)
		rw = QEMU_PLUGIN_MEM_R | QEMU_PLUGIN_MEM_W;
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_block);
	qemu_plugin_register_atexit_cb(id, on_exit, NULL);
	return 0;
}
