import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import type { DumpErrorCode } from "../../src/dump/errors.js";
import { parseListing } from "../../src/dump/listing.js";
import { readListing } from "../../src/dump/listing-files.js";
import { failure, scratchDirectory, VTD } from "./support.js";

const scratch = scratchDirectory();
const TITLES = "IOVA_PFN\t\tPML5E\t\t\tPML4E\t\t\tPDPE\t\t\tPDE\t\t\tPTE";
const HEADER = "Device 0000:00:06.0 @0xafd000";
const ROW = "0x00000000ffffc |\t0x0000000000000000\t0x149a7403\t0x149a8403\t0x149a9403\t0x149ab003";

describe("the text", () => {
  test.each([
    ["Device 0000:00:06.0 with pasid 0 @0xafd000", "0000:00:06.0", 0x30, 0, 0xafd000n],
    ["Device 0000:3a:1f.7 with pasid 1f @0x7f5000", "0000:3a:1f.7", 0x3aff, 0x1f, 0x7f5000n],
    ["Device 0001:00:1f.2 @0x123456789a000", "0001:00:1f.2", 0xfa, null, 0x123456789a000n],
    ["  device\t10000:e1:00.0   with  pasid 5  @ 0x1000\r", "10000:e1:00.0", 0xe100, 5, 0x1000n],
    ["Device 02:00.0 @0x0", "02:00.0", 0x200, null, 0n],
  ])("names the device: %j", async (header, device, sid, pasid, root) => {
    expect(await parseListing([header, TITLES])).toEqual([
      { file: undefined, line: 1, device, sid, pasid, root, rows: [] },
    ]);
  });

  test.each<[string, string, bigint, bigint[]]>([
    ["a page", ROW, 0xffffc000n, [0n, 0x149a7403n, 0x149a8403n, 0x149a9403n, 0x149ab003n]],
    ["a 2 MiB leaf", "0x0000000000200 |\t0x0\t0x1003\t0x2003\t0x200083", 0x200000n, [0n, 0x1003n, 0x2003n, 0x200083n]],
    ["a 1 GiB leaf", "0x0000000040000 |\t0x0\t0x1003\t0x83", 0x4000_0000n, [0n, 0x1003n, 0x83n]],
    ["of an older kernel", "0x0000000040000 |\t0x0\t0x1003\t0x83\t0x0\t0x0", 0x4000_0000n, [0n, 0x1003n, 0x83n]],
    [
      "with other white space",
      " 0X1F|0x0  0x1003 0x2003 0x3003 0x4003 \r",
      0x1f000n,
      [0n, 0x1003n, 0x2003n, 0x3003n, 0x4003n],
    ],
    ["of five levels", "0x1fffffffffff |\t0x1003\t0x2003\t0x83", 0x1ff_ffff_ffff_f000n, [0x1003n, 0x2003n, 0x83n]],
  ])("has a row per leaf: %s", async (_, row, iova, entries) => {
    const [section] = await parseListing([HEADER, TITLES, row]);
    expect(section.rows).toEqual([{ line: 3, iova, entries }]);
  });

  test("may hold several devices, and units that are off", async () => {
    const lines = [
      "DMA Remapping is not enabled on dmar1",
      HEADER,
      TITLES,
      ROW,
      "",
      HEADER,
      TITLES,
      "",
      HEADER,
      ROW,
      ROW,
    ];
    const sections = await parseListing(lines, "listing");
    expect(sections.map(({ file, line, rows }) => [file, line, rows.map((row) => row.line)])).toEqual([
      ["listing", 2, [4]],
      ["listing", 6, []],
      ["listing", 9, [10, 11]],
    ]);
  });

  test("may be empty, as that of a device without a table", async () => {
    expect(await parseListing([""])).toEqual([]);
  });

  test.each<[string, string[], number, string]>([
    ["a row first", [TITLES, ROW], 2, "a row before the first device"],
    ["other text", [HEADER, "hello"], 2, `neither "Device ... @0x..." nor "0x... | 0x..."`],
    ["no root", ["Device 0000:00:06.0 with pasid 0"], 1, `neither "Device`],
    ["no such device", ["Device 0000:00:20.0 @0x1000"], 1, `"0000:00:20.0" is no PCI address`],
    ["an unaligned root", ["Device 0000:00:06.0 @0x1800"], 1, `"0x1800" is not the address of a table page`],
    ["a root beyond 52 bits", ["Device 0000:00:06.0 @0x10000000000000"], 1, "is not the address of a table page"],
    ["a root that is no number", ["Device 0000:00:06.0 @afd000"], 1, `"afd000" is not the address`],
    ["a page number of 53 bits", [HEADER, "0x10000000000000 | 0x0 0x1003"], 2, `"0x10000000000000" is no IOVA_PFN`],
    [
      "an entry that is no number",
      [HEADER, TITLES, ROW.replace("0x149a9403", "149a9403")],
      3,
      `"149a9403" is no entry`,
    ],
    ["an entry of 68 bits", [HEADER, "0x1 | 0x0 0x10000000000000003"], 2, `"0x10000000000000003" is no entry`],
    ["six columns", [HEADER, `${ROW} 0x3`], 2, "6 columns after IOVA_PFN, at most 5 exist"],
    ["no column", [HEADER, "0x1 |"], 2, `"" is no entry`],
    ["nothing but zeros", [HEADER, "0x1 | 0x0 0x0 0x0"], 2, "a row without an entry"],
  ])("refused: %s", async (_, lines, line, message) => {
    const error = await failure("malformed", () => parseListing(lines, "listing"));
    expect(error).toMatchObject({ file: "listing", line });
    expect(error.message).toContain(`listing: line ${line}: `);
    expect(error.reason).toContain(message);
  });
});

describe("files", () => {
  const compressed = readFileSync(join(VTD, "intel/00-08.0/domain_translation_struct.gz"));

  test.each([
    ["compressed", compressed],
    ["plain", gunzipSync(compressed)],
  ])("%s", async (name, contents) => {
    const file = join(scratch, name);
    writeFileSync(file, contents);
    const [section, ...others] = await readListing(file);
    expect(others).toEqual([]);
    expect(section).toMatchObject({ file, line: 1, device: "0000:00:08.0", sid: 0x40, pasid: 0, root: 0x1773d000n });
    expect(section.rows).toHaveLength(5005);
    expect(section.rows.at(-1)).toMatchObject({ line: 5007, iova: 0x7ffffffff000n });
  });

  test("a tree as debugfs has it, with a directory per device and PASID", async () => {
    const tree = join(scratch, "intel");
    const lay = (directory: string, name: string, text: string | Uint8Array) => {
      mkdirSync(join(tree, directory), { recursive: true });
      writeFileSync(join(tree, directory, name), text);
    };
    lay("00-06.0", "domain_translation_struct", `${HEADER}\n${TITLES}\n${ROW}\n`);
    lay("00-06.0/5", "domain_translation_struct", `Device 0000:00:06.0 with pasid 5 @0x1000\n${TITLES}`);
    lay("00-07.0", "domain_translation_struct", "");
    lay("00-08.0", "domain_translation_struct.gz", gzipSync(`${HEADER}\n`));
    lay("00-08.0", "other", "not a listing");
    lay("", "iommu_regset", "not a listing");
    const sections = await readListing(tree);
    expect(sections.map(({ file, pasid, rows }) => [file?.slice(tree.length + 1), pasid, rows.length])).toEqual([
      ["00-06.0/5/domain_translation_struct", 5, 0],
      ["00-06.0/domain_translation_struct", null, 1],
      ["00-08.0/domain_translation_struct.gz", null, 0],
    ]);
  });

  test.each<[string, DumpErrorCode, string, () => string]>([
    ["missing", "open", "ENOENT", () => "none"],
    [
      "a directory without any",
      "open",
      "no domain_translation_struct in this directory",
      () => {
        mkdirSync(join(scratch, "empty"));
        return "empty";
      },
    ],
    [
      "an archive",
      "malformed",
      "not text; an archive must be unpacked first",
      () => {
        writeFileSync(join(scratch, "debugfs.tar.gz"), gzipSync(new Uint8Array(512)));
        return "debugfs.tar.gz";
      },
    ],
    [
      "compressed and cut",
      "gzip",
      "ends too early",
      () => {
        writeFileSync(join(scratch, "cut.gz"), compressed.subarray(0, 9000));
        return "cut.gz";
      },
    ],
    [
      "one endless line",
      "malformed",
      "line 2: longer than",
      () => {
        writeFileSync(join(scratch, "endless"), `\n${"x".repeat(1 << 21)}`);
        return "endless";
      },
    ],
  ])("refused: %s", async (_, code, message, lay) => {
    const file = join(scratch, lay());
    const error = await failure(code, () => readListing(file));
    expect(error.file).toBe(file);
    expect(error.message).toContain(message);
  });
});
