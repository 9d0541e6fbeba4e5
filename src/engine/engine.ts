import { STATUS_OK, TABLE_SECOND_STAGE } from "../../assembly/layout.js";
import type { DmaAddress, Iova, PhysicalAddress } from "./addresses.js";
import { statusError } from "./errors.js";
import { defaultLevels, type FormatDescription, findFormat, readFormats } from "./formats.js";
import type { WasmExports } from "./instance.js";
import { IovaSpace, type IovaSpaceOptions } from "./iova-space.js";
import { LinearMemory } from "./linear-memory.js";
import { LinuxIovaDomain, type LinuxIovaOptions } from "./linux-iova.js";
import { MachineObservers } from "./observers.js";
import { PageTable, type PageTableOptions } from "./page-table.js";
import { PhysicalMemory } from "./physical-memory.js";

/** "Take a new root page", for tableCreate. */
const NEW_ROOT = 0xffff_ffff_ffff_ffffn;

/** Options of an engine. */
export interface EngineOptions {
  /** Where page tables lie in physical memory, on a 64 KiB boundary; 4 GiB from there are theirs. Default 2^38. */
  readonly arenaBase?: PhysicalAddress;
}

/**
 * One emulated machine: physical memory, page tables, IOVA spaces. Engines share nothing; make as many as you like.
 */
export class Engine {
  readonly memory: PhysicalMemory;
  readonly linear: LinearMemory;
  readonly formats: readonly FormatDescription[];
  readonly observers = new MachineObservers();

  /** From an instance of the WASM module; see `loadEngine` for the usual way. Throws `invalid`. */
  constructor(
    readonly exports: WasmExports,
    options: EngineOptions = {},
  ) {
    this.linear = new LinearMemory(exports);
    this.memory = new PhysicalMemory(exports, this.linear, this.observers);
    this.formats = readFormats(exports, this.linear);
    if (options.arenaBase !== undefined) {
      const status = exports.physicalSetArenaBase(options.arenaBase);
      if (status !== STATUS_OK) throw statusError(status, "place the arena of page tables", options.arenaBase);
    }
  }

  /** The format with this name. Throws `invalid`, naming the ones there are. */
  format(name: string): FormatDescription {
    return findFormat(this.formats, name);
  }

  /** Makes a page table. Throws `invalid` for an impossible geometry, `memory-exhausted`. */
  createTable(formatName: string, options: PageTableOptions = {}): PageTable {
    const format = this.format(formatName);
    const levels = options.levels ?? defaultLevels(format);
    const pageSizes = options.pageSizes ?? format.pageSizes;
    const handle =
      this.exports.tableCreate(
        format.index,
        levels,
        options.inputBits ?? 0,
        options.outputBits ?? format.outputBits,
        pageSizes,
        options.flags ?? 0,
        options.root ?? NEW_ROOT,
      ) >>> 0;
    if (handle === 0) {
      throw statusError(this.exports.tableCreateStatus(), `make a ${format.name} table of ${levels} levels`);
    }
    if (options.secondStage) this.linear.setU32(handle + TABLE_SECOND_STAGE, options.secondStage.handle);
    return new PageTable(this.exports, this.linear, format, handle, levels, pageSizes, this.observers);
  }

  /** Makes an IOVA space. Throws `invalid` for an empty or misaligned window. */
  createIovaSpace<A extends Iova = DmaAddress>(options: IovaSpaceOptions = {}): IovaSpace<A> {
    return new IovaSpace<A>(this.exports, this.linear, options);
  }

  /** Makes an IOVA domain of Linux. Throws `invalid` for options out of range, `memory-exhausted`. */
  createLinuxIovaDomain(options: LinuxIovaOptions): LinuxIovaDomain {
    return new LinuxIovaDomain(this.exports, this.linear, options);
  }
}

/** An engine from the bytes or the compiled form of the WASM module. */
export async function instantiateEngine(
  module: WebAssembly.Module | BufferSource,
  options: EngineOptions = {},
): Promise<Engine> {
  const compiled = module instanceof WebAssembly.Module ? module : await WebAssembly.compile(module);
  const instance = await WebAssembly.instantiate(compiled, {});
  return new Engine(instance.exports as unknown as WasmExports, options);
}
