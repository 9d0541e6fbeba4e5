/**
 * Runs of ordinary requests of a batch, made together: through the direct-mapped IOTLB, by short cuts to the leaves' tables.
 * Answers and counters are those of requests made by themselves.
 */
import {
  iotlbFind,
  iotlbGrants,
  iotlbHasOnly,
  iotlbHolds,
  iotlbIsClean,
  iotlbKey,
  iotlbNoteSize,
  iotlbPhysical,
  iotlbPlace,
  iotlbShift,
  iotlbWrite,
  valuePhysical,
} from "../cache/iotlb";
import {
  ACCESS_WRITE,
  INTERRUPT_FIRST,
  IOTLB_ENTRIES,
  IOTLB_SETS,
  NO_PASID,
  REGIME_FORMAT,
  REGIME_TABLE,
  UNIT_BATCH_ACCESS,
  UNIT_BATCH_ACCESSES,
  UNIT_BATCH_COUNT,
  UNIT_BATCH_IOVA,
  UNIT_BATCH_NEXT,
  UNIT_BATCH_PASIDS,
  UNIT_BATCH_PHYSICAL,
  UNIT_BATCH_SOURCES,
  UNIT_BATCH_STATUS,
  UNIT_DONE,
  UNIT_ENTRIES_READ,
  UNIT_INTERCEPTED,
  UNIT_INTERCEPT_FIRST,
  UNIT_INTERCEPT_LAST,
  UNIT_IOTLB,
  UNIT_IOTLB_HITS,
  UNIT_IOTLB_LOOKUPS,
  UNIT_MISSING,
  UNIT_REQUESTS,
  WALK_OK,
  WALK_READS_SHIFT,
  WALK_SIZE_SHIFT,
} from "../layout";
import { count } from "../table/table";
import { statusWord } from "../table/walk";
import { accessAt, iovaAt, pasidAt, sourceAt, translateOneSlowly } from "./batch";
import { needed } from "./request";
import { sanitizer } from "./sanitizer";
import {
  SHORTCUT_ACCESS,
  SHORTCUT_OWNER,
  SHORTCUT_REFUSED_SPAN,
  SHORTCUT_STATUS,
  SHORTCUT_TAG,
  SHORTCUT_TO_VALUE,
  shortcutAt,
  shortcutExpects,
  shortcutHolds,
  shortcutKind,
  shortcutLeaf,
  shortcutMake,
  shortcutsReserve,
  shortcutsToLarger,
} from "./shortcuts";
import { regimeOf, sourceKey } from "./unit";

/** Why `translateRun` returned, besides UNIT_*: the next request goes through tables of `nextFormat`. */
export const ANOTHER_FORMAT: i32 = 3;
export let nextFormat: u32 = 0;
/** What else `prepareSlowly` says: the request has a shortcut now, or it is not an ordinary one. */
const PREPARED: i32 = 4;
const BY_ITSELF: i32 = 5;

/** How many requests are looked at together, and how many after one that had to be made by itself. */
const TOGETHER: u32 = 64;
const TOGETHER_AFTER_ONE: u32 = 4;
/** What is known of each: { u64 its leaf, u32 its shortcut }. */
const ROW_BYTES: usize = 16;
const ROW_SHORTCUT: usize = 8;
const rows = memory.data(64 * 16, 16);

/** Which leaves the passes over a batch meet, decided at compile time: pages of the smallest size alone, or any. */
@unmanaged
class Pages {
  // @ts-ignore: decorator
  @inline only(): bool { return true; }
}
@unmanaged
class AnySize {
  // @ts-ignore: decorator
  @inline only(): bool { return false; }
}

/**
 * `unitTranslate` for as long as requests go through tables of this format. Two passes over some requests at a time: what
 * their leaves are, and then in order what the IOTLB knows better. The first request that is not an ordinary one ends them
 * and is made by itself.
 */
function translateRun<F>(unit: usize, batch: usize, format: u32): i32 {
  const total = load<u32>(batch, UNIT_BATCH_COUNT);
  const first = load<u32>(batch, UNIT_BATCH_NEXT);
  let together = TOGETHER;
  let i = first;
  let why: i32 = UNIT_DONE;
  while (i < total && why == UNIT_DONE) {
    const wanted = min<u32>(together, total - i);
    shortcutsReserve(wanted);
    let n: u32 = 0;
    while (true) {
      n = shortcutsToLarger() ? readLeaves<F, AnySize>(batch, format, i, n, wanted) : readLeaves<F, Pages>(batch, format, i, n, wanted);
      if (n == wanted) break;
      why = prepareSlowly<F>(unit, batch, format, i + n);
      if (why != PREPARED) break;
      why = UNIT_DONE;
    }
    const pages = !shortcutsToLarger() && iotlbHasOnly(unit + UNIT_IOTLB, changetype<F>(0).granuleShift());
    const done = pages ? settle<F, Pages>(unit, batch, i, n) : settle<F, AnySize>(unit, batch, i, n);
    i += done;
    together = TOGETHER;
    if (done == n && why != BY_ITSELF) continue;
    // What was prepared beyond this request is prepared again.
    if (done < n) together = TOGETHER_AFTER_ONE;
    why = UNIT_DONE;
    translateOneSlowly(unit, batch, i);
    i++;
  }
  store<u32>(batch, i, UNIT_BATCH_NEXT);
  count(unit, UNIT_REQUESTS, <u64>(i - first));
  return why;
}

/** Makes a shortcut for a request that has none, or says what else is to be done with it. */
function prepareSlowly<F>(unit: usize, batch: usize, format: u32, i: u32): i32 {
  const f = changetype<F>(0);
  const iova = iovaAt(batch, i);
  const source = sourceAt(batch, i);
  const pasid = pasidAt(batch, i);
  // Shortcuts are for whole regions, and what is intercepted may be a part of one.
  let near = false;
  if (pasid == <u32>NO_PASID) {
    const first = load<u64>(unit, UNIT_INTERCEPT_FIRST);
    const span = load<u64>(unit, UNIT_INTERCEPT_LAST) - first + 1;
    if (iova - first < span) return UNIT_INTERCEPTED;
    const inRegion = ((<u64>1) << <u64>(f.granuleShift() + f.indexBits())) - 1;
    near = span != 0 && (first - (iova & ~inRegion) <= inRegion || (iova & ~inRegion) - first < span);
  }
  const regime = regimeOf(unit, source, pasid);
  if (!regime) return UNIT_MISSING;
  if (load<u32>(regime, REGIME_TABLE) && load<u32>(regime, REGIME_FORMAT) != format) {
    nextFormat = load<u32>(regime, REGIME_FORMAT);
    return ANOTHER_FORMAT;
  }
  if (near) return BY_ITSELF;
  return shortcutMake<F>(regime, iova, sourceKey(source, pasid), accessAt(batch, i)) ? PREPARED : BY_ITSELF;
}

/**
 * First pass, over the `n` requests at `from` beginning with the `j`-th. Returns which is the first without a shortcut, or
 * `n`.
 */
function readLeaves<F, S>(batch: usize, format: u32, from: u32, j: u32, n: u32): u32 {
  const accesses = <usize>load<u32>(batch, UNIT_BATCH_ACCESSES);
  const pasids = <usize>load<u32>(batch, UNIT_BATCH_PASIDS);
  const kind = shortcutKind(format, accesses ? 0 : load<u32>(batch, UNIT_BATCH_ACCESS));
  let row = rows + <usize>j * ROW_BYTES;
  const end = rows + <usize>n * ROW_BYTES;
  let i = from + j;
  if (accesses || pasids) {
    for (; row < end; row += ROW_BYTES) {
      const source = sourceKey(sourceAt(batch, i), pasidAt(batch, i));
      if (!readLeaf<F, S>(row, iovaAt(batch, i), source, shortcutKind(format, accessAt(batch, i)))) break;
      i++;
    }
  } else {
    let iovas = <usize>load<u32>(batch, UNIT_BATCH_IOVA) + (<usize>i << 3);
    let sources = <usize>load<u32>(batch, UNIT_BATCH_SOURCES) + (<usize>i << 2);
    // Two in turn, for half the loop's overhead.
    while (row < end) {
      if (!readLeaf<F, S>(row, load<u64>(iovas), <u64>load<u32>(sources), kind)) break;
      row += ROW_BYTES;
      if (row == end) break;
      if (!readLeaf<F, S>(row, load<u64>(iovas, 8), <u64>load<u32>(sources, 4), kind)) break;
      row += ROW_BYTES;
      iovas += 16;
      sources += 8;
    }
  }
  return <u32>((row - rows) / ROW_BYTES);
}

// @ts-ignore: decorator
@inline
function readLeaf<F, S>(row: usize, iova: u64, source: u64, kind: u64): bool {
  const shortcut = shortcutAt<F>(iova, source);
  if (!shortcutHolds<F>(shortcut, iova, source, kind)) return false;
  store<u64>(row, shortcutLeaf<F>(shortcut, iova, changetype<S>(0).only()));
  store<u32>(row, <u32>shortcut, ROW_SHORTCUT);
  return true;
}

/** Second pass, in order, over the `n` requests at `from`. Returns how many of them are done. */
function settle<F, S>(unit: usize, batch: usize, from: u32, n: u32): u32 {
  const iotlb = unit + UNIT_IOTLB;
  const entries = <usize>load<u32>(iotlb, IOTLB_ENTRIES);
  const lastSet = load<u32>(iotlb, IOTLB_SETS) - 1;
  let iovas = <usize>load<u32>(batch, UNIT_BATCH_IOVA) + (<usize>from << 3);
  let results = <usize>load<u32>(batch, UNIT_BATCH_PHYSICAL) + (<usize>from << 3);
  let statuses = <usize>load<u32>(batch, UNIT_BATCH_STATUS) + (<usize>from << 2);
  let row = rows;
  const end = rows + <usize>n * ROW_BYTES;
  let sum: u64 = 0;
  while (row < end) {
    const one = settleOne<F, S>(unit, entries, lastSet, row, load<u64>(iovas), results, statuses);
    if (one == NOT_SETTLED) break;
    sum += <u64>one;
    row += ROW_BYTES;
    if (row == end) break;
    const other = settleOne<F, S>(unit, entries, lastSet, row, load<u64>(iovas, 8), results + 8, statuses + 4);
    if (other == NOT_SETTLED) break;
    sum += <u64>other;
    row += ROW_BYTES;
    iovas += 16;
    results += 16;
    statuses += 8;
  }
  const done = <u32>((row - rows) / ROW_BYTES);
  count(unit, UNIT_IOTLB_LOOKUPS, <u64>done);
  // The lower fields of so few status words do not carry into the uppermost one.
  count(unit, UNIT_ENTRIES_READ, sum >> <u64>WALK_READS_SHIFT);
  return done;
}

const NOT_SETTLED: u32 = 0xffffffff;

/** Stores the result and the status word of one request, and returns the latter; or NOT_SETTLED, and nothing happened. */
// @ts-ignore: decorator
@inline
function settleOne<F, S>(unit: usize, entries: usize, lastSet: u32, row: usize, iova: u64, result: usize, status: usize): u32 {
  const iotlb = unit + UNIT_IOTLB;
  const pages = changetype<S>(0).only();
  const leaf = load<u64>(row);
  const shortcut = <usize>load<u32>(row, ROW_SHORTCUT);
  if (!shortcutExpects<F>(shortcut, leaf)) return NOT_SETTLED;
  const word = load<u32>(shortcut, SHORTCUT_STATUS);
  const shift: u32 = pages ? changetype<F>(0).granuleShift() : (word >> <u32>WALK_SIZE_SHIFT) & 0x3f;
  const tag = load<u64>(shortcut, SHORTCUT_TAG);
  const refusedSpan = <u64>load<u32>(shortcut, SHORTCUT_REFUSED_SPAN);
  const key = iotlbKey(iova, shift);
  const place = iotlbPlace(entries, lastSet, iova, shift, tag);
  let entry = place;
  if (pages ? iotlbHolds(place, key, tag) : (entry = iotlbFind(iotlb, entries, lastSet, iova, tag)) != 0) {
    const access = load<u32>(shortcut, SHORTCUT_ACCESS);
    const need = needed(access);
    const physical = iotlbPhysical(entry, iova);
    if ((iotlbGrants(entry) & need) != need) return NOT_SETTLED;
    if (access & <u32>ACCESS_WRITE && iotlbIsClean(entry)) return NOT_SETTLED;
    if (physical - <u64>INTERRUPT_FIRST < refusedSpan) return NOT_SETTLED;
    if (sanitizer && physical != valuePhysical(leaf ^ load<u64>(shortcut, SHORTCUT_TO_VALUE), shift, iova)) return NOT_SETTLED;
    const found = statusWord(WALK_OK, 0, 0, iotlbShift(entry));
    count(unit, UNIT_IOTLB_HITS, 1);
    store<u64>(result, physical);
    store<u32>(status, found);
    return found;
  }
  const value = leaf ^ load<u64>(shortcut, SHORTCUT_TO_VALUE);
  const low = ((<u64>1) << <u64>shift) - 1;
  const physical = (value & ~low) | (iova & low);
  if (physical - <u64>INTERRUPT_FIRST < refusedSpan) return NOT_SETTLED;
  iotlbWrite(place, key, tag, value, load<u64>(shortcut, SHORTCUT_OWNER));
  if (!pages) iotlbNoteSize(iotlb, shift);
  store<u64>(result, physical);
  store<u32>(status, word);
  return word;
}

@unmanaged
export class TranslateRun {
  // @ts-ignore: decorator
  @inline run<F>(a: usize, b: usize, c: usize, d: usize): i32 { return translateRun<F>(a, b, <u32>c); }
}
