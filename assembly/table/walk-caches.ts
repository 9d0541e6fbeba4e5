/**
 * What precise walks know beforehand: paging-structure caches (VT-d section 6.2.4; SMMUv3's walk caches) and, of nested
 * walks, second-stage translations. A walk begins where they say and believes them, whatever memory says by now.
 *
 * A paging-structure cache of level n keeps what an entry of level n points to: the next table's address, behind the second
 * stage where there is one, and the rights granted down to it. It is found by the address bits that select the entry.
 */
import { cacheEntry, cacheFill, cacheFind, cacheFindAnySize, cacheShift, cacheTouch } from "../cache/set-associative";
import {
  CACHED_OWNER,
  CACHED_RIGHTS,
  CACHED_VALUE,
  GRANT_PRIVILEGED_SHIFT,
  SIMULATOR_FIRST_CACHES,
  SIMULATOR_FIRST_STAGE,
  SIMULATOR_NESTED,
  SIMULATOR_NESTED_HITS,
  SIMULATOR_NESTED_LOOKUPS,
  SIMULATOR_SECOND_CACHES,
  SIMULATOR_SECOND_STAGE,
  STAGE_HITS,
  STAGE_LOOKUPS,
  STAGE_READS,
  STAGE_WALKS,
  TABLE_FLAGS,
  TABLE_IS_SECOND_STAGE,
  WALK_TAG_FIRST,
  WALK_TAG_NESTED,
  WALK_TAG_SECOND,
} from "../layout";
import { count } from "./table";

/** A cached leaf's value: the physical page, what it grants, and whether a write has a dirty flag to set. */
const GRANTS: u64 = (1 << (2 * GRANT_PRIVILEGED_SHIFT)) - 1;
const CLEAN: u64 = 1 << (2 * GRANT_PRIVILEGED_SHIFT);

/** The caches in use (SIMULATOR_* of layout.ts), or 0; whose they are searched for (WALK_TAG_*). */
export let walkCaches: usize = 0;
let tags: usize = 0;
/** What to add to an address of the first stage so that the two halves of the addresses are told apart. */
let halfOffset: u64 = 0;
/** Whether anything came from them since `walkThroughCaches`. */
export let walkBelieved: bool = false;

/** Has the walks from now on use these caches; with 0 none. */
export function walkThroughCaches(caches: usize, ofWhom: usize, half: u64): void {
  walkCaches = caches;
  tags = ofWhom;
  halfOffset = half;
  walkBelieved = false;
}

/** What `structureFind` found: the next table's address, and the rights down to it. */
export let structureBase: u64 = 0;
export let structureRights: u64 = 0;

// @ts-ignore: decorator
@inline
function isSecondStage(table: usize): bool {
  return (load<u32>(table, TABLE_FLAGS) & <u32>TABLE_IS_SECOND_STAGE) != 0;
}

function countersOf(table: usize): usize {
  return walkCaches + (isSecondStage(table) ? SIMULATOR_SECOND_STAGE : SIMULATOR_FIRST_STAGE);
}

function cacheOf(table: usize, level: u32): usize {
  const caches = walkCaches + (isSecondStage(table) ? SIMULATOR_SECOND_CACHES : SIMULATOR_FIRST_CACHES);
  return <usize>load<u32>(caches + (<usize>level << 2));
}

function keyOf(table: usize, address: u64): u64 {
  return isSecondStage(table) ? address : address + halfOffset;
}

/**
 * The lowest level of entries, from 2 to `levels`, one of which for this address a cache knows; or 0. `firstShift`,
 * `indexBits`: log2 of the bytes that an entry of level 1 translates, and the bits of address a level takes.
 */
export function structureFind(table: usize, address: u64, levels: u32, firstShift: u32, indexBits: u32): u32 {
  const counters = countersOf(table);
  const key = keyOf(table, address);
  const tag = load<u64>(tags + (isSecondStage(table) ? WALK_TAG_SECOND : WALK_TAG_FIRST));
  count(counters, STAGE_WALKS, 1);
  for (let level: u32 = 2; level <= levels; level++) {
    const cache = cacheOf(table, level);
    if (!cache) continue;
    count(counters, <usize>STAGE_LOOKUPS + (<usize>level << 3), 1);
    const index = cacheFind(cache, key, firstShift + (level - 1) * indexBits, tag);
    if (index < 0) continue;
    cacheTouch(cache, index);
    count(counters, <usize>STAGE_HITS + (<usize>level << 3), 1);
    structureBase = load<u64>(cacheEntry(cache, index), CACHED_VALUE);
    structureRights = load<u64>(cacheEntry(cache, index), CACHED_RIGHTS);
    walkBelieved = true;
    return level;
  }
  return 0;
}

/** Keeps what an entry of this level points to. */
export function structureKeep(table: usize, address: u64, level: u32, shift: u32, base: u64, rights: u64): void {
  const cache = cacheOf(table, level);
  if (!cache) return;
  const pair = tags + (isSecondStage(table) ? WALK_TAG_SECOND : WALK_TAG_FIRST);
  const key = keyOf(table, address);
  const tag = load<u64>(pair);
  const known = cacheFind(cache, key, shift, tag);
  const entry = cacheEntry(cache, known >= 0 ? known : cacheFill(cache, key, shift, tag));
  store<u64>(entry, base, CACHED_VALUE);
  store<u64>(entry, rights, CACHED_RIGHTS);
  store<u64>(entry, load<u64>(pair, 8), CACHED_OWNER);
}

export function structureCountRead(table: usize, level: u32): void {
  count(countersOf(table), <usize>STAGE_READS + (<usize>level << 3), 1);
}

/** What `nestedFind` found: where the address leads, what is allowed there, and whether its dirty flag is clear. */
export let nestedPhysical: u64 = 0;
export let nestedGrants: u32 = 0;
export let nestedClean: bool = false;

/** Looks a second-stage translation up that allows `needed` (GRANT_*); returns log2 of its page's size, or 0. */
export function nestedFind(address: u64, needed: u32, write: bool): u32 {
  const cache = <usize>load<u32>(walkCaches, SIMULATOR_NESTED);
  if (!cache) return 0;
  count(walkCaches, SIMULATOR_NESTED_LOOKUPS, 1);
  const index = cacheFindAnySize(cache, address, load<u64>(tags, WALK_TAG_NESTED));
  if (index < 0) return 0;
  const value = load<u64>(cacheEntry(cache, index), CACHED_VALUE);
  if (needed & ~<u32>value || (write && value & CLEAN)) return 0;
  cacheTouch(cache, index);
  count(walkCaches, SIMULATOR_NESTED_HITS, 1);
  const shift = cacheShift(cache, index);
  const inPage = ((<u64>1) << <u64>shift) - 1;
  nestedPhysical = (value & ~inPage) | (address & inPage);
  nestedGrants = <u32>(value & GRANTS);
  nestedClean = (value & CLEAN) != 0;
  walkBelieved = true;
  return shift;
}

export function nestedKeep(address: u64, shift: u32, physical: u64, grants: u32, clean: bool): void {
  const cache = <usize>load<u32>(walkCaches, SIMULATOR_NESTED);
  if (!cache) return;
  const tag = load<u64>(tags, WALK_TAG_NESTED);
  const known = cacheFind(cache, address, shift, tag);
  const entry = cacheEntry(cache, known >= 0 ? known : cacheFill(cache, address, shift, tag));
  const page = physical & ~(((<u64>1) << <u64>shift) - 1);
  store<u64>(entry, page | <u64>grants | (clean ? CLEAN : 0), CACHED_VALUE);
  store<u64>(entry, load<u64>(tags, WALK_TAG_NESTED + 8), CACHED_OWNER);
}
