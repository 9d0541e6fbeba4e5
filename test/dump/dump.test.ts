import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { arenaBaseFor } from "../../src/dump/pages.js";
import { loadDump, readDump } from "../../src/dump/dump.js";
import type { DumpErrorCode } from "../../src/dump/errors.js";
import { newEngine } from "../support/engine.js";
import { refused } from "../support/errors.js";
import { physicalOf } from "../support/tables.js";
import { failure, SMMU, scratchDirectory, VTD } from "./support.js";

const scratch = scratchDirectory();
let made = 0;

/** A directory with these two files. */
function directoryOf(tables: unknown, contents: Uint8Array): string {
  const directory = join(scratch, `${made++}`);
  mkdirSync(directory);
  writeFileSync(join(directory, "tables.json"), typeof tables === "string" ? tables : JSON.stringify(tables));
  writeFileSync(join(directory, "tables.bin.gz"), contents);
  return directory;
}

const small = {
  format: "iommu-tables-v0",
  arch: "vtd",
  regs: { VER: "0x10" },
  page_size: 4096,
  pages: ["0x1000", "0x3000"],
  kinds: ["root", "context"],
};
const smallContents = new Uint8Array(8192).map((_, index) => (index < 4096 ? 0x11 : 0x22));

describe("a dump", () => {
  test.each([
    [VTD, "vtd", 22, 95, "CAP", 0x80d2008c222f0606n, { root: 1, "sm-context": 4, "ss-l4": 13, "ss-l1": 22 }],
    [SMMU, "smmuv3", 21, 97, "STRTAB_BASE", 0x4000000048bdc000n, { "strtab-l1": 1, cd: 10, ste: 12, "s1-l0": 10 }],
  ])("%s", async (directory, arch, registers, pages, register, value, kinds) => {
    const dump = await readDump(directory);
    expect(dump).toMatchObject({ directory, arch, pageBytes: 4096 });
    expect(dump.registers.size).toBe(registers);
    expect(dump.registers.get(register)).toBe(value);
    expect(dump.pages).toHaveLength(pages);
    const counts = (kind: string) => dump.pages.filter((page) => page.kinds.includes(kind)).length;
    expect(Object.fromEntries(Object.keys(kinds).map((kind) => [kind, counts(kind)]))).toEqual(kinds);
    const contents = gunzipSync(readFileSync(join(directory, "tables.bin.gz")));
    expect(Buffer.concat(dump.pages.map((page) => page.bytes)).equals(contents)).toBe(true);
  });

  test.each([VTD, SMMU])("goes into memory page by page: %s", async (directory) => {
    const dump = await readDump(directory);
    const engine = await newEngine({ arenaBase: arenaBaseFor(dump) });
    loadDump(engine, dump);
    for (const { address, bytes } of dump.pages) {
      expect(Buffer.compare(engine.memory.read(address, 4096), bytes)).toBe(0);
    }
    const next = dump.pages[0].address - 4096n;
    expect(refused("bus-error", () => engine.memory.read(physicalOf(next), 1)).at).toBe(next);
  });

  test("may be of an unknown kind of unit, of larger pages, without kinds, and not compressed", async () => {
    const { kinds, ...tables } = small;
    const contents = new Uint8Array(0x20000).map((_, index) => index >> 9);
    const directory = directoryOf(
      { ...tables, arch: "unheard-of", page_size: 0x10000, pages: ["0x10000", "0xFFFFF00000000"] },
      contents,
    );
    const dump = await readDump(directory);
    expect(dump).toMatchObject({ arch: "unheard-of", pageBytes: 0x10000 });
    expect(dump.pages.map(({ address, kinds }) => [address, kinds])).toEqual([
      [0x10000n, []],
      [0xfffff00000000n, []],
    ]);
    const engine = await newEngine();
    loadDump(engine, dump);
    const loaded = engine.memory.read(physicalOf(0xfffff00000000n), 0x10000);
    expect(Buffer.compare(loaded, contents.subarray(0x10000))).toBe(0);
  });

  test("may use a page as several things", async () => {
    const directory = directoryOf({ ...small, kinds: [["cd", "ste"], "ste"] }, gzipSync(smallContents));
    expect((await readDump(directory)).pages.map((page) => page.kinds)).toEqual([["cd", "ste"], ["ste"]]);
  });
});

describe("where an engine's own tables go", () => {
  test.each<[string, readonly bigint[], bigint]>([
    ["the default", [], 1n << 38n],
    ["the default, although pages border on it", [(1n << 38n) - 4096n, 0x41_0000_0000n], 1n << 38n],
    ["above what is taken", [1n << 38n, 0x41_ffff_f000n], 0x42_0000_0000n],
  ])("%s", (_, addresses, base) => {
    const pages = addresses.map((address) => ({ address: physicalOf(address), bytes: new Uint8Array(4096) }));
    expect(arenaBaseFor({ pages })).toBe(base);
  });

  test("below the default when nothing above is free, and nowhere when nothing is", async () => {
    const bytes = new Uint8Array(4096);
    const windows = Array.from({ length: 1 << 20 }, (_, window) => window);
    const page = (window: number) => ({ address: physicalOf(BigInt(window) << 32n), bytes });
    expect(arenaBaseFor({ pages: windows.filter((window) => window !== 5).map(page) })).toBe(5n << 32n);
    await failure("arena", () => arenaBaseFor({ pages: windows.map(page) }));
  });

  test("a page among them is refused before anything is loaded", async () => {
    const pages = ["0x1000", "0x40fffff000"];
    const dump = await readDump(directoryOf({ ...small, pages }, gzipSync(smallContents)));
    const engine = await newEngine();
    const error = await failure("arena", () => loadDump(engine, dump));
    expect(error.message).toContain(`${dump.directory}: page 0x40fffff000 lies in`);
    refused("bus-error", () => engine.memory.read(physicalOf(0x1000n), 1));
    const other = await newEngine({ arenaBase: arenaBaseFor(dump) });
    loadDump(other, dump);
    expect(other.memory.read(physicalOf(0x40fffff000n), 1)).toEqual(new Uint8Array([0x22]));
  });
});

describe("what is no dump", () => {
  test.each<[string, unknown, DumpErrorCode, string]>([
    ["text", "{", "malformed", "not JSON"],
    ["a list", [], "malformed", `"format" is undefined, not "iommu-tables-v0"`],
    ["null", null, "malformed", `"format" is undefined`],
    ["another format", { ...small, format: "iommu-tables-v9" }, "malformed", `"format" is "iommu-tables-v9", not`],
    ["no arch", { ...small, arch: 1 }, "malformed", `"arch" is not a string`],
    [
      "an odd page size",
      { ...small, page_size: 512 },
      "malformed",
      `"page_size" is 512, not one of 4096, 16384, 65536`,
    ],
    ["a page size as text", { ...small, page_size: "4096" }, "malformed", `"page_size" is "4096"`],
    ["no registers", { ...small, regs: [] }, "malformed", `"regs" is not an object`],
    ["a register as a number", { ...small, regs: { CAP: 5 } }, "malformed", "register CAP is 5, not a"],
    ["a register of 68 bits", { ...small, regs: { CAP: "0x10000000000000000" } }, "malformed", "register CAP is"],
    ["no pages", { ...small, pages: undefined }, "malformed", `"pages" is not a list`],
    ["an address without 0x", { ...small, pages: ["1000", "0x3000"] }, "malformed", `pages[0] is "1000"`],
    ["an unaligned page", { ...small, pages: ["0x1000", "0x3008"] }, "malformed", "pages[1] 0x3008 is not a multiple"],
    [
      "a page beyond 52 bits",
      { ...small, pages: ["0x10000000000000"] },
      "malformed",
      "pages[0] 0x10000000000000 exceeds",
    ],
    ["a page twice", { ...small, pages: ["0x1000", "0x1000"] }, "inconsistent", "pages[1] 0x1000 is already pages[0]"],
    ["kinds as an object", { ...small, kinds: {} }, "malformed", `"kinds" is not a list`],
    ["too few kinds", { ...small, kinds: ["root"] }, "inconsistent", `"kinds" has 1 elements, "pages" 2`],
    ["a kind as a number", { ...small, kinds: ["root", 3] }, "malformed", "kinds[1] is 3, not a string"],
  ])("tables.json: %s", async (_, tables, code, message) => {
    const directory = directoryOf(tables, gzipSync(smallContents));
    const error = await failure(code, () => readDump(directory));
    expect(error.file).toBe(join(directory, "tables.json"));
    expect(error.message).toContain(`${error.file}: ${message}`);
  });

  const compressed = gzipSync(smallContents);
  const flipped = Uint8Array.from(compressed, (byte, index) => (index === compressed.length - 6 ? byte ^ 1 : byte));
  test.each<[string, Uint8Array, DumpErrorCode, string]>([
    [
      "cut in a page",
      gzipSync(smallContents.subarray(0, 5000)),
      "truncated",
      "ends after 5000 bytes, in pages[1] 0x3000 of 2",
    ],
    [
      "cut between pages",
      smallContents.subarray(0, 4096),
      "truncated",
      "ends after 4096 bytes, in pages[1] 0x3000 of 2",
    ],
    ["empty", new Uint8Array(0), "truncated", "ends after 0 bytes, in pages[0] 0x1000 of 2"],
    ["too long", new Uint8Array(8193), "inconsistent", `has 8193 bytes, but "pages" lists 2 pages of 4096`],
    ["damaged", flipped, "gzip", "the gzip data is damaged"],
    ["cut in its compressed form", compressed.subarray(0, -9), "gzip", "the gzip data ends too early"],
  ])("tables.bin.gz: %s", async (_, contents, code, message) => {
    const directory = directoryOf(small, contents);
    const error = await failure(code, () => readDump(directory));
    expect(error.file).toBe(join(directory, "tables.bin.gz"));
    expect(error.message).toContain(`${error.file}: ${message}`);
  });

  test.each(["tables.json", "tables.bin.gz"])("without %s", async (missing) => {
    const directory = join(scratch, `without-${missing}`);
    mkdirSync(directory);
    const other = missing === "tables.json" ? "tables.bin.gz" : "tables.json";
    copyFileSync(join(VTD, other), join(directory, other));
    const error = await failure("open", () => readDump(directory));
    expect(error.file).toBe(join(directory, missing));
    expect(error.message).toContain("ENOENT");
  });
});
