/* What every part of the C peer shares: the input generator, the checksum and the clock. */
#ifndef COMMON_H
#define COMMON_H

#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <time.h>

enum { PAGE_SHIFT = 12, PAGE_BYTES = 4096 };

/* Linear congruential generator (Numerical Recipes), the same as in bench/random.ts. */
static inline uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state;
}

/* A number below `bound` (at most 2^24) from the generator's better, upper bits. */
static inline uint32_t random_below(uint32_t *state, uint32_t bound)
{
	return (uint32_t)(((uint64_t)(next_random(state) >> 8) * bound) >> 24);
}

/* FNV-1a over 32-bit words, the same as in bench/checksum.ts. */
enum { CHECKSUM_START = (int)0x811c9dc5u };

static inline uint32_t checksum_u32(uint32_t sum, uint32_t word)
{
	return (sum ^ word) * 0x01000193u;
}

static inline uint32_t checksum_u64(uint32_t sum, uint64_t value)
{
	return checksum_u32(checksum_u32(sum, (uint32_t)value), (uint32_t)(value >> 32));
}

static inline uint64_t nanoseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline void *zeroed(size_t bytes)
{
	/* 64-byte alignment, so that no table entry or tree node straddles a cache line. */
	void *block = aligned_alloc(4096, (bytes + 4095) & ~(size_t)4095);
	if (!block) {
		fprintf(stderr, "out of memory\n");
		exit(1);
	}
	for (size_t i = 0; i < (bytes + 4095) / 4096 * 512; i++)
		((uint64_t *)block)[i] = 0;
	return block;
}

/* What one timed run reports. */
struct timing {
	uint64_t nanoseconds;
	uint64_t operations;
};

#endif
