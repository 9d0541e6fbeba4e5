import type { Engine } from "../engine/engine.js";

/** The engine's physical memory as a unit sees it: an address that nobody backs is an answer, not an error. */
export class UnitMemory {
  constructor(private readonly engine: Engine) {}

  /** `count` little-endian 64-bit words that lie in one 4 KiB page; null when nobody backs them. */
  readWords(address: bigint, count: number): bigint[] | null {
    const pointer = this.engine.exports.physicalReadPointer(address) >>> 0;
    if (pointer === 0) return null;
    return Array.from({ length: count }, (_, i) => this.engine.linear.getU64(pointer + i * 8));
  }

  read64(address: bigint): bigint | null {
    return this.readWords(address, 1)?.[0] ?? null;
  }

  /** Writes 64 bits; false when nobody backs the address. */
  write64(address: bigint, value: bigint): boolean {
    const pointer = this.engine.exports.physicalWritePointer(address) >>> 0;
    if (pointer !== 0) this.engine.linear.setU64(pointer, value);
    return pointer !== 0;
  }

  /** Writes 32 bits; false when nobody backs the address. */
  write32(address: bigint, value: number): boolean {
    const pointer = this.engine.exports.physicalWritePointer(address) >>> 0;
    if (pointer !== 0) this.engine.linear.setU32(pointer, value);
    return pointer !== 0;
  }
}
