/**
 * A VT-d second-stage page table in plain JavaScript, the obvious way: 64-bit words in a BigUint64Array, BigInt
 * arithmetic. The same algorithms as assembly/table/ and bench/peers/table.c.
 */
import * as layout from "../../assembly/layout.js";

const READ = 1n;
const WRITE = 2n;
const PRESENT = READ | WRITE;
const LARGE = 1n << 7n;
const SNOOP = 1n << 11n;
const ADDRESS = 0x000f_ffff_ffff_f000n;
const PAGE_SHIFT = 12n;
const PAGE_MASK = 0xfffn;
const ENTRIES = 512;
const INPUT_LAST = (1n << 48n) - 1n;
const OUTPUT_LAST = (1n << 52n) - 1n;
const LEVELS = 4;

export const NOT_MAPPED = 0xffff_ffff_ffff_ffffn;

function levelShift(level: number): bigint {
  return PAGE_SHIFT + 9n * BigInt(level - 1);
}

function indexAt(iova: bigint, level: number): number {
  return Number((iova >> levelShift(level)) & 511n);
}

export class BigIntTable {
  readonly #words: BigUint64Array;
  readonly #arenaBytes: bigint;
  readonly #freePages: bigint[] = [];
  #pagesUsed = 1n;
  readonly #root: bigint;
  #pagesNeeded = 0;
  leaves = 0;
  tablePages = 1;
  entriesWritten = 0;
  entriesRead = 0;
  /** Bytes that the last unmap removed, and table pages that it freed. */
  removedBytes = 0n;
  freedPages = 0;

  constructor(
    arenaPages: number,
    readonly arenaBase: bigint,
  ) {
    this.#words = new BigUint64Array(arenaPages * ENTRIES);
    this.#arenaBytes = BigInt(arenaPages) << PAGE_SHIFT;
    this.#root = arenaBase;
  }

  /** Index of a table's first word, or -1 when nobody backs the address. */
  #tableAt(address: bigint): number {
    const offset = address - this.arenaBase;
    return offset >= 0n && offset < this.#arenaBytes ? Number(offset >> 3n) : -1;
  }

  /** Linux's iova_to_phys. */
  lookup(iova: bigint): bigint {
    if (iova > INPUT_LAST) return NOT_MAPPED;
    let at = this.#tableAt(this.#root);
    for (let level = LEVELS; at >= 0; level--) {
      const entry = this.#words[at + indexAt(iova, level)];
      if ((entry & PRESENT) === 0n) return NOT_MAPPED;
      if (level === 1 || (entry & LARGE) !== 0n) {
        const low = (1n << levelShift(level)) - 1n;
        return (entry & ADDRESS & ~low) | (iova & low);
      }
      at = this.#tableAt(entry & ADDRESS);
    }
    return NOT_MAPPED;
  }

  lookupBatch(iovas: BigUint64Array, physical: BigUint64Array, from: number, count: number): void {
    for (let i = from; i < from + count; i++) physical[i] = this.lookup(iovas[i]);
  }

  /** A walk as hardware makes it; the physical address, or that of the failing entry, goes to `physical[i]`. */
  walk(iova: bigint, access: bigint, physical: BigUint64Array, i: number): number {
    if (iova > INPUT_LAST) {
      physical[i] = 0n;
      return layout.WALK_INPUT_RANGE;
    }
    let rights = PRESENT;
    let address = this.#root;
    let reads = 0;
    let level = LEVELS;
    let outcome = layout.WALK_OK;
    for (; ; level--) {
      const at = this.#tableAt(address);
      if (at < 0) {
        outcome = level === LEVELS ? layout.WALK_ROOT_ACCESS : layout.WALK_TABLE_ACCESS;
        break;
      }
      const entry = this.#words[at + indexAt(iova, level)];
      reads++;
      rights &= entry;
      if ((rights & PRESENT) === 0n) {
        outcome = layout.WALK_NOT_PRESENT;
        break;
      }
      const leaf = level === 1 || (entry & LARGE) !== 0n;
      const shift = levelShift(level);
      // Only 4 KiB leaves are allowed; every address bit is below the width of 52.
      const reserved = leaf ? SNOOP | LARGE | (((1n << shift) - 1n) & ADDRESS) : SNOOP | (level >= 4 ? LARGE : 0n);
      if ((entry & (level === 1 ? SNOOP : reserved)) !== 0n) {
        outcome = layout.WALK_RESERVED;
        break;
      }
      if (leaf) {
        const missing = ~rights & access;
        if (missing !== 0n) {
          outcome = (missing & WRITE) !== 0n ? layout.WALK_NO_WRITE : layout.WALK_NO_READ;
          break;
        }
        const low = (1n << shift) - 1n;
        this.entriesRead += reads;
        physical[i] = (entry & ADDRESS & ~low) | (iova & low);
        return (level << 8) | (Number(shift) << 12) | (reads << 24);
      }
      address = entry & ADDRESS;
    }
    this.entriesRead += reads;
    physical[i] = address + BigInt(indexAt(iova, level) * 8);
    return outcome | (level << 8) | (reads << 24);
  }

  walkBatch(
    iovas: BigUint64Array,
    physical: BigUint64Array,
    status: Uint32Array,
    from: number,
    count: number,
    access: bigint,
  ): void {
    for (let i = from; i < from + count; i++) status[i] = this.walk(iovas[i], access, physical, i);
  }

  #takePage(): bigint {
    return this.#freePages.pop() ?? this.arenaBase + (this.#pagesUsed++ << PAGE_SHIFT);
  }

  /** Maps [iova, last] below one table in 4 KiB leaves; `at` is -1 for a table that does not exist yet (dry run). */
  #mapLevel(
    at: number,
    level: number,
    start: bigint,
    last: bigint,
    target: bigint,
    rights: bigint,
    dry: boolean,
  ): number {
    const words = this.#words;
    let iova = start;
    let physical = target;
    let index = indexAt(iova, level);
    if (level === 1) {
      const count = Number((last - iova) >> PAGE_SHIFT) + 1;
      if (dry) {
        if (at < 0) return layout.STATUS_OK;
        for (let i = 0; i < count; i++) if ((words[at + index + i] & PRESENT) !== 0n) return layout.STATUS_OVERLAP;
      } else {
        let entry = physical | rights;
        for (let i = 0; i < count; i++) {
          words[at + index + i] = entry;
          entry += 1n << PAGE_SHIFT;
        }
        this.entriesWritten += count;
        this.leaves += count;
      }
      return layout.STATUS_OK;
    }
    const size = 1n << levelShift(level);
    while (true) {
      const entryEnd = iova | (size - 1n);
      const entryLast = entryEnd < last ? entryEnd : last;
      const entry = at < 0 ? 0n : words[at + index];
      let below = -1;
      if ((entry & PRESENT) !== 0n) {
        if ((entry & LARGE) !== 0n) return layout.STATUS_OVERLAP;
        below = this.#tableAt(entry & ADDRESS);
        if (below < 0) return layout.STATUS_BUS_ERROR;
      } else if (dry) {
        this.#pagesNeeded++;
      } else {
        const address = this.#takePage();
        below = this.#tableAt(address);
        words[at + index] = address | PRESENT;
        this.tablePages++;
        this.entriesWritten++;
      }
      const status = this.#mapLevel(below, level - 1, iova, entryLast, physical, rights, dry);
      if (status !== layout.STATUS_OK || entryLast === last) return status;
      physical += entryLast - iova + 1n;
      iova = entryLast + 1n;
      index++;
    }
  }

  /** The existing last-level table for the range, or -1 when there is none or the range leaves it. */
  #lastTable(iova: bigint, last: bigint): number {
    if (iova >> 21n !== last >> 21n || last - iova >= 0x1f_ffffn) return -1;
    let at = this.#tableAt(this.#root);
    for (let level = LEVELS; level > 1 && at >= 0; level--) {
      const entry = this.#words[at + indexAt(iova, level)];
      if ((entry & PRESENT) === 0n || (entry & LARGE) !== 0n) return -1;
      at = this.#tableAt(entry & ADDRESS);
    }
    return at;
  }

  map(iova: bigint, physical: bigint, length: bigint, rights: bigint): number {
    const last = iova + length - 1n;
    if (((iova | physical | length) & PAGE_MASK) !== 0n || length === 0n) return layout.STATUS_MISALIGNED;
    if (last > INPUT_LAST) return layout.STATUS_INPUT_RANGE;
    if (physical + length - 1n > OUTPUT_LAST) return layout.STATUS_OUTPUT_RANGE;
    if ((rights & PRESENT) === 0n) return layout.STATUS_PERMISSIONS;
    const lastTable = this.#lastTable(iova, last);
    if (lastTable >= 0) {
      const status = this.#mapLevel(lastTable, 1, iova, last, physical, rights, true);
      return status === layout.STATUS_OK ? this.#mapLevel(lastTable, 1, iova, last, physical, rights, false) : status;
    }
    const root = this.#tableAt(this.#root);
    this.#pagesNeeded = 0;
    const status = this.#mapLevel(root, LEVELS, iova, last, physical, rights, true);
    if (status !== layout.STATUS_OK) return status;
    const end = this.#pagesUsed + BigInt(this.#pagesNeeded - this.#freePages.length);
    if (end << PAGE_SHIFT > this.#arenaBytes) return layout.STATUS_MEMORY_EXHAUSTED;
    return this.#mapLevel(root, LEVELS, iova, last, physical, rights, false);
  }

  #unmapLevel(at: number, level: number, start: bigint, last: bigint, dry: boolean): number {
    const words = this.#words;
    let iova = start;
    let index = indexAt(iova, level);
    if (level === 1) {
      const count = Number((last - iova) >> PAGE_SHIFT) + 1;
      if (dry) {
        for (let i = 0; i < count; i++) if ((words[at + index + i] & PRESENT) === 0n) return layout.STATUS_HOLE;
      } else {
        words.fill(0n, at + index, at + index + count);
        this.entriesWritten += count;
        this.leaves -= count;
        this.removedBytes += BigInt(count) << PAGE_SHIFT;
      }
      return layout.STATUS_OK;
    }
    const size = 1n << levelShift(level);
    while (true) {
      const entryLast = iova | (size - 1n);
      const entry = words[at + index];
      if ((entry & PRESENT) === 0n) return layout.STATUS_HOLE;
      const address = entry & ADDRESS;
      const below = this.#tableAt(address);
      if (below < 0) return layout.STATUS_BUS_ERROR;
      const status = this.#unmapLevel(below, level - 1, iova, last < entryLast ? last : entryLast, dry);
      if (status !== layout.STATUS_OK) return status;
      if (!dry && (iova & (size - 1n)) === 0n && entryLast <= last) {
        words[at + index] = 0n;
        this.entriesWritten++;
        this.#freePages.push(address);
        this.tablePages--;
        this.freedPages++;
      }
      if (entryLast >= last) return layout.STATUS_OK;
      iova = entryLast + 1n;
      index++;
    }
  }

  unmap(iova: bigint, length: bigint): number {
    const last = iova + length - 1n;
    this.removedBytes = 0n;
    this.freedPages = 0;
    if (((iova | length) & PAGE_MASK) !== 0n || length === 0n) return layout.STATUS_MISALIGNED;
    if (last > INPUT_LAST) return layout.STATUS_INPUT_RANGE;
    const lastTable = this.#lastTable(iova, last);
    if (lastTable >= 0) {
      const status = this.#unmapLevel(lastTable, 1, iova, last, true);
      return status === layout.STATUS_OK ? this.#unmapLevel(lastTable, 1, iova, last, false) : status;
    }
    const root = this.#tableAt(this.#root);
    const status = this.#unmapLevel(root, LEVELS, iova, last, true);
    return status === layout.STATUS_OK ? this.#unmapLevel(root, LEVELS, iova, last, false) : status;
  }
}
