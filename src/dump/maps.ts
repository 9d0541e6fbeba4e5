/** Lists of what every device of a dump can reach (maps.txt), found by walking its tables. */
import { type Iova, type PhysicalAddress, physicalAddress, privateAddress } from "../engine/addresses.js";
import { DumpError, type DumpErrorPlace } from "./errors.js";
import { parseHex, parseRequesterId } from "./fields.js";
import { readLines } from "./files.js";

/** One leaf of a page table. */
export interface MapsLeaf {
  /** Whose interface it came from is not known, so that it counts as private. */
  readonly iova: Iova;
  readonly physical: PhysicalAddress;
  /** Bytes. */
  readonly size: bigint;
  readonly permissions: "RW" | "R-" | "-W";
  /** The entry as it stands in memory. */
  readonly entry: bigint;
}

/** The leaves of one device. */
export interface DeviceMaps {
  /** PCI requester ID: bus << 8 | device << 3 | function. */
  readonly sid: number;
  /** What the device's configuration entries say; which keys there are depends on the kind of unit. */
  readonly info: Readonly<Record<string, unknown>>;
  readonly leaves: readonly MapsLeaf[];
}

const HEADER = /^#\s*device\s+(\S+)\s+(\{.*\})\s+leaves=(\d+)$/;
const LEAF = /^(\S+)\s+(\S+)\s+(\S+)\s+(RW|R-|-W)\s+pte=(\S+)$/;
const SMALLEST_LEAF = 4096n;

interface Section extends DeviceMaps {
  readonly leaves: MapsLeaf[];
  readonly announced: number;
  readonly place: DumpErrorPlace;
}

function parseHeader(text: string, place: DumpErrorPlace): Section {
  const [, device, json, announced] = HEADER.exec(text) ?? [];
  if (device === undefined) throw new DumpError("malformed", `not "# device BB:DD.F {...} leaves=N"`, place);
  const sid = parseRequesterId(device);
  if (sid === null) throw new DumpError("malformed", `"${device}" is no PCI address`, place);
  try {
    return { sid, info: JSON.parse(json), leaves: [], announced: Number(announced), place };
  } catch (cause) {
    throw new DumpError("malformed", `not JSON: ${(cause as Error).message}`, { ...place, cause });
  }
}

function parseLeaf(text: string, place: DumpErrorPlace): MapsLeaf {
  const found = LEAF.exec(text);
  if (found === null) throw new DumpError("malformed", `not "IOVA PHYSICAL SIZE RW pte=ENTRY"`, place);
  const [iova, physical, size, entry] = [found[1], found[2], found[3], found[5]].map((field) => {
    const number = parseHex(field);
    if (number === null) throw new DumpError("malformed", `"${field}" is not a "0x" number`, place);
    return number;
  });
  if (size < SMALLEST_LEAF || (size & (size - 1n)) !== 0n) {
    throw new DumpError("malformed", `${found[3]} is not the size of a leaf`, place);
  }
  if (((iova | physical) & (size - 1n)) !== 0n) {
    throw new DumpError("malformed", `an address is not a multiple of the size ${found[3]}`, place);
  }
  const permissions = found[4] as MapsLeaf["permissions"];
  return { iova: privateAddress(iova), physical: physicalAddress(physical), size, permissions, entry };
}

function checkCount(section: Section | undefined): void {
  if (section === undefined || section.leaves.length === section.announced) return;
  const reason = `leaves=${section.announced}, but ${section.leaves.length} follow`;
  throw new DumpError("inconsistent", reason, section.place);
}

/**
 * Reads the text of a list, line by line; `file` is for errors. Throws DumpError `malformed`; `inconsistent` when a device
 * has fewer or more leaves than its header says.
 */
export async function parseMaps(lines: Iterable<string> | AsyncIterable<string>, file?: string): Promise<DeviceMaps[]> {
  const sections: Section[] = [];
  let line = 0;
  for await (const raw of lines) {
    const place = { file, line: ++line };
    const text = raw.trim();
    if (text === "") continue;
    if (text.startsWith("#")) {
      checkCount(sections.at(-1));
      sections.push(parseHeader(text, place));
      continue;
    }
    const section = sections.at(-1);
    if (section === undefined) throw new DumpError("malformed", "a leaf before the first device", place);
    section.leaves.push(parseLeaf(text, place));
  }
  checkCount(sections.at(-1));
  return sections.map(({ sid, info, leaves }) => ({ sid, info, leaves }));
}

/** Reads maps.txt, plain or gzip. Throws as `parseMaps`, and `open`, `gzip`. */
export function readMaps(file: string): Promise<DeviceMaps[]> {
  return parseMaps(readLines(file), file);
}
