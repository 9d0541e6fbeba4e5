/* Translation through an IOTLB and paging-structure caches over a table of 4 KiB leaves. */
#ifndef CACHED_H
#define CACHED_H

#include "table.h"

/* Ways of every paging-structure cache, fully associative, and whose translations they are; as in bench/inputs.ts. */
enum { STRUCTURE_WAYS = 32, DOMAIN = 1 };

struct tag {
	uint64_t key;
	uint64_t domain;
};

struct cache {
	uint32_t sets;
	uint32_t ways;
	/* Counts uses; an entry's `used` is when it was last used. */
	uint64_t now;
	struct tag *tags;
	uint64_t *used;
	uint64_t *values;
};

struct cached {
	struct table *table;
	struct cache iotlb;
	struct cache structure[MAX_LEVELS + 1];
	uint64_t hits;
	uint64_t reads;
};

void cached_init(struct cached *cached, struct table *table, uint32_t iotlb_sets, uint32_t iotlb_ways);
void cached_destroy(struct cached *cached);
/* Physical addresses of reads, NOT_MAPPED where there is a fault. */
void cached_run(struct cached *cached, const uint64_t *iova, uint64_t *physical, size_t count);

#endif
