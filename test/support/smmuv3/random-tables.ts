/** Random VMSAv8-64 tables of both stages: mostly valid, with every kind of defect here and there. */
import type { Random } from "../random.js";
import { field } from "../slow-format.js";
import { randomBits, randomField } from "../vtd/random-memory.js";
import type { HostSpace, Space } from "./random-space.js";
import { alignDown } from "./structures.js";
import {
  blockAllowed,
  descriptorOffset,
  inTableOrder,
  lowestIndexBit,
  startTableBytes,
  type TableGeometry,
  type Tables,
} from "./table-walk.js";

/** What tables are made for: everything but where they are. */
export type TablesWithoutBase = Omit<Tables, "base">;

const DEFECTS = 0.012;
const LAST_LEVEL = 3;
const TABLE_OR_PAGE = 0b11n;
const BLOCK = 0b01n;

/** A flag that is set with some probability. */
export function flag(random: Random, index: number, probability: number): bigint {
  return random.chance(probability) ? 1n << BigInt(index) : 0n;
}

/** Bits of address that descriptors of these tables can hold, within the output size. */
export function expressibleBits({ granule, ds, oas52, outputSize }: TablesWithoutBase): number {
  const wide = granule === 16 ? oas52 : ds;
  return wide ? outputSize : Math.min(48, outputSize);
}

function addressField(address: bigint, { granule, ds, oas52 }: TableGeometry): bigint {
  const low = address & ((1n << 48n) - 1n);
  if (granule === 16 && oas52) return low | (field(address, 51, 48) << 12n);
  if (granule !== 16 && ds) return low | (field(address, 49, 48) << 48n) | (field(address, 51, 50) << 8n);
  return low;
}

abstract class RandomTables {
  /** Mapped addresses, on 4-KByte pages. */
  readonly targets: bigint[] = [];
  readonly base: bigint | null;
  readonly #tables = new Map<string, bigint>();
  readonly #leaves = new Set<string>();

  constructor(
    protected readonly host: HostSpace,
    private readonly space: Space,
    readonly tables: TablesWithoutBase,
  ) {
    this.base = this.#allocate(startTableBytes({ ...tables }));
  }

  protected abstract tableAttributes(): bigint;
  protected abstract leafAttributes(): bigint;

  protected get random(): Random {
    return this.host.random;
  }

  #allocate(size: bigint): bigint | null {
    return this.space.allocate(size < 64n ? 64n : size, expressibleBits(this.tables));
  }

  /** Puts a leaf in the tables; false when something is in the way. */
  protected insert(address: bigint, level: number, output: bigint): boolean {
    let table = this.base;
    for (let upper = this.tables.startLevel; table !== null; upper++) {
      const slot = table + descriptorOffset(this.tables, address, upper);
      const key = this.#key(address, upper);
      if (upper < level && this.#tables.has(key)) {
        table = this.#tables.get(key) ?? null;
        continue;
      }
      if (this.space.taken(slot)) return false;
      if (upper === level) {
        this.#write(slot, this.#leaf(level, output), level);
        this.#leaves.add(key);
        this.targets.push(address - (address % 4096n));
        return true;
      }
      table = this.#allocate(1n << BigInt(this.tables.granule));
      if (table === null) return false;
      this.#tables.set(key, table);
      this.#write(slot, this.#link(table), upper);
    }
    return false;
  }

  /** Names the descriptor of a level that an address goes through. */
  #key(address: bigint, level: number): string {
    return `${level} ${address >> BigInt(lowestIndexBit(this.tables.granule, level))}`;
  }

  protected isMapped(address: bigint): boolean {
    for (let level = this.tables.startLevel; level <= LAST_LEVEL; level++) {
      if (this.#leaves.has(this.#key(address, level))) return true;
    }
    return false;
  }

  #link(table: bigint): bigint {
    const { random, tables } = this;
    const ignored = randomField(random, 7, 2) | randomField(random, 11, 10) | randomField(random, 58, 51);
    return addressField(table, tables) | TABLE_OR_PAGE | ignored | this.tableAttributes();
  }

  #leaf(level: number, output: bigint): bigint {
    const { random, tables } = this;
    const type = level === LAST_LEVEL ? TABLE_OR_PAGE : BLOCK;
    const shareability = tables.ds ? 0n : randomField(random, 9, 8);
    let leaf = addressField(output, tables) | type | shareability | randomField(random, 58, 55) | this.leafAttributes();
    // The bits below the address of a block; bits 15:12 of the 64-KByte granule hold address.
    const low = lowestIndexBit(tables.granule, level);
    if (level < LAST_LEVEL && random.chance(0.05)) leaf |= randomField(random, low - 1, 16);
    return leaf;
  }

  #write(slot: bigint, descriptor: bigint, level: number): void {
    const word = inTableOrder({ ...this.tables, base: 0n }, this.#withDefects(descriptor, level));
    this.space.write(slot, word);
  }

  /** The descriptor, or seldom one that is not as it should be. */
  #withDefects(descriptor: bigint, level: number): bigint {
    const { random, tables } = this;
    if (!random.chance(DEFECTS)) return descriptor;
    const { granule, outputSize } = tables;
    const address = addressField((1n << 52n) - (1n << BigInt(granule)), tables);
    switch (random.below(5)) {
      case 0:
        return descriptor & ~1n;
      case 1:
        return level < LAST_LEVEL ? descriptor ^ 2n : descriptor & ~2n;
      case 2:
        // Bits 50:48 are reserved or hold address.
        return descriptor ^ (1n << BigInt(random.chance(0.2) ? 51 + random.below(13) : random.below(48)));
      case 3:
        return (descriptor & ~address) | addressField(this.host.hole(), tables);
      default: {
        const bits = expressibleBits({ ...tables, outputSize: 52 });
        if (outputSize >= bits) return descriptor;
        return descriptor | addressField(1n << BigInt(outputSize + random.below(bits - outputSize)), tables);
      }
    }
  }

  /** A 4-KByte page of the input range, often near another target so that tables are shared. */
  protected randomPage(limit = this.tables.inputSize): bigint {
    const { random } = this;
    const bits = Math.min(limit, this.tables.inputSize);
    if (this.targets.length > 0 && random.chance(0.6)) {
      const level = this.tables.startLevel + random.below(LAST_LEVEL - this.tables.startLevel + 1);
      const changed = BigInt(random.below(64)) << BigInt(lowestIndexBit(this.tables.granule, level));
      return BigInt.asUintN(bits, random.pick(this.targets) ^ changed);
    }
    return randomBits(random, bits, 12);
  }

  protected randomLeafLevel(): number {
    const { random, tables } = this;
    const levels = [1, 2].filter((level) => level >= tables.startLevel && blockAllowed(tables, level));
    if (tables.startLevel <= 0 && blockAllowed(tables, 0)) levels.push(0);
    return random.chance(0.65) || levels.length === 0 ? LAST_LEVEL : random.pick(levels);
  }

  protected randomOutput(level: number, bits = expressibleBits(this.tables)): bigint {
    return randomBits(this.random, bits, lowestIndexBit(this.tables.granule, level));
  }
}

/** Stage 2, and the intermediate addresses that it maps. */
export class RandomSecondStage extends RandomTables implements Space {
  readonly #hostPages = new Map<bigint, bigint>();
  readonly #ownWords = new Set<bigint>();

  constructor(host: HostSpace, tables: TablesWithoutBase) {
    super(host, host, tables);
  }

  fill(count: number): void {
    for (let index = 0; index < count; index++) this.mapAnywhere(this.randomPage());
  }

  /** Makes an intermediate address lead somewhere, if it can. */
  mapAnywhere(ipa: bigint): void {
    const level = this.randomLeafLevel();
    this.insert(ipa, level, this.randomOutput(level));
  }

  allocate(size: bigint, bits: number): bigint | null {
    const limit = Math.min(bits, this.tables.inputSize);
    for (let attempt = 0; attempt < 8 && size <= 1n << BigInt(limit); attempt++) {
      const ipa = alignDown(randomBits(this.random, limit), size);
      if (!this.isMapped(ipa)) return ipa;
    }
    return null;
  }

  taken(ipa: bigint): boolean {
    return this.#ownWords.has(ipa);
  }

  /** Nothing is written where the address cannot be mapped. */
  write(ipa: bigint, word: bigint): void {
    this.#ownWords.add(ipa);
    const size = 1n << BigInt(this.tables.granule);
    const page = alignDown(ipa, size);
    const host = this.#hostPages.get(page) ?? this.#mapTablePage(page, size);
    if (host !== null) this.host.write(host + (ipa % size), word);
  }

  #mapTablePage(page: bigint, size: bigint): bigint | null {
    const hostPage = this.host.allocate(size, expressibleBits(this.tables));
    if (hostPage === null || !this.insert(page, LAST_LEVEL, hostPage)) return null;
    this.targets.pop();
    this.#hostPages.set(page, hostPage);
    return hostPage;
  }

  protected tableAttributes(): bigint {
    return randomField(this.random, 63, 59);
  }

  /** MemAttr, S2AP, AF, DBM, Contiguous and XN, and what is ignored. */
  protected leafAttributes(): bigint {
    const { random } = this;
    const memAttr = random.chance(0.95) ? 0b1111n << 2n : randomField(random, 5, 2);
    const s2ap = flag(random, 6, 0.96) | flag(random, 7, 0.85);
    const executeNever = random.chance(0.7) ? 0n : randomField(random, 54, 53);
    const flags = flag(random, 10, 0.93) | flag(random, 51, 0.4) | flag(random, 52, 0.05);
    return memAttr | s2ap | executeNever | flags | randomField(random, 63, 59);
  }
}

/** Stage 1 of one address range. */
export class RandomFirstStage extends RandomTables {
  /** @param second the stage below, in nested translation */
  constructor(
    host: HostSpace,
    tables: TablesWithoutBase,
    private readonly second: RandomSecondStage | null,
  ) {
    super(host, second ?? host, tables);
  }

  fill(count: number): void {
    for (let index = 0; index < count; index++) this.#map(this.randomPage());
  }

  #map(page: bigint): void {
    const level = this.randomLeafLevel();
    const bits = expressibleBits(this.tables);
    const inside = this.random.chance(0.97) ? Math.min(bits, this.second?.tables.inputSize ?? 64) : bits;
    const output = this.randomOutput(level, inside);
    if (!this.insert(page, level, output)) return;
    const ipa = output + (page % (1n << BigInt(lowestIndexBit(this.tables.granule, level))));
    this.second?.mapAnywhere(BigInt.asUintN(this.second.tables.inputSize, ipa));
  }

  /** Hierarchical attributes, seldom. */
  protected tableAttributes(): bigint {
    const { random } = this;
    return [59, 60, 61, 62].map((index) => flag(random, index, 0.04)).reduce((a, b) => a | b) | randomField(random, 63);
  }

  /** AttrIndx, NS, AP, AF, nG, DBM, Contiguous, PXN and UXN, and what is ignored. */
  protected leafAttributes(): bigint {
    const { random } = this;
    const ap = flag(random, 6, 0.85) | flag(random, 7, 0.3);
    const executeNever = flag(random, 53, 0.2) | flag(random, 54, 0.2);
    const flags = flag(random, 10, 0.92) | flag(random, 51, 0.4) | flag(random, 52, 0.05);
    return (
      randomField(random, 5, 2) | ap | executeNever | flags | randomField(random, 11) | randomField(random, 63, 59)
    );
  }
}
