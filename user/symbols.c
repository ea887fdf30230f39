/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libdwfl, one session a file, each at the addresses it was linked to; a load address is taken off
 * before the look-up, so that files of every type are treated alike.
 */
#include "symbols.h"

#include <elfutils/libdwfl.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "range.h"

#define SYMBOL_FILES_MAX 64

struct symbol_file {
	Dwfl *dwfl;
	Dwfl_Module *module;
	u64 bias;	/* guest address = address in the file + bias */
	u64 start, end; /* in the file, half-open */
};

struct symbols {
	size_t n;
	struct symbol_file files[SYMBOL_FILES_MAX];
};

static const Dwfl_Callbacks callbacks = {
	.find_elf = dwfl_build_id_find_elf,
	.find_debuginfo = dwfl_standard_find_debuginfo,
};

/* Splits FILE@BASE. A file whose own name ends like that is taken as it is. */
static int spec_split(const char *spec, char **path, bool *based, u64 *base)
{
	const char *at = strrchr(spec, '@');

	*based = at && at != spec && access(spec, F_OK) != 0 && !size_parse(at + 1, base);
	*path = *based ? strndup(spec, at - spec) : strdup(spec);
	return *path ? 0 : -ENOMEM;
}

/* Addresses that the file's segments take up. False when it has none. */
static bool elf_span(Elf *elf, u64 *start, u64 *end)
{
	size_t n = 0;

	*start = UINT64_MAX;
	*end = 0;
	if (elf_getphdrnum(elf, &n))
		return false;
	for (size_t i = 0; i < n; i++) {
		GElf_Phdr ph;

		if (!gelf_getphdr(elf, (int)i, &ph) || ph.p_type != PT_LOAD || !ph.p_memsz ||
		    ph.p_memsz > UINT64_MAX - ph.p_vaddr)
			continue;
		if (ph.p_vaddr < *start)
			*start = ph.p_vaddr;
		if (ph.p_vaddr + ph.p_memsz > *end)
			*end = ph.p_vaddr + ph.p_memsz;
	}
	return *start < *end;
}

static int file_span(const char *path, u64 *start, u64 *end, char *err, size_t err_size)
{
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		const int ret = -errno;

		snprintf(err, err_size, "%s: %s", path, strerror(errno));
		return ret;
	}
	elf_version(EV_CURRENT);
	Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
	const bool found = elf && elf_kind(elf) == ELF_K_ELF && elf_span(elf, start, end);
	if (elf)
		elf_end(elf);
	if (found)
		return 0;
	snprintf(err, err_size, "%s: not an ELF file with segments to load", path);
	return -EINVAL;
}

static int file_open(struct symbol_file *f, const char *path, char *err, size_t err_size)
{
	int ret = file_span(path, &f->start, &f->end, err, err_size);

	if (ret)
		return ret;
	f->dwfl = dwfl_begin(&callbacks);
	if (f->dwfl) {
		dwfl_report_begin(f->dwfl);
		f->module = dwfl_report_elf(f->dwfl, path, path, -1, 0, true);
		dwfl_report_end(f->dwfl, NULL, NULL);
	}
	if (f->module)
		return 0;
	snprintf(err, err_size, "%s: %s", path, dwfl_errmsg(-1));
	dwfl_end(f->dwfl);
	return -EINVAL;
}

int symbols_add(struct symbols **s, const char *spec, char *err, size_t err_size)
{
	CLEANUP_FREE char *path = NULL;
	u64 base = 0;
	bool based;

	if (!*s)
		*s = calloc(1, sizeof(**s));
	if (!*s || spec_split(spec, &path, &based, &base)) {
		snprintf(err, err_size, "out of memory");
		return -ENOMEM;
	}
	if ((*s)->n == SYMBOL_FILES_MAX) {
		snprintf(err, err_size, "more than %d files of symbols", SYMBOL_FILES_MAX);
		return -E2BIG;
	}
	struct symbol_file *f = &(*s)->files[(*s)->n];
	*f = (struct symbol_file){0};
	const int ret = file_open(f, path, err, err_size);
	if (ret)
		return ret;
	if (based)
		f->bias = base - f->start;
	(*s)->n++;
	return 0;
}

void symbols_close(struct symbols *s)
{
	for (size_t i = 0; s && i < s->n; i++)
		dwfl_end(s->files[i].dwfl);
	free(s);
}

/* Only the last two parts of a path: what a reader of a report needs. */
static const char *path_tail(const char *path)
{
	const char *slash = strrchr(path, '/');

	for (const char *p = slash; p && p > path;) {
		if (*--p == '/')
			return p + 1;
	}
	return path[0] == '/' ? path + 1 : path;
}

static bool file_find(const struct symbol_file *f, u64 addr, struct symbol *out)
{
	const u64 at = addr - f->bias;

	if (at < f->start || at >= f->end)
		return false;
	GElf_Off off = 0;
	GElf_Sym sym;
	const char *name = dwfl_module_addrinfo(f->module, at, &off, &sym, NULL, NULL, NULL);
	if (!name || !*name)
		return false;
	*out = (struct symbol){0};
	if (off)
		snprintf(out->name, sizeof(out->name), "%.150s+0x%llx", name,
			 (unsigned long long)off);
	else
		snprintf(out->name, sizeof(out->name), "%.150s", name);

	Dwfl_Line *line = dwfl_module_getsrc(f->module, at);
	int number = 0;
	const char *path = line ? dwfl_lineinfo(line, NULL, &number, NULL, NULL, NULL) : NULL;
	if (path && number > 0)
		snprintf(out->src, sizeof(out->src), "%.230s:%d", path_tail(path), number);
	return true;
}

bool symbols_find(const struct symbols *s, u64 addr, struct symbol *out)
{
	for (size_t i = 0; s && i < s->n; i++) {
		if (file_find(&s->files[i], addr, out))
			return true;
	}
	return false;
}
