/** Memory dumps of a stopped machine: its remapping unit's registers and every page that the unit's structures lie in. */
import { join } from "node:path";
import { hex, type PhysicalAddress, physicalAddress } from "../engine/addresses.js";
import type { Engine } from "../engine/engine.js";
import { DumpError } from "./errors.js";
import { parseHex } from "./fields.js";
import { readBytes } from "./files.js";
import { loadPages, type MemoryPage } from "./pages.js";

/** What tables.json says of itself. */
const FORMAT = "iommu-tables-v0";
/** The granules that any IOMMU has. */
const PAGE_BYTES: readonly unknown[] = [4096, 16384, 65536];
/** Physical addresses are 52 bits wide. */
const PHYSICAL_END = 1n << 52n;

/** One page, and what it is used as ("root", "ss-l1", "cmdq"); none where the dump does not say. */
export interface DumpPage extends MemoryPage {
  readonly kinds: readonly string[];
}

export interface Dump {
  readonly directory: string;
  /** Kind of unit: "vtd", "smmuv3", or one that this version does not know. */
  readonly arch: string;
  /** Registers by the specification's names. */
  readonly registers: ReadonlyMap<string, bigint>;
  readonly pageBytes: number;
  /** In the order of the file. */
  readonly pages: readonly DumpPage[];
}

type Json = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function parseTables(text: string, file: string): Json {
  let tables: unknown;
  try {
    tables = JSON.parse(text);
  } catch (cause) {
    throw new DumpError("malformed", `not JSON: ${(cause as Error).message}`, { file, cause });
  }
  const format = isObject(tables) ? tables.format : undefined;
  if (!isObject(tables) || format !== FORMAT) {
    throw new DumpError("malformed", `"format" is ${JSON.stringify(format)}, not "${FORMAT}"`, { file });
  }
  return tables;
}

function parseNumber(value: unknown, name: string, file: string): bigint {
  const number = typeof value === "string" ? parseHex(value) : null;
  if (number !== null) return number;
  throw new DumpError("malformed", `${name} is ${JSON.stringify(value)}, not a "0x" number`, { file });
}

function parseRegisters(tables: Json, file: string): Map<string, bigint> {
  if (!isObject(tables.regs)) throw new DumpError("malformed", `"regs" is not an object`, { file });
  const registers = Object.entries(tables.regs);
  return new Map(registers.map(([name, value]) => [name, parseNumber(value, `register ${name}`, file)]));
}

function parseAddresses(tables: Json, pageBytes: number, file: string): PhysicalAddress[] {
  if (!Array.isArray(tables.pages)) throw new DumpError("malformed", `"pages" is not a list`, { file });
  const indices = new Map<bigint, number>();
  return tables.pages.map((value: unknown, index) => {
    const name = `pages[${index}]`;
    const address = parseNumber(value, name, file);
    if (address >= PHYSICAL_END) throw new DumpError("malformed", `${name} ${hex(address)} exceeds 52 bits`, { file });
    if (address % BigInt(pageBytes) !== 0n) {
      throw new DumpError("malformed", `${name} ${hex(address)} is not a multiple of ${pageBytes}`, { file });
    }
    const first = indices.get(address);
    if (first !== undefined) {
      throw new DumpError("inconsistent", `${name} ${hex(address)} is already pages[${first}]`, { file });
    }
    indices.set(address, index);
    return physicalAddress(address);
  });
}

/** One list per page, in the file a string or a list of strings. */
function parseKinds(tables: Json, pages: number, file: string): string[][] {
  const { kinds } = tables;
  if (kinds === undefined) return Array.from({ length: pages }, () => []);
  if (!Array.isArray(kinds)) throw new DumpError("malformed", `"kinds" is not a list`, { file });
  if (kinds.length !== pages) {
    throw new DumpError("inconsistent", `"kinds" has ${kinds.length} elements, "pages" ${pages}`, { file });
  }
  return kinds.map((value: unknown, index) => {
    const list: unknown[] = Array.isArray(value) ? value : [value];
    if (list.every((kind) => typeof kind === "string")) return list;
    throw new DumpError("malformed", `kinds[${index}] is ${JSON.stringify(value)}, not a string`, { file });
  });
}

/**
 * Reads `tables.json` and `tables.bin.gz` of a directory.
 * @throws DumpError `open`, `gzip`; `malformed`, `inconsistent` for tables.json; `truncated`, `inconsistent` when
 * tables.bin.gz has fewer or more bytes than there are pages
 */
export async function readDump(directory: string): Promise<Dump> {
  const file = join(directory, "tables.json");
  const tables = parseTables(new TextDecoder().decode(await readBytes(file)), file);
  const { arch, page_size: pageBytes } = tables;
  if (typeof arch !== "string") throw new DumpError("malformed", `"arch" is not a string`, { file });
  if (typeof pageBytes !== "number" || !PAGE_BYTES.includes(pageBytes)) {
    const reason = `"page_size" is ${JSON.stringify(pageBytes)}, not one of ${PAGE_BYTES.join(", ")}`;
    throw new DumpError("malformed", reason, { file });
  }
  const registers = parseRegisters(tables, file);
  const addresses = parseAddresses(tables, pageBytes, file);
  const kinds = parseKinds(tables, addresses.length, file);

  const contents = join(directory, "tables.bin.gz");
  const bytes = await readBytes(contents);
  const whole = Math.floor(bytes.length / pageBytes);
  if (whole < addresses.length) {
    const reason = `ends after ${bytes.length} bytes, in pages[${whole}] ${hex(addresses[whole])} of ${addresses.length}`;
    throw new DumpError("truncated", reason, { file: contents });
  }
  if (bytes.length > addresses.length * pageBytes) {
    const reason = `has ${bytes.length} bytes, but "pages" lists ${addresses.length} pages of ${pageBytes}`;
    throw new DumpError("inconsistent", reason, { file: contents });
  }
  const pages = addresses.map((address, index) => ({
    address,
    bytes: bytes.subarray(index * pageBytes, (index + 1) * pageBytes),
    kinds: kinds[index],
  }));
  return { directory, arch, registers, pageBytes, pages };
}

/**
 * Puts a dump's pages into physical memory, over what is there. An engine made with `arenaBaseFor(dump)` has room for
 * them all. Throws DumpError `arena` with nothing changed, and IommuError `memory-exhausted`.
 */
export function loadDump(engine: Engine, dump: Dump): void {
  loadPages(engine, dump.pages, dump.directory);
}
