/**
 * A page table in plain TypeScript: physical pages in a map, one leaf after the other, every rule as the words of the
 * documentation have it.
 */
import type { ErrorCode } from "../../src/engine/errors.js";
import type { Access, Permissions, Reclaim } from "../../src/engine/page-table.js";
import { CONTIGUOUS, coverage, entriesOf, type SlowFormat, type SlowGeometry } from "./slow-format.js";
import { indexIn, inputInRange, type SlowWalk, slowLookup, slowWalk } from "./slow-walk.js";

/** A refusal, and the address at which the model sees the reason. */
export interface SlowRefusal {
  readonly code: ErrorCode;
  readonly at: bigint;
}

export interface SlowUnmapped {
  readonly length: bigint;
  /** Leaves removed, by size. */
  readonly leaves: ReadonlyMap<bigint, number>;
  /** How many table pages were freed, by the level of the table. */
  readonly freed: ReadonlyMap<number, number>;
}

interface Leaf {
  readonly start: bigint;
  readonly size: bigint;
}

export class SlowTable {
  readonly #pages = new Map<bigint, BigUint64Array>();
  readonly root = 0x10_0000_0000n;
  readonly leaves = new Map<bigint, number>();
  /** Runs marked as contiguous, by the bytes of a run. */
  readonly runs = new Map<bigint, number>();
  tablePages = 1;
  entriesWritten = 0;
  /** Table pages that gave way to a large leaf in the last map. */
  replacedPages = 0;
  readonly #granule: bigint;
  #nextPage: bigint;

  constructor(
    readonly format: SlowFormat,
    readonly geometry: SlowGeometry,
  ) {
    this.#granule = coverage(1, format);
    this.#nextPage = this.root + this.#granule;
    for (let level = geometry.levels; level >= 1; level--) {
      const size = coverage(level, format);
      if ((geometry.pageSizes & size) !== 0n) this.leaves.set(size, 0);
    }
  }

  read(address: bigint): bigint {
    const inPage = address % this.#granule;
    return this.page(address - inPage)[Number(inPage) / 8];
  }

  /** The words of the page at this address. */
  page(address: bigint): BigUint64Array {
    let page = this.#pages.get(address);
    if (page === undefined) {
      page = new BigUint64Array(entriesOf(this.format));
      this.#pages.set(address, page);
    }
    return page;
  }

  /** Largest leaf that can begin at `iova`: allowed, aligned on both sides, no longer than what is left. */
  bestPageSize(iova: bigint, physical: bigint, length: bigint): bigint {
    let best = 0n;
    for (const size of this.leaves.keys()) {
      if (iova % size === 0n && physical % size === 0n && size <= length && size > best) best = size;
    }
    return best;
  }

  map(iova: bigint, physical: bigint, length: bigint, permissions: Permissions): SlowRefusal | null {
    if (length === 0n || iova % this.#granule || physical % this.#granule || length % this.#granule) {
      return { code: "misaligned", at: iova };
    }
    if (!this.#rangeInInput(iova, length)) return { code: "input-range", at: iova };
    if (physical + length > 1n << BigInt(this.geometry.outputBits)) return { code: "output-range", at: iova };
    const unmarkable = permissions.contiguous && Object.keys(this.format.runs).length === 0;
    if (unmarkable || this.format.leaf(0n, permissions, 1, this.geometry) === null)
      return { code: "permissions", at: iova };
    this.replacedPages = 0;
    const occupied = this.#firstMapped(iova, length);
    if (occupied !== null) return { code: "overlap", at: occupied };
    const written: Leaf[] = [];
    for (let done = 0n; done < length; ) {
      const size = this.bestPageSize(iova + done, physical + done, length - done);
      this.#writeLeaf(iova + done, physical + done, size, permissions);
      written.push({ start: iova + done, size });
      done += size;
    }
    if (permissions.contiguous) this.#markRuns(written, physical - iova);
    return null;
  }

  unmap(iova: bigint, length: bigint, reclaim: Reclaim): SlowUnmapped | SlowRefusal {
    if (length === 0n || iova % this.#granule || length % this.#granule) return { code: "misaligned", at: iova };
    if (!this.#rangeInInput(iova, length)) return { code: "input-range", at: iova };
    const gone: Leaf[] = [];
    for (let at = iova; at < iova + length; ) {
      const leaf = this.leafAt(at);
      if (leaf === null) return { code: "hole", at };
      if (leaf.start !== at) return { code: "inside-leaf", at };
      gone.push(leaf);
      at = leaf.start + leaf.size;
    }
    const starts = new Set(gone.map(({ start }) => start));
    for (const leaf of gone) this.#breakRun(leaf, starts);
    const leaves = new Map<bigint, number>();
    let removed = 0n;
    for (const { start, size } of gone) {
      this.#write(this.#entryAddress(start, size), 0n);
      this.leaves.set(size, (this.leaves.get(size) ?? 0) - 1);
      leaves.set(size, (leaves.get(size) ?? 0) + 1);
      removed += size;
    }
    const freed = new Map<number, number>();
    this.#reclaim(this.root, this.geometry.levels, 0n, iova, length, reclaim, freed);
    return { length: removed, leaves, freed };
  }

  /** The leaf that translates `iova`, or null. */
  leafAt(iova: bigint): Leaf | null {
    let table = this.root;
    for (let level = this.geometry.levels; level >= 1; level--) {
      const entry = this.read(table + BigInt(indexIn(this.format, this.geometry, iova, level) * 8));
      if (!this.format.inUse(entry)) return null;
      const size = coverage(level, this.format);
      if (this.format.isLeaf(entry, level)) return { start: iova - (iova % size), size };
      table = this.#address(entry);
    }
    return null;
  }

  walk(iova: bigint, access: Access): SlowWalk {
    return slowWalk(this.format, this.geometry, (address) => this.read(address), this.root, iova, access);
  }

  lookup(iova: bigint): bigint | null {
    return slowLookup(this.format, this.geometry, (address) => this.read(address), this.root, iova);
  }

  #address(entry: bigint): bigint {
    return this.format.address(entry, this.geometry);
  }

  #rangeInInput(iova: bigint, length: bigint): boolean {
    const last = iova + length - 1n;
    if (last >= 1n << 64n) return false;
    if (!inputInRange(this.format, this.geometry, iova) || !inputInRange(this.format, this.geometry, last))
      return false;
    // Nothing between the halves of a sign-extended range is translated.
    return iova >> 63n === last >> 63n;
  }

  /** Lowest address of the range at which something is mapped. */
  #firstMapped(iova: bigint, length: bigint): bigint | null {
    let first: bigint | null = null;
    this.#eachLeaf(this.root, this.geometry.levels, 0n, iova, length, (leaf) => {
      const at = leaf.start < iova ? iova : leaf.start;
      if (first === null || at < first) first = at;
    });
    return first;
  }

  /** Bytes of the run that a leaf of this size may be one of, 0n when there is none. */
  #runBytes(size: bigint): bigint {
    return size * (this.format.runs[this.#levelOf(size)] ?? 0n);
  }

  #countRun(bytes: bigint, by: number): void {
    const count = (this.runs.get(bytes) ?? 0) + by;
    if (count === 0) this.runs.delete(bytes);
    else this.runs.set(bytes, count);
  }

  /** Marks what of the leaves just written makes whole runs, aligned on both sides. */
  #markRuns(written: readonly Leaf[], toPhysical: bigint): void {
    const sizes = new Map(written.map(({ start, size }) => [start, size]));
    for (const { start, size } of written) {
      const bytes = this.#runBytes(size);
      if (bytes === 0n || start % bytes !== 0n || (start + toPhysical) % bytes !== 0n) continue;
      const starts = Array.from({ length: Number(bytes / size) }, (_, i) => start + BigInt(i) * size);
      if (starts.some((at) => sizes.get(at) !== size)) continue;
      for (const at of starts) {
        const address = this.#entryAddress(at, size);
        this.#poke(address, this.read(address) | CONTIGUOUS);
      }
      this.#countRun(bytes, 1);
    }
  }

  /** Before a leaf goes: if it is one of a run, those of the run that stay lose their mark, each by a write. */
  #breakRun({ start, size }: Leaf, gone: ReadonlySet<bigint>): void {
    const bytes = this.#runBytes(size);
    if (bytes === 0n || (this.read(this.#entryAddress(start, size)) & CONTIGUOUS) === 0n) return;
    const first = start - (start % bytes);
    for (let at = first; at < first + bytes; at += size) {
      const address = this.#entryAddress(at, size);
      this.#poke(address, this.read(address) & ~CONTIGUOUS);
      if (!gone.has(at)) this.entriesWritten++;
    }
    this.#countRun(bytes, -1);
  }

  #eachLeaf(
    table: bigint,
    level: number,
    base: bigint,
    iova: bigint,
    length: bigint,
    visit: (leaf: Leaf) => void,
  ): void {
    const size = coverage(level, this.format);
    for (const [index, entry] of this.page(table).entries()) {
      if (entry === 0n || !this.format.inUse(entry)) continue;
      const start = this.#extend(base + BigInt(index) * size, level);
      if (start >= iova + length || start + size <= iova) continue;
      if (this.format.isLeaf(entry, level)) visit({ start, size });
      else this.#eachLeaf(this.#address(entry), level - 1, start, iova, length, visit);
    }
  }

  /** Input address of an entry of the root table, sign-extended where the format does so. */
  #extend(start: bigint, level: number): bigint {
    if (!this.format.signExtended || level !== this.geometry.levels) return start;
    return BigInt.asUintN(64, BigInt.asIntN(this.geometry.inputBits, start));
  }

  #poke(address: bigint, entry: bigint): void {
    const inPage = address % this.#granule;
    this.page(address - inPage)[Number(inPage) / 8] = entry;
  }

  #write(address: bigint, entry: bigint): void {
    this.#poke(address, entry);
    this.entriesWritten++;
  }

  #levelOf(size: bigint): number {
    let level = 1;
    while (coverage(level, this.format) !== size) level++;
    return level;
  }

  #entryAddress(start: bigint, size: bigint): bigint {
    let table = this.root;
    for (let level = this.geometry.levels; coverage(level, this.format) > size; level--) {
      table = this.#address(this.read(table + BigInt(indexIn(this.format, this.geometry, start, level) * 8)));
    }
    return table + BigInt(indexIn(this.format, this.geometry, start, this.#levelOf(size)) * 8);
  }

  #writeLeaf(iova: bigint, physical: bigint, size: bigint, permissions: Permissions): void {
    let table = this.root;
    for (let level = this.geometry.levels; coverage(level, this.format) > size; level--) {
      const address = table + BigInt(indexIn(this.format, this.geometry, iova, level) * 8);
      if (!this.format.inUse(this.read(address))) {
        this.#write(address, this.format.pointer(this.#nextPage, this.geometry));
        this.#nextPage += this.#granule;
        this.tablePages++;
      }
      table = this.#address(this.read(address));
    }
    const level = this.#levelOf(size);
    const address = table + BigInt(indexIn(this.format, this.geometry, iova, level) * 8);
    // Tables that earlier unmaps left here empty give way to a large leaf.
    if (this.format.inUse(this.read(address))) this.#dropTables(this.#address(this.read(address)), level - 1);
    const entry = this.format.leaf(physical, permissions, level, this.geometry);
    if (entry === null) throw new Error("permissions were checked before");
    this.#write(address, entry);
    this.leaves.set(size, (this.leaves.get(size) ?? 0) + 1);
  }

  #dropTables(table: bigint, level: number): void {
    this.tablePages--;
    this.replacedPages++;
    for (const [index, entry] of this.page(table).entries()) {
      if (entry === 0n || !this.format.inUse(entry)) continue;
      this.#dropTables(this.#address(entry), level - 1);
      this.#poke(table + BigInt(index * 8), 0n);
    }
  }

  /** Frees, from below, every table that the range covers whole, or (`empty`) that it touches and that is empty. */
  #reclaim(
    table: bigint,
    level: number,
    base: bigint,
    iova: bigint,
    length: bigint,
    reclaim: Reclaim,
    freed: Map<number, number>,
  ): void {
    if (level === 1) return;
    const size = coverage(level, this.format);
    for (const [index, entry] of this.page(table).entries()) {
      if (entry === 0n || !this.format.inUse(entry) || this.format.isLeaf(entry, level)) continue;
      const start = this.#extend(base + BigInt(index) * size, level);
      if (start >= iova + length || start + size <= iova) continue;
      const address = table + BigInt(index * 8);
      const below = this.#address(entry);
      this.#reclaim(below, level - 1, start, iova, length, reclaim, freed);
      const covered = start >= iova && start + size <= iova + length;
      if (covered || (reclaim === "empty" && this.#isEmpty(below))) {
        this.#write(address, 0n);
        this.tablePages--;
        freed.set(level - 1, (freed.get(level - 1) ?? 0) + 1);
      }
    }
  }

  #isEmpty(table: bigint): boolean {
    return this.page(table).every((entry) => entry === 0n);
  }
}
