// SPDX-License-Identifier: GPL-2.0-or-later
/* Dumps of RAM. Nothing in them is trusted: sizes and places are checked against the file. */
#include "user/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PARTS_MAX 65536u

static int by_gpa(const void *a, const void *b)
{
	const struct dump_part *x = a, *y = b;

	return x->gpa < y->gpa ? -1 : x->gpa > y->gpa;
}

/* A core may have memory twice, once by each of its virtual addresses. */
static void parts_cut(struct dump *d)
{
	u64 end = 0;
	size_t n = 0;

	if (d->nparts)
		qsort(d->parts, d->nparts, sizeof(*d->parts), by_gpa);
	for (size_t i = 0; i < d->nparts; i++) {
		struct dump_part p = d->parts[i];

		if (p.gpa < end) {
			const u64 cut = end - p.gpa < p.size ? end - p.gpa : p.size;

			p.gpa += cut;
			p.off += cut;
			p.size -= cut;
		}
		if (!p.size)
			continue;
		end = p.gpa + p.size;
		d->parts[n++] = p;
	}
	d->nparts = n;
}

/* What is wrong with it, or NULL. */
static const char *core_read(struct dump *d, Elf *elf, u64 file_bytes)
{
	GElf_Ehdr head;
	size_t n = 0;

	if (!gelf_getehdr(elf, &head) || head.e_type != ET_CORE)
		return "an ELF file, but not a core";
	if (elf_getphdrnum(elf, &n) || n > PARTS_MAX)
		return "an ELF core whose segments cannot be read";
	d->parts = calloc(n + 1, sizeof(*d->parts));
	for (size_t i = 0; d->parts && i < n; i++) {
		GElf_Phdr p;

		if (!gelf_getphdr(elf, (int)i, &p))
			return "an ELF core whose segments cannot be read";
		if (p.p_type != PT_LOAD || !p.p_filesz)
			continue;
		if (p.p_offset > file_bytes || p.p_filesz > file_bytes - p.p_offset)
			return "an ELF core that is cut short";
		if (p.p_paddr > UINT64_MAX - p.p_filesz)
			return "an ELF core with a segment past all addresses";
		d->parts[d->nparts++] = (struct dump_part){p.p_paddr, p.p_filesz, p.p_offset};
	}
	parts_cut(d);
	return !d->parts ? "out of memory" : d->nparts ? NULL : "an ELF core without memory";
}

static const char *parts_read(struct dump *d, u64 file_bytes)
{
	char magic[8] = "";
	const ssize_t n = pread(d->fd, magic, sizeof(magic), 0);
	const char *why = NULL;

	if (n < 0)
		return strerror(errno);
	if (n == 0)
		return "empty";
	if (!memcmp(magic, "KDUMP   ", 8) || !memcmp(magic, "makedump", 8))
		return "a compressed dump; dump-guest-memory without a format makes one that can "
		       "be "
		       "read";
	if (memcmp(magic, ELFMAG, SELFMAG)) {
		d->parts = calloc(1, sizeof(*d->parts));
		if (!d->parts)
			return "out of memory";
		d->parts[d->nparts++] = (struct dump_part){.size = file_bytes};
		return NULL;
	}
	elf_version(EV_CURRENT);
	Elf *elf = elf_begin(d->fd, ELF_C_READ, NULL);
	why = elf ? core_read(d, elf, file_bytes) : "an ELF core that cannot be read";
	elf_end(elf);
	return why;
}

int dump_open(struct dump *d, const char *path, char *err, size_t err_size)
{
	const char *why = NULL;
	struct stat st;

	*d = (struct dump){.fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)};
	if (d->fd < 0 || fstat(d->fd, &st))
		why = strerror(errno);
	else if (S_ISDIR(st.st_mode))
		why = strerror(EISDIR);
	else if (!S_ISREG(st.st_mode))
		why = "not a regular file";
	else
		why = parts_read(d, (u64)st.st_size);
	if (!why)
		return 0;
	snprintf(err, err_size, "%s: %s", path, why);
	dump_close(d);
	return -1;
}

void dump_close(struct dump *d)
{
	if (d->fd >= 0)
		close(d->fd);
	free(d->parts);
	*d = (struct dump){.fd = -1};
}

int dump_read(const struct dump *d, const struct dump_part *p, u64 gpa, u8 *to, size_t n)
{
	u64 off = p->off + (gpa - p->gpa);

	while (n) {
		const ssize_t got = pread(d->fd, to, n, (off_t)off);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got ? -errno : -ENODATA;
		to += got;
		off += (u64)got;
		n -= (size_t)got;
	}
	return 0;
}

bool dump_hole(const struct dump *d, const struct dump_part *p, u64 gpa, u64 end)
{
	const u64 off = p->off + (gpa - p->gpa);
	const off_t data = lseek(d->fd, (off_t)off, SEEK_DATA);

	return data < 0 ? errno == ENXIO : (u64)data >= off + (end - gpa);
}
