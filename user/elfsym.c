// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Functions and variables of an executable by name, with libelf.
 */
#include "user/elfsym.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SECTION_MAX (1u << 30) /* bytes of a symbol table that we are willing to read */

struct image {
	int fd;
	Elf *elf;
};

static void image_close(struct image *im)
{
	if (im->elf)
		elf_end(im->elf);
	if (im->fd >= 0)
		close(im->fd);
}

#define IMAGE __attribute__((cleanup(image_close))) struct image

static int image_open(struct image *im, const char *path)
{
	if (elf_version(EV_CURRENT) == EV_NONE)
		return -ENOEXEC;
	im->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (im->fd < 0)
		return -errno;
	im->elf = elf_begin(im->fd, ELF_C_READ_MMAP, NULL);
	if (!im->elf || elf_kind(im->elf) != ELF_K_ELF)
		return -ENOEXEC;
	return 0;
}

/* Offset in the file of a virtual address; 0 when no loaded segment of the file holds it. */
static u64 file_offset(Elf *elf, u64 vaddr)
{
	size_t n = 0;

	elf_getphdrnum(elf, &n);
	for (size_t i = 0; i < n; i++) {
		GElf_Phdr ph;

		if (!gelf_getphdr(elf, i, &ph) || ph.p_type != PT_LOAD || !(ph.p_flags & PF_X))
			continue;
		if (vaddr - ph.p_vaddr < ph.p_filesz)
			return vaddr - ph.p_vaddr + ph.p_offset;
	}
	return 0;
}

static bool name_matches(const char *name, const char *want)
{
	size_t len = strlen(want);

	return !strncmp(name, want, len) && (!name[len] || name[len] == '@');
}

/* Looks in one table of `from` and places what it finds by the segments of `exe`. */
static void search_table(Elf *from, Elf *exe, Elf_Scn *scn, struct elfsym *syms, size_t nsyms)
{
	GElf_Shdr sh;
	Elf_Data *data;

	if (!gelf_getshdr(scn, &sh) || !sh.sh_entsize || sh.sh_size > SECTION_MAX)
		return;
	data = elf_getdata(scn, NULL);
	if (!data)
		return;
	for (size_t i = 0; i < data->d_size / sh.sh_entsize && i < INT_MAX; i++) {
		GElf_Sym sym;
		const char *name;

		if (!gelf_getsym(data, i, &sym) || sym.st_shndx == SHN_UNDEF)
			continue;
		const int type = GELF_ST_TYPE(sym.st_info);

		if (type != STT_FUNC && type != STT_OBJECT)
			continue;
		name = elf_strptr(from, sh.sh_link, sym.st_name);
		if (!name)
			continue;
		for (size_t k = 0; k < nsyms; k++) {
			if (syms[k].vaddr || syms[k].data != (type == STT_OBJECT) ||
			    !name_matches(name, syms[k].name))
				continue;
			syms[k].vaddr = sym.st_value;
			if (!syms[k].data)
				syms[k].file_off = file_offset(exe, sym.st_value);
		}
	}
}

static void search_image(Elf *from, Elf *exe, struct elfsym *syms, size_t nsyms)
{
	Elf_Scn *scn = NULL;
	GElf_Shdr sh;

	while ((scn = elf_nextscn(from, scn)))
		if (gelf_getshdr(scn, &sh) &&
		    (sh.sh_type == SHT_DYNSYM || sh.sh_type == SHT_SYMTAB))
			search_table(from, exe, scn, syms, nsyms);
}

static int build_id(Elf *elf, char *out, size_t out_size)
{
	Elf_Scn *scn = NULL;
	GElf_Shdr sh;

	out[0] = '\0';
	while ((scn = elf_nextscn(elf, scn))) {
		Elf_Data *data;
		GElf_Nhdr note;
		size_t name_off, desc_off, off = 0;

		if (!gelf_getshdr(scn, &sh) || sh.sh_type != SHT_NOTE)
			continue;
		data = elf_getdata(scn, NULL);
		while (data && (off = gelf_getnote(data, off, &note, &name_off, &desc_off)) > 0) {
			const u8 *id = (const u8 *)data->d_buf + desc_off;

			if (note.n_type != NT_GNU_BUILD_ID || note.n_namesz != 4 ||
			    memcmp((const char *)data->d_buf + name_off, "GNU", 4) ||
			    note.n_descsz * 2 + 1 > out_size)
				continue;
			for (size_t i = 0; i < note.n_descsz; i++)
				snprintf(out + 2 * i, 3, "%02x", id[i]);
			return 0;
		}
	}
	return 0;
}

/* Paths where the separate debug file may lie, best first; false when there is no i-th. */
static bool debug_path(Elf *elf, const char *path, int i, char *out, size_t out_size)
{
	char id[130], dir[PATH_MAX];
	const char *link = NULL;
	Elf_Scn *scn = NULL;
	GElf_Shdr sh;
	size_t strndx = 0;
	char *slash;

	if (i == 0) {
		build_id(elf, id, sizeof(id));
		if (strlen(id) < 4) {
			out[0] = '\0';
			return true;
		}
		snprintf(out, out_size, "/usr/lib/debug/.build-id/%.2s/%s.debug", id, id + 2);
		return true;
	}
	if (elf_getshdrstrndx(elf, &strndx))
		return false;
	while (!link && (scn = elf_nextscn(elf, scn))) {
		const char *name;
		Elf_Data *data;

		if (!gelf_getshdr(scn, &sh))
			continue;
		name = elf_strptr(elf, strndx, sh.sh_name);
		if (!name || strcmp(name, ".gnu_debuglink"))
			continue;
		data = elf_getdata(scn, NULL);
		if (data && data->d_buf && memchr(data->d_buf, 0, data->d_size))
			link = data->d_buf;
	}
	if (!link || strchr(link, '/') || i > 3)
		return false;
	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (!slash)
		return false;
	*slash = '\0';
	if (i == 1)
		return snprintf(out, out_size, "%s/%s", dir, link) < (int)out_size;
	if (i == 2)
		return snprintf(out, out_size, "%s/.debug/%s", dir, link) < (int)out_size;
	return snprintf(out, out_size, "/usr/lib/debug%s/%s", dir, link) < (int)out_size;
}

int elfsym_find(const char *path, struct elfsym *syms, size_t n)
{
	IMAGE exe = {.fd = -1};
	char debug[2 * PATH_MAX];
	size_t found = 0;
	int err;

	for (size_t k = 0; k < n; k++) {
		syms[k].vaddr = syms[k].file_off = 0;
		memset(syms[k].first, 0, sizeof(syms[k].first));
	}
	err = image_open(&exe, path);
	if (err)
		return err;
	search_image(exe.elf, exe.elf, syms, n);
	for (size_t k = 0; k < n; k++)
		found += syms[k].vaddr != 0;
	for (int i = 0; found < n && debug_path(exe.elf, path, i, debug, sizeof(debug)); i++) {
		IMAGE sep = {.fd = -1};

		if (debug[0] && !image_open(&sep, debug)) {
			search_image(sep.elf, exe.elf, syms, n);
			break;
		}
	}
	for (size_t k = 0; k < n; k++)
		if (syms[k].file_off &&
		    pread(exe.fd, syms[k].first, sizeof(syms[k].first), syms[k].file_off) < 0)
			return -errno;
	return 0;
}

/* The kernel tells a process where its program's entry lies. */
int elfsym_bias(const char *path, pid_t pid, u64 *bias)
{
	IMAGE exe = {.fd = -1};
	Elf64_auxv_t entry;
	GElf_Ehdr header;
	char auxv[32];
	FILE *f;
	int err = image_open(&exe, path);

	if (err)
		return err;
	if (!gelf_getehdr(exe.elf, &header))
		return -ENOEXEC;
	snprintf(auxv, sizeof(auxv), "/proc/%d/auxv", (int)pid);
	f = fopen(auxv, "re");
	if (!f)
		return -errno;
	err = -ENOENT;
	while (err && fread(&entry, sizeof(entry), 1, f) == 1)
		if (entry.a_type == AT_ENTRY) {
			*bias = entry.a_un.a_val - header.e_entry;
			err = 0;
		}
	fclose(f);
	return err;
}

int elfsym_build_id(const char *path, char *out, size_t out_size)
{
	IMAGE exe = {.fd = -1};
	int err = image_open(&exe, path);

	out[0] = '\0';
	return err ? err : build_id(exe.elf, out, out_size);
}

const char *elfsym_no_preload(const char *path)
{
	IMAGE exe = {.fd = -1};
	struct stat st;
	size_t n = 0;

	if (stat(path, &st))
		return NULL;
	if (st.st_mode & S_ISUID)
		return "it is set-uid";
	if (st.st_mode & S_ISGID && st.st_mode & S_IXGRP)
		return "it is set-gid";
	if (getxattr(path, "security.capability", NULL, 0) > 0)
		return "it has file capabilities";
	if (image_open(&exe, path))
		return NULL; /* a script: its interpreter gets the agent */
	elf_getphdrnum(exe.elf, &n);
	for (size_t i = 0; i < n; i++) {
		GElf_Phdr ph;

		if (gelf_getphdr(exe.elf, i, &ph) && ph.p_type == PT_INTERP)
			return NULL;
	}
	return "it is statically linked";
}

bool elfsym_cheap(const u8 first[8])
{
	/* endbr64 is a nop to the kernel's uprobes; push %reg, with or without REX */
	static const u8 endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};

	if (!memcmp(first, endbr64, 4) || first[0] == 0x90)
		return true;
	if ((first[0] & 0xf0) == 0x40)
		first++;
	return (first[0] & 0xf8) == 0x50;
}
