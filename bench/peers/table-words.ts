/**
 * A VT-d second-stage page table in plain JavaScript without BigInt: an entry is two words of a Uint32Array, an address
 * a page number (a double holds 52 bits exactly) and an offset. The same algorithms as assembly/table/ and
 * bench/peers/table.c.
 */
import * as layout from "../../assembly/layout.js";

const WRITE = 2;
const PRESENT = 3;
const LARGE = 1 << 7;
const SNOOP = 1 << 11;
const ENTRIES = 512;
const LEVELS = 4;
/** One past the last page of input (48 bits) and output (52 bits) addresses. */
const INPUT_PAGES = 2 ** 36;
const OUTPUT_PAGES = 2 ** 40;
/** Pages that one entry of a table at this level covers. */
const SPAN = [0, 1, 2 ** 9, 2 ** 18, 2 ** 27];

/** Index in the table of a level; `high` and `low` are the words of the IOVA. */
function indexOf(high: number, low: number, level: number): number {
  switch (level) {
    case 1:
      return (low >>> 12) & 511;
    case 2:
      return (low >>> 21) & 511;
    case 3:
      return ((high << 2) | (low >>> 30)) & 511;
    default:
      return (high >>> 7) & 511;
  }
}

function indexAt(page: number, level: number): number {
  return Math.floor(page / SPAN[level]) % ENTRIES;
}

/** Page number in an entry: bits 51:12. */
function pageOf(high: number, low: number): number {
  return (high & 0xfffff) * 0x100000 + (low >>> 12);
}

export class WordTable {
  readonly #words: Uint32Array;
  readonly #arenaPages: number;
  readonly #basePage: number;
  readonly #freePages: number[] = [];
  #pagesUsed = 1;
  #pagesNeeded = 0;
  leaves = 0;
  tablePages = 1;
  entriesWritten = 0;
  entriesRead = 0;
  /** Pages that the last unmap removed, and table pages that it freed. */
  removedPages = 0;
  freedPages = 0;

  constructor(arenaPages: number, arenaBase: number) {
    this.#words = new Uint32Array(arenaPages * ENTRIES * 2);
    this.#arenaPages = arenaPages;
    this.#basePage = arenaBase / 4096;
  }

  /** Index of a table's first word, or -1 when nobody backs the page. */
  #tableAt(page: number): number {
    const offset = page - this.#basePage;
    return offset >= 0 && offset < this.#arenaPages ? offset * ENTRIES * 2 : -1;
  }

  /** Linux's iova_to_phys over words: IOVAs in, physical addresses out, low word first; all ones for none. */
  lookupBatch(iovas: Uint32Array, physical: Uint32Array, from: number, count: number): void {
    const words = this.#words;
    const root = this.#tableAt(this.#basePage);
    for (let i = from * 2; i < (from + count) * 2; i += 2) {
      const low = iovas[i];
      const high = iovas[i + 1];
      let resultLow = 0xffff_ffff;
      let resultHigh = 0xffff_ffff;
      let at = high < 0x10000 ? root : -1;
      for (let level = LEVELS; at >= 0; level--) {
        const entry = at + indexOf(high, low, level) * 2;
        const entryLow = words[entry];
        if ((entryLow & PRESENT) === 0) break;
        const entryHigh = words[entry + 1];
        if (level === 1) {
          resultLow = ((entryLow & ~0xfff) | (low & 0xfff)) >>> 0;
          resultHigh = entryHigh & 0xfffff;
          break;
        }
        if ((entryLow & LARGE) !== 0) {
          const mask = SPAN[level] - 1;
          const page = pageOf(entryHigh, entryLow);
          const inLeaf = (high * 0x100000 + (low >>> 12)) % (mask + 1);
          const leaf = page - (page % (mask + 1)) + inLeaf;
          resultLow = ((leaf % 0x100000) * 4096 + (low & 0xfff)) >>> 0;
          resultHigh = Math.floor(leaf / 0x100000);
          break;
        }
        at = this.#tableAt(pageOf(entryHigh, entryLow));
      }
      physical[i] = resultLow;
      physical[i + 1] = resultHigh;
    }
  }

  /** Walks as hardware makes them. */
  walkBatch(
    iovas: Uint32Array,
    physical: Uint32Array,
    status: Uint32Array,
    from: number,
    count: number,
    access: number,
  ): void {
    const words = this.#words;
    for (let i = from; i < from + count; i++) {
      const low = iovas[i * 2];
      const high = iovas[i * 2 + 1];
      if (high >= 0x10000) {
        physical[i * 2] = 0;
        physical[i * 2 + 1] = 0;
        status[i] = layout.WALK_INPUT_RANGE;
        continue;
      }
      let rights = PRESENT;
      let page = this.#basePage;
      let reads = 0;
      let level = LEVELS;
      let outcome = -1;
      for (; ; level--) {
        const at = this.#tableAt(page);
        if (at < 0) {
          outcome = level === LEVELS ? layout.WALK_ROOT_ACCESS : layout.WALK_TABLE_ACCESS;
          break;
        }
        const index = at + indexOf(high, low, level) * 2;
        const entryLow = words[index];
        const entryHigh = words[index + 1];
        reads++;
        rights &= entryLow;
        if ((rights & PRESENT) === 0) {
          outcome = layout.WALK_NOT_PRESENT;
          break;
        }
        // Only 4 KiB leaves are allowed; every address bit is below the width of 52.
        const large = (entryLow & LARGE) !== 0 && level > 1;
        if ((entryLow & SNOOP) !== 0 || large) {
          outcome = layout.WALK_RESERVED;
          break;
        }
        if (level === 1) {
          const missing = ~rights & access;
          if (missing !== 0) {
            outcome = (missing & WRITE) !== 0 ? layout.WALK_NO_WRITE : layout.WALK_NO_READ;
            break;
          }
          physical[i * 2] = (entryLow & ~0xfff) | (low & 0xfff);
          physical[i * 2 + 1] = entryHigh & 0xfffff;
          status[i] = (1 << 8) | (12 << 12) | (reads << 24);
          break;
        }
        page = pageOf(entryHigh, entryLow);
      }
      this.entriesRead += reads;
      if (outcome >= 0) {
        const entry = page * 4096 + indexOf(high, low, level) * 8;
        physical[i * 2] = entry >>> 0;
        physical[i * 2 + 1] = Math.floor(entry / 0x1_0000_0000);
        status[i] = outcome | (level << 8) | (reads << 24);
      }
    }
  }

  #takePage(): number {
    return this.#freePages.pop() ?? this.#basePage + this.#pagesUsed++;
  }

  /** Maps pages [start, last] below one table; `at` is -1 for a table that does not exist yet (dry run only). */
  #mapLevel(
    at: number,
    level: number,
    start: number,
    last: number,
    target: number,
    rights: number,
    dry: boolean,
  ): number {
    const words = this.#words;
    let page = start;
    let physical = target;
    let index = indexAt(page, level);
    if (level === 1) {
      const from = at + index * 2;
      const to = from + (last - page + 1) * 2;
      if (dry) {
        if (at < 0) return layout.STATUS_OK;
        for (let i = from; i < to; i += 2) if ((words[i] & PRESENT) !== 0) return layout.STATUS_OVERLAP;
      } else {
        let low = ((physical % 0x100000) * 4096 + rights) | 0;
        let high = Math.floor(physical / 0x100000);
        for (let i = from; i < to; i += 2) {
          words[i] = low;
          words[i + 1] = high;
          low = (low + 4096) | 0;
          if ((low & ~0xfff) === 0) high++;
        }
        this.entriesWritten += last - page + 1;
        this.leaves += last - page + 1;
      }
      return layout.STATUS_OK;
    }
    const span = SPAN[level];
    while (true) {
      const entryLast = Math.min(last, page - (page % span) + span - 1);
      const entry = at + index * 2;
      const entryLow = at < 0 ? 0 : words[entry];
      let below = -1;
      if ((entryLow & PRESENT) !== 0) {
        if ((entryLow & LARGE) !== 0) return layout.STATUS_OVERLAP;
        below = this.#tableAt(pageOf(words[entry + 1], entryLow));
        if (below < 0) return layout.STATUS_BUS_ERROR;
      } else if (dry) {
        this.#pagesNeeded++;
      } else {
        const taken = this.#takePage();
        below = this.#tableAt(taken);
        words[entry] = (taken % 0x100000) * 4096 + PRESENT;
        words[entry + 1] = Math.floor(taken / 0x100000);
        this.tablePages++;
        this.entriesWritten++;
      }
      const status = this.#mapLevel(below, level - 1, page, entryLast, physical, rights, dry);
      if (status !== layout.STATUS_OK || entryLast === last) return status;
      physical += entryLast - page + 1;
      page = entryLast + 1;
      index++;
    }
  }

  /** The existing last-level table for the pages, or -1 when there is none or the range leaves it. */
  #lastTable(first: number, last: number): number {
    if (last - first >= ENTRIES - 1 || Math.floor(first / ENTRIES) !== Math.floor(last / ENTRIES)) return -1;
    let at = this.#tableAt(this.#basePage);
    for (let level = LEVELS; level > 1 && at >= 0; level--) {
      const entry = at + indexAt(first, level) * 2;
      const low = this.#words[entry];
      if ((low & PRESENT) === 0 || (low & LARGE) !== 0) return -1;
      at = this.#tableAt(pageOf(this.#words[entry + 1], low));
    }
    return at;
  }

  /** Addresses and length in bytes, below 2^53. */
  map(iova: number, physical: number, length: number, rights: number): number {
    if (iova % 4096 !== 0 || physical % 4096 !== 0 || length % 4096 !== 0 || length === 0) {
      return layout.STATUS_MISALIGNED;
    }
    const first = iova / 4096;
    const count = length / 4096;
    const target = physical / 4096;
    if (first + count > INPUT_PAGES) return layout.STATUS_INPUT_RANGE;
    if (target + count > OUTPUT_PAGES) return layout.STATUS_OUTPUT_RANGE;
    if ((rights & PRESENT) === 0) return layout.STATUS_PERMISSIONS;
    const last = first + count - 1;
    const lastTable = this.#lastTable(first, last);
    if (lastTable >= 0) {
      const status = this.#mapLevel(lastTable, 1, first, last, target, rights, true);
      return status === layout.STATUS_OK ? this.#mapLevel(lastTable, 1, first, last, target, rights, false) : status;
    }
    this.#pagesNeeded = 0;
    const root = this.#tableAt(this.#basePage);
    const status = this.#mapLevel(root, LEVELS, first, last, target, rights, true);
    if (status !== layout.STATUS_OK) return status;
    if (this.#pagesUsed + this.#pagesNeeded - this.#freePages.length > this.#arenaPages) {
      return layout.STATUS_MEMORY_EXHAUSTED;
    }
    return this.#mapLevel(root, LEVELS, first, last, target, rights, false);
  }

  #unmapLevel(at: number, level: number, start: number, last: number, dry: boolean): number {
    const words = this.#words;
    let page = start;
    let index = indexAt(page, level);
    if (level === 1) {
      const from = at + index * 2;
      const to = from + (last - page + 1) * 2;
      if (dry) {
        for (let i = from; i < to; i += 2) if ((words[i] & PRESENT) === 0) return layout.STATUS_HOLE;
      } else {
        words.fill(0, from, to);
        this.entriesWritten += last - page + 1;
        this.leaves -= last - page + 1;
        this.removedPages += last - page + 1;
      }
      return layout.STATUS_OK;
    }
    const span = SPAN[level];
    while (true) {
      const inEntry = page % span;
      const entryLast = page - inEntry + span - 1;
      const entry = at + index * 2;
      if ((words[entry] & PRESENT) === 0) return layout.STATUS_HOLE;
      const table = pageOf(words[entry + 1], words[entry]);
      const below = this.#tableAt(table);
      if (below < 0) return layout.STATUS_BUS_ERROR;
      const status = this.#unmapLevel(below, level - 1, page, Math.min(last, entryLast), dry);
      if (status !== layout.STATUS_OK) return status;
      if (!dry && inEntry === 0 && entryLast <= last) {
        words[entry] = 0;
        words[entry + 1] = 0;
        this.entriesWritten++;
        this.#freePages.push(table);
        this.tablePages--;
        this.freedPages++;
      }
      if (entryLast >= last) return layout.STATUS_OK;
      page = entryLast + 1;
      index++;
    }
  }

  unmap(iova: number, length: number): number {
    this.removedPages = 0;
    this.freedPages = 0;
    if (iova % 4096 !== 0 || length % 4096 !== 0 || length === 0) return layout.STATUS_MISALIGNED;
    const first = iova / 4096;
    const last = first + length / 4096 - 1;
    if (last >= INPUT_PAGES) return layout.STATUS_INPUT_RANGE;
    const lastTable = this.#lastTable(first, last);
    if (lastTable >= 0) {
      const status = this.#unmapLevel(lastTable, 1, first, last, true);
      return status === layout.STATUS_OK ? this.#unmapLevel(lastTable, 1, first, last, false) : status;
    }
    const root = this.#tableAt(this.#basePage);
    const status = this.#unmapLevel(root, LEVELS, first, last, true);
    return status === layout.STATUS_OK ? this.#unmapLevel(root, LEVELS, first, last, false) : status;
  }
}
