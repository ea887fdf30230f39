/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What follows the guest on its disk: one sector that says what it is, then the bytes, padded to a
 * whole sector. Written by mkpayload.c on the host, read by disk.c in the guest. Little-endian.
 *
 *	 0 magic   4 bytes   8 sum   12 spare   16 name[16]   32 zero up to 512
 */
#ifndef GUESTS_PAYLOAD_H
#define GUESTS_PAYLOAD_H

#include <stdint.h>

#define SECTOR_BYTES  512u
#define PAYLOAD_MAGIC 0x64616f6cu

struct payload {
	uint32_t magic; /* PAYLOAD_MAGIC */
	uint32_t bytes; /* without the padding */
	uint32_t sum;	/* payload_sum() of them */
	uint32_t spare;
	char name[16];
	uint8_t zero[SECTOR_BYTES - 32];
};

_Static_assert(sizeof(struct payload) == SECTOR_BYTES, "a payload's header is one sector");

/* Rotate and add, dword by dword; the tail counts as if zeros followed. Five instructions a dword:
 * guests are emulated at about two million instructions a second. */
static inline uint32_t payload_sum(const uint8_t *data, uint32_t bytes)
{
	uint32_t sum = 0;

	for (; bytes >= 4; bytes -= 4, data += 4) {
		uint32_t word;

		__builtin_memcpy(&word, data, 4);
		sum = (sum << 1 | sum >> 31) + word;
	}
	if (bytes) {
		uint32_t word = 0;

		for (uint32_t i = 0; i < bytes; i++)
			word |= (uint32_t)data[i] << (8 * i);
		sum = (sum << 1 | sum >> 31) + word;
	}
	return sum;
}

#endif
