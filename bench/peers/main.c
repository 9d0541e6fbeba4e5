/*
 * The C side of the bench: a process that stays alive and does what its standard input says, one command a line.
 *
 *   setup walk PAGES WALKS CHUNK SEED     a table of PAGES 4 KiB leaves and WALKS random IOVAs in chunks of CHUNK
 *   setup change COUNT LENGTH SLOTS SEED  a batch of COUNT ranges of LENGTH pages, each in one of SLOTS places
 *   setup iova LIVE BATCH BATCHES SEED    LIVE ranges of 1..64 pages, BATCHES prepared batches of BATCH frees and allocations
 *   setup cached PAGES WALKS CHUNK SEED   the same as walk, through caches
 *       -> "ready"
 *   check VARIANT                         runs every prepared input once
 *       -> checksum of the results, in hexadecimal
 *   run VARIANT N                         N chunks or batches, continuing where the last run of the setup stopped
 *       -> "NANOSECONDS OPERATIONS"
 *
 * The parameters are chosen in bench/cases.ts; inputs are generated from the seed exactly as in bench/inputs.ts.
 */
#include "cached.h"
#include "common.h"
#include "iova.h"
#include "table.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

enum { WINDOW_IOVA_SHIFT = 40, WINDOW_PHYSICAL_SHIFT = 32, LONGEST_RANGE = 64 };
#define WINDOW_IOVA (UINT64_C(1) << WINDOW_IOVA_SHIFT)
#define WINDOW_PHYSICAL (UINT64_C(1) << WINDOW_PHYSICAL_SHIFT)

static void die(const char *message)
{
	fprintf(stderr, "peer: %s\n", message);
	exit(1);
}

/* Pages of tables for one contiguous range of 4 KiB leaves, generously. */
static uint32_t arena_pages_for(uint32_t pages)
{
	return pages / ENTRIES + pages / (ENTRIES * ENTRIES) + 16;
}

/* ---- walk ---- */

static struct {
	struct table table;
	uint32_t walks;
	uint32_t chunk;
	uint32_t cursor;
	uint64_t *iova;
	uint64_t *physical;
	uint32_t *status;
} walk;

static void walk_setup(uint32_t pages, uint32_t walks, uint32_t chunk, uint32_t seed)
{
	table_init(&walk.table, 4, PAGE_BYTES, arena_pages_for(pages));
	if (map_range(&walk.table, WINDOW_IOVA, WINDOW_PHYSICAL, (uint64_t)pages << PAGE_SHIFT,
		      ACCESS_READ | ACCESS_WRITE) != STATUS_OK)
		die("map");
	walk.walks = walks;
	walk.chunk = chunk;
	walk.cursor = 0;
	walk.iova = zeroed(sizeof(uint64_t) * walks);
	walk.physical = zeroed(sizeof(uint64_t) * walks);
	walk.status = zeroed(sizeof(uint32_t) * walks);
	for (uint32_t i = 0; i < walks; i++) {
		uint64_t page = random_below(&seed, pages);
		walk.iova[i] = WINDOW_IOVA + (page << PAGE_SHIFT) + random_below(&seed, PAGE_BYTES);
	}
}

static void walk_release(void)
{
	table_destroy(&walk.table);
	free(walk.iova);
	free(walk.physical);
	free(walk.status);
}

static void walk_chunk(const char *variant)
{
	const uint64_t *iova = walk.iova + walk.cursor;
	uint64_t *physical = walk.physical + walk.cursor;
	uint32_t *status = walk.status + walk.cursor;
	if (!strcmp(variant, "lookup"))
		lookup_batch(&walk.table, iova, physical, walk.chunk);
	else if (!strcmp(variant, "lookup-in-step"))
		lookup_batch_in_step(&walk.table, iova, physical, walk.chunk);
	else if (!strcmp(variant, "walk"))
		walk_batch(&walk.table, iova, physical, status, walk.chunk, ACCESS_READ);
	else if (!strcmp(variant, "walk-in-step"))
		walk_batch_in_step(&walk.table, iova, physical, status, walk.chunk, ACCESS_READ);
	else
		die("unknown variant");
	walk.cursor += walk.chunk;
	if (walk.cursor == walk.walks)
		walk.cursor = 0;
}

static struct timing walk_run(const char *variant, uint64_t chunks)
{
	uint64_t start = nanoseconds();
	for (uint64_t i = 0; i < chunks; i++)
		walk_chunk(variant);
	return (struct timing){ nanoseconds() - start, chunks * walk.chunk };
}

static uint32_t walk_check(const char *variant)
{
	bool statuses = !strncmp(variant, "walk", 4);
	uint32_t sum = (uint32_t)CHECKSUM_START;
	memset(walk.physical, 0, sizeof(uint64_t) * walk.walks);
	memset(walk.status, 0, sizeof(uint32_t) * walk.walks);
	walk.cursor = 0;
	do {
		walk_chunk(variant);
	} while (walk.cursor);
	for (uint32_t i = 0; i < walk.walks; i++) {
		sum = checksum_u64(sum, walk.physical[i]);
		if (statuses)
			sum = checksum_u32(sum, walk.status[i]);
	}
	return sum;
}

/* ---- map and unmap ---- */

static struct {
	struct table table;
	uint32_t count;
	uint32_t length;
	uint32_t slots;
	uint64_t *iova;
	uint64_t *physical;
	uint64_t *bytes;
	uint32_t *status;
} change;

static void change_setup(uint32_t count, uint32_t length, uint32_t slots, uint32_t seed)
{
	table_init(&change.table, 4, PAGE_BYTES, arena_pages_for(slots * length));
	change.count = count;
	change.length = length;
	change.slots = slots;
	change.iova = zeroed(sizeof(uint64_t) * count);
	change.physical = zeroed(sizeof(uint64_t) * count);
	change.bytes = zeroed(sizeof(uint64_t) * count);
	change.status = zeroed(sizeof(uint32_t) * count);
	/* The places are the beginning of a random permutation. */
	uint32_t *places = zeroed(sizeof(uint32_t) * slots);
	for (uint32_t i = 0; i < slots; i++)
		places[i] = i;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t other = i + random_below(&seed, slots - i);
		uint32_t place = places[other];
		places[other] = places[i];
		uint64_t at = (uint64_t)place * length << PAGE_SHIFT;
		change.iova[i] = WINDOW_IOVA + at;
		change.physical[i] = WINDOW_PHYSICAL + at;
		change.bytes[i] = (uint64_t)length << PAGE_SHIFT;
	}
	free(places);
}

static void change_release(void)
{
	table_destroy(&change.table);
	free(change.iova);
	free(change.physical);
	free(change.bytes);
	free(change.status);
}

static uint32_t map_all(void)
{
	uint32_t failed = 0;
	for (uint32_t i = 0; i < change.count; i++) {
		enum status status = map_range(&change.table, change.iova[i], change.physical[i], change.bytes[i],
					       ACCESS_READ | ACCESS_WRITE);
		if (status != STATUS_OK) {
			change.bytes[i] = 0;
			failed++;
		}
		change.status[i] = status;
	}
	return failed;
}

static uint32_t unmap_all(void)
{
	uint32_t failed = 0;
	for (uint32_t i = 0; i < change.count; i++) {
		enum status status = unmap_range(&change.table, change.iova[i], change.bytes[i]);
		if (status != STATUS_OK)
			failed++;
		change.bytes[i] = status == STATUS_OK ? change.table.removed_bytes : 0;
		change.status[i] = status | change.table.freed_pages << 8;
	}
	return failed;
}

static struct timing change_run(const char *variant, uint64_t batches)
{
	bool map = !strcmp(variant, "map");
	uint64_t elapsed = 0;
	for (uint64_t i = 0; i < batches; i++) {
		uint64_t start = nanoseconds();
		uint32_t failed = map_all();
		uint64_t mapped = nanoseconds();
		failed += unmap_all();
		uint64_t unmapped = nanoseconds();
		if (failed)
			die("a change failed");
		elapsed += map ? mapped - start : unmapped - mapped;
	}
	return (struct timing){ elapsed, batches * change.count * change.length };
}

/* The state after the maps, or after the unmaps, as look-ups of every page see it, and the exact counters. */
static uint32_t change_check(const char *variant)
{
	uint32_t sum = (uint32_t)CHECKSUM_START;
	uint32_t pages = change.slots * change.length;
	bool map = !strcmp(variant, "map");
	/* Twice, so that pages that were freed once are used again. */
	if (map_all() || unmap_all() || map_all())
		die("a change failed");
	if (!map && unmap_all())
		die("a change failed");
	for (uint32_t i = 0; i < pages; i++) {
		uint64_t iova = WINDOW_IOVA + ((uint64_t)i << PAGE_SHIFT);
		uint64_t physical;
		lookup_batch(&change.table, &iova, &physical, 1);
		sum = checksum_u64(sum, physical);
	}
	sum = checksum_u64(sum, change.table.leaves[1]);
	sum = checksum_u64(sum, change.table.table_pages);
	for (uint32_t i = 0; i < change.count; i++)
		sum = checksum_u32(checksum_u64(sum, change.bytes[i]), change.status[i]);
	if (map && unmap_all())
		die("a change failed");
	return sum;
}

/* ---- IOVA allocator ---- */

static struct {
	struct space space;
	uint32_t live;
	uint32_t batch;
	uint32_t batches;
	uint32_t cursor;
	/* Start of every live range, in granules. */
	uint64_t *start;
	/* Per request: which live range is freed, and how many pages its successor has. */
	uint32_t *victim;
	uint32_t *pages;
} iova;

static uint64_t iova_allocate(uint32_t pages)
{
	struct request request = { .length = pages,
				   .window_first = iova.space.first,
				   .window_end = iova.space.end };
	uint64_t start = space_allocate(&iova.space, &request);
	if (start == NO_FIT)
		die("the IOVA space is full");
	return start;
}

static uint32_t iova_batch(uint32_t sum, bool checked)
{
	const uint32_t *victim = iova.victim + (size_t)iova.cursor * iova.batch;
	const uint32_t *pages = iova.pages + (size_t)iova.cursor * iova.batch;
	for (uint32_t i = 0; i < iova.batch; i++)
		if (!space_free(&iova.space, iova.start[victim[i]]))
			die("a free failed");
	for (uint32_t i = 0; i < iova.batch; i++)
		iova.start[victim[i]] = iova_allocate(pages[i]);
	if (checked)
		for (uint32_t i = 0; i < iova.batch; i++)
			sum = checksum_u64(sum, iova.start[victim[i]] << PAGE_SHIFT);
	if (++iova.cursor == iova.batches)
		iova.cursor = 0;
	return sum;
}

static void iova_setup(uint32_t live, uint32_t batch, uint32_t batches, uint32_t seed)
{
	space_init(&iova.space, 1, UINT64_C(1) << (48 - PAGE_SHIFT));
	iova.live = live;
	iova.batch = batch;
	iova.batches = batches;
	iova.cursor = 0;
	iova.start = zeroed(sizeof(uint64_t) * live);
	iova.victim = zeroed(sizeof(uint32_t) * batch * batches);
	iova.pages = zeroed(sizeof(uint32_t) * batch * batches);
	for (uint32_t i = 0; i < live; i++)
		iova.start[i] = iova_allocate(1 + random_below(&seed, LONGEST_RANGE));
	/* Which batch took a range last: within one batch no range is freed twice. */
	uint32_t *taken = zeroed(sizeof(uint32_t) * live);
	for (uint32_t i = 0; i < batch * batches; i++) {
		uint32_t current = i / batch + 1;
		uint32_t victim;
		do {
			victim = random_below(&seed, live);
		} while (taken[victim] == current);
		taken[victim] = current;
		iova.victim[i] = victim;
		iova.pages[i] = 1 + random_below(&seed, LONGEST_RANGE);
	}
	free(taken);
}

static void iova_release(void)
{
	space_destroy(&iova.space);
	free(iova.start);
	free(iova.victim);
	free(iova.pages);
}

static struct timing iova_run(uint64_t batches)
{
	uint64_t start = nanoseconds();
	for (uint64_t i = 0; i < batches; i++)
		iova_batch(0, false);
	return (struct timing){ nanoseconds() - start, batches * iova.batch };
}

static uint32_t iova_check(void)
{
	uint32_t sum = (uint32_t)CHECKSUM_START;
	do {
		sum = iova_batch(sum, true);
	} while (iova.cursor);
	sum = checksum_u32(sum, iova.space.holes);
	sum = checksum_u64(sum, (iova.space.highest - iova.space.lowest) << PAGE_SHIFT);
	return sum;
}

/* ---- cached: the inputs of walk ---- */

static struct cached cached;
static char cached_geometry[32];

/* Fresh caches of another geometry; the same ones go on. */
static void cached_choose(const char *variant)
{
	if (!strcmp(cached_geometry, variant))
		return;
	if (cached_geometry[0])
		cached_destroy(&cached);
	if (!strcmp(variant, "1x64"))
		cached_init(&cached, &walk.table, 1, 64);
	else if (!strcmp(variant, "64x8"))
		cached_init(&cached, &walk.table, 64, 8);
	else
		die("unknown variant");
	strcpy(cached_geometry, variant);
}

static void cached_chunk(void)
{
	cached_run(&cached, walk.iova + walk.cursor, walk.physical + walk.cursor, walk.chunk);
	walk.cursor += walk.chunk;
	if (walk.cursor == walk.walks)
		walk.cursor = 0;
}

static struct timing cached_time(const char *variant, uint64_t chunks)
{
	cached_choose(variant);
	uint64_t start = nanoseconds();
	for (uint64_t i = 0; i < chunks; i++)
		cached_chunk();
	return (struct timing){ nanoseconds() - start, chunks * walk.chunk };
}

static uint32_t cached_check(const char *variant)
{
	uint32_t sum = (uint32_t)CHECKSUM_START;
	cached_choose(variant);
	walk.cursor = 0;
	do {
		cached_chunk();
	} while (walk.cursor);
	for (uint32_t i = 0; i < walk.walks; i++)
		sum = checksum_u64(sum, walk.physical[i]);
	sum = checksum_u64(sum, cached.hits);
	return checksum_u64(sum, cached.reads);
}

static void cached_release(void)
{
	if (cached_geometry[0])
		cached_destroy(&cached);
	cached_geometry[0] = 0;
	walk_release();
}

/* ---- commands ---- */

int main(void)
{
	char line[256];
	char kind[32] = "";
	char name[32];
	uint32_t a, b, c, seed;
	uint64_t times;
	while (fgets(line, sizeof line, stdin)) {
		if (sscanf(line, "setup %31s %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32, name, &a, &b, &c, &seed) == 5) {
			if (!strcmp(kind, "walk"))
				walk_release();
			else if (!strcmp(kind, "change"))
				change_release();
			else if (!strcmp(kind, "iova"))
				iova_release();
			else if (!strcmp(kind, "cached"))
				cached_release();
			memcpy(kind, name, sizeof kind);
			if (!strcmp(kind, "walk") || !strcmp(kind, "cached"))
				walk_setup(a, b, c, seed);
			else if (!strcmp(kind, "change"))
				change_setup(a, b, c, seed);
			else if (!strcmp(kind, "iova"))
				iova_setup(a, b, c, seed);
			else
				die("unknown kind of case");
			printf("ready\n");
		} else if (sscanf(line, "check %31s", name) == 1) {
			uint32_t sum = !strcmp(kind, "walk")   ? walk_check(name) :
				       !strcmp(kind, "change") ? change_check(name) :
				       !strcmp(kind, "cached") ? cached_check(name) :
								 iova_check();
			printf("%08" PRIx32 "\n", sum);
		} else if (sscanf(line, "run %31s %" SCNu64, name, &times) == 2) {
			struct timing timing = !strcmp(kind, "walk")   ? walk_run(name, times) :
					       !strcmp(kind, "change") ? change_run(name, times) :
					       !strcmp(kind, "cached") ? cached_time(name, times) :
									 iova_run(times);
			printf("%" PRIu64 " %" PRIu64 "\n", timing.nanoseconds, timing.operations);
		} else {
			die("unknown command");
		}
		fflush(stdout);
	}
	return 0;
}
