import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { arenaBaseFor } from "../../src/dump/pages.js";
import { loadDump, readDump } from "../../src/dump/dump.js";
import type { DumpErrorCode } from "../../src/dump/errors.js";
import { parseMaps, readMaps } from "../../src/dump/maps.js";
import { newEngine } from "../support/engine.js";
import { checkLeaves, failure, SHARED_DUMPS, SMMU, tableOf, VTD } from "./support.js";

const LEAF = "0x00000000ffffc000 0x0000149ab000 0x1000 RW pte=0x00000000149ab003";

/** Walks every device's table in a loaded dump; returns how many devices and leaves there were. */
async function walkAll(directory: string): Promise<{ tables: number; leaves: number }> {
  const dump = await readDump(directory);
  const engine = await newEngine({ arenaBase: arenaBaseFor(dump) });
  loadDump(engine, dump);
  const count = { tables: 0, leaves: 0 };
  for (const device of await readMaps(join(directory, "maps.txt.gz"))) {
    const table = tableOf(engine, device);
    if (table === null) {
      expect(device.leaves).toEqual([]);
      continue;
    }
    checkLeaves(table, device.leaves);
    count.tables++;
    count.leaves += device.leaves.length;
  }
  return count;
}

describe("a list of leaves", () => {
  test("has a section per device", async () => {
    const devices = await readMaps(join(VTD, "maps.txt.gz"));
    expect(devices.map((device) => [device.sid.toString(16), device.leaves.length])).toEqual([
      ["0", 0],
      ["8", 0],
      ["10", 0],
      ["18", 0],
      ["20", 0],
      ["28", 0],
      ["30", 4],
      ["38", 0],
      ["40", 5005],
      ["48", 133],
      ["f8", 138],
      ["fa", 138],
      ["fb", 138],
      ["100", 44],
      ["200", 258],
    ]);
    expect(devices[6].info).toMatchObject({ mode: "scalable", pasid: 0, did: 8, ss: "0xafd000" });
    expect(devices[6].leaves[0]).toEqual({
      iova: 0xffffc000n,
      physical: 0x149ab000n,
      size: 0x1000n,
      permissions: "RW",
      entry: 0x149ab003n,
    });
  });

  test.each([
    [VTD, { tables: 15, leaves: 5858 }],
    [SMMU, { tables: 10, leaves: 5070 }],
  ])("is what walks of the loaded dump find: %s", async (directory, count) => {
    expect(await walkAll(directory)).toEqual(count);
  });

  test.runIf(SHARED_DUMPS.length > 0).each(SHARED_DUMPS)("recorded: %s", async (directory) => {
    expect((await walkAll(directory)).leaves).toBeGreaterThan(0);
  });

  test("may have other line ends and white space", async () => {
    const text = `\r\n#device 0001:3a:1f.7 {"a": [1, "{}"]}  leaves=1\r\n  ${LEAF.replaceAll(" ", "\t ")}\r\n\r\n`;
    expect(await parseMaps(text.split("\n"))).toMatchObject([
      { sid: 0x3aff, info: { a: [1, "{}"] }, leaves: [{ iova: 0xffffc000n, permissions: "RW" }] },
    ]);
  });

  test.each<[string, string[], DumpErrorCode, number, string]>([
    ["a leaf first", [LEAF], "malformed", 1, "a leaf before the first device"],
    ["another comment", ["# hello"], "malformed", 1, `not "# device BB:DD.F {...} leaves=N"`],
    ["no count", ["# device 00:01.0 {}"], "malformed", 1, `not "# device`],
    ["no such device", ["# device 00:20.0 {} leaves=0"], "malformed", 1, `"00:20.0" is no PCI address`],
    ["no such function", ["# device 00:01.8 {} leaves=0"], "malformed", 1, `"00:01.8" is no PCI address`],
    ["damaged JSON", ["# device 00:01.0 {a} leaves=0"], "malformed", 1, "not JSON"],
    ["a word", ["# device 00:01.0 {} leaves=1", "leaf"], "malformed", 2, `not "IOVA PHYSICAL SIZE RW pte=ENTRY"`],
    ["no permissions", ["# device 00:01.0 {} leaves=1", LEAF.replace("RW", "--")], "malformed", 2, `not "IOVA`],
    [
      "no number",
      ["# device 00:01.0 {} leaves=1", LEAF.replace("0x1000", "4096")],
      "malformed",
      2,
      `"4096" is not a "0x"`,
    ],
    [
      "an odd size",
      ["# device 00:01.0 {} leaves=1", LEAF.replace("0x1000", "0x3000")],
      "malformed",
      2,
      "0x3000 is not the size",
    ],
    ["no size", ["# device 00:01.0 {} leaves=1", LEAF.replace("0x1000", "0x0")], "malformed", 2, "0x0 is not the size"],
    [
      "unaligned",
      ["# device 00:01.0 {} leaves=1", LEAF.replace("0x1000", "0x200000")],
      "malformed",
      2,
      "an address is not a multiple of the size 0x200000",
    ],
    [
      "one too few",
      ["", "# device 00:01.0 {} leaves=1", "# device 00:02.0 {} leaves=0"],
      "inconsistent",
      2,
      "leaves=1, but 0 follow",
    ],
    ["one too many", ["# device 00:01.0 {} leaves=0", LEAF], "inconsistent", 1, "leaves=0, but 1 follow"],
  ])("refused: %s", async (_, lines, code, line, message) => {
    const error = await failure(code, () => parseMaps(lines, "maps.txt"));
    expect(error).toMatchObject({ file: "maps.txt", line });
    expect(error.message).toContain(`maps.txt: line ${line}: ${message}`);
  });

  test("that is missing", async () => {
    const file = join(VTD, "none.txt");
    expect((await failure("open", () => readMaps(file))).file).toBe(file);
  });
});
