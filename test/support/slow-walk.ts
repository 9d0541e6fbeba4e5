/** A hardware walk and a software look-up, step by step, over anything that can be read. */
import type { Access, WalkCheck } from "../../src/engine/page-table.js";
import { coverage, entriesOf, type SlowFormat, type SlowGeometry } from "./slow-format.js";

/** Reads a 64-bit word of physical memory; null is a bus error. */
export type ReadWord = (address: bigint) => bigint | null;

/** What a walk reports; the fields of `Translation` and `WalkFault` together. */
export type SlowWalk =
  | { ok: true; physical: bigint; pageSize: bigint; level: number; entriesRead: number }
  | {
      ok: false;
      check: WalkCheck;
      stage: "own";
      level: number;
      entryAddress: bigint;
      entry: bigint;
      entriesRead: number;
    };

export function indexAt(format: SlowFormat, iova: bigint, level: number): number {
  return Number((iova / coverage(level, format)) % BigInt(entriesOf(format)));
}

/** The same in the table of a path that begins with the geometry's first table, which may be several side by side. */
export function indexIn(format: SlowFormat, geometry: SlowGeometry, iova: bigint, level: number): number {
  const several = format.mostFirstTables > 1 && level === geometry.levels;
  return several ? Number(iova / coverage(level, format)) : indexAt(format, iova, level);
}

/** Whether the table translates this input address at all. */
export function inputInRange(format: SlowFormat, geometry: SlowGeometry, iova: bigint): boolean {
  if (!format.signExtended) return iova < 1n << BigInt(geometry.inputBits);
  return BigInt.asUintN(64, BigInt.asIntN(geometry.inputBits, iova)) === iova;
}

export function slowWalk(
  format: SlowFormat,
  geometry: SlowGeometry,
  read: ReadWord,
  root: bigint,
  iova: bigint,
  access: Access,
): SlowWalk {
  if (!inputInRange(format, geometry, iova)) {
    return { ok: false, check: "input-range", stage: "own", level: 0, entryAddress: 0n, entry: 0n, entriesRead: 0 };
  }
  const path: bigint[] = [];
  let table = root;
  for (let level = geometry.levels; level >= 1; level--) {
    const entryAddress = table + BigInt(indexIn(format, geometry, iova, level) * 8);
    const entry = read(entryAddress);
    if (entry === null) {
      const check = level === geometry.levels ? "root-access" : "table-access";
      return { ok: false, check, stage: "own", level, entryAddress, entry: 0n, entriesRead: path.length };
    }
    path.push(entry);
    const verdict = format.judge(path, level, access, geometry);
    if (verdict.kind === "fault") {
      return { ok: false, check: verdict.check, stage: "own", level, entryAddress, entry, entriesRead: path.length };
    }
    const address = format.address(entry, geometry);
    if (verdict.kind === "leaf") {
      const pageSize = coverage(level, format);
      const physical = address - (address % pageSize) + (iova % pageSize);
      return { ok: true, physical, pageSize, level, entriesRead: path.length };
    }
    table = address;
  }
  throw new Error(`the model of ${format.name} walked past its last level`);
}

/** iova_to_phys: follows what is in use, whatever hardware would check. Null when nothing is mapped. */
export function slowLookup(
  format: SlowFormat,
  geometry: SlowGeometry,
  read: ReadWord,
  root: bigint,
  iova: bigint,
): bigint | null {
  if (!inputInRange(format, geometry, iova)) return null;
  let table = root;
  for (let level = geometry.levels; level >= 1; level--) {
    const entry = read(table + BigInt(indexIn(format, geometry, iova, level) * 8));
    if (entry === null || !format.inUse(entry)) return null;
    const address = format.address(entry, geometry);
    if (format.isLeaf(entry, level)) {
      const pageSize = coverage(level, format);
      return address - (address % pageSize) + (iova % pageSize);
    }
    table = address;
  }
  return null;
}
