/**
 * Importers: devices that put the addresses they were given into page tables of their own. One shape for all of them: what
 * entries they would use (`plan`), the tables themselves (`map`), and what they would ask of an IOVA (`hint`).
 */
import { isAligned } from "../bits.js";
import { type DmaAddress, hex } from "../engine/addresses.js";
import { IommuError } from "../engine/errors.js";
import type { Hint } from "./hint.js";
import type { TableMemory } from "./table-memory.js";
import type { Translation } from "./table-tree.js";

/** What is behind an address: memory of the host, of the importing device itself, or registers of another device. */
export type MemoryKind = "system" | "vram" | "mmio";

/** A contiguous range of addresses as the importer was given it. */
export interface Segment<A extends bigint = DmaAddress> {
  readonly address: A;
  /** Bytes. */
  readonly length: bigint;
  /** System memory when left out. */
  readonly memory?: MemoryKind;
}

export interface MapRequest<A extends bigint = DmaAddress> {
  /** The importer's own virtual address of the first byte, for importers that have one. */
  readonly va?: bigint;
  /** The buffer in order; its length is the sum of theirs. */
  readonly segments: readonly Segment<A>[];
}

/** A buffer of which no address is known yet. */
export interface HintRequest {
  readonly va?: bigint;
  /** Bytes. */
  readonly length: bigint;
  readonly memory?: MemoryKind;
}

/** Equal entries behind each other: what the device can hold as one translation each. */
export interface LeafRun {
  /** Virtual address of the first, or its offset in the buffer where the importer has none. */
  readonly va: bigint;
  /** Where the first leads. */
  readonly address: bigint;
  /** Bytes that an entry covers. */
  readonly size: bigint;
  readonly count: number;
  readonly memory: MemoryKind;
  /** How the importer writes them, where a size can be written in several ways. */
  readonly layout?: string;
}

export interface Plan {
  readonly leaves: readonly LeafRun[];
  /** Entries by the bytes each covers. */
  readonly entries: ReadonlyMap<bigint, number>;
  readonly total: number;
  /** Entries for this length if everything were aligned, congruent and contiguous. */
  readonly ideal: number;
  /** ideal / total. */
  readonly tidiness: number;
}

/** Tables as they lie in the importer's memory. */
export interface Tables {
  readonly memory: TableMemory;
  /** Words that map memory: several for an entry that hardware joins from neighbours. */
  readonly leafWords: number;
  /** Bytes that the device itself must hold, in its own memory or in memory that the host lends to it alone. */
  readonly deviceBytes: number;
  /** Walks the tables; reads nothing else. */
  translate(va: bigint): Translation;
}

export interface DeviceMapping extends Plan, Tables {
  /** Bytes of all tables, those that only point to tables among them. */
  readonly tableBytes: number;
}

export interface Importer<A extends bigint = DmaAddress> {
  readonly name: string;
  readonly title: string;
  /** Whose addresses it takes: what the DMA API returned, what drivers agreed on, or physical ones. */
  readonly addresses: "dma" | "private" | "physical";
  /** Page sizes of its entries as a bitmap; bit n = 2^n bytes. */
  readonly pageSizes: bigint;
  /** Width of the addresses that it can use. */
  readonly addressBits: number;
  /**
   * The entries it would use. Throws IommuError `misaligned`, `input-range`, `output-range` or `invalid`, naming the
   * segment, where its driver would refuse.
   */
  plan(request: MapRequest<A>): Plan;
  /** Builds the tables. Throws as `plan` does. */
  map(request: MapRequest<A>): DeviceMapping;
  /** What it would ask of an IOVA for a buffer. Throws `invalid` for an empty one, or one without an address it needs. */
  hint(buffer: HintRequest): Hint;
}

/** What an importer takes, checked before anything else. */
export interface SegmentRules {
  /** Alignment of addresses, lengths and the virtual address. */
  readonly granule: bigint;
  /** Alignment of the buffer's first and last byte, where it is less. */
  readonly edge?: bigint;
  /** Width of its virtual addresses, for importers that have them. */
  readonly vaBits?: number;
}

export interface ImporterDefinition {
  readonly name: string;
  readonly title: string;
  readonly addresses?: Importer["addresses"];
  readonly pageSizes: bigint;
  readonly addressBits: number;
  readonly rules: SegmentRules;
  /** The entries for a request that the rules allow; throws what only this importer refuses. */
  leaves(va: bigint, segments: readonly Required<Segment<bigint>>[]): LeafRun[];
  /** Fewest entries for so many bytes; when left out, those of one segment with every address zero. */
  ideal?(length: bigint): number;
  build(leaves: readonly LeafRun[], request: { readonly va: bigint; readonly length: bigint }): Tables;
  hint(buffer: HintRequest): Hint;
}

const ALL_ONES = 2n ** 64n - 1n;

export function defineImporter<A extends bigint = DmaAddress>(definition: ImporterDefinition): Importer<A> {
  const { name, title, addresses = "dma", pageSizes, addressBits } = definition;
  const plan = (request: MapRequest<A>): Plan & { va: bigint; length: bigint } => {
    const segments = request.segments.map(({ address, length, memory = "system" }) => ({ address, length, memory }));
    const length = checkRequest(definition, request.va, segments);
    const va = request.va ?? 0n;
    const leaves = definition.leaves(va, segments);
    const ideal =
      definition.ideal?.(length) ??
      countAll(definition.leaves(0n, [{ address: 0n, length, memory: segments[0].memory }]));
    const total = countAll(leaves);
    return { leaves, entries: countBySize(leaves), total, ideal, tidiness: ideal / total, va, length };
  };
  return {
    name,
    title,
    addresses,
    pageSizes,
    addressBits,
    plan,
    map(request) {
      const { va, length, ...planned } = plan(request);
      const { memory, leafWords, deviceBytes, translate } = definition.build(planned.leaves, { va, length });
      return { ...planned, memory, leafWords, deviceBytes, tableBytes: memory.bytes, translate };
    },
    hint(buffer) {
      const { va = 0n, length } = buffer;
      const refuse = (at: bigint, why: string): IommuError => {
        return new IommuError("invalid", `${name}: hint for ${hex(length)} bytes`, at, why);
      };
      if (length <= 0n) throw refuse(va, "the buffer is empty");
      if (va < 0n || va > ALL_ONES) throw refuse(va, "a virtual address has 64 bits");
      return definition.hint(buffer);
    },
  };
}

function countAll(leaves: readonly LeafRun[]): number {
  return leaves.reduce((sum, { count }) => sum + count, 0);
}

function countBySize(leaves: readonly LeafRun[]): ReadonlyMap<bigint, number> {
  const entries = new Map<bigint, number>();
  for (const { size, count } of leaves) entries.set(size, (entries.get(size) ?? 0) + count);
  return new Map([...entries].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Names a segment in an error. */
export function segmentName(importer: string, index: number, { address, length }: Segment<bigint>): string {
  return `${importer}: map segment ${index} of ${hex(length)} bytes at ${hex(address)}`;
}

/** Returns the bytes of the buffer. */
function checkRequest(
  { name, addressBits, rules: { granule, edge = granule, vaBits } }: ImporterDefinition,
  va: bigint | undefined,
  segments: readonly Segment<bigint>[],
): bigint {
  if (segments.length === 0) throw new IommuError("invalid", `${name}: map a buffer`, undefined, "it has no segments");
  let length = 0n;
  segments.forEach((segment, index) => {
    const end = segment.address + segment.length;
    const refuse = (code: "misaligned" | "output-range", at: bigint, why: string): never => {
      throw new IommuError(code, segmentName(name, index, segment), at, why);
    };
    if (segment.length <= 0n) refuse("misaligned", segment.address, "it is empty");
    const startAlign = index === 0 ? edge : granule;
    const endAlign = index === segments.length - 1 ? edge : granule;
    if (!isAligned(segment.address, startAlign)) {
      refuse("misaligned", segment.address, `its start must be a multiple of ${startAlign}`);
    }
    if (!isAligned(end, endAlign)) refuse("misaligned", end, `its end must be a multiple of ${endAlign}`);
    if (end > 1n << BigInt(addressBits)) refuse("output-range", end - 1n, `an entry holds ${addressBits} address bits`);
    length += segment.length;
  });
  if (vaBits === undefined) return length;
  const mapping = `${name}: map ${hex(length)} bytes at virtual address`;
  if (va === undefined) throw new IommuError("invalid", mapping, undefined, "it was not given");
  if (!isAligned(va, edge)) throw new IommuError("misaligned", mapping, va, `it must be a multiple of ${edge}`);
  if (va < 0n || va + length > 1n << BigInt(vaBits)) {
    throw new IommuError("input-range", mapping, va, `its virtual addresses have ${vaBits} bits`);
  }
  return length;
}
