/**
 * A walk that begins where a paging-structure cache says (VT-d section 6.2.4; SMMUv3's walk caches), for one stage or both.
 * The steps are those of assembly/table/walk.ts; what differs is where a walk begins, that it is counted level by level, and
 * that what was cached is believed, whatever memory says by now. Tables whose accessed and dirty flags hardware would
 * have to update are not walked here.
 *
 * A paging-structure cache of level n keeps what an entry of level n points to: the next table's address, behind the second
 * stage where there is one, and the rights granted down to it. It is found by the address bits that select the entry.
 */
import { cacheEntry, cacheFill, cacheFind, cacheFindAnySize, cacheShift, cacheTouch } from "../cache/set-associative";
import { dispatch } from "../format/formats";
import {
  ACCESS_READ,
  ACCESS_WALK,
  ACCESS_WRITE,
  CACHED_OWNER,
  CACHED_RIGHTS,
  CACHED_VALUE,
  DEVICE_CONTIGUOUS,
  DEVICE_CONTIGUOUS_RUN,
  DEVICE_FIRST,
  DEVICE_FIRST_TAG,
  DEVICE_NESTED_TAG,
  DEVICE_SECOND,
  DEVICE_SECOND_TAG,
  GRANT_READ,
  GRANT_WRITE,
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
  TABLE_ENTRIES_READ,
  TABLE_FLAGS,
  TABLE_FORMAT,
  TABLE_LEVELS,
  TABLE_READS_AS_WRITES,
  TABLE_RESERVED_LEAF,
  TABLE_RESERVED_TABLE,
  TABLE_RIGHTS_FIRST,
  TABLE_ROOT,
  WALK_INPUT_RANGE,
  WALK_NOT_PRESENT,
  WALK_NO_READ,
  WALK_OK,
  WALK_OUTCOME_MASK,
  WALK_ROOT_ACCESS,
  WALK_SECOND_STAGE_OUTPUT,
  WALK_SECOND_STAGE_TABLE,
  WALK_SIZE_SHIFT,
  WALK_TABLE_ACCESS,
} from "../layout";
import { physicalPointer } from "../memory/physical";
import { count, firstTable, indexAt, inputInRange, levelShift } from "../table/table";
import { statusWord } from "../table/walk";

/** Low bits of a cached leaf's value: what it grants (GRANT_*). */
export const GRANTS: u64 = 0x3f;
const READ_OR_WRITE: u32 = GRANT_READ | GRANT_WRITE;

/** What the last walk that succeeded gave: a physical address, and which accesses it allows (GRANT_*). */
export let walkedPhysical: u64 = 0;
export let walkedGrants: u32 = 0;

/** Which of a device's stages a walk is of, decided at compile time. */
@unmanaged
class First {
  // @ts-ignore: decorator
  @inline isFirst(): bool { return true; }
}
@unmanaged
class Second {
  // @ts-ignore: decorator
  @inline isFirst(): bool { return false; }
}

function walkStage<F, S>(simulator: usize, device: usize, address: u64, access: u32): u32 {
  const f = changetype<F>(0);
  const isFirst = changetype<S>(0).isFirst();
  const table = <usize>load<u32>(device + (isFirst ? DEVICE_FIRST : DEVICE_SECOND));
  const second = isFirst ? load<u32>(device, DEVICE_SECOND) : 0;
  const counters = simulator + (isFirst ? SIMULATOR_FIRST_STAGE : SIMULATOR_SECOND_STAGE);
  const caches = simulator + (isFirst ? SIMULATOR_FIRST_CACHES : SIMULATOR_SECOND_CACHES);
  const tags = device + (isFirst ? DEVICE_FIRST_TAG : DEVICE_SECOND_TAG);
  const tag = load<u64>(tags);
  const levels = load<u32>(table, TABLE_LEVELS);
  const flags = load<u32>(table, TABLE_FLAGS);
  const readAccess: u32 = ACCESS_WALK | ACCESS_READ | (flags & <u32>TABLE_READS_AS_WRITES ? ACCESS_WRITE : 0);
  count(counters, STAGE_WALKS, 1);
  // 1. Input address.
  if (!inputInRange<F>(table, address)) return statusWord(WALK_INPUT_RANGE, 0, 0, 0);

  // 2. The lowest table that a cache knows.
  let level = levels;
  let rights = f.initialRights(table);
  let base: u64 = 0;
  for (let above: u32 = 2; above <= levels; above++) {
    const cache = <usize>load<u32>(caches + (<usize>above << 2));
    if (!cache) continue;
    count(counters, <usize>STAGE_LOOKUPS + (<usize>above << 3), 1);
    const index = cacheFind(cache, address, <u32>levelShift<F>(above), tag);
    if (index < 0) continue;
    cacheTouch(cache, index);
    count(counters, <usize>STAGE_HITS + (<usize>above << 3), 1);
    base = load<u64>(cacheEntry(cache, index), CACHED_VALUE);
    rights = load<u64>(cacheEntry(cache, index), CACHED_RIGHTS);
    level = above - 1;
    break;
  }
  if (level == levels) {
    base = load<u64>(table, TABLE_ROOT) + firstTable<F>(levels, address);
    if (second) {
      const status = walkSecondStageSlowly(simulator, device, base, readAccess);
      if (status & <u32>WALK_OUTCOME_MASK) return ofSecondStage(status, WALK_SECOND_STAGE_TABLE, level);
      base = walkedPhysical;
    }
  }

  const rightsFirst = (flags & <u32>TABLE_RIGHTS_FIRST) != 0;
  let entry: u64 = 0;
  while (true) {
    // 3. Read the entry.
    const pointer = physicalPointer(base + (<u64>indexAt<F>(address, level) << 3));
    if (!pointer) {
      const denied: u32 = rightsFirst ? f.check(rights, 0, access) : 0;
      return statusWord(denied ? denied : level == levels ? WALK_ROOT_ACCESS : WALK_TABLE_ACCESS, level, 0, 0);
    }
    entry = load<u64>(pointer);
    count(counters, <usize>STAGE_READS + (<usize>level << 3), 1);
    count(table, TABLE_ENTRIES_READ, 1);
    // 4. Present, and something left of the rights.
    rights = f.combine(rights, entry, level);
    if (!f.isPresent(entry, rights, level)) return statusWord(WALK_NOT_PRESENT, level, 0, 0);
    // 5. Reserved bits, output size.
    const leaf = f.isLeaf(entry, level);
    const masks = table + (<usize>level << 3);
    if (entry & (leaf ? load<u64>(masks, TABLE_RESERVED_LEAF) : load<u64>(masks, TABLE_RESERVED_TABLE))) {
      const denied: u32 = rightsFirst ? f.check(rights, entry, access) : 0;
      return statusWord(denied ? denied : f.reservedOutcome(), level, 0, 0);
    }
    if (leaf) break;
    // 6. The next table, which the cache of this level keeps.
    base = f.address(table, entry);
    if (second) {
      const status = walkSecondStageSlowly(simulator, device, base, readAccess);
      if (status & <u32>WALK_OUTCOME_MASK) return ofSecondStage(status, WALK_SECOND_STAGE_TABLE, level - 1);
      base = walkedPhysical;
    }
    const cache = <usize>load<u32>(caches + (<usize>level << 2));
    if (cache) {
      const kept = cacheEntry(cache, cacheFill(cache, address, <u32>levelShift<F>(level), tag));
      store<u64>(kept, base, CACHED_VALUE);
      store<u64>(kept, rights, CACHED_RIGHTS);
      store<u64>(kept, load<u64>(tags, 8), CACHED_OWNER);
    }
    level--;
  }

  // 7. The rights of the request.
  const denied = f.check(rights, entry, access);
  if (denied) return statusWord(denied, level, 0, 0);
  let shift = <u32>levelShift<F>(level);
  const inLeaf = ((<u64>1) << <u64>shift) - 1;
  let output = (f.address(table, entry) & ~inLeaf) | (address & inLeaf);
  let grants = f.grants(rights, entry);
  // A run of leaves that software marked as contiguous is one translation (VMSAv8-64: contiguous bit).
  if (isFirst && entry & load<u64>(device, DEVICE_CONTIGUOUS)) {
    shift += load<u32>(device + (<usize>level << 2), DEVICE_CONTIGUOUS_RUN);
  }
  // 8. The output through the second stage.
  if (second) {
    const status = walkSecondStageSlowly(simulator, device, output, access);
    if (status & <u32>WALK_OUTCOME_MASK) return ofSecondStage(status, WALK_SECOND_STAGE_OUTPUT, level);
    output = walkedPhysical;
    grants &= walkedGrants;
    shift = min<u32>(shift, sizeShift(status));
    if (!(grants & READ_OR_WRITE)) return statusWord(WALK_NO_READ | WALK_SECOND_STAGE_OUTPUT, level, 0, 0);
  }
  walkedPhysical = output;
  walkedGrants = grants;
  return statusWord(WALK_OK, level, 0, shift);
}

// @ts-ignore: decorator
@inline
export function sizeShift(status: u32): u32 {
  return (status >> <u32>WALK_SIZE_SHIFT) & 0x3f;
}

// @ts-ignore: decorator
@inline
function ofSecondStage(status: u32, which: u32, level: u32): u32 {
  return statusWord((status & <u32>WALK_OUTCOME_MASK) | which, level, 0, 0);
}

@unmanaged
class WalkFirst {
  // @ts-ignore: decorator
  @inline run<F>(a: usize, b: usize, c: usize, d: usize): i32 {
    return walkStage<F, First>(a, b, load<u64>(c), <u32>d);
  }
}
@unmanaged
class WalkSecond {
  // @ts-ignore: decorator
  @inline run<F>(a: usize, b: usize, c: usize, d: usize): i32 {
    return walkStage<F, Second>(a, b, load<u64>(c), <u32>d);
  }
}

/** The input of a walk, by stage. */
const inputs = memory.data(16, 16);

function walkSecond(simulator: usize, device: usize, address: u64, access: u32): u32 {
  store<u64>(inputs, address, 8);
  const format = load<u32>(<usize>load<u32>(device, DEVICE_SECOND), TABLE_FORMAT);
  return <u32>dispatch<WalkSecond>(format, simulator, device, inputs + 8, <usize>access);
}

/** Translates what the first stage gave: from the cache of such translations, or by a walk that enters it there. */
function walkSecondStageSlowly(simulator: usize, device: usize, address: u64, access: u32): u32 {
  const cache = <usize>load<u32>(simulator, SIMULATOR_NESTED);
  const tag = load<u64>(device, DEVICE_NESTED_TAG);
  let known: i32 = -1;
  if (cache) {
    count(simulator, SIMULATOR_NESTED_LOOKUPS, 1);
    known = cacheFindAnySize(cache, address, tag);
    const shift = known < 0 ? 0 : cacheShift(cache, known);
    if (shift && recall(cache, known, shift, address, access & READ_OR_WRITE)) {
      cacheTouch(cache, known);
      count(simulator, SIMULATOR_NESTED_HITS, 1);
      return statusWord(WALK_OK, 1, 0, shift);
    }
  }
  const status = walkSecond(simulator, device, address, access);
  if (cache && !(status & <u32>WALK_OUTCOME_MASK)) {
    remember(cache, known, address, sizeShift(status), tag, load<u64>(device, DEVICE_NESTED_TAG + 8));
  }
  return status;
}

/** Whether a cached translation allows an access (GRANT_*); it is then the last walk's result. */
// @ts-ignore: decorator
@inline
export function recall(cache: usize, index: i32, shift: u32, address: u64, needed: u32): bool {
  const value = load<u64>(cacheEntry(cache, index), CACHED_VALUE);
  if (<u32>value & needed ^ needed) return false;
  const inPage = ((<u64>1) << <u64>shift) - 1;
  walkedPhysical = (value & ~inPage) | (address & inPage);
  walkedGrants = <u32>(value & GRANTS);
  return true;
}

/** Has a cache keep the last walk's result; `known`: the entry that it takes the place of, or -1. */
// @ts-ignore: decorator
@inline
export function remember(cache: usize, known: i32, address: u64, shift: u32, tag: u64, owner: u64): void {
  const replaces = known >= 0 && cacheShift(cache, known) == shift;
  const entry = cacheEntry(cache, replaces ? known : cacheFill(cache, address, shift, tag));
  const page = walkedPhysical & ~(((<u64>1) << <u64>shift) - 1);
  store<u64>(entry, page | <u64>walkedGrants, CACHED_VALUE);
  store<u64>(entry, owner, CACHED_OWNER);
}

/** Translates an address of a device by a walk of its stages; returns a status word (without entries read). */
export function walkStages(simulator: usize, device: usize, iova: u64, access: u32): u32 {
  const first = <usize>load<u32>(device, DEVICE_FIRST);
  if (!first) return walkSecond(simulator, device, iova, access);
  store<u64>(inputs, iova);
  return <u32>dispatch<WalkFirst>(load<u32>(first, TABLE_FORMAT), simulator, device, inputs, <usize>access);
}
