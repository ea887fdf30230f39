// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * nm ELF | stores_truth [-lpf] [-a FILE] [-b FILE] OPERATIONS: the ground truth of the aarch64
 * `stores` guest, to stdout, in the format of ../stores_truth.c: what a recording of ranges A and B
 * must hold, in order, one line a piece of a store:
 *
 *	INDEX GPA LEN BYTES PC SYMBOL
 *	17 0x4100102c 4 0dd0feca 0x40200a34 store_strw
 *
 * A store is all that one instruction stores: of a pair, of several registers, of DC ZVA. It has
 * two pieces when its bytes do not lie together in guest-physical memory; with -p it is also cut at
 * every 4 KiB boundary. A store that faulted and was made again counts once.
 *
 *	-l	for a processor with LSE
 *	-f	also the stores that were tried and not made, a store-exclusive's or a
 *		comparison's, as INDEX 0; BYTES is then what would have been stored
 *
 *	-a, -b	write what the ranges hold at the end
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stores.h"

struct truth {
	FILE *out;
	bool failed_too;
};

static uint64_t pcs[STORE_OPS];

/* Looks for store_<name> in what nm says. */
static bool pcs_read(FILE *nm)
{
	char name[128];
	uint64_t pc;
	unsigned found = 0;

	while (fscanf(nm, "%" SCNx64 " %*c %127s", &pc, name) == 2) {
		for (unsigned op = 0; op < STORE_OPS; op++) {
			if (strncmp(name, "store_", 6) || strcmp(name + 6, store_descs[op].name))
				continue;
			pcs[op] = pc;
			found++;
		}
	}
	return found == STORE_OPS;
}

static void piece_print(void *arg, const struct store_piece *piece)
{
	const struct truth *truth = arg;

	if (!piece->index && !truth->failed_too)
		return;
	fprintf(truth->out, "%" PRIu64 " 0x%" PRIx64 " %u ", piece->index, piece->gpa, piece->len);
	for (uint32_t i = 0; i < piece->len; i++)
		fprintf(truth->out, "%02x", piece->bytes[i]);
	fprintf(truth->out, " 0x%" PRIx64 " store_%s\n", pcs[piece->op],
		store_descs[piece->op].name);
}

static bool range_write(const char *path, const struct stores_model *m, uint64_t gpa, size_t bytes)
{
	FILE *f = fopen(path, "wb");
	bool good = f && fwrite(&m->arena[gpa - ARENA_GPA], 1, bytes, f) == bytes;

	if (f && fclose(f))
		good = false;
	if (!good)
		perror(path);
	return good;
}

int main(int argc, char **argv)
{
	static struct stores_model m;
	struct truth truth = {.out = stdout};
	struct stores_plan plan = {0};
	struct store_op op;
	const char *path_a = NULL, *path_b = NULL;
	int c;

	while ((c = getopt(argc, argv, "lpfa:b:")) != -1) {
		if (c == 'l')
			plan.lse = true;
		else if (c == 'p')
			m.split_pages = true;
		else if (c == 'f')
			truth.failed_too = true;
		else if (c == 'a')
			path_a = optarg;
		else if (c == 'b')
			path_b = optarg;
		else
			optind = argc;
	}
	if (argc - optind == 1)
		plan.operations = (uint32_t)strtoul(argv[optind], NULL, 0);
	if (!plan.operations) {
		fprintf(stderr, "usage: nm ELF | stores_truth [-lpf] [-a FILE] [-b FILE] "
				"OPERATIONS\n");
		return 2;
	}
	if (!pcs_read(stdin)) {
		fprintf(stderr, "stores_truth: these are not the stores guest's symbols\n");
		return 1;
	}
	m.tell = piece_print;
	m.tell_arg = &truth;
	while (plan_next(&plan, &m, &op))
		model_run(&m, &op);

	bool good = !fflush(stdout) && !ferror(stdout);

	if (path_a)
		good &= range_write(path_a, &m, RANGE_A_GPA, RANGE_A_BYTES);
	if (path_b)
		good &= range_write(path_b, &m, RANGE_B_GPA, RANGE_B_BYTES);
	return good ? 0 : 1;
}
