/** Memory as the queues of a unit see it, without an engine. */

/** 16 MiB of memory from address 0, all zero at first. */
export class FlatMemory {
  static readonly END = 1n << 24n;
  private readonly words = new Map<bigint, bigint>();

  read64(address: bigint): bigint | null {
    return address < FlatMemory.END ? (this.words.get(address) ?? 0n) : null;
  }

  write64(address: bigint, value: bigint): boolean {
    if (address >= FlatMemory.END) return false;
    this.words.set(address, value);
    return true;
  }

  write32(address: bigint, value: number): boolean {
    const word = address & ~7n;
    const shift = (address & 4n) * 8n;
    const kept = (this.words.get(word) ?? 0n) & ~(0xffff_ffffn << shift);
    return this.write64(word, kept | (BigInt(value) << shift));
  }
}
