// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * stores_truth [-p] [-a FILE] [-b FILE] TABLE ELF: the ground truth of the `stores` guest, to
 * stdout: what a ledger of ranges A and B must hold, in order, one line a piece of a store:
 *
 *	INDEX GPA LEN BYTES RIP SYMBOL
 *	17 0x100102c 4 0dd0feca 0x8231 store_mov32
 *
 *	INDEX	number of the store, from 1; the pieces of one store share it
 *	GPA	guest-physical, hexadecimal; the piece lies in one range, cut down to it
 *	LEN	bytes, decimal
 *	BYTES	what was stored, hexadecimal, in memory order (also where it was there before)
 *	RIP	of the instruction (with CS base 0), from the ELF
 *
 * A store has two pieces when its bytes do not lie together in guest-physical memory. With -p it is
 * also cut at every 4 KiB boundary, as KVM asks for it. A store that faulted and was made again
 * counts once. Each element of a `rep` is a store. -a and -b write what the ranges hold at the end.
 */
#include <fcntl.h>
#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stores_model.h"

struct table {
	struct stores_table header;
	struct store_op ops[];
};

static uint64_t rips[STORE_OPS];

/* Looks up store_<name> for each operation. */
static int rips_read(const char *path)
{
	Elf_Scn *scn = NULL;
	GElf_Shdr shdr;
	GElf_Sym sym;
	unsigned found = 0;

	elf_version(EV_CURRENT);

	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	Elf *elf = fd < 0 ? NULL : elf_begin(fd, ELF_C_READ, NULL);

	while (elf && (scn = elf_nextscn(elf, scn))) {
		if (!gelf_getshdr(scn, &shdr) || shdr.sh_type != SHT_SYMTAB || !shdr.sh_entsize)
			continue;

		Elf_Data *data = elf_getdata(scn, NULL);

		for (size_t i = 0; data && i < shdr.sh_size / shdr.sh_entsize; i++) {
			const char *name = NULL;

			if (gelf_getsym(data, (int)i, &sym))
				name = elf_strptr(elf, shdr.sh_link, sym.st_name);
			if (!name || strncmp(name, "store_", 6))
				continue;
			for (unsigned op = 0; op < STORE_OPS; op++) {
				if (strcmp(name + 6, store_descs[op].name))
					continue;
				found += !rips[op];
				rips[op] = sym.st_value;
			}
		}
	}
	elf_end(elf);
	if (fd >= 0)
		close(fd);
	return found == STORE_OPS ? 0 : -1;
}

/* The table, or NULL; *bytes is its size. */
static struct table *table_read(const char *path, uint32_t *bytes)
{
	const size_t max = TABLE_END - TABLE_GPA;
	struct table *table = malloc(max);
	FILE *f = fopen(path, "rb");
	const size_t got = f && table ? fread(table, 1, max, f) : 0;

	if (f)
		fclose(f);
	if (got < sizeof(table->header) || table->header.magic != TABLE_MAGIC ||
	    got != sizeof(table->header) + OP_BYTES * (size_t)table->header.ops) {
		free(table);
		return NULL;
	}
	for (uint32_t i = 0; i < table->header.ops; i++) {
		if (table->ops[i].op >= STORE_OPS) {
			free(table);
			return NULL;
		}
	}
	*bytes = (uint32_t)got;
	return table;
}

static void piece_print(void *arg, const struct store_piece *piece)
{
	FILE *f = arg;

	fprintf(f, "%llu 0x%llx %u ", (unsigned long long)piece->index,
		(unsigned long long)piece->gpa, piece->len);
	for (uint32_t i = 0; i < piece->len; i++)
		fprintf(f, "%02x", piece->bytes[i]);
	fprintf(f, " 0x%llx store_%s\n", (unsigned long long)rips[piece->op],
		store_descs[piece->op].name);
}

static int range_write(const char *path, const struct stores_model *m, uint64_t gpa, size_t bytes)
{
	FILE *f = fopen(path, "wb");
	int err = !f || fwrite(&m->arena[gpa - ARENA_GPA], 1, bytes, f) != bytes;

	if (f && fclose(f))
		err = 1;
	if (err)
		perror(path);
	return err;
}

int main(int argc, char **argv)
{
	const char *path_a = NULL, *path_b = NULL;
	bool split_pages = false;
	int c;

	while ((c = getopt(argc, argv, "pa:b:")) != -1) {
		if (c == 'p')
			split_pages = true;
		else if (c == 'a')
			path_a = optarg;
		else if (c == 'b')
			path_b = optarg;
		else
			optind = argc;
	}
	if (argc - optind != 2) {
		fprintf(stderr, "usage: stores_truth [-p] [-a FILE] [-b FILE] TABLE ELF\n");
		return 2;
	}

	uint32_t bytes = 0;
	struct table *table = table_read(argv[optind], &bytes);
	struct stores_model *m = calloc(1, sizeof(*m));
	int err = 0;

	if (!table || !m) {
		fprintf(stderr, "%s: not a table of stores\n", argv[optind]);
		err = 1;
	} else if (rips_read(argv[optind + 1])) {
		fprintf(stderr, "%s: not the stores guest's ELF\n", argv[optind + 1]);
		err = 1;
	}
	if (!err) {
		m->table = (const uint8_t *)table;
		m->table_bytes = bytes;
		m->split_pages = split_pages;
		m->tell = piece_print;
		m->tell_arg = stdout;
		for (uint32_t pass = 0; pass < table->header.passes; pass++)
			for (uint32_t i = 0; i < table->header.ops; i++)
				model_run(m, &table->ops[i]);
		err = fflush(stdout) != 0;
		if (path_a)
			err |= range_write(path_a, m, RANGE_A_GPA, RANGE_A_BYTES);
		if (path_b)
			err |= range_write(path_b, m, RANGE_B_GPA, RANGE_B_BYTES);
	}
	free(table);
	free(m);
	return err;
}
