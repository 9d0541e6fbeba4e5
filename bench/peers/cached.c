/*
 * Translation through an IOTLB and paging-structure caches, all true LRU: the peer of assembly/access/simulate.ts for the
 * table format and the cache geometries that are benched. The caches are plain arrays, searched way by way.
 */
#include "cached.h"

#include <stdbool.h>

static void cache_init(struct cache *cache, uint32_t sets, uint32_t ways)
{
	cache->sets = sets;
	cache->ways = ways;
	cache->now = 0;
	cache->tags = zeroed(sizeof(struct tag) * sets * ways);
	cache->used = zeroed(sizeof(uint64_t) * sets * ways);
	cache->values = zeroed(sizeof(uint64_t) * sets * ways);
}

static void cache_destroy(struct cache *cache)
{
	free(cache->tags);
	free(cache->used);
	free(cache->values);
}

/* Where the set of a page begins. */
static inline size_t set_of(const struct cache *cache, uint64_t key, int shift, uint64_t domain)
{
	return (size_t)(((key >> shift) ^ domain) & (cache->sets - 1)) * cache->ways;
}

static inline uint64_t key_of(uint64_t iova, int shift)
{
	/* The size belongs to it, and keeps an empty entry from looking like page 0. */
	return (iova >> shift << shift) | (uint64_t)shift;
}

static inline uint64_t *cache_find(struct cache *cache, uint64_t iova, int shift, uint64_t domain)
{
	uint64_t key = key_of(iova, shift);
	size_t first = set_of(cache, key, shift, domain);
	for (size_t i = first; i < first + cache->ways; i++) {
		if (cache->tags[i].key == key && cache->tags[i].domain == domain) {
			cache->used[i] = ++cache->now;
			return &cache->values[i];
		}
	}
	return NULL;
}

/* An empty entry has never been used and so is the oldest. */
static inline void cache_fill(struct cache *cache, uint64_t iova, int shift, uint64_t domain, uint64_t value)
{
	uint64_t key = key_of(iova, shift);
	size_t first = set_of(cache, key, shift, domain);
	size_t victim = first;
	for (size_t i = first + 1; i < first + cache->ways; i++)
		if (cache->used[i] < cache->used[victim])
			victim = i;
	cache->tags[victim] = (struct tag){ key, domain };
	cache->values[victim] = value;
	cache->used[victim] = ++cache->now;
}

void cached_init(struct cached *cached, struct table *table, uint32_t iotlb_sets, uint32_t iotlb_ways)
{
	cached->table = table;
	cached->hits = 0;
	cached->reads = 0;
	cache_init(&cached->iotlb, iotlb_sets, iotlb_ways);
	for (int level = 2; level <= table->levels; level++)
		cache_init(&cached->structure[level], 1, STRUCTURE_WAYS);
}

void cached_destroy(struct cached *cached)
{
	cache_destroy(&cached->iotlb);
	for (int level = 2; level <= cached->table->levels; level++)
		cache_destroy(&cached->structure[level]);
}

static uint64_t walk(struct cached *cached, uint64_t iova, unsigned access)
{
	struct table *table = cached->table;
	uint64_t rights = ACCESS_READ | ACCESS_WRITE;
	uint64_t address = table->root;
	int level = table->levels;
	if (iova > table->input_last)
		return NOT_MAPPED;
	for (int above = 2; above <= table->levels; above++) {
		uint64_t *known = cache_find(&cached->structure[above], iova, level_shift(above), DOMAIN);
		if (known) {
			address = *known & ENTRY_ADDRESS;
			rights = *known & ENTRY_PRESENT;
			level = above - 1;
			break;
		}
	}
	for (;; level--) {
		uint64_t *entries = table_at(table, address);
		if (!entries)
			return NOT_MAPPED;
		uint64_t entry = entries[index_at(iova, level)];
		cached->reads++;
		rights &= entry;
		if (!(rights & ENTRY_PRESENT))
			return NOT_MAPPED;
		bool leaf = level == 1 || entry & ENTRY_LARGE;
		if (entry & (leaf ? table->reserved_leaf[level] : table->reserved_table[level]))
			return NOT_MAPPED;
		address = entry & ENTRY_ADDRESS;
		if (leaf) {
			uint64_t low = (UINT64_C(1) << level_shift(level)) - 1;
			if (access & ~rights)
				return NOT_MAPPED;
			cache_fill(&cached->iotlb, iova, level_shift(level), DOMAIN, (address & ~low) | rights);
			return (address & ~low) | (iova & low);
		}
		cache_fill(&cached->structure[level], iova, level_shift(level), DOMAIN, address | rights);
	}
}

void cached_run(struct cached *cached, const uint64_t *iova, uint64_t *physical, size_t count)
{
	const unsigned access = ACCESS_READ;
	for (size_t i = 0; i < count; i++) {
		uint64_t *known = cache_find(&cached->iotlb, iova[i], PAGE_SHIFT, DOMAIN);
		if (known && !(access & ~*known)) {
			cached->hits++;
			physical[i] = (*known & ENTRY_ADDRESS) | (iova[i] & (PAGE_BYTES - 1));
		} else {
			physical[i] = walk(cached, iova[i], access);
		}
	}
}
