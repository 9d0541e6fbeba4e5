import { IommuError } from "./errors.js";
import type { WasmExports } from "./instance.js";

/** Whether a number is what a 64-bit word of linear memory can hold; a larger one would be cut without a word. */
export function fits64(value: bigint): boolean {
  return value >= 0n && value <= 0xffff_ffff_ffff_ffffn;
}

/**
 * Typed views of an instance's linear memory. A view is void once the memory grows, so none is kept: ask for it where it
 * is used, and not across a call into WASM.
 */
export class LinearMemory {
  #buffer: ArrayBufferLike;
  #data: DataView;

  constructor(private readonly exports: WasmExports) {
    this.#buffer = exports.memory.buffer;
    this.#data = new DataView(this.#buffer);
  }

  /** Little-endian scalar access; re-made after growth. */
  get data(): DataView {
    if (this.#buffer !== this.exports.memory.buffer) {
      this.#buffer = this.exports.memory.buffer;
      this.#data = new DataView(this.#buffer);
    }
    return this.#data;
  }

  u64(pointer: number, length: number): BigUint64Array {
    return new BigUint64Array(this.exports.memory.buffer, pointer, length);
  }

  u32(pointer: number, length: number): Uint32Array {
    return new Uint32Array(this.exports.memory.buffer, pointer, length);
  }

  u8(pointer: number, length: number): Uint8Array {
    return new Uint8Array(this.exports.memory.buffer, pointer, length);
  }

  getU32(pointer: number): number {
    return this.data.getUint32(pointer, true);
  }

  setU32(pointer: number, value: number): void {
    this.data.setUint32(pointer, value, true);
  }

  getU64(pointer: number): bigint {
    return this.data.getBigUint64(pointer, true);
  }

  setU64(pointer: number, value: bigint): void {
    this.data.setBigUint64(pointer, value, true);
  }

  /** A zeroed block, aligned to 16 bytes. Throws `memory-exhausted`. */
  allocate(bytes: number): number {
    const block = this.exports.heapAllocate(bytes) >>> 0;
    if (block === 0) throw new IommuError("memory-exhausted", `take ${bytes} bytes of linear memory`);
    return block;
  }

  free(block: number, bytes: number): void {
    this.exports.heapFree(block, bytes);
  }
}
