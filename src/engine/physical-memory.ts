import { STATUS_BUS_ERROR, STATUS_MEMORY_EXHAUSTED, STATUS_OK } from "../../assembly/layout.js";
import { hex, type PhysicalAddress, physicalAddress } from "./addresses.js";
import { statusError } from "./errors.js";
import type { WasmExports } from "./instance.js";
import type { LinearMemory } from "./linear-memory.js";
import type { MachineObservers } from "./observers.js";

const PAGE_BYTES = 4096;
/** Physical addresses are 52 bits wide. */
const PHYSICAL_END = 1n << 52n;
/** What physicalAllocatePage returns when there is none. */
const NO_PAGE = 0xffff_ffff_ffff_ffffn;

/** Emulated physical memory, 52-bit addresses. What nobody backs is a bus error, never zero. */
export class PhysicalMemory {
  constructor(
    private readonly exports: WasmExports,
    private readonly linear: LinearMemory,
    private readonly observers: MachineObservers,
  ) {}

  /** First address of the arena from which page tables are taken. */
  get arenaBase(): PhysicalAddress {
    return physicalAddress(BigInt.asUintN(64, this.exports.physicalArenaBase()));
  }

  /** 4 KiB pages of the arena in use. */
  get pagesInUse(): number {
    return this.exports.arenaPagesLive() >>> 0;
  }

  /**
   * Declares [start, end), on 4 KiB boundaries, as RAM, which reads as zero until it is written. Throws `invalid` when the
   * range is none, `misaligned`.
   */
  declareRam(start: PhysicalAddress, end: PhysicalAddress): void {
    const status = this.exports.physicalDeclareRam(start, end - 1n);
    if (status !== STATUS_OK) throw statusError(status, `declare RAM ${hex(start)} - ${hex(end)}`);
  }

  /** Takes a zeroed page of 4, 16 or 64 KiB of the arena, aligned to its size. Throws `memory-exhausted`. */
  allocatePage(bytes: 4096 | 16384 | 65536 = 4096): PhysicalAddress {
    const page = BigInt.asUintN(64, this.exports.physicalAllocatePage(Math.log2(bytes / PAGE_BYTES)));
    if (page === NO_PAGE) throw statusError(STATUS_MEMORY_EXHAUSTED, "allocate a page");
    return physicalAddress(page);
  }

  /** Gives a page of `allocatePage` back. Throws `invalid` for any other address. */
  freePage(page: PhysicalAddress): void {
    const status = this.exports.physicalFreePage(page);
    if (status !== STATUS_OK) throw statusError(status, `free page ${hex(page)}`, page);
  }

  /**
   * Copies bytes in from outside, anywhere; frames they touch begin to exist. Throws `bus-error` or `arena-conflict`,
   * with nothing copied, and `memory-exhausted`.
   */
  load(address: PhysicalAddress, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    const allowed = this.exports.physicalCheckLoad(address, address + BigInt(bytes.length - 1));
    if (allowed !== STATUS_OK) {
      const at = allowed === STATUS_BUS_ERROR && address < PHYSICAL_END ? PHYSICAL_END : address;
      throw statusError(allowed, `load ${bytes.length} bytes`, at);
    }
    let done = 0;
    while (done < bytes.length) {
      const at = physicalAddress(address + BigInt(done));
      const inPage = Number(at & 0xfffn);
      const length = Math.min(PAGE_BYTES - inPage, bytes.length - done);
      const frame = this.exports.physicalLoadFrame(at) >>> 0;
      if (frame === 0) throw statusError(this.exports.physicalLastStatus(), "load bytes", at);
      this.linear.u8(frame + inPage, length).set(bytes.subarray(done, done + length));
      done += length;
    }
    this.#tell(address, bytes.length);
  }

  #tell(address: bigint, length: number): void {
    if (!this.observers.any) return;
    for (const observer of this.observers.all) observer.written(address, length);
  }

  /** Reads bytes. Throws `bus-error` at the first address that nobody backs. */
  read(address: PhysicalAddress, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    let done = 0;
    while (done < length) {
      const at = physicalAddress(address + BigInt(done));
      const part = Math.min(PAGE_BYTES - Number(at & 0xfffn), length - done);
      const pointer = this.exports.physicalReadPointer(at) >>> 0;
      if (pointer === 0) throw statusError(STATUS_BUS_ERROR, "read bytes", at);
      bytes.set(this.linear.u8(pointer, part), done);
      done += part;
    }
    return bytes;
  }

  /** Reads one little-endian 64-bit word, 8-byte aligned. Throws `bus-error`. */
  read64(address: PhysicalAddress): bigint {
    const pointer = (address & 7n) === 0n ? this.exports.physicalReadPointer(address) >>> 0 : 0;
    if (pointer === 0) throw statusError(STATUS_BUS_ERROR, "read a 64-bit word", address);
    return this.linear.getU64(pointer);
  }

  /** Writes one little-endian 64-bit word, 8-byte aligned, to backed memory. Throws `bus-error`, `arena-conflict`, `memory-exhausted`. */
  write64(address: PhysicalAddress, value: bigint): void {
    const aligned = (address & 7n) === 0n;
    const pointer = aligned ? this.exports.physicalWritePointer(address) >>> 0 : 0;
    if (pointer === 0) {
      const status = aligned ? this.exports.physicalLastStatus() : STATUS_BUS_ERROR;
      throw statusError(status, "write a 64-bit word", address);
    }
    this.linear.setU64(pointer, value);
    this.#tell(address, 8);
  }
}
