/** One case of a validation: a buffer, the mappings that were there before it, and what its domain permits. */
import { GIB, KIB, MIB, parseBytes } from "../bits.js";
import { hex, physicalAddress } from "../engine/addresses.js";
import { IommuError } from "../engine/errors.js";
import type { Piece } from "../importers/attainable.js";

/** A mapping of the same device before the buffer's. */
export interface Earlier {
  /** Pages of 4 KiB. */
  readonly pages: number;
  /** Unmapped again before the buffer is mapped. */
  readonly gone: boolean;
}

export interface ValidationCase {
  /** Virtual address of the buffer for its importer, a multiple of 4096. */
  readonly va: bigint;
  /** In multiples of 4096. */
  readonly pieces: readonly Piece[];
  readonly earlier: readonly Earlier[];
  /** Longest DMA segment, bytes, or null (dma_get_max_seg_size). */
  readonly maxSegment: bigint | null;
}

/** The IOVAs that the domain permits end here; one for many cases, since a replay has one. */
export interface Window {
  readonly last: bigint;
}

const PAGE = 4096n;
const UNITS: readonly (readonly [string, bigint])[] = [
  ["G", GIB],
  ["M", MIB],
  ["K", KIB],
];

function size(bytes: bigint): string {
  const unit = UNITS.find(([, scale]) => bytes % scale === 0n);
  return unit === undefined ? String(bytes) : `${bytes / unit[1]}${unit[0]}`;
}

/** A case as the command line takes it: "va=0x1000 pa=0x100000000+8K earlier=4K,64K- last=0xffffffff max-segment=64K". */
export function caseText({ va, pieces, earlier, maxSegment }: ValidationCase, { last }: Window): string {
  const parts = [
    `va=${hex(va)}`,
    `pa=${pieces.map(({ physical, length }) => `${hex(physical)}+${size(length)}`).join(",")}`,
    ...(earlier.length === 0
      ? []
      : [`earlier=${earlier.map(({ pages, gone }) => `${size(BigInt(pages) * PAGE)}${gone ? "-" : ""}`).join(",")}`]),
    `last=${hex(last)}`,
    ...(maxSegment === null ? [] : [`max-segment=${size(maxSegment)}`]),
  ];
  return parts.join(" ");
}

function refuse(part: string, rule: string): never {
  throw new IommuError("invalid", `understand case "${part}"`, undefined, rule);
}

function pages(text: string, part: string): bigint {
  const bytes = parseBytes(text) ?? refuse(part, "a size is a number and K, M or G");
  if (bytes === 0n || bytes % PAGE !== 0n) refuse(part, "a size is a multiple of 4096");
  return bytes;
}

function address(text: string, part: string): bigint {
  if (!/^(0x[\da-f]+|\d+)$/i.test(text) || BigInt(text) % PAGE !== 0n) refuse(part, "an address is a multiple of 4096");
  return BigInt(text);
}

/** Reads what `caseText` writes. Throws `invalid` naming the part that it cannot. */
export function parseCase(text: string, widest: bigint): { readonly case: ValidationCase; readonly window: Window } {
  let va = 0n;
  let last = widest;
  let maxSegment: bigint | null = null;
  let pieces: Piece[] = [];
  let earlier: Earlier[] = [];
  const seen = new Set<string>();
  for (const part of text.split(/\s+/).filter((each) => each !== "")) {
    const [key, value = "", ...more] = part.split("=");
    if (more.length > 0 || seen.has(key)) refuse(part, "each of its parts is NAME=VALUE, once");
    seen.add(key);
    if (key === "va") va = address(value, part);
    else if (key === "pa") {
      pieces = value.split(",").map((piece) => {
        const [start, length = ""] = piece.split("+");
        return { physical: physicalAddress(address(start, part)), length: pages(length, part) };
      });
    } else if (key === "earlier") {
      earlier = value.split(",").map((each) => {
        const gone = each.endsWith("-");
        return { pages: Number(pages(gone ? each.slice(0, -1) : each, part) / PAGE), gone };
      });
    } else if (key === "last") {
      last = /^(0x[\da-f]+|\d+)$/i.test(value) ? BigInt(value) : refuse(part, "the last address is a number");
    } else if (key === "max-segment") maxSegment = pages(value, part);
    else refuse(part, "a case has va, pa, earlier, last and max-segment");
  }
  if (pieces.length === 0) refuse(text, "it has no pa=ADDRESS+SIZE");
  // The first page is never given out.
  if (last > widest || last < 2n * PAGE - 1n || last % PAGE !== PAGE - 1n) {
    refuse(text, `last is one less than a multiple of 4096, at least 0x1fff and at most ${hex(widest)}`);
  }
  return { case: { va, pieces, earlier, maxSegment }, window: { last } };
}

/** How large a case is to its reader: shrinking only ever makes it smaller. */
export function caseWeight({ va, pieces, earlier, maxSegment }: ValidationCase, { last }: Window): number {
  const bits = (value: bigint): number => value.toString(2).replace(/0+$/, "").length;
  const lengths = pieces.reduce((sum, { length }) => sum + Number(length / PAGE), 0);
  const before = earlier.reduce((sum, each) => sum + each.pages + (each.gone ? 2 : 1), 0);
  const addresses =
    bits(va) + Number(va >> 12n) / 2 ** 40 + pieces.reduce((sum, { physical }) => sum + bits(physical), 0);
  return (
    (lengths + before) * 1000 + pieces.length * 500 + (maxSegment === null ? 0 : 200) + addresses + bits(last) / 100
  );
}
