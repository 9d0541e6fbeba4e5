/** Random page tables of both stages: mostly valid, with every kind of defect here and there. */
import { coverage } from "../slow-format.js";
import { type RandomMemory, randomBits, randomField } from "./random-memory.js";

/** A page of entries: where it is, and how the tables point to it (in nested translation a guest address). */
interface Table {
  readonly host: bigint;
  readonly pointer: bigint;
}

/** An input address that is mapped, at the start of a 4-KByte page, and the leaf's size. */
export interface Target {
  readonly address: bigint;
  readonly size: bigint;
}

const DEFECTS = 0.012;

abstract class RandomTables {
  readonly targets: Target[] = [];
  readonly #tables = new Map<string, Table>();
  #root: Table | null = null;

  constructor(
    readonly memory: RandomMemory,
    readonly levels: number,
    readonly inputBits: number,
  ) {}

  protected abstract allocate(): Table | null;
  protected abstract link(pointer: bigint, level: number): bigint;

  /** What the root table is found by; null when there is no place for it. */
  get pointer(): bigint | null {
    this.#root ??= this.allocate();
    return this.#root?.pointer ?? null;
  }

  /** Puts an entry in the tables of a level. Returns false when something is in the way. */
  protected insert(address: bigint, level: number, entry: bigint): boolean {
    if (this.pointer === null || this.#root === null) return false;
    let table = this.#root;
    for (let upper = this.levels; upper > level; upper--) {
      const key = `${upper} ${address / coverage(upper)}`;
      let next = this.#tables.get(key);
      if (next === undefined) {
        const slot = this.#slot(table, address, upper);
        const made = this.memory.words.has(slot) ? null : this.allocate();
        if (made === null) return false;
        this.memory.words.set(slot, this.link(made.pointer, upper));
        this.#tables.set(key, made);
        next = made;
      }
      table = next;
    }
    const slot = this.#slot(table, address, level);
    if (this.memory.words.has(slot)) return false;
    this.memory.words.set(slot, entry);
    return true;
  }

  #slot(table: Table, address: bigint, level: number): bigint {
    return table.host + ((address / coverage(level)) % 512n) * 8n;
  }

  /** A 4-KByte page of the input range, often near another target so that tables are shared. */
  protected randomPage(): bigint {
    const { random } = this.memory;
    if (this.targets.length > 0 && random.chance(0.7)) {
      const { address } = random.pick(this.targets);
      const changed = coverage(random.below(this.levels) + 1) * BigInt(random.below(512));
      return BigInt.asUintN(this.inputBits, address ^ changed);
    }
    return randomBits(random, this.inputBits, 12);
  }

  protected randomLeafLevel(pageSizes: bigint): number {
    const { random } = this.memory;
    const levels = [1, 2, 3].filter((level) => (pageSizes & coverage(level)) !== 0n);
    return random.chance(0.5) ? 1 : random.pick(levels);
  }

  /** A random output address for a leaf of this level, now and then in the interrupt range. */
  protected randomOutput(level: number): bigint {
    const { random, haw } = this.memory;
    if (level <= 2 && random.chance(0.06))
      return level === 1 ? 0xfee0_0000n + randomField(random, 19, 12) : 0xfee0_0000n;
    return randomBits(random, haw, 12 + 9 * (level - 1));
  }

  /** The entry, or seldom one that is not as it should be. */
  protected withDefects(entry: bigint, present: bigint, reserved: readonly bigint[]): bigint {
    const { random, haw } = this.memory;
    if (!random.chance(DEFECTS)) return entry;
    const address = ((1n << 52n) - 1n) & ~0xfffn;
    switch (random.below(5)) {
      case 0:
        return entry & ~present;
      case 1:
        return entry ^ (1n << BigInt(random.below(64)));
      case 2:
        return (entry & ~address) | this.memory.hole();
      case 3:
        return haw < 52 ? entry | (1n << BigInt(haw + random.below(52 - haw))) : entry;
      default:
        return entry | random.pick(reserved);
    }
  }
}

export interface SecondStageOptions {
  readonly levels: number;
  readonly inputBits: number;
  /** Sizes of leaves, bit n = 2^n bytes. */
  readonly pageSizes: bigint;
  /** Whether leaves may have SNP. */
  readonly snoop: boolean;
}

const SS_RIGHTS = 0b11n;

export class RandomSecondStage extends RandomTables {
  readonly #options: SecondStageOptions;

  constructor(memory: RandomMemory, options: SecondStageOptions) {
    super(memory, options.levels, options.inputBits);
    this.#options = options;
  }

  /** Maps some pages anywhere. */
  fill(count: number): void {
    for (let index = 0; index < count; index++) {
      const level = this.randomLeafLevel(this.#options.pageSizes);
      this.mapPage(this.randomPage(), this.randomOutput(level), level, this.#leafRights());
    }
  }

  /** Maps the leaf around a page. */
  mapPage(page: bigint, output: bigint, level: number, rights: bigint): boolean {
    const mapped = this.insert(page, level, this.#leaf(output, level, rights));
    if (mapped) this.targets.push({ address: page, size: coverage(level) });
    return mapped;
  }

  /** Makes an address lead somewhere, if it can. */
  mapAnywhere(page: bigint): boolean {
    const level = this.randomLeafLevel(this.#options.pageSizes);
    return this.mapPage(page, this.randomOutput(level), level, this.#leafRights());
  }

  /** A guest address for a page of RAM; null when none was found. */
  guestAddressOf(host: bigint): bigint | null {
    const { random, haw } = this.memory;
    for (let attempt = 0; attempt < 8; attempt++) {
      const level = this.randomLeafLevel(this.#options.pageSizes);
      const size = coverage(level);
      const base = randomBits(random, Math.min(this.inputBits, haw), 12 + 9 * (level - 1));
      const rights = random.chance(0.96) ? SS_RIGHTS : BigInt(random.below(4));
      if (this.mapPage(base + (host % size), host - (host % size), level, rights)) return base + (host % size);
    }
    return null;
  }

  protected allocate(): Table {
    const host = this.memory.allocate();
    return { host, pointer: host };
  }

  protected link(pointer: bigint, level: number): bigint {
    const { random } = this.memory;
    const rights = random.chance(0.96) ? SS_RIGHTS : BigInt(random.below(4));
    const ignored = randomField(random, 6, 2) | randomField(random, 10, 8) | randomField(random, 61, 52);
    const reserved = [1n << 62n, 1n << 11n, level >= 4 ? 1n << 7n : 1n << 62n];
    return this.withDefects(pointer | rights | ignored | randomField(random, 63), SS_RIGHTS, reserved);
  }

  #leafRights(): bigint {
    const { random } = this.memory;
    return random.chance(0.7) ? SS_RIGHTS : random.pick([0b01n, 0b10n, 0b01n, 0b10n, 0b00n]);
  }

  #leaf(output: bigint, level: number, rights: bigint): bigint {
    const { random } = this.memory;
    let entry = output | rights | randomField(random, 6, 2) | randomField(random, 10, 8) | randomField(random, 61, 52);
    if (level > 1) entry |= 1n << 7n;
    else entry |= randomField(random, 7);
    if (this.#options.snoop) entry |= randomField(random, 11);
    const reserved = [1n << 62n, this.#options.snoop ? 1n << 62n : 1n << 11n];
    if (level > 1) reserved.push(1n << BigInt(12 + random.below(9 * (level - 1))));
    return this.withDefects(entry | randomField(random, 63), SS_RIGHTS, reserved);
  }
}

export interface FirstStageOptions {
  readonly levels: number;
  readonly pageSizes: bigint;
}

const P = 1n;
const RW = 1n << 1n;
const US = 1n << 2n;

export class RandomFirstStage extends RandomTables {
  readonly #options: FirstStageOptions;
  readonly #second: RandomSecondStage | null;

  /** @param second the stage below, in nested translation */
  constructor(memory: RandomMemory, options: FirstStageOptions, second: RandomSecondStage | null) {
    super(memory, options.levels, 12 + 9 * options.levels);
    this.#options = options;
    this.#second = second;
  }

  /** Maps some pages anywhere. */
  fill(count: number): void {
    for (let index = 0; index < count; index++) {
      const page = this.randomPage();
      const level = this.randomLeafLevel(this.#options.pageSizes);
      const size = coverage(level);
      const output = this.#randomOutput(level, page % size);
      if (this.insert(page, level, this.#leaf(output, level))) this.targets.push({ address: page, size });
    }
  }

  #randomOutput(level: number, offset: bigint): bigint {
    const second = this.#second;
    if (second === null) return this.randomOutput(level);
    const { random, haw } = this.memory;
    const bits = random.chance(0.03) ? haw : Math.min(second.inputBits, haw);
    const output = randomBits(random, bits, 12 + 9 * (level - 1));
    second.mapAnywhere(output + offset);
    return output;
  }

  protected allocate(): Table | null {
    const host = this.memory.allocate();
    const pointer = this.#second === null ? host : this.#second.guestAddressOf(host);
    return pointer === null ? null : { host, pointer };
  }

  protected link(pointer: bigint, level: number): bigint {
    const { random } = this.memory;
    const ignored = randomField(random, 4, 3) | randomField(random, 6) | randomField(random, 9, 8);
    const reserved = [level >= 4 ? 1n << 7n : 0n];
    return this.withDefects(pointer | this.#common(0.97) | ignored, P, reserved);
  }

  #leaf(output: bigint, level: number): bigint {
    const { random } = this.memory;
    let entry =
      output | this.#common(0.85) | randomField(random, 4, 3) | randomField(random, 6) | randomField(random, 9, 8);
    const reserved = [0n];
    if (level === 1) {
      entry |= randomField(random, 7);
    } else {
      entry |= (1n << 7n) | randomField(random, 12);
      reserved.push(1n << BigInt(13 + random.below(9 * (level - 1) - 1)));
    }
    return this.withDefects(entry, P, reserved);
  }

  /** Present, with rights that are missing now and then, A, EA, and bits that hardware ignores. */
  #common(allowed: number): bigint {
    const { random } = this.memory;
    let entry = P | randomField(random, 5) | randomField(random, 11, 10) | randomField(random, 63, 52);
    if (random.chance(allowed)) entry |= RW;
    if (random.chance(allowed)) entry |= US;
    return entry;
  }
}
