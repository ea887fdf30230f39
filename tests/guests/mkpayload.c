// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mkpayload FILE NAME: writes the payload sector and the file, padded, to stdout (payload.h).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "payload.h"

#define BYTES_MAX (32u << 20)

int main(int argc, char **argv)
{
	static uint8_t data[BYTES_MAX + SECTOR_BYTES];

	if (argc != 3) {
		fprintf(stderr, "usage: mkpayload FILE NAME\n");
		return 2;
	}
	FILE *f = fopen(argv[1], "rb");

	if (!f) {
		perror(argv[1]);
		return 1;
	}
	const size_t bytes = fread(data, 1, BYTES_MAX, f);

	if (ferror(f) || fgetc(f) != EOF) {
		fprintf(stderr, "%s: cannot be read whole\n", argv[1]);
		fclose(f);
		return 1;
	}
	fclose(f);

	struct payload payload = {
		.magic = PAYLOAD_MAGIC,
		.bytes = (uint32_t)bytes,
		.sum = payload_sum(data, (uint32_t)bytes),
	};
	const size_t padded = (bytes + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;

	snprintf(payload.name, sizeof(payload.name), "%s", argv[2]);
	if (fwrite(&payload, sizeof(payload), 1, stdout) != 1 ||
	    fwrite(data, 1, padded, stdout) != padded || fflush(stdout)) {
		perror("mkpayload");
		return 1;
	}
	return 0;
}
