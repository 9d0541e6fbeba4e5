/* An IOVA allocator: the peer of assembly/iova/. Everything is counted in 4 KiB granules. */
#ifndef IOVA_H
#define IOVA_H

#include "common.h"

#include <stdbool.h>

#define NO_FIT UINT64_MAX

struct node;

struct live_range {
	/* First granule + 1; 0 marks a free slot. */
	uint64_t key;
	uint64_t length;
};

struct space {
	uint64_t first;
	uint64_t end;
	uint64_t free;
	uint64_t live;
	uint64_t lowest;
	uint64_t highest;
	struct node *root;
	uint32_t height;
	uint32_t holes;
	uint32_t ranges;
	uint32_t table_bits;
	struct live_range *table;
	/* Nodes that nobody uses, linked through their first child. */
	struct node *spare;
	uint32_t spare_count;
};

struct request {
	uint64_t length;
	/* The start is congruent to `residue` modulo `mask` + 1. */
	uint64_t mask;
	uint64_t residue;
	uint64_t window_first;
	uint64_t window_end;
};

void space_init(struct space *space, uint64_t first, uint64_t end);
void space_destroy(struct space *space);
/* The highest start that satisfies the request, or NO_FIT. */
uint64_t space_allocate(struct space *space, const struct request *request);
/* The length of the live range that began at `start`, or 0 when none did. */
uint64_t space_free(struct space *space, uint64_t start);

#endif
