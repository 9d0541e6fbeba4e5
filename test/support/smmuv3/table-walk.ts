/**
 * What both stages have in common: VMSAv8-64 tables of any granule, Arm DDI 0487 chapter D8. Levels count from the top,
 * -1 to 3.
 */
import { bit, field } from "../slow-format.js";
import type { SlowMemory } from "../vtd/unit.js";
import { F_ADDR_SIZE, F_TRANSLATION, Fault } from "./faults.js";
import type { Granule } from "./features.js";
import { alignDown } from "./structures.js";
import type { Attempt } from "./unit.js";

const DESCRIPTOR_BYTES = 8n;
const LAST_LEVEL = 3;

export interface TableGeometry {
  readonly granule: Granule;
  /** Bits of input that the tables translate. */
  readonly inputSize: number;
  readonly startLevel: number;
  /** 52-bit descriptors of the granules of 4 and 16 KBytes: CD.DS, STE.S2DS. */
  readonly ds: boolean;
  /** Whether the implementation has 52-bit output addresses. */
  readonly oas52: boolean;
}

export interface Tables extends TableGeometry {
  readonly base: bigint;
  /** Effective IPS or S2PS, bits. */
  readonly outputSize: number;
  readonly bigEndian: boolean;
}

/** What a walk needs of its stage. */
export interface Stage {
  readonly memory: SlowMemory;
  readonly tables: Tables;
  /** The physical address of a descriptor. */
  locate(address: bigint): Attempt<bigint>;
  fault(code: number): Fault;
  externalAbort(physical: bigint): Fault;
}

export interface Leaf {
  readonly descriptor: bigint;
  /** Where it lies, as the table that points there says. */
  readonly descriptorAddress: bigint;
  readonly physical: bigint;
  /** Table descriptors on the way. */
  readonly path: readonly bigint[];
  readonly output: bigint;
  readonly pageSize: bigint;
}

/** Input bits below those that index a table of this level: log2 of what one descriptor covers. */
export function lowestIndexBit(granule: Granule, level: number): number {
  return granule + (granule - 3) * (LAST_LEVEL - level);
}

/** The level at which a table that is not concatenated resolves this many bits. */
export function startLevelOf(granule: Granule, inputSize: number): number {
  return LAST_LEVEL - Math.floor((inputSize - 1 - granule) / (granule - 3));
}

/** Size of the tables at the start level together, bytes. */
export function startTableBytes({ granule, inputSize, startLevel }: TableGeometry): bigint {
  return DESCRIPTOR_BYTES << BigInt(inputSize - lowestIndexBit(granule, startLevel));
}

export function descriptorOffset(
  { granule, inputSize, startLevel }: TableGeometry,
  address: bigint,
  level: number,
): bigint {
  const low = lowestIndexBit(granule, level);
  const high = level === startLevel ? inputSize : low + granule - 3;
  return field(address, high - 1, low) * DESCRIPTOR_BYTES;
}

export function blockAllowed({ granule, ds, oas52 }: TableGeometry, level: number): boolean {
  if (level === 2) return true;
  if (granule === 12) return level === 1 || (level === 0 && ds);
  return level === 1 && (granule === 16 ? oas52 : ds);
}

/** The address in a descriptor: of the next table, or of a page or block of 2^low bytes. */
function addressIn(descriptor: bigint, { granule, ds, oas52 }: TableGeometry, low: number): bigint {
  const address = field(descriptor, 47, low) << BigInt(low);
  if (granule === 16) return oas52 ? address | (field(descriptor, 15, 12) << 48n) : address;
  return ds ? address | (field(descriptor, 49, 48) << 48n) | (field(descriptor, 9, 8) << 50n) : address;
}

function swapBytes(word: bigint): bigint {
  let swapped = 0n;
  for (let byte = 0; byte < 8; byte++) swapped |= field(word, 8 * byte + 7, 8 * byte) << BigInt(56 - 8 * byte);
  return swapped;
}

/** A word of memory as a descriptor, and a descriptor as a word of memory. */
export function inTableOrder({ bigEndian }: Tables, word: bigint): bigint {
  return bigEndian ? swapBytes(word) : word;
}

/** Walks to the leaf of an address within the input range. Attributes are left to the stage. */
export function walkTables(stage: Stage, input: bigint): Attempt<Leaf> {
  const { tables, memory } = stage;
  const startBytes = startTableBytes(tables);
  let table = alignDown(tables.base, tables.outputSize >= 52 && startBytes < 64n ? 64n : startBytes);
  const path: bigint[] = [];
  for (let level = tables.startLevel; ; level++) {
    const descriptorAddress = table + descriptorOffset(tables, input, level);
    const physical = stage.locate(descriptorAddress);
    if (physical instanceof Fault) return physical;
    const word = memory.read(physical);
    if (word === null) return stage.externalAbort(physical);
    const descriptor = inTableOrder(tables, word);

    const valid = bit(descriptor, 0);
    const tableOrPage = bit(descriptor, 1);
    const isTable = tableOrPage && level < LAST_LEVEL;
    if (!valid || (!tableOrPage && (level === LAST_LEVEL || !blockAllowed(tables, level)))) {
      return stage.fault(F_TRANSLATION);
    }
    const low = lowestIndexBit(tables.granule, level);
    const address = addressIn(descriptor, tables, isTable ? tables.granule : low);
    if (address >= 1n << BigInt(tables.outputSize)) return stage.fault(F_ADDR_SIZE);
    if (!isTable) {
      const pageSize = 1n << BigInt(low);
      const output = address + (input % pageSize);
      return { descriptor, descriptorAddress, physical, path, output, pageSize };
    }
    path.push(descriptor);
    table = address;
  }
}
