/*
 * map and unmap of ranges. As assembly/table/map.ts and unmap.ts: a range within one last-level table is changed
 * directly; anything else runs the same recursion twice, dry to find overlaps or holes, then for real. Free table pages
 * are kept all zero, so that taking one costs nothing.
 */
#include "table.h"

#include <stdbool.h>

void table_init(struct table *table, int levels, uint64_t page_sizes, uint32_t arena_pages)
{
	*table = (struct table){ .levels = levels, .page_sizes = page_sizes };
	table->arena = zeroed((size_t)arena_pages * PAGE_BYTES);
	table->arena_bytes = (uint64_t)arena_pages * PAGE_BYTES;
	table->free_pages = zeroed((size_t)arena_pages * sizeof(uint32_t));
	table->output_last = (UINT64_C(1) << 52) - 1;
	table->input_last = (UINT64_C(1) << (PAGE_SHIFT + INDEX_BITS * levels)) - 1;
	uint64_t above_width = ENTRY_ADDRESS & ~table->output_last;
	for (int level = 1; level <= levels; level++) {
		uint64_t size = UINT64_C(1) << level_shift(level);
		bool allowed = (page_sizes & size) != 0;
		table->reserved_table[level] =
			level > 1 ? above_width | ENTRY_SNOOP | (level >= 4 ? ENTRY_LARGE : 0) : 0;
		table->reserved_leaf[level] =
			above_width | ENTRY_SNOOP | (allowed ? 0 : ENTRY_LARGE) | ((size - 1) & ENTRY_ADDRESS);
	}
	table->root = ARENA_BASE;
	table->pages_used = 1;
	table->table_pages = 1;
}

void table_destroy(struct table *table)
{
	free(table->arena);
	free(table->free_pages);
}

static bool reserve_pages(const struct table *table, uint32_t pages)
{
	return pages <= table->free_depth ||
	       ((uint64_t)(table->pages_used + pages - table->free_depth) << PAGE_SHIFT) <= table->arena_bytes;
}

static uint64_t take_page(struct table *table)
{
	uint32_t page = table->free_depth ? table->free_pages[--table->free_depth] : table->pages_used++;
	return ARENA_BASE + ((uint64_t)page << PAGE_SHIFT);
}

/* Written so that a compiler can turn the block of 16 into vector instructions. */
static bool none_present(const uint64_t *entries, size_t count)
{
	size_t i = 0;
	for (; i + 16 <= count; i += 16) {
		uint64_t any = 0;
		for (size_t k = 0; k < 16; k++)
			any |= entries[i + k];
		if (any & ENTRY_PRESENT)
			return false;
	}
	for (; i < count; i++)
		if (entries[i] & ENTRY_PRESENT)
			return false;
	return true;
}

static bool all_present(const uint64_t *entries, size_t count)
{
	size_t i = 0;
	for (; i + 16 <= count; i += 16) {
		uint64_t all = ENTRY_READ;
		for (size_t k = 0; k < 16; k++)
			all &= entries[i + k] | (entries[i + k] >> 1);
		if (!all)
			return false;
	}
	for (; i < count; i++)
		if (!(entries[i] & ENTRY_PRESENT))
			return false;
	return true;
}

static void write_run(uint64_t *entries, uint64_t first, uint64_t size, size_t count)
{
	for (size_t i = 0; i < count; i++)
		entries[i] = first + i * size;
}

static void clear_run(uint64_t *entries, size_t count)
{
	for (size_t i = 0; i < count; i++)
		entries[i] = 0;
}

static size_t first_with(const uint64_t *entries, size_t count, bool present)
{
	size_t i = 0;
	while (i < count && ((entries[i] & ENTRY_PRESENT) != 0) != present)
		i++;
	return i;
}

static inline uint64_t leaf_bits(unsigned permissions, int level)
{
	uint64_t rights = permissions & (ACCESS_READ | ACCESS_WRITE);
	return rights ? rights | (level > 1 ? ENTRY_LARGE : 0) : 0;
}

struct mapping {
	struct table *table;
	unsigned permissions;
	bool dry;
	uint32_t pages_needed;
};

/* Maps [iova, last] below one table; `entries` is NULL for a table that does not exist yet (dry run only). */
static enum status map_level(struct mapping *mapping, uint64_t *entries, int level, uint64_t iova, uint64_t last,
			     uint64_t physical)
{
	struct table *table = mapping->table;
	int shift = level_shift(level);
	uint64_t size = UINT64_C(1) << shift;
	bool leaf_fits = (table->page_sizes & size) && !((iova ^ physical) & (size - 1));
	unsigned index = index_at(iova, level);
	for (;;) {
		if (leaf_fits && !(iova & (size - 1))) {
			uint64_t count = (last - iova + 1) >> shift;
			if (count > ENTRIES - index)
				count = ENTRIES - index;
			if (count) {
				if (mapping->dry) {
					if (entries && !none_present(entries + index, count)) {
						size_t at = first_with(entries + index, count, true);
						table->where = iova + ((uint64_t)at << shift);
						return STATUS_OVERLAP;
					}
				} else {
					write_run(entries + index, physical | leaf_bits(mapping->permissions, level),
						  size, count);
					table->entries_written += count;
					table->leaves[level] += count;
				}
				if (last - iova == (count << shift) - 1)
					return STATUS_OK;
				iova += count << shift;
				physical += count << shift;
				index += (unsigned)count;
				continue;
			}
		}
		uint64_t entry_last = iova | (size - 1);
		if (entry_last > last)
			entry_last = last;
		uint64_t entry = entries ? entries[index] : 0;
		uint64_t *below = NULL;
		if (entry & ENTRY_PRESENT) {
			if (level == 1 || entry & ENTRY_LARGE) {
				table->where = iova;
				return STATUS_OVERLAP;
			}
			below = table_at(table, entry & ENTRY_ADDRESS);
			if (!below) {
				table->where = iova;
				return STATUS_BUS_ERROR;
			}
		} else if (mapping->dry) {
			mapping->pages_needed++;
		} else {
			uint64_t address = take_page(table);
			below = table_at(table, address);
			entries[index] = address | ENTRY_PRESENT;
			table->table_pages++;
			table->entries_written++;
		}
		enum status status = map_level(mapping, below, level - 1, iova, entry_last, physical);
		if (status != STATUS_OK || entry_last == last)
			return status;
		physical += entry_last - iova + 1;
		iova = entry_last + 1;
		index++;
	}
}

/* The existing last-level table for `iova`, or NULL. */
static uint64_t *last_table(const struct table *table, uint64_t iova)
{
	uint64_t *entries = table_at(table, table->root);
	for (int level = table->levels; level > 1 && entries; level--) {
		uint64_t entry = entries[index_at(iova, level)];
		if (!(entry & ENTRY_PRESENT) || entry & ENTRY_LARGE)
			return NULL;
		entries = table_at(table, entry & ENTRY_ADDRESS);
	}
	return entries;
}

static inline bool within_last_table(uint64_t iova, uint64_t last, uint64_t length)
{
	int shift = level_shift(2);
	return iova >> shift == last >> shift && length >> shift == 0;
}

enum status map_range(struct table *table, uint64_t iova, uint64_t physical, uint64_t length, unsigned permissions)
{
	uint64_t last = iova + length - 1;
	table->where = iova;
	if (((iova | physical | length) & (PAGE_BYTES - 1)) || !length)
		return STATUS_MISALIGNED;
	if (last < iova || last > table->input_last)
		return STATUS_INPUT_RANGE;
	if (physical > table->output_last || length - 1 > table->output_last - physical)
		return STATUS_OUTPUT_RANGE;
	uint64_t page_bits = leaf_bits(permissions, 1);
	if (!page_bits)
		return STATUS_PERMISSIONS;

	if (within_last_table(iova, last, length)) {
		uint64_t *entries = last_table(table, iova);
		if (entries) {
			size_t count = length >> PAGE_SHIFT;
			entries += index_at(iova, 1);
			if (count == 1) {
				if (*entries & ENTRY_PRESENT)
					return STATUS_OVERLAP;
				*entries = physical | page_bits;
			} else {
				if (!none_present(entries, count)) {
					size_t at = first_with(entries, count, true);
					table->where = iova + ((uint64_t)at << PAGE_SHIFT);
					return STATUS_OVERLAP;
				}
				write_run(entries, physical | page_bits, PAGE_BYTES, count);
			}
			table->entries_written += count;
			table->leaves[1] += count;
			return STATUS_OK;
		}
	}

	uint64_t *root = table_at(table, table->root);
	struct mapping mapping = { .table = table, .permissions = permissions, .dry = true };
	enum status status = map_level(&mapping, root, table->levels, iova, last, physical);
	if (status != STATUS_OK)
		return status;
	if (!reserve_pages(table, mapping.pages_needed))
		return STATUS_MEMORY_EXHAUSTED;
	mapping.dry = false;
	return map_level(&mapping, root, table->levels, iova, last, physical);
}

static void count_removed(struct table *table, int level, uint64_t count)
{
	table->entries_written += count;
	table->leaves[level] -= count;
	table->removed[level] += (uint32_t)count;
	table->removed_bytes += count << level_shift(level);
}

static void give_page(struct table *table, uint64_t address, int level)
{
	table->free_pages[table->free_depth++] = (uint32_t)((address - ARENA_BASE) >> PAGE_SHIFT);
	table->table_pages--;
	table->freed[level]++;
	table->freed_pages++;
}

static enum status unmap_level(struct table *table, uint64_t *entries, int level, uint64_t iova, uint64_t last,
			       bool dry)
{
	int shift = level_shift(level);
	uint64_t size = UINT64_C(1) << shift;
	unsigned index = index_at(iova, level);
	if (level == 1) {
		uint64_t count = ((last - iova) >> PAGE_SHIFT) + 1;
		if (dry) {
			if (!all_present(entries + index, count)) {
				size_t at = first_with(entries + index, count, false);
				table->where = iova + ((uint64_t)at << PAGE_SHIFT);
				return STATUS_HOLE;
			}
		} else {
			clear_run(entries + index, count);
			count_removed(table, 1, count);
		}
		return STATUS_OK;
	}
	for (;; index++) {
		uint64_t entry = entries[index];
		uint64_t entry_last = iova | (size - 1);
		if (!(entry & ENTRY_PRESENT)) {
			table->where = iova;
			return STATUS_HOLE;
		}
		if (entry & ENTRY_LARGE) {
			if (iova & (size - 1)) {
				table->where = iova;
				return STATUS_INSIDE_LEAF;
			}
			if (!dry) {
				entries[index] = 0;
				count_removed(table, level, 1);
			}
		} else {
			uint64_t address = entry & ENTRY_ADDRESS;
			uint64_t *below = table_at(table, address);
			if (!below) {
				table->where = iova;
				return STATUS_BUS_ERROR;
			}
			enum status status =
				unmap_level(table, below, level - 1, iova, last < entry_last ? last : entry_last, dry);
			if (status != STATUS_OK)
				return status;
			if (!dry && !(iova & (size - 1)) && entry_last <= last) {
				entries[index] = 0;
				table->entries_written++;
				give_page(table, address, level - 1);
			}
		}
		if (entry_last >= last)
			return STATUS_OK;
		iova = entry_last + 1;
	}
}

enum status unmap_range(struct table *table, uint64_t iova, uint64_t length)
{
	uint64_t last = iova + length - 1;
	table->where = iova;
	table->removed_bytes = 0;
	table->freed_pages = 0;
	for (int level = 0; level <= MAX_LEVELS; level++) {
		table->removed[level] = 0;
		table->freed[level] = 0;
	}
	if (((iova | length) & (PAGE_BYTES - 1)) || !length)
		return STATUS_MISALIGNED;
	if (last < iova || last > table->input_last)
		return STATUS_INPUT_RANGE;

	if (within_last_table(iova, last, length)) {
		uint64_t *entries = last_table(table, iova);
		if (entries) {
			size_t count = length >> PAGE_SHIFT;
			entries += index_at(iova, 1);
			if (count == 1) {
				if (!(*entries & ENTRY_PRESENT))
					return STATUS_HOLE;
				*entries = 0;
			} else {
				if (!all_present(entries, count)) {
					size_t at = first_with(entries, count, false);
					table->where = iova + ((uint64_t)at << PAGE_SHIFT);
					return STATUS_HOLE;
				}
				clear_run(entries, count);
			}
			count_removed(table, 1, count);
			return STATUS_OK;
		}
	}

	uint64_t *root = table_at(table, table->root);
	enum status status = unmap_level(table, root, table->levels, iova, last, true);
	if (status != STATUS_OK)
		return status;
	return unmap_level(table, root, table->levels, iova, last, false);
}
