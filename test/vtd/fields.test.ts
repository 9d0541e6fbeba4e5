import { describe, expect, it } from "vitest";
import { fieldLine } from "../../src/unit/fields.js";
import { decodeFields, fieldsOf, STRUCTURES } from "../../src/vtd/fields.js";
import { refused } from "../support/errors.js";

const WORDS: Readonly<Record<string, number>> = {
  "root entry": 2,
  "scalable root entry": 2,
  "context entry": 2,
  "scalable context entry": 4,
  "PASID table entry": 8,
};
const ALL_ONES = 0xffff_ffff_ffff_ffffn;

describe("the tables of VT-d structures", () => {
  it.each(STRUCTURES)("%s: every bit is in one field", (structure) => {
    const end = (WORDS[structure] ?? 1) * 64;
    for (const haw of [39, 46, 52]) {
      for (const firstWord of [0n, ALL_ONES]) {
        let next = 0;
        for (const { low, high } of fieldsOf(structure, firstWord, haw)) {
          expect([low, high]).toEqual([next, Math.max(low, high)]);
          next = high + 1;
        }
        expect(next).toBe(end);
      }
    }
  });

  it.each<[string, readonly bigint[], readonly string[]]>([
    ["root entry", [0x1234_5001n, 0n], ["P 0 = 0x1 (present)", "CTP 51:12 = 0x12345000"]],
    [
      "root entry",
      [0x8010_0000_1234_5032n, 5n],
      [
        "P 0 = 0x0 (not present)",
        "reserved 11:1 = 0x19",
        "CTP 51:12 = 0x12345000",
        "reserved 63:52 = 0x801",
        "reserved 127:64 = 0x5",
      ],
    ],
    [
      "scalable root entry",
      [0x1234_5001n, 0x6789_a000n],
      [
        "LP 0 = 0x1 (devices 0-15)",
        "LCTP 51:12 = 0x12345000",
        "UP 64 = 0x0 (devices 16-31 not present)",
        "UCTP 115:76 = 0x6789a000",
      ],
    ],
    [
      "context entry",
      [0x519b_c037n, 0xab_cdfan],
      [
        "P 0 = 0x1 (present)",
        "FPD 1 = 0x1 (qualified faults are not recorded)",
        "TT 3:2 = 0x1 (all requests through the second stage)",
        "reserved 11:4 = 0x3",
        "SSPTPTR 51:12 = 0x519bc000",
        "AW 66:64 = 0x2 (48 bits, 4 levels)",
        "ignored 70:67 = 0xf",
        "reserved 71 = 0x1",
        "DID 87:72 = 0xabcd",
      ],
    ],
    [
      "scalable context entry",
      [0x1_adc1_2b40dn, 0x1f_0b6fn, 0n, 1n],
      [
        "P 0 = 0x1 (present)",
        "DTE 2 = 0x1 (device-TLB enabled)",
        "PASIDE 3 = 0x1 (requests with PASID allowed)",
        "PDTS 11:9 = 0x2 (512 directory entries)",
        "PASIDDIRPTR 51:12 = 0x1adc12b000",
        "RID_PASID 83:64 = 0xf0b6f",
        "RID_PRIV 84 = 0x1",
        "reserved 255:192 = 0x1",
      ],
    ],
    [
      "PASID directory entry",
      [0xbaa_b003n],
      ["P 0 = 0x1 (present)", "FPD 1 = 0x1 (qualified faults are not recorded)", "SMPTBLPTR 51:12 = 0xbaab000"],
    ],
    [
      "PASID table entry",
      [0x49n, 0x9665n, 0x519b_c084n, 0n, 0n, 0n, 0n, 0n],
      [
        "P 0 = 0x1 (present)",
        "AW 4:2 = 0x2 (48 bits, 4 levels)",
        "PGTT 8:6 = 0x1 (first-stage)",
        "DID 79:64 = 0x9665",
        "FSPM 131:130 = 0x1 (5 levels)",
        "EAFE 135 = 0x1 (extended accessed bits)",
        "FSPTPTR 179:140 = 0x519bc000",
      ],
    ],
    [
      "PASID table entry",
      [0x1000_0ac0n, 0n, 0x600n, 1n, 0x2000_0008n, 0x1_0007n, 0n, 1n],
      [
        "P 0 = 0x0 (not present)",
        "AW 4:2 = 0x0",
        "PGTT 8:6 = 0x3 (nested)",
        "SSADE 9 = 0x1 (second-stage accessed and dirty bits)",
        "reserved 11:10 = 0x2",
        "SSPTPTR 51:12 = 0x10000000",
        "DID 79:64 = 0x0",
        "FSPM 131:130 = 0x0 (4 levels)",
        "reserved 139:136 = 0x6",
        "reserved 255:192 = 0x1",
        "reserved 267:259 = 0x1",
        "HPTPTR 307:268 = 0x20000000",
        "HPTDID 335:320 = 0x7",
        "reserved 383:336 = 0x1",
        "reserved 511:448 = 0x1",
      ],
    ],
    [
      "SS-PML4E",
      [0x5080n],
      ["R 0 = 0x0 (no reads)", "W 1 = 0x0 (no writes)", "reserved 7 = 0x1", "ADDR 51:12 = 0x5000"],
    ],
    [
      "SS-PDE",
      [0x8000_0000_0000_5b03n],
      [
        "R 0 = 0x1",
        "W 1 = 0x1",
        "PS 7 = 0x0 (table)",
        "A 8 = 0x1 (accessed)",
        "ignored 9 = 0x1",
        "reserved 11 = 0x1",
        "ADDR 51:12 = 0x5000",
        "ignored 63 = 0x1",
      ],
    ],
    [
      "SS-PDE",
      [0x4000_0000_4020_3bf1n],
      [
        "R 0 = 0x1",
        "W 1 = 0x0 (no writes)",
        "EMT 5:3 = 0x6",
        "IPAT 6 = 0x1",
        "PS 7 = 0x1 (2-MByte page)",
        "A 8 = 0x1 (accessed)",
        "D 9 = 0x1 (dirty)",
        "SNP 11 = 0x1 (snooped)",
        "reserved 20:12 = 0x3",
        "ADDR 51:21 = 0x40200000",
        "IW 62 = 0x1",
      ],
    ],
    [
      "SS-PDPE",
      [0x7fff_f083n],
      ["R 0 = 0x1", "W 1 = 0x1", "PS 7 = 0x1 (1-GByte page)", "reserved 29:12 = 0x3ffff", "ADDR 51:30 = 0x40000000"],
    ],
    ["SS-PTE", [0x5083n], ["R 0 = 0x1", "W 1 = 0x1", "ignored 7 = 0x1", "ADDR 51:12 = 0x5000"]],
    [
      "FS-PDE",
      [0x8000_0000_4020_3567n],
      [
        "P 0 = 0x1 (present)",
        "R/W 1 = 0x1",
        "U/S 2 = 0x1",
        "A 5 = 0x1 (accessed)",
        "ignored 6 = 0x1",
        "PS 7 = 0x0 (table)",
        "ignored 8 = 0x1",
        "EA 10 = 0x1 (extended accessed)",
        "ADDR 51:12 = 0x40203000",
        "ignored 63:52 = 0x800",
      ],
    ],
    [
      "FS-PDE",
      [0x4020_31e1n],
      [
        "P 0 = 0x1 (present)",
        "R/W 1 = 0x0 (no writes)",
        "U/S 2 = 0x0 (privileged requests only)",
        "A 5 = 0x1 (accessed)",
        "D 6 = 0x1 (dirty)",
        "PS 7 = 0x1 (2-MByte page)",
        "G 8 = 0x1 (global)",
        "PAT 12 = 0x1",
        "reserved 20:13 = 0x1",
        "ADDR 51:21 = 0x40200000",
      ],
    ],
    [
      "FS-PML5E",
      [0x5087n],
      ["P 0 = 0x1 (present)", "R/W 1 = 0x1", "U/S 2 = 0x1", "reserved 7 = 0x1", "ADDR 51:12 = 0x5000"],
    ],
    ["FS-PTE", [0x5087n], ["P 0 = 0x1 (present)", "R/W 1 = 0x1", "U/S 2 = 0x1", "PAT 7 = 0x1", "ADDR 51:12 = 0x5000"]],
  ])("%s, case %#", (structure, words, lines) => {
    expect(decodeFields(structure, words).map(fieldLine)).toEqual(lines);
  });

  it("calls address bits from the host address width on reserved", () => {
    expect(decodeFields("SS-PTE", [0x0008_0000_0000_5001n], 46).map(fieldLine)).toEqual([
      "R 0 = 0x1",
      "W 1 = 0x0 (no writes)",
      "ADDR 45:12 = 0x5000",
      "reserved 51:46 = 0x20",
    ]);
  });

  it("leaves out what lies beyond the words", () => {
    const names = decodeFields("context entry", [1n]).map(({ name }) => name);
    expect(names).toEqual(["P", "TT"]);
  });

  it("names the structures it knows when asked for another", () => {
    const error = refused("invalid", () => decodeFields("SS-XYZ", [0n]));
    expect(error.message).toContain('"SS-XYZ"');
    expect(error.message).toContain("SS-PML5E");
  });
});
