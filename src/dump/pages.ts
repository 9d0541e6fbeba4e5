/** Pages of somebody's memory on their way into an engine's. */
import { hex, type PhysicalAddress, physicalAddress } from "../engine/addresses.js";
import type { Engine } from "../engine/engine.js";
import { DumpError } from "./errors.js";

/** What an aligned page of physical memory holds. */
export interface MemoryPage {
  readonly address: PhysicalAddress;
  readonly bytes: Uint8Array;
}

/** log2 of the bytes of physical memory that an engine's arena may take (EngineOptions.arenaBase). */
const ARENA_SHIFT = 32n;
/** Physical addresses are 52 bits wide. */
const ARENA_WINDOWS = 1 << 20;
/** The window of the engine's default, 2^38. */
const DEFAULT_WINDOW = 1 << 6;

/** An arena for an engine that takes these pages: 4 GiB in which none lies, the default if it is free. Throws `arena`. */
export function arenaBaseFor(contents: { readonly pages: readonly MemoryPage[] }): PhysicalAddress {
  const taken = new Set(contents.pages.map((page) => Number(page.address >> ARENA_SHIFT)));
  for (let step = 0; step < ARENA_WINDOWS; step++) {
    const window = (DEFAULT_WINDOW + step) % ARENA_WINDOWS;
    if (!taken.has(window)) return physicalAddress(BigInt(window) << ARENA_SHIFT);
  }
  throw new DumpError("arena", "a page lies in every 4 GiB of physical memory");
}

/**
 * Copies pages into physical memory, over what is there. Throws DumpError `arena` with nothing copied, and IommuError
 * `memory-exhausted`.
 */
export function loadPages(engine: Engine, pages: readonly MemoryPage[], file?: string): void {
  const { arenaBase } = engine.memory;
  const arenaEnd = arenaBase + (1n << ARENA_SHIFT);
  for (const { address, bytes } of pages) {
    if (address < arenaEnd && address + BigInt(bytes.length) > arenaBase) {
      const reason = `page ${hex(address)} lies in the engine's arena of page tables, 4 GiB from ${hex(arenaBase)}`;
      throw new DumpError("arena", `${reason}; make the engine with arenaBaseFor`, { file });
    }
  }
  for (const page of pages) engine.memory.load(page.address, page.bytes);
}
