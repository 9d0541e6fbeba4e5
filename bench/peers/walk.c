/*
 * Batches of walks, as assembly/table/walk.ts makes them: a simple loop, and for comparison four walks in lock-step,
 * whose loads overlap when tables are not in the processor's cache.
 */
#include "table.h"

#include <stdbool.h>

/* Byte offset of the entry within its table page: the index is shifted by three less and so comes out times eight. */
static inline uint64_t entry_offset(uint64_t iova, int shift)
{
	return (iova >> (shift - 3)) & ((ENTRIES - 1) << 3);
}

static inline uint64_t load_entry(const unsigned char *table_page, uint64_t iova, int shift)
{
	return *(const uint64_t *)(const void *)(table_page + entry_offset(iova, shift));
}

static inline uint64_t translate(uint64_t entry, uint64_t iova, int shift)
{
	uint64_t low = (UINT64_C(1) << shift) - 1;
	return (entry & ENTRY_ADDRESS & ~low) | (iova & low);
}

static inline uint64_t lookup_one(const struct table *table, uint64_t iova)
{
	if (iova > table->input_last)
		return NOT_MAPPED;
	uint64_t offset = table->root - ARENA_BASE;
	for (int shift = level_shift(table->levels);; shift -= INDEX_BITS) {
		if (offset >= table->arena_bytes)
			return NOT_MAPPED;
		uint64_t entry = load_entry(table->arena + offset, iova, shift);
		if (!(entry & ENTRY_PRESENT))
			return NOT_MAPPED;
		if (shift == PAGE_SHIFT)
			return (entry & ENTRY_ADDRESS) | (iova & (PAGE_BYTES - 1));
		if (entry & ENTRY_LARGE)
			return translate(entry, iova, shift);
		offset = (entry & ENTRY_ADDRESS) - ARENA_BASE;
	}
}

void lookup_batch(const struct table *shared, const uint64_t *iova, uint64_t *physical, size_t count)
{
	/* A copy that nothing else can point to, so that its fields stay in registers. */
	const struct table table = *shared;
	for (size_t i = 0; i < count; i++)
		physical[i] = lookup_one(&table, iova[i]);
}

enum { IN_STEP = 4 };

void lookup_batch_in_step(const struct table *shared, const uint64_t *iova, uint64_t *physical, size_t count)
{
	const struct table table = *shared;
	const unsigned char *root = table.arena + (table.root - ARENA_BASE);
	size_t i = 0;
	for (; i + IN_STEP <= count; i += IN_STEP) {
		const unsigned char *page[IN_STEP] = { root, root, root, root };
		uint64_t entry[IN_STEP];
		bool ordinary = true;
		for (int k = 0; k < IN_STEP; k++)
			ordinary &= iova[i + k] <= table.input_last;
		for (int shift = level_shift(table.levels); ordinary && shift > PAGE_SHIFT; shift -= INDEX_BITS) {
			for (int k = 0; k < IN_STEP; k++)
				entry[k] = load_entry(page[k], iova[i + k], shift);
			for (int k = 0; k < IN_STEP; k++) {
				uint64_t offset = (entry[k] & ENTRY_ADDRESS) - ARENA_BASE;
				ordinary &= (entry[k] & ENTRY_PRESENT) && !(entry[k] & ENTRY_LARGE) &&
					    offset < table.arena_bytes;
				page[k] = table.arena + offset;
			}
		}
		if (ordinary) {
			for (int k = 0; k < IN_STEP; k++)
				entry[k] = load_entry(page[k], iova[i + k], PAGE_SHIFT);
			for (int k = 0; k < IN_STEP; k++)
				physical[i + k] = entry[k] & ENTRY_PRESENT ? translate(entry[k], iova[i + k], PAGE_SHIFT) :
									     NOT_MAPPED;
		} else {
			for (int k = 0; k < IN_STEP; k++)
				physical[i + k] = lookup_one(&table, iova[i + k]);
		}
	}
	for (; i < count; i++)
		physical[i] = lookup_one(&table, iova[i]);
}

static inline uint32_t status_word(enum walk_outcome outcome, int level, int reads, int shift)
{
	return (uint32_t)outcome | (uint32_t)level << 8 | (uint32_t)shift << 12 | (uint32_t)reads << 24;
}

/* One walk, every check in its order (VT-d section 3.7, Table 30). */
static uint32_t walk_precisely(struct table *table, uint64_t iova, unsigned access, uint64_t *physical)
{
	if (iova > table->input_last) {
		*physical = 0;
		return status_word(WALK_INPUT_RANGE, 0, 0, 0);
	}
	uint64_t rights = ENTRY_PRESENT;
	uint64_t address = table->root;
	enum walk_outcome outcome = WALK_OK;
	uint64_t entry = 0;
	int reads = 0;
	int level = table->levels;
	for (;; level--) {
		const uint64_t *entries = table_at(table, address);
		if (!entries) {
			outcome = level == table->levels ? WALK_ROOT_ACCESS : WALK_TABLE_ACCESS;
			break;
		}
		entry = entries[index_at(iova, level)];
		reads++;
		rights &= entry;
		if (!(rights & ENTRY_PRESENT)) {
			outcome = WALK_NOT_PRESENT;
			break;
		}
		bool leaf = level == 1 || entry & ENTRY_LARGE;
		if (entry & (leaf ? table->reserved_leaf[level] : table->reserved_table[level])) {
			outcome = WALK_RESERVED;
			break;
		}
		if (leaf) {
			unsigned missing = ~(unsigned)rights & access & (ACCESS_READ | ACCESS_WRITE);
			if (missing)
				outcome = missing & ACCESS_WRITE ? WALK_NO_WRITE : WALK_NO_READ;
			break;
		}
		address = entry & ENTRY_ADDRESS;
	}
	table->entries_read += (uint64_t)reads;
	if (outcome == WALK_OK) {
		*physical = translate(entry, iova, level_shift(level));
		return status_word(WALK_OK, level, reads, level_shift(level));
	}
	*physical = address + (index_at(iova, level) << 3);
	return status_word(outcome, level, reads, 0);
}

/* What the walks of one batch have in common. */
struct checks {
	uint64_t required;
	uint64_t table_denied;
	uint64_t page_denied;
	uint32_t page_status;
};

static struct checks checks_of(const struct table *table, unsigned access)
{
	return (struct checks){
		.required = access & (ACCESS_READ | ACCESS_WRITE),
		/* A request for neither read nor write asks for presence only, which no mask can express. */
		.table_denied = table->reserved_table[2] | (access & (ACCESS_READ | ACCESS_WRITE) ? 0 : UINT64_MAX),
		.page_denied = table->reserved_leaf[1],
		.page_status = status_word(WALK_OK, 1, table->levels, PAGE_SHIFT),
	};
}

void walk_batch(struct table *shared, const uint64_t *iova, uint64_t *physical, uint32_t *status, size_t count,
		unsigned access)
{
	const struct table table = *shared;
	const struct checks checks = checks_of(&table, access);
	uint64_t reads = 0;
	for (size_t i = 0; i < count; i++) {
		const uint64_t address = iova[i];
		uint64_t all = UINT64_MAX;
		uint64_t any = 0;
		uint64_t offset = table.root - ARENA_BASE;
		uint64_t entry = 0;
		int shift = level_shift(table.levels);
		bool reached = address <= table.input_last;
		/* Above the last level the checks are gathered, and made at once where the walk ends. */
		while (reached) {
			entry = load_entry(table.arena + offset, address, shift);
			if (shift == PAGE_SHIFT)
				break;
			all &= entry;
			any |= entry;
			offset = (entry & ENTRY_ADDRESS) - ARENA_BASE;
			/* A large leaf is rare enough here to be walked precisely. */
			reached = !(entry & ENTRY_LARGE) && offset < table.arena_bytes;
			shift -= INDEX_BITS;
		}
		uint64_t wrong = (~(all & entry) & checks.required) | (any & checks.table_denied) |
				 (entry & checks.page_denied);
		if (reached && !wrong) {
			physical[i] = (entry & ENTRY_ADDRESS) | (address & (PAGE_BYTES - 1));
			status[i] = checks.page_status;
			reads += (uint64_t)table.levels;
		} else {
			status[i] = walk_precisely(shared, address, access, &physical[i]);
		}
	}
	shared->entries_read += reads;
}

void walk_batch_in_step(struct table *shared, const uint64_t *iova, uint64_t *physical, uint32_t *status, size_t count,
			unsigned access)
{
	const struct table table = *shared;
	const struct checks checks = checks_of(&table, access);
	const unsigned char *root = table.arena + (table.root - ARENA_BASE);
	uint64_t reads = 0;
	size_t i = 0;
	for (; i + IN_STEP <= count; i += IN_STEP) {
		const unsigned char *page[IN_STEP] = { root, root, root, root };
		uint64_t entry[IN_STEP];
		uint64_t all = UINT64_MAX;
		uint64_t any = 0;
		bool ordinary = true;
		for (int k = 0; k < IN_STEP; k++)
			ordinary &= iova[i + k] <= table.input_last;
		for (int shift = level_shift(table.levels); ordinary && shift > PAGE_SHIFT; shift -= INDEX_BITS) {
			for (int k = 0; k < IN_STEP; k++)
				entry[k] = load_entry(page[k], iova[i + k], shift);
			for (int k = 0; k < IN_STEP; k++) {
				uint64_t offset = (entry[k] & ENTRY_ADDRESS) - ARENA_BASE;
				all &= entry[k];
				any |= entry[k];
				ordinary &= !(entry[k] & ENTRY_LARGE) && offset < table.arena_bytes;
				page[k] = table.arena + offset;
			}
		}
		uint64_t leaf_any = 0;
		if (ordinary) {
			for (int k = 0; k < IN_STEP; k++) {
				entry[k] = load_entry(page[k], iova[i + k], PAGE_SHIFT);
				all &= entry[k];
				leaf_any |= entry[k];
			}
			ordinary = !((~all & checks.required) | (any & checks.table_denied) |
				     (leaf_any & checks.page_denied));
		}
		if (ordinary) {
			for (int k = 0; k < IN_STEP; k++) {
				physical[i + k] = translate(entry[k], iova[i + k], PAGE_SHIFT);
				status[i + k] = checks.page_status;
			}
			reads += IN_STEP * (uint64_t)table.levels;
		} else {
			for (int k = 0; k < IN_STEP; k++)
				status[i + k] = walk_precisely(shared, iova[i + k], access, &physical[i + k]);
		}
	}
	for (; i < count; i++)
		status[i] = walk_precisely(shared, iova[i], access, &physical[i]);
	shared->entries_read += reads;
}
