/*
 * A VT-d second-stage page table in one contiguous arena of emulated physical memory: the peer of assembly/table/ and
 * assembly/memory/physical.ts for the one format that is benched.
 */
#ifndef TABLE_H
#define TABLE_H

#include "common.h"

enum { INDEX_BITS = 9, ENTRIES = 512, MAX_LEVELS = 5 };

#define ENTRY_READ (UINT64_C(1) << 0)
#define ENTRY_WRITE (UINT64_C(1) << 1)
#define ENTRY_PRESENT (ENTRY_READ | ENTRY_WRITE)
#define ENTRY_LARGE (UINT64_C(1) << 7)
#define ENTRY_SNOOP (UINT64_C(1) << 11)
#define ENTRY_ADDRESS UINT64_C(0x000ffffffffff000)

#define NOT_MAPPED UINT64_MAX
#define ARENA_BASE (UINT64_C(1) << 38)

/* Status of a change, as in assembly/layout.ts. */
enum status {
	STATUS_OK = 0,
	STATUS_MISALIGNED = 1,
	STATUS_INPUT_RANGE = 2,
	STATUS_OUTPUT_RANGE = 3,
	STATUS_OVERLAP = 4,
	STATUS_HOLE = 5,
	STATUS_INSIDE_LEAF = 6,
	STATUS_PERMISSIONS = 7,
	STATUS_BUS_ERROR = 8,
	STATUS_MEMORY_EXHAUSTED = 9,
};

/* Outcome of a walk, as in assembly/layout.ts. */
enum walk_outcome {
	WALK_OK = 0,
	WALK_INPUT_RANGE = 1,
	WALK_ROOT_ACCESS = 2,
	WALK_TABLE_ACCESS = 3,
	WALK_NOT_PRESENT = 4,
	WALK_RESERVED = 5,
	WALK_NO_READ = 8,
	WALK_NO_WRITE = 9,
};

/* Kinds of access and permissions of a mapping; the same bits as an entry's. */
enum { ACCESS_READ = 1, ACCESS_WRITE = 2 };

struct table {
	/* Emulated physical memory from ARENA_BASE on. */
	unsigned char *arena;
	uint64_t arena_bytes;
	uint32_t pages_used;
	/* Stack of free table pages, every one of them all zero. */
	uint32_t *free_pages;
	uint32_t free_depth;

	uint64_t root;
	int levels;
	uint64_t page_sizes;
	uint64_t input_last;
	uint64_t output_last;
	uint64_t reserved_table[MAX_LEVELS + 1];
	uint64_t reserved_leaf[MAX_LEVELS + 1];

	/* Exact counters, kept as the other side keeps them. */
	uint64_t table_pages;
	uint64_t entries_written;
	uint64_t entries_read;
	uint64_t leaves[MAX_LEVELS + 1];
	uint64_t where;
	uint64_t removed_bytes;
	uint32_t removed[MAX_LEVELS + 1];
	uint32_t freed[MAX_LEVELS + 1];
	uint32_t freed_pages;
};

static inline int level_shift(int level)
{
	return PAGE_SHIFT + INDEX_BITS * (level - 1);
}

static inline unsigned index_at(uint64_t iova, int level)
{
	return (unsigned)(iova >> level_shift(level)) & (ENTRIES - 1);
}

/* The table page at a physical address, or NULL when nobody backs it. */
static inline uint64_t *table_at(const struct table *table, uint64_t address)
{
	uint64_t offset = address - ARENA_BASE;
	return offset < table->arena_bytes ? (uint64_t *)(void *)(table->arena + offset) : NULL;
}

void table_init(struct table *table, int levels, uint64_t page_sizes, uint32_t arena_pages);
void table_destroy(struct table *table);
enum status map_range(struct table *table, uint64_t iova, uint64_t physical, uint64_t length, unsigned permissions);
enum status unmap_range(struct table *table, uint64_t iova, uint64_t length);

/* walk.c: physical addresses, or NOT_MAPPED; presence is all that is looked at. */
void lookup_batch(const struct table *table, const uint64_t *iova, uint64_t *physical, size_t count);
void lookup_batch_in_step(const struct table *table, const uint64_t *iova, uint64_t *physical, size_t count);
/* walk.c: as hardware walks, every check made; a status word per walk. */
void walk_batch(struct table *table, const uint64_t *iova, uint64_t *physical, uint32_t *status, size_t count,
		unsigned access);
void walk_batch_in_step(struct table *table, const uint64_t *iova, uint64_t *physical, uint32_t *status, size_t count,
			unsigned access);

#endif
