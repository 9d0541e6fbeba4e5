/*
 * The same algorithm as assembly/iova/: holes in a B+ tree by address, each entry knowing the longest hole below it;
 * live ranges in an open-addressing hash table by their start.
 */
#include "iova.h"

#include <string.h>

enum { FANOUT = 24, ASKEW_LIMIT = 64, MAX_HEIGHT = 16 };

/* Above the leaves a key is the exact first key of the child and a value its longest hole. Unused values are 0. */
struct node {
	uint64_t key[FANOUT];
	uint64_t value[FANOUT];
	struct node *child[FANOUT];
	uint32_t count;
};

#define NO_KEY INT64_MAX

/* Where the last search ended, per level (0 = root). */
struct path {
	struct node *node;
	uint32_t index;
};
static struct path path[MAX_HEIGHT];

/* ---- Nodes ---- */

static void recycle_node(struct space *space, struct node *node)
{
	node->child[0] = space->spare;
	space->spare = node;
	space->spare_count++;
}

static void reserve_nodes(struct space *space)
{
	while (space->spare_count < space->height + 1) {
		struct node *node = aligned_alloc(64, (sizeof(struct node) + 63) & ~(size_t)63);
		if (!node) {
			fprintf(stderr, "out of memory\n");
			exit(1);
		}
		recycle_node(space, node);
	}
}

static struct node *take_node(struct space *space)
{
	struct node *node = space->spare;
	space->spare = node->child[0];
	space->spare_count--;
	for (int i = 0; i < FANOUT; i++) {
		node->key[i] = NO_KEY;
		node->value[i] = 0;
	}
	node->count = 0;
	return node;
}

/*
 * How many keys of the node are at most `key`. All keys are compared, without a branch that depends on data: unused
 * ones hold the largest number.
 */
static inline uint32_t rank_of(const struct node *node, uint64_t key)
{
	uint32_t rank = 0;
	for (int i = 0; i < FANOUT; i++)
		rank += node->key[i] <= key;
	return rank;
}

static inline uint64_t longest_of(const struct node *node)
{
	uint64_t longest = 0;
	for (int i = 0; i < FANOUT; i++)
		longest = node->value[i] > longest ? node->value[i] : longest;
	return longest;
}

/* ---- Tree of holes ---- */

static bool tree_find(const struct space *space, uint64_t key)
{
	struct node *node = space->root;
	uint32_t depth = 0;
	for (; depth + 1 < space->height; depth++) {
		uint32_t rank = rank_of(node, key);
		uint32_t index = rank ? rank - 1 : 0;
		path[depth] = (struct path){ node, index };
		node = node->child[index];
	}
	uint32_t rank = rank_of(node, key);
	path[depth] = (struct path){ node, rank - 1 };
	return rank != 0;
}

static void refresh_above(uint32_t depth)
{
	while (depth) {
		const struct node *node = path[depth--].node;
		struct node *parent = path[depth].node;
		uint32_t index = path[depth].index;
		uint64_t longest = longest_of(node);
		if (parent->key[index] == node->key[0] && parent->value[index] == longest)
			return;
		parent->key[index] = node->key[0];
		parent->value[index] = longest;
	}
}

static void tree_replace(const struct space *space, uint64_t key, uint64_t length)
{
	uint32_t depth = space->height - 1;
	struct node *node = path[depth].node;
	uint32_t index = path[depth].index;
	uint64_t before = node->value[index];
	bool same_key = node->key[index] == key;
	node->key[index] = key;
	node->value[index] = length;
	if (!depth)
		return;
	uint64_t above = path[depth - 1].node->value[path[depth - 1].index];
	if ((same_key || index) && length <= above && before < above)
		return;
	refresh_above(depth);
}

static struct node *split(struct space *space, struct node *node)
{
	enum { HALF = FANOUT / 2 };
	struct node *right = take_node(space);
	memcpy(right->key, node->key + HALF, sizeof(uint64_t) * (FANOUT - HALF));
	memcpy(right->value, node->value + HALF, sizeof(uint64_t) * (FANOUT - HALF));
	memcpy(right->child, node->child + HALF, sizeof(struct node *) * (FANOUT - HALF));
	for (int i = HALF; i < FANOUT; i++) {
		node->key[i] = NO_KEY;
		node->value[i] = 0;
	}
	node->count = HALF;
	right->count = FANOUT - HALF;
	return right;
}

static void tree_insert_after_path(struct space *space, uint64_t key, uint64_t length)
{
	uint64_t value = length;
	struct node *child = NULL;
	uint32_t depth = space->height - 1;
	space->holes++;
	for (;;) {
		struct node *left = path[depth].node;
		struct node *node = left;
		struct node *right = NULL;
		uint32_t index = path[depth].index + 1;
		if (node->count == FANOUT) {
			right = split(space, node);
			if (index > node->count) {
				index -= node->count;
				node = right;
			}
		}
		for (uint32_t i = node->count; i > index; i--) {
			node->key[i] = node->key[i - 1];
			node->value[i] = node->value[i - 1];
			node->child[i] = node->child[i - 1];
		}
		node->key[index] = key;
		node->value[index] = value;
		node->child[index] = child;
		node->count++;
		if (!right) {
			if (!depth)
				return;
			if (index && !child && value <= path[depth - 1].node->value[path[depth - 1].index])
				return;
			refresh_above(depth);
			return;
		}
		if (!depth) {
			struct node *root = take_node(space);
			root->key[0] = left->key[0];
			root->key[1] = right->key[0];
			root->value[0] = longest_of(left);
			root->value[1] = longest_of(right);
			root->child[0] = left;
			root->child[1] = right;
			root->count = 2;
			space->root = root;
			space->height++;
			return;
		}
		struct path *above = &path[depth - 1];
		above->node->key[above->index] = left->key[0];
		above->node->value[above->index] = longest_of(left);
		key = right->key[0];
		value = longest_of(right);
		child = right;
		depth--;
	}
}

static void tree_remove(struct space *space)
{
	uint32_t depth = space->height - 1;
	space->holes--;
	for (;;) {
		struct node *node = path[depth].node;
		uint32_t count = node->count;
		for (uint32_t i = path[depth].index + 1; i < count; i++) {
			node->key[i - 1] = node->key[i];
			node->value[i - 1] = node->value[i];
			node->child[i - 1] = node->child[i];
		}
		node->key[count - 1] = NO_KEY;
		node->value[count - 1] = 0;
		node->count = count - 1;
		if (count > 1 || !depth) {
			refresh_above(depth);
			break;
		}
		recycle_node(space, node);
		depth--;
	}
	while (space->height > 1 && space->root->count <= 1) {
		if (!space->root->count) {
			space->height = 1;
			break;
		}
		struct node *only = space->root->child[0];
		recycle_node(space, space->root);
		space->root = only;
		space->height--;
	}
}

/* ---- Live ranges ---- */

static inline uint32_t slot_of(uint64_t start, uint32_t bits)
{
	return (uint32_t)((start * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - bits));
}

static inline struct live_range *find_slot(const struct space *space, uint64_t start)
{
	uint32_t mask = (UINT32_C(1) << space->table_bits) - 1;
	uint32_t slot = slot_of(start, space->table_bits);
	while (space->table[slot].key && space->table[slot].key != start + 1)
		slot = (slot + 1) & mask;
	return &space->table[slot];
}

static void reserve_slot(struct space *space)
{
	if ((space->ranges + 1) * 3 <= UINT32_C(2) << space->table_bits)
		return;
	struct live_range *old = space->table;
	size_t slots = (size_t)1 << space->table_bits;
	space->table = zeroed(2 * slots * sizeof *old);
	space->table_bits++;
	for (size_t i = 0; i < slots; i++)
		if (old[i].key)
			*find_slot(space, old[i].key - 1) = old[i];
	free(old);
}

static void clear_slot(struct space *space, struct live_range *cleared)
{
	uint32_t mask = (UINT32_C(1) << space->table_bits) - 1;
	uint32_t hole = (uint32_t)(cleared - space->table);
	uint32_t slot = hole;
	for (;;) {
		slot = (slot + 1) & mask;
		uint64_t key = space->table[slot].key;
		if (!key)
			break;
		if (((slot - slot_of(key - 1, space->table_bits)) & mask) >= ((slot - hole) & mask)) {
			space->table[hole] = space->table[slot];
			hole = slot;
		}
	}
	space->table[hole].key = 0;
}

/* ---- Searching ---- */

static inline uint64_t fit_high(const struct request *request, uint64_t first, uint64_t length)
{
	uint64_t low = first > request->window_first ? first : request->window_first;
	uint64_t end = first + length < request->window_end ? first + length : request->window_end;
	if (end < low || end - low < request->length)
		return NO_FIT;
	uint64_t high = end - request->length;
	uint64_t start = high - ((high - request->residue) & request->mask);
	return start >= low && start <= high ? start : NO_FIT;
}

static uint64_t search_down(const struct space *space, const struct request *request, uint64_t needed,
			    uint32_t patience)
{
	struct node *node = space->root;
	uint32_t depth = 0;
	uint32_t index = node->count;
	uint64_t ceiling = UINT64_MAX;
	for (;;) {
		bool found = false;
		while (index-- > 0) {
			if (ceiling <= request->window_first)
				return NO_FIT;
			uint64_t key = node->key[index];
			if (node->value[index] >= needed && key < request->window_end) {
				found = true;
				break;
			}
			ceiling = key;
		}
		if (!found) {
			if (!depth)
				return NO_FIT;
			depth--;
			node = path[depth].node;
			index = path[depth].index;
			ceiling = node->key[index];
			continue;
		}
		path[depth] = (struct path){ node, index };
		if (depth + 1 < space->height) {
			node = node->child[index];
			depth++;
			index = node->count;
			continue;
		}
		uint64_t start = fit_high(request, node->key[index], node->value[index]);
		if (start != NO_FIT)
			return start;
		if (!patience--)
			return NO_FIT;
		ceiling = node->key[index];
	}
}

/* ---- Allocating and freeing ---- */

void space_init(struct space *space, uint64_t first, uint64_t end)
{
	*space = (struct space){ .first = first, .end = end, .free = end - first, .height = 1, .table_bits = 6 };
	space->table = zeroed(sizeof(struct live_range) << space->table_bits);
	reserve_nodes(space);
	space->root = take_node(space);
	reserve_nodes(space);
	tree_find(space, first);
	tree_insert_after_path(space, first, end - first);
}

static void destroy_below(struct node *node, uint32_t height)
{
	if (height > 1)
		for (uint32_t i = 0; i < node->count; i++)
			destroy_below(node->child[i], height - 1);
	free(node);
}

void space_destroy(struct space *space)
{
	destroy_below(space->root, space->height);
	while (space->spare) {
		struct node *next = space->spare->child[0];
		free(space->spare);
		space->spare = next;
	}
	free(space->table);
}

static void carve(struct space *space, uint64_t start, uint64_t length)
{
	uint32_t depth = space->height - 1;
	uint64_t first = path[depth].node->key[path[depth].index];
	uint64_t end = first + path[depth].node->value[path[depth].index];
	uint64_t below = start - first;
	uint64_t above = end - (start + length);
	if (below) {
		tree_replace(space, first, below);
		if (above)
			tree_insert_after_path(space, start + length, above);
	} else if (above) {
		tree_replace(space, start + length, above);
	} else {
		tree_remove(space);
	}
	space->free -= length;
}

uint64_t space_allocate(struct space *space, const struct request *request)
{
	reserve_slot(space);
	reserve_nodes(space);
	uint64_t start = search_down(space, request, request->length, request->mask ? ASKEW_LIMIT : UINT32_MAX);
	if (start == NO_FIT && request->mask) {
		start = search_down(space, request, request->length + request->mask, UINT32_MAX);
		if (start == NO_FIT)
			start = search_down(space, request, request->length, UINT32_MAX);
	}
	if (start == NO_FIT)
		return NO_FIT;
	carve(space, start, request->length);
	*find_slot(space, start) = (struct live_range){ start + 1, request->length };
	if (!space->ranges || start < space->lowest)
		space->lowest = start;
	if (!space->ranges || start + request->length > space->highest)
		space->highest = start + request->length;
	space->ranges++;
	space->live += request->length;
	return start;
}

static uint64_t lowest_live(const struct space *space)
{
	const struct path *leaf = &path[space->height - 1];
	if (tree_find(space, space->first) && leaf->node->key[leaf->index] == space->first)
		return space->first + leaf->node->value[leaf->index];
	return space->first;
}

static uint64_t highest_live(const struct space *space)
{
	const struct path *leaf = &path[space->height - 1];
	if (tree_find(space, space->end - 1) &&
	    leaf->node->key[leaf->index] + leaf->node->value[leaf->index] == space->end)
		return leaf->node->key[leaf->index];
	return space->end;
}

uint64_t space_free(struct space *space, uint64_t start)
{
	reserve_nodes(space);
	struct live_range *slot = find_slot(space, start);
	if (!slot->key)
		return 0;
	uint64_t length = slot->length;
	uint64_t end = start + length;
	clear_slot(space, slot);

	bool found = tree_find(space, start);
	struct path *leaf = &path[space->height - 1];
	struct node *node = leaf->node;
	uint32_t index = leaf->index;
	uint64_t below_key = found ? node->key[index] : 0;
	uint64_t below_length = found ? node->value[index] : 0;
	bool joins_below = found && below_key + below_length == start;
	/* The next hole usually stands beside this one; at the end of a node another search finds it. */
	bool in_node = index + 1 < node->count;
	uint64_t above_length = 0;
	if (in_node) {
		if (node->key[index + 1] == end)
			above_length = node->value[index + 1];
	} else if (tree_find(space, end)) {
		if (leaf->node->key[leaf->index] == end)
			above_length = leaf->node->value[leaf->index];
		else
			tree_find(space, start);
	}
	if (above_length) {
		if (in_node)
			leaf->index = index + 1;
		if (joins_below) {
			tree_remove(space);
			tree_find(space, start);
			tree_replace(space, below_key, below_length + length + above_length);
		} else {
			tree_replace(space, start, length + above_length);
		}
	} else if (joins_below) {
		tree_replace(space, below_key, below_length + length);
	} else {
		tree_insert_after_path(space, start, length);
	}

	space->free += length;
	space->live -= length;
	space->ranges--;
	if (space->ranges) {
		if (start == space->lowest)
			space->lowest = lowest_live(space);
		if (end == space->highest)
			space->highest = highest_live(space);
	}
	return length;
}
