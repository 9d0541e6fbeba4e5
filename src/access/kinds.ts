/** What devices do with every mapping, as users name it: KIND or KIND:BYTES. */
import { isPowerOfTwo } from "../cache/geometry.js";
import { IommuError, UnknownNameError } from "../engine/errors.js";
import type { StreamDescription } from "./streams.js";

export interface AccessKind {
  readonly name: string;
  readonly summary: string;
}

export const ACCESS_KINDS = [
  { name: "sequential", summary: "from beginning to end" },
  { name: "random", summary: "as many transactions, anywhere in the mapping" },
  { name: "ring", summary: "sequential between a descriptor and a completion in the domain's first mapping" },
  { name: "interleaved", summary: "eight queues side by side, four transactions in a row of each" },
  { name: "tiled", summary: "rows of 8 KiB, tile by tile of 512 bytes and 8 rows" },
] as const satisfies readonly AccessKind[];

/** What every mapping is accessed by, once through. */
export interface MappingAccess {
  readonly kind: (typeof ACCESS_KINDS)[number]["name"];
  /** Bytes of a transaction, a power of two up to 512: what the narrowest kind has in a row. */
  readonly bytes: number;
  readonly seed: number;
}

/** The largest payload that most PCI Express devices are set to. */
const DEFAULT_BYTES = 256;
const MOST_BYTES = 512;
const QUEUES = 8;
const BURST = 4;
const PITCH = 8192;
const TILE_BYTES = 512;
const TILE_ROWS = 8;

/** Throws `invalid`, naming the kinds there are. */
export function parseAccess(text: string, seed = 1): MappingAccess {
  const [name, size, ...more] = text.split(":");
  const found = ACCESS_KINDS.find((kind) => kind.name === name);
  const bytes = size === undefined ? DEFAULT_BYTES : Number(size);
  const refuse = (why: string): IommuError => new IommuError("invalid", `access as "${text}"`, undefined, why);
  if (!found) {
    const names = ACCESS_KINDS.map((kind) => kind.name);
    throw new UnknownNameError("access", "kinds", name, names);
  }
  if (more.length > 0 || !isPowerOfTwo(bytes) || bytes > MOST_BYTES) {
    throw refuse(`a transaction is of a power of two up to ${MOST_BYTES} bytes`);
  }
  return { kind: found.name, bytes, seed };
}

/** The stream over one mapping, and the bytes of a block: a mapping's whole blocks are accessed by it. */
export function streamOf({ kind, bytes, seed }: MappingAccess): {
  readonly stream: StreamDescription;
  readonly block: number;
} {
  const common = { base: 0n, bytes };
  switch (kind) {
    case "sequential":
    case "ring":
      return { stream: { ...common, kind: "sequential", length: BigInt(bytes) }, block: bytes };
    case "random":
      return { stream: { ...common, kind: "random", length: BigInt(bytes), seed }, block: bytes };
    case "interleaved": {
      const block = QUEUES * bytes;
      return { stream: { ...common, kind: "interleaved", length: BigInt(block), queues: QUEUES, burst: BURST }, block };
    }
    case "tiled": {
      const tile = { pitch: PITCH, rows: TILE_ROWS, tileBytes: TILE_BYTES, tileRows: TILE_ROWS };
      return { stream: { ...common, kind: "tiled", ...tile }, block: PITCH * TILE_ROWS };
    }
  }
}
