import { IommuError } from "../engine/errors.js";

/** Most bytes of tables that one mapping may take: 2 GiB. */
const LIMIT = 2 ** 31;

export interface TableMemoryOptions {
  readonly wordBytes?: 4 | 8;
  readonly bigEndian?: boolean;
  /** Address of the first table. */
  readonly base?: bigint;
}

/** An importer's own table memory: words at addresses, as its hardware reads them. Fresh tables are zero. */
export class TableMemory {
  readonly wordBytes: 4 | 8;
  readonly base: bigint;
  readonly #littleEndian: boolean;
  #view = new DataView(new ArrayBuffer(4096));
  #bytes = 0;
  #end: bigint;

  constructor({ wordBytes = 8, bigEndian = false, base = 0x10_0000n }: TableMemoryOptions = {}) {
    this.wordBytes = wordBytes;
    this.base = base;
    this.#littleEndian = !bigEndian;
    this.#end = base;
  }

  /** Bytes of all tables, without the gaps between them. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Room for a table. Throws `memory-exhausted` beyond 2 GiB. */
  allocate(bytes: number, align: number): bigint {
    const address = (this.#end + BigInt(align) - 1n) & -BigInt(align);
    const end = Number(address - this.base) + bytes;
    if (end > LIMIT) throw new IommuError("memory-exhausted", `allocate a table of ${bytes} bytes`, address);
    if (end > this.#view.byteLength) {
      const grown = new Uint8Array(Math.max(end, Math.min(LIMIT, this.#view.byteLength * 2)));
      grown.set(new Uint8Array(this.#view.buffer));
      this.#view = new DataView(grown.buffer);
    }
    this.#end = address + BigInt(bytes);
    this.#bytes += bytes;
    return address;
  }

  read(address: bigint): bigint {
    const at = this.#offset(address);
    return this.wordBytes === 8
      ? this.#view.getBigUint64(at, this.#littleEndian)
      : BigInt(this.#view.getUint32(at, this.#littleEndian));
  }

  write(address: bigint, word: bigint): void {
    const at = this.#offset(address);
    if (this.wordBytes === 8) this.#view.setBigUint64(at, word, this.#littleEndian);
    else this.#view.setUint32(at, Number(word), this.#littleEndian);
  }

  /** The words that are not zero, by address. */
  *words(): Generator<{ readonly address: bigint; readonly word: bigint }> {
    for (let address = this.base; address < this.#end; address += BigInt(this.wordBytes)) {
      const word = this.read(address);
      if (word !== 0n) yield { address, word };
    }
  }

  /** A copy of the bytes from one address to another, as they lie in memory. */
  slice(address: bigint, bytes: number): Uint8Array {
    const at = this.#offset(address);
    return new Uint8Array(this.#view.buffer.slice(at, at + bytes));
  }

  #offset(address: bigint): number {
    if (address < this.base || address + BigInt(this.wordBytes) > this.#end) {
      throw new IommuError("bus-error", "access table memory", address, "no table is there");
    }
    return Number(address - this.base);
  }
}
