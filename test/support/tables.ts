/** An engine's table and its slow model side by side. */
import { expect } from "vitest";
import { type Iova, type PhysicalAddress, physicalAddress, privateAddress } from "../../src/engine/addresses.js";
import type { Engine } from "../../src/engine/engine.js";
import type { PageTable, Permissions, Reclaim } from "../../src/engine/page-table.js";
import { dumpEngineTable, dumpSlowTable, tablePages } from "./dump.js";
import { refused } from "./errors.js";
import type { Configuration } from "./geometries.js";
import { entriesOf } from "./slow-format.js";
import { SlowTable } from "./slow-table.js";

export const READ_WRITE: Permissions = { read: true, write: true };

export function iovaOf(value: bigint): Iova {
  return privateAddress(value);
}

export function physicalOf(value: bigint): PhysicalAddress {
  return physicalAddress(value);
}

export function createTable(engine: Engine, configuration: Configuration, root?: bigint): PageTable {
  return engine.createTable(configuration.format.name, {
    levels: configuration.levels,
    inputBits: configuration.inputBits,
    outputBits: configuration.outputBits,
    pageSizes: configuration.pageSizes,
    flags: configuration.flags,
    ...(root === undefined ? {} : { root: physicalOf(root) }),
  });
}

/** Makes every change on both sides and compares what each says of it. */
export class Pair {
  readonly table: PageTable;
  readonly model: SlowTable;

  constructor(
    readonly engine: Engine,
    readonly configuration: Configuration,
  ) {
    this.table = createTable(engine, configuration);
    this.model = new SlowTable(configuration.format, configuration);
  }

  /** Returns whether it was done. */
  map(iova: bigint, physical: bigint, length: bigint, permissions: Permissions = READ_WRITE): boolean {
    const refusal = this.model.map(iova, physical, length, permissions);
    const map = (): number => this.table.map(iovaOf(iova), physicalOf(physical), length, permissions);
    if (refusal === null) expect(map()).toBe(this.model.replacedPages);
    else expect(refused(refusal.code, map).at).toBe(refusal.at);
    return refusal === null;
  }

  /** Returns the bytes removed, 0 when it was refused. */
  unmap(iova: bigint, length: bigint, reclaim: Reclaim = "covered"): bigint {
    const before = tablePages(this.engine, this.table, this.configuration.format);
    const result = this.model.unmap(iova, length, reclaim);
    if ("code" in result) {
      const refusal = refused(result.code, () => this.table.unmap(iovaOf(iova), length, reclaim));
      expect(refusal.at).toBe(result.at);
      return 0n;
    }
    const unmapped = this.table.unmap(iovaOf(iova), length, reclaim);
    expect(unmapped.length).toBe(result.length);
    expect(new Map(unmapped.leaves)).toEqual(result.leaves);
    // Exactly the pages that can no longer be reached from the root, each with the level of the table it was.
    const after = tablePages(this.engine, this.table, this.configuration.format);
    const gone = [...before].filter(([address]) => !after.has(address));
    const levels = new Map<number, number>();
    for (const { level } of unmapped.freedPages) levels.set(level, (levels.get(level) ?? 0) + 1);
    expect(levels).toEqual(result.freed);
    expect(new Map(unmapped.freedPages.map((page) => [page.address as bigint, page.level]))).toEqual(new Map(gone));
    return result.length;
  }

  /** Raw memory and counters agree. */
  check(): void {
    expect(dumpEngineTable(this.engine, this.table, this.configuration.format)).toEqual(dumpSlowTable(this.model));
    this.checkCounters();
  }

  checkCounters(): void {
    const { entriesRead, ...counters } = this.table.counters;
    expect(counters).toEqual({
      leaves: this.model.leaves,
      contiguousRuns: this.model.runs,
      tablePages: this.model.tablePages,
      tableBytes: this.model.tablePages * 8 * entriesOf(this.configuration.format),
      entriesWritten: this.model.entriesWritten,
    });
    expect(entriesRead).toBeGreaterThanOrEqual(0);
  }

  release(): void {
    this.table.release();
  }
}
