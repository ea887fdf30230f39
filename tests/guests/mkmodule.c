// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mkmodule GOOD BAD: writes the `console` guest's module, and what its console makes of it. The
 * same bytes every time.
 */
#include <stdio.h>
#include <string.h>

#include "console_layout.h"

#define METER_GLYPH 0x3c

/* The rows of the bug report (tests/cases): good, in file order, from DAMAGE_OFF on. */
static const unsigned char rows_good[DAMAGE_CELLS][CELL_BYTES] = {
	{0xe8, 0x01, 0, 0, 0, 0, 0, 0, 0x5e, 0x8c, 0, 0, 0x10, 0, 0xf1, 0xff},
	{0x78, 0x5b, 0x3e, 0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
	{0x77, 0x8c, 0, 0, 0x12, 0, 0x02, 0, 0xf0, 0x18, 0, 0, 0, 0, 0, 0},
	{0x1e, 0, 0, 0, 0, 0, 0, 0, 0x8c, 0x8c, 0, 0, 0x12, 0, 0x02, 0},
	{0x70, 0x07, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0, 0},
	{0x9c, 0x8c, 0, 0, 0x12, 0, 0x02, 0, 0, 0x22, 0, 0, 0, 0, 0, 0},
	{0x40, 0, 0, 0, 0, 0, 0, 0, 0xac, 0x8c, 0, 0, 0x10, 0, 0xf1, 0xff},
};

static int file_write(const char *path, const void *data, size_t bytes)
{
	FILE *f = fopen(path, "wb");
	int err = !f || fwrite(data, 1, bytes, f) != bytes;

	if (f && fclose(f))
		err = 1;
	if (err)
		perror(path);
	return err;
}

int main(int argc, char **argv)
{
	static unsigned char data[MODULE_BYTES];
	unsigned state = 0x6c696261;

	if (argc != 3) {
		fprintf(stderr, "usage: mkmodule GOOD BAD\n");
		return 2;
	}
	for (size_t i = 0; i < sizeof(data); i++) {
		state ^= state << 13;
		state ^= state >> 17;
		state ^= state << 5;
		data[i] = (unsigned char)(state >> 24);
	}
	memcpy(data, "\177ELF", 4);
	memcpy(data + DAMAGE_OFF, rows_good, sizeof(rows_good));
	if (file_write(argv[1], data, sizeof(data)))
		return 1;
	for (size_t row = 0; row < DAMAGE_CELLS; row++) {
		unsigned char *cell = data + DAMAGE_OFF + row * CELL_BYTES;

		cell[8] = METER_GLYPH;
		cell[9] = cell[14] = cell[15] = 0;
		cell[12] |= 0x07;
	}
	return file_write(argv[2], data, sizeof(data));
}
