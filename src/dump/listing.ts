/**
 * The text of Linux's /sys/kernel/debug/iommu/intel/.../domain_translation_struct: for every leaf of a device's table, the
 * entries on the way to it (drivers/iommu/intel/debugfs.c, dump_page_info). Older kernels list every device in one file,
 * without PASID or with the default one, and print zeros below a large leaf.
 */
import { type Iova, type PhysicalAddress, physicalAddress, privateAddress } from "../engine/addresses.js";
import { DumpError, type DumpErrorPlace } from "./errors.js";
import { parseHex, parseRequesterId } from "./fields.js";

/** The listing's columns from level 5 to level 1. */
export const COLUMNS = ["PML5E", "PML4E", "PDPE", "PDE", "PTE"] as const;

/** One leaf. */
export interface ListingRow {
  /** Line of the file, from 1. */
  readonly line: number;
  /** First address of the leaf, IOVA_PFN << 12: as Linux prints it, which does not sign-extend. */
  readonly iova: Iova;
  /** Entries in the order of COLUMNS, the last one the leaf; 0n above the root. */
  readonly entries: readonly bigint[];
}

/** The table of one device, or of one of its PASIDs. */
export interface ListingSection {
  readonly file: string | undefined;
  /** Line of the header. */
  readonly line: number;
  /** Device as the header has it, such as "0000:00:1f.2". */
  readonly device: string;
  /** PCI requester ID: bus << 8 | device << 3 | function. */
  readonly sid: number;
  /** null in legacy mode. Taken as hexadecimal; the oldest kernels print the default PASID in decimal. */
  readonly pasid: number | null;
  readonly root: PhysicalAddress;
  readonly rows: readonly ListingRow[];
}

const HEADER = /^Device\s+(\S+)\s+(?:with\s+pasid\s+([0-9a-f]+)\s+)?@\s*(\S+)$/i;
const COLUMN_TITLES = /^IOVA_PFN\b/;
const ROW = /^(0x[0-9a-f]+)\s*\|\s*(.*)$/i;
/** Said of a unit that is switched off; its devices are then not listed. */
const NOTICE = /^DMA Remapping is not enabled on /;

/** The page number of a 64-bit address. */
const LAST_PFN = (1n << 52n) - 1n;
const PAGE_SHIFT = 12n;
/** Physical addresses are 52 bits wide, table pages 4 KiB. */
const ROOT_MASK = 0x000f_ffff_ffff_f000n;

function parseHeader(found: RegExpExecArray, place: DumpErrorPlace): Omit<ListingSection, "file" | "line" | "rows"> {
  const [, device, pasid, at] = found;
  const sid = parseRequesterId(device);
  if (sid === null) throw new DumpError("malformed", `"${device}" is no PCI address`, place);
  const root = parseHex(at);
  if (root === null || (root & ROOT_MASK) !== root) {
    throw new DumpError("malformed", `"${at}" is not the address of a table page`, place);
  }
  return {
    device,
    sid,
    pasid: pasid === undefined ? null : Number.parseInt(pasid, 16),
    root: physicalAddress(root),
  };
}

function parseRow(found: RegExpExecArray, place: DumpErrorPlace & { readonly line: number }): ListingRow {
  const pfn = parseHex(found[1]);
  if (pfn === null || pfn > LAST_PFN) throw new DumpError("malformed", `"${found[1]}" is no IOVA_PFN`, place);
  const entries = found[2].split(/\s+/).map((field) => {
    const entry = parseHex(field);
    if (entry === null) throw new DumpError("malformed", `"${field}" is no entry of a table`, place);
    return entry;
  });
  if (entries.length > COLUMNS.length) {
    throw new DumpError(
      "malformed",
      `${entries.length} columns after IOVA_PFN, at most ${COLUMNS.length} exist`,
      place,
    );
  }
  while (entries.at(-1) === 0n) entries.pop();
  if (entries.length === 0) throw new DumpError("malformed", "a row without an entry", place);
  return { line: place.line, iova: privateAddress(pfn << PAGE_SHIFT), entries };
}

/**
 * Reads the text of a listing, line by line; `file` is for errors. A device without a table is not listed; one whose
 * table is empty has no rows. Throws DumpError `malformed`.
 */
export async function parseListing(
  lines: Iterable<string> | AsyncIterable<string>,
  file?: string,
): Promise<ListingSection[]> {
  const sections: (ListingSection & { readonly rows: ListingRow[] })[] = [];
  let line = 0;
  for await (const raw of lines) {
    const place = { file, line: ++line };
    const text = raw.trim();
    if (text === "" || COLUMN_TITLES.test(text) || NOTICE.test(text)) continue;
    const header = HEADER.exec(text);
    if (header !== null) {
      sections.push({ ...place, ...parseHeader(header, place), rows: [] });
      continue;
    }
    const row = ROW.exec(text);
    if (row === null) throw new DumpError("malformed", `neither "Device ... @0x..." nor "0x... | 0x..."`, place);
    const section = sections.at(-1);
    if (section === undefined) throw new DumpError("malformed", "a row before the first device", place);
    section.rows.push(parseRow(row, place));
  }
  return sections;
}
