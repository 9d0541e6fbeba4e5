/**
 * Circular queues in memory: Arm SMMU Architecture Specification version 3 (IHI 0070 G.b), section 3.5.1. All 2^n entries are
 * usable; an index has n bits and a wrap flag above them.
 */
import type { Identification } from "./identification.js";

/** Memory as the queues see it. */
export interface QueueMemory {
  /** A little-endian 64-bit word at an 8-byte boundary; null when nobody backs the address. */
  read64(address: bigint): bigint | null;
  /** Writes 64 bits at an 8-byte boundary; false when nobody backs the address. */
  write64(address: bigint, value: bigint): boolean;
  /** Writes 32 bits at a 4-byte boundary; false when nobody backs the address. */
  write32(address: bigint, value: number): boolean;
}

/** SMMU_CMDQ_BASE, SMMU_EVENTQ_BASE and SMMU_PRIQ_BASE: LOG2SIZE and ADDR (section 6.3.26). */
const LOG2SIZE = 0x1fn;
const ADDRESS = 0x00ff_ffff_ffff_ffe0n;
const SMALLEST_ALIGNMENT = 32;

/** Where a queue stands. Indexes given to it may have more bits than it looks at. */
export class QueueGeometry {
  private readonly address: bigint;
  private readonly log2Size: number;

  /** @param log2Limit the most that LOG2SIZE may say, a field of IDR1; more is taken as this */
  constructor(
    register: bigint,
    private readonly entryBytes: number,
    log2Limit: number,
    { oasBits }: Identification,
  ) {
    this.log2Size = Math.min(Number(register & LOG2SIZE), log2Limit);
    const alignment = BigInt(Math.max(SMALLEST_ALIGNMENT, this.entries * entryBytes));
    this.address = BigInt.asUintN(oasBits, register & ADDRESS) & -alignment;
  }

  /** An index with its wrap flag, without the bits above. */
  truncate(index: number): number {
    return index & (2 * this.entries - 1);
  }

  next(index: number): number {
    return this.truncate(index + 1);
  }

  isEmpty(producer: number, consumer: number): boolean {
    return this.truncate(producer ^ consumer) === 0;
  }

  isFull(producer: number, consumer: number): boolean {
    return this.truncate(producer ^ consumer) === this.entries;
  }

  /** Address of the entry at an index. */
  entry(index: number): bigint {
    return this.address + BigInt((index & (this.entries - 1)) * this.entryBytes);
  }

  private get entries(): number {
    return 2 ** this.log2Size;
  }
}

/** The 64-bit words of an entry; null when nobody backs one. */
export function readEntry(memory: QueueMemory, address: bigint, count: number): readonly bigint[] | null {
  const words: bigint[] = [];
  for (let i = 0; i < count; i++) {
    const word = memory.read64(address + BigInt(8 * i));
    if (word === null) return null;
    words.push(word);
  }
  return words;
}
