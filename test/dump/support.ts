/** What the tests of dumps share. */
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect } from "vitest";
import type { Iova, PhysicalAddress } from "../../src/engine/addresses.js";
import type { Engine } from "../../src/engine/engine.js";
import type { PageTable } from "../../src/engine/page-table.js";
import { DumpError, type DumpErrorCode } from "../../src/dump/errors.js";
import type { DeviceMaps, MapsLeaf } from "../../src/dump/maps.js";
import { readPage } from "../support/dump.js";
import { coverage, type SlowFormat } from "../support/slow-format.js";
import { iovaOf, physicalOf } from "../support/tables.js";

export const VTD = fileURLToPath(new URL("../fixtures/dumps/vtd-scalable-dbg-vfio/", import.meta.url));
export const SMMU = fileURLToPath(new URL("../fixtures/dumps/smmuv3-s1-7.2-vfio/", import.meta.url));
const shared = fileURLToPath(new URL("../../../shared/dumps/", import.meta.url));
/** Recorded dumps outside the repository, where there are any. */
export const SHARED_DUMPS = existsSync(shared) ? readdirSync(shared).map((name) => join(shared, name)) : [];

/** A directory of the test file's own. */
export function scratchDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "iommu-lab-dump-"));
  afterAll(() => rmSync(directory, { recursive: true }));
  return directory;
}

/** A dump of an architecture that nobody emulates. */
export function foreignDump(): string {
  const directory = scratchDirectory();
  cpSync(SMMU, directory, { recursive: true });
  const description = join(directory, "tables.json");
  writeFileSync(description, readFileSync(description, "utf8").replace('"smmuv3"', '"elsewhere"'));
  return directory;
}

/** Runs what must fail and returns the error, having checked its code. */
export async function failure(code: DumpErrorCode, operation: () => unknown): Promise<DumpError> {
  let error: unknown = null;
  try {
    await operation();
  } catch (caught) {
    error = caught;
  }
  expect(error).toBeInstanceOf(DumpError);
  expect((error as DumpError).code, String(error)).toBe(code);
  return error as DumpError;
}

/** The table that a device's configuration entries name. */
export function tableOf(engine: Engine, { info }: DeviceMaps): PageTable | null {
  const root = (value: unknown): PhysicalAddress => physicalOf(BigInt(value as string));
  // AW of a PASID entry: 2 is 48 bits, 4 levels (VT-d section 9.6). A translation table base of 4 KiB granules, TG0 0.
  if (info.mode === "scalable") {
    return engine.createTable("vtdss", { levels: Number(info.aw) + 2, root: root(info.ss) });
  }
  if (info.ttb0 === undefined) return null;
  const inputBits = 64 - Number(info.t0sz);
  return engine.createTable("vmsav8-4k", { levels: Math.ceil((inputBits - 12) / 9), inputBits, root: root(info.ttb0) });
}

/** Every leaf translates as it says from its first byte to its last, and nothing is present next to the leaves. */
export function checkLeaves(table: PageTable, leaves: readonly MapsLeaf[]): void {
  const sorted = leaves.toSorted((a, b) => (a.iova < b.iova ? -1 : 1));
  let end = 0n;
  for (const leaf of sorted) {
    expect(leaf.iova).toBeGreaterThanOrEqual(end);
    if (leaf.iova > end) {
      expectNothing(table, iovaOf(end));
      expectNothing(table, iovaOf(leaf.iova - 1n));
    }
    for (const offset of [0n, leaf.size / 2n, leaf.size - 1n]) {
      const iova = iovaOf(leaf.iova + offset);
      const translation = { ok: true, physical: leaf.physical + offset, pageSize: leaf.size };
      const read = leaf.permissions[0] === "R" ? translation : { ok: false, check: "no-read" };
      const write = leaf.permissions[1] === "W" ? translation : { ok: false, check: "no-write" };
      expect(table.walk(iova, { read: true })).toMatchObject(read);
      expect(table.walk(iova, { write: true })).toMatchObject(write);
    }
    end = leaf.iova + leaf.size;
  }
  expectNothing(table, iovaOf(end));
}

function expectNothing(table: PageTable, iova: Iova): void {
  const beyond = iova >> BigInt(table.format.inputBits(table.levels)) !== 0n;
  expect(table.walk(iova, { read: true })).toMatchObject({ ok: false, check: beyond ? "input-range" : "not-present" });
}

/**
 * Lists a table as Linux does (drivers/iommu/intel/debugfs.c, pgtable_walk_level): `old` as kernels before 6.7, which put
 * zeros below a large leaf.
 */
export function printListing(
  engine: Engine,
  table: PageTable,
  format: SlowFormat,
  header: string,
  old = false,
): string {
  const lines = [
    header,
    "IOVA_PFN         \tPML5E             \tPML4E             \tPDPE              \tPDE               \tPTE",
  ];
  const hexadecimal = (value: bigint, digits: number): string => `0x${value.toString(16).padStart(digits, "0")}`;
  const visit = (address: bigint, level: number, start: bigint, path: readonly bigint[]): void => {
    readPage(engine, address, format).forEach((entry, index) => {
      if (!format.inUse(entry)) return;
      const at = start + BigInt(index) * coverage(level);
      const entries = [...path, entry];
      if (!format.isLeaf(entry, level)) {
        visit(entry & format.addressMask, level - 1, at, entries);
        return;
      }
      const columns = old ? [...entries, ...Array<bigint>(level - 1).fill(0n)] : entries;
      lines.push(`${hexadecimal(at >> 12n, 13)} |\t${columns.map((column) => hexadecimal(column, 16)).join("\t")}`);
    });
  };
  visit(table.root, table.levels, 0n, Array<bigint>(5 - table.levels).fill(0n));
  return `${lines.join("\n")}\n\n`;
}
