import { join } from "node:path";
import { Command, CommanderError } from "commander";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { addExplain } from "../../src/cli/explain.js";
import { version } from "../../src/cli/version.js";
import { VectorError } from "../../src/conform/errors.js";
import { DumpError } from "../../src/dump/errors.js";
import { vectorFile } from "../conform/support.js";
import { foreignDump, VTD } from "../dump/support.js";
import { fixtureVector, VECTORS } from "../explain/support.js";
import { run } from "./run.js";

const FOREIGN = foreignDump();

const written = { stdout: "", stderr: "" };

beforeEach(() => {
  for (const stream of ["stdout", "stderr"] as const) {
    written[stream] = "";
    vi.spyOn(process[stream], "write").mockImplementation((text) => {
      written[stream] += String(text);
      return true;
    });
  }
});

afterEach(() => {
  vi.restoreAllMocks();
});

/** Runs the verb in this process and returns what it prints. */
async function explain(...args: readonly string[]): Promise<string> {
  written.stdout = "";
  const program = new Command("iommu-lab").exitOverride();
  addExplain(program);
  await program.parseAsync(["explain", ...args], { from: "user" });
  expect(written.stderr).toBe("");
  return written.stdout;
}

const CONFIGURATION = `scalable root entry at 0x7f5000: 0x7f9001 0xadb001
  LP 0 = 0x1 (devices 0-15)
  LCTP 47:12 = 0x7f9000
  UP 64 = 0x1 (devices 16-31)
  UCTP 111:76 = 0xadb000

scalable context entry at 0x7f9800: 0xad7401 0x0 0x0 0x0
  P 0 = 0x1 (present)
  PDTS 11:9 = 0x2 (512 directory entries)
  PASIDDIRPTR 47:12 = 0xad7000
  RID_PASID 83:64 = 0x0

PASID directory entry at 0xad7000: 0xb87001
  P 0 = 0x1 (present)
  SMPTBLPTR 47:12 = 0xb87000

PASID table entry at 0xb87000: 0x1773d089 0xa 0x0 0x0 0x0 0x0 0x0 0x0
  P 0 = 0x1 (present)
  AW 4:2 = 0x2 (48 bits, 4 levels)
  PGTT 8:6 = 0x2 (second-stage)
  SSPTPTR 47:12 = 0x1773d000
  DID 79:64 = 0xa
  FSPM 131:130 = 0x0 (4 levels)
`;

describe("iommu-lab explain of a dump", () => {
  it("ends with the translation and its leaf", async () => {
    expect(await explain(VTD, "--sid", "0000:00:08.0", "--iova", "0x1abc", "--access", "w")).toBe(
      `00:08.0 writes 0x1abc

${CONFIGURATION}
SS-PML4E at 0x1773d000: 0x178b7403
  R 0 = 0x1
  W 1 = 0x1
  ignored 10 = 0x1
  ADDR 47:12 = 0x178b7000

SS-PDPE at 0x178b7000: 0x178b6403
  R 0 = 0x1
  W 1 = 0x1
  PS 7 = 0x0 (table)
  ignored 10 = 0x1
  ADDR 47:12 = 0x178b6000

SS-PDE at 0x178b6000: 0x178b5403
  R 0 = 0x1
  W 1 = 0x1
  PS 7 = 0x0 (table)
  ignored 10 = 0x1
  ADDR 47:12 = 0x178b5000

SS-PTE at 0x178b5008: 0x201003
  R 0 = 0x1
  W 1 = 0x1
  ADDR 47:12 = 0x201000

reaches 0x201abc, in a 4K page
  leaf  SS-PTE at 0x178b5008
`,
    );
  });

  it("ends with the fault, the entry that decided it and the record", async () => {
    const text = await explain(VTD, "--sid", "00:08.0", "--iova", "0x1000000123");
    expect(text.startsWith(`00:08.0 reads 0x1000000123\n\n${CONFIGURATION}`)).toBe(true);
    expect(text.slice(text.indexOf("\nSS-PDPE"))).toBe(`
SS-PDPE at 0x178b7200: 0x0
  R 0 = 0x0 (no reads)
  W 1 = 0x0 (no writes)
  PS 7 = 0x0 (table)
  ADDR 47:12 = 0x0

faults with code 121 (0x79): SSS.2, second stage grants neither reading nor writing
  decided by    SS-PDPE at 0x178b7200
  fault record  FRCD0, sid 0x40, addr 0x1000000000, type r
  completion    UR
`);
  });

  it.each<[string, readonly string[], string]>([
    [
      "when nothing was read",
      ["--iova", "0xfee00000"],
      `00:08.0 reads 0xfee00000

faults with code 41 (0x29): 29h, request to the interrupt range that is no valid interrupt
  decided by    the request: no structure was read
  fault record  FRCD0, sid 0x40, addr 0x0, type r
  completion    UR
`,
    ],
    [
      "when it is no DMA",
      ["--iova", "0xfee00000", "--access", "w"],
      `00:08.0 writes 0xfee00000

reaches 0xfee00000, untranslated: an interrupt message, which is not DMA
`,
    ],
  ])("says so %s", async (_, args, text) => {
    expect(await explain(VTD, "--sid", "00:08.0", ...args)).toBe(text);
  });

  it("prints one JSON document", async () => {
    const args = ["--sid", "00:08.0", "--pasid", "0x3", "--iova", "0x1abc"];
    const document = JSON.parse(await explain(VTD, ...args, "--json"));
    const entries = { format: null, levels: null };
    const request = { sid: "0x40", pasid: 3, iova: "0x1abc", access: "r" };
    expect(Object.keys(document)).toEqual(["command", "version", "inputs", "request", "steps", "verdict"]);
    expect(document).toMatchObject({
      command: "explain",
      version,
      inputs: { path: VTD, ...request, ...entries },
      request,
      verdict: {
        ok: false,
        code: 0x45,
        name: "SCT.6",
        condition: "PASIDE of the scalable-mode context entry clear",
        record: { place: "FRCD0", fields: { sid: "0x40", addr: "0x1000", type: "r" } },
        unrecorded: null,
        completion: "UR",
        decidedBy: { structure: "scalable context entry", address: "0x7f9800" },
      },
    });
    expect(document.steps).toHaveLength(2);
    expect(document.steps[1]).toEqual({
      structure: "scalable context entry",
      address: "0x7f9800",
      words: ["0xad7401", "0x0", "0x0", "0x0"],
      fields: [
        { name: "P", bits: "0", value: "0x1", meaning: "present" },
        { name: "PDTS", bits: "11:9", value: "0x2", meaning: "512 directory entries" },
        { name: "PASIDDIRPTR", bits: "47:12", value: "0xad7000" },
        { name: "RID_PASID", bits: "83:64", value: "0x0" },
      ],
      written: null,
    });
  });

  it("prints sizes as numbers", async () => {
    const { verdict } = JSON.parse(await explain(VTD, "--sid", "00:08.0", "--iova", "0x1abc", "--json"));
    const decidedBy = { structure: "SS-PTE", address: "0x178b5008" };
    expect(verdict).toEqual({ ok: true, physical: "0x201abc", pageSize: 4096, note: null, decidedBy });
  });
});

describe("iommu-lab explain of a listing", () => {
  const LISTING = join(VTD, "intel");

  it("shows the entries that are listed", async () => {
    const text = await explain(LISTING, "--sid", "00:08.0", "--iova", "0x1000");
    expect(text.match(/^\S.*$/gm)).toEqual([
      "00:08.0 reads 0x1000",
      "SS-PML4E at 0x1773d000: 0x178b7403",
      "SS-PDPE at 0x178b7000: 0x178b6403",
      "SS-PDE at 0x178b6000: 0x178b5403",
      "SS-PTE at 0x178b5008: 0x201003",
      "reaches 0x201000, in a 4K page",
    ]);
  });

  it("is told what an empty one does not say", async () => {
    const args = ["--sid", "00:00.0", "--iova", "0x1000"];
    await expect(explain(LISTING, ...args)).rejects.toThrow("say how many levels and which format");
    expect(await explain(LISTING, ...args, "--format", "vtdss", "--levels", "4")).toContain(
      `
  decided by    SS-PML4E at 0xae4000
  fault record  none: a listing does not show whether FPD is set
`,
    );
  });
});

describe("iommu-lab explain of vectors", () => {
  const ID = "vtd-scalable-fs-dev-0110";
  const { line, json } = fixtureVector(ID);
  const heading = (entry: number): string => `${VECTORS}:${line}: ${ID} entry ${entry} [fs4, ctx:dfpd]`;

  it("shows every entry, what was expected and whether it came so", async () => {
    const entries = (await explain(VECTORS, "--id", ID)).trimEnd().split("\n\n\n");
    expect(entries.map((text) => text.split("\n").slice(0, 2))).toEqual([
      [heading(0), "00:04.0 reads 0xffffffffc0000000"],
      [heading(1), "00:04.0 reads 0xfffffffffde77db8"],
      [heading(2), "00:04.0 reads 0x0"],
      [heading(3), "00:04.0 writes 0xffffffffd43f7470"],
    ]);
    expect(entries[0].slice(entries[0].indexOf("\nFS-PML4E"))).toBe(`
FS-PML4E at 0x5efceff8: 0x387183b007
  P 0 = 0x1 (present)
  R/W 1 = 0x1
  U/S 2 = 0x1
  ADDR 47:12 = 0x387183b000
  becomes 0x387183b027

FS-PDPE at 0x387183bff8: 0x2c400000e7
  P 0 = 0x1 (present)
  R/W 1 = 0x1
  U/S 2 = 0x1
  A 5 = 0x1 (accessed)
  D 6 = 0x1 (dirty)
  PS 7 = 0x1 (1-GByte page)
  ADDR 47:30 = 0x2c40000000

reaches 0x2c40000000, in a 1G page
  leaf  FS-PDPE at 0x387183bff8

as the vector expects
  expected  pa 0x2c40000000, word 0x5efceff8 becomes 0x387183b027`);
    expect(entries[2].slice(entries[2].indexOf("\nfaults"))).toBe(`
faults with code 113 (0x71): SFS.2, first-stage entry not present
  decided by    FS-PML4E at 0x5efce000
  fault record  none: FPD of the PASID directory entry
  completion    UR

as the vector expects
  expected  blocked, nothing recorded`);
  });

  it("says what the specification requires where the recorded machine departs from it", async () => {
    const text = await explain(VECTORS, "--id", "vtd-scalable-ss-dev-0046", "--entry", "1");
    expect(text.slice(text.indexOf("\nas the"))).toBe(`
as the vector expects
  expected  code 121 (0x79) or code 122 (0x7a) or code 134 (0x86), by the specification
  recorded  code 6 (0x6): LGN.3 no read permission, sid 0x18, addr 0xfb000000, type r \
(order of checks: QEMU looks at permissions before reserved bits, level by level)
`);
  });

  it("says what disagrees, and at what nobody answers", async () => {
    const file = await vectorFile({ ...json, expect: json.expect.map(() => ({ pa: "0x1000" })), memory: [] });
    const text = await explain(file, "--entry", "0");
    expect(text.slice(text.indexOf("\nfaults"))).toBe(`
faults with code 57 (0x39): SRT.2, LP or UP of the scalable-mode root entry clear
  decided by    scalable root entry at 0x429ca000
  fault record  FRCD0, sid 0x20, addr 0xffffffffc0000000, type r
  completion    UR

not as the vector expects
  expected  pa 0x1000
  differs   answer: code 57 (0x39), not pa 0x1000
`);
    const config = { ...json.config, ram: [] };
    expect(await explain(await vectorFile({ ...json, config, memory: [] }), "--entry", "0")).toContain(
      "\n\nscalable root entry at 0x429ca000: nobody backs this address\n\nfaults with code 56 (0x38): SRT.1",
    );
  });

  it("prints one JSON document", async () => {
    const document = JSON.parse(await explain(VECTORS, "--id", ID, "--json"));
    expect(Object.keys(document)).toEqual(["command", "version", "inputs", "vector", "entries"]);
    expect(document).toMatchObject({
      command: "explain",
      version,
      inputs: { file: VECTORS, id: ID, entry: null },
      vector: { file: VECTORS, line, id: ID, tags: ["fs4", "ctx:dfpd"] },
      entries: [
        {
          entry: 0,
          request: { sid: "0x20", iova: "0xffffffffc0000000", access: "r" },
          verdict: { ok: true, physical: "0x2c40000000", pageSize: 2 ** 30 },
          expected: { pa: "0x2c40000000", writes: [["0x5efceff8", "0x387183b027"]] },
          agrees: true,
          differences: [],
          disputed: null,
        },
        { entry: 1 },
        {
          entry: 2,
          verdict: { ok: false, code: 0x71, record: null, unrecorded: "FPD of the PASID directory entry" },
          expected: { code: null, fields: {}, writes: [] },
          agrees: true,
        },
        { entry: 3 },
      ],
    });
    expect(document.entries[0].steps[4]).toMatchObject({ structure: "FS-PML4E", written: ["0x387183b027"] });
    const [only, ...more] = JSON.parse(await explain(VECTORS, "--id", ID, "--entry", "2", "--json")).entries;
    expect([only, more]).toEqual([document.entries[2], []]);
  });
});

describe("iommu-lab explain without an answer", () => {
  const device = ["--sid", "00:08.0"];
  const request = [...device, "--iova", "0x0"];

  it.each<[string, readonly string[], string]>([
    ["no request", [VTD], "--sid and --iova are needed"],
    ["no address", [VTD, ...device], "--sid and --iova are needed"],
    ["no device", [VTD, "--iova", "0x0"], "--sid and --iova are needed"],
    ["no PCI device", [VTD, "--sid", "00:08.8"], "not a PCI device (BB:DD.F, or DDDD:BB:DD.F)"],
    ["no hexadecimal address", [VTD, "--iova", "4096"], 'not a "0x" number of at most 64 bits'],
    ["an address too wide", [VTD, "--iova", "0x10000000000000000"], 'not a "0x" number of at most 64 bits'],
    ["a PASID too wide", [VTD, ...request, "--pasid", "0x100000"], "a PASID has 20 bits"],
    ["a PASID that is no number", [VTD, ...request, "--pasid", "-1"], "not a whole number"],
    ["another access", [VTD, ...request, "--access", "x"], "Allowed choices are r, w."],
    ["a vector of a dump", [VTD, ...request, "--id", "x"], "'--sid <BB:DD.F>' cannot be used with option '--id <id>'"],
    ["an entry of a dump", [VTD, ...request, "--entry", "1"], "cannot be used with option '--entry <n>'"],
  ])("to %s", async (_, args, message) => {
    const error = explain(...args);
    await expect(error).rejects.toThrow(CommanderError);
    await expect(error).rejects.toThrow(message);
    expect(written.stdout).toBe("");
  });

  it.each<[string, readonly string[], typeof DumpError | typeof VectorError, string]>([
    [
      "a dump of another kind",
      [FOREIGN, ...request],
      DumpError,
      `${FOREIGN}: a dump of elsewhere; there are units of vtd, smmuv3`,
    ],
    ["nothing", [join(VTD, "none"), ...request], DumpError, "none: cannot be read: ENOENT"],
    ["a vector that is not there", [VECTORS, "--id", "x"], VectorError, `${VECTORS}: there is no vector "x" of vtd`],
    ["text", [join(VTD, "maps.txt.gz")], VectorError, "maps.txt.gz: line 1: not JSON"],
  ])("of %s", async (_, args, kind, message) => {
    const error = explain(...args);
    await expect(error).rejects.toThrow(kind);
    await expect(error).rejects.toThrow(message);
    expect(written.stdout).toBe("");
  });

  it("ends with status 2; a fault is an answer", async () => {
    const { status, stdout, stderr } = await run(["explain", VTD, "--sid", "00:08.0"]);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(/^iommu-lab: --sid and --iova are needed/);
    const missing = await run(["explain", FOREIGN, ...request]);
    expect(missing).toEqual({
      status: 2,
      stdout: "",
      stderr: `iommu-lab: ${FOREIGN}: a dump of elsewhere; there are units of vtd, smmuv3\n`,
    });
    const fault = await run(["explain", VTD, "--sid", "00:08.0", "--iova", "0x1000000000"]);
    expect(fault).toMatchObject({ status: 0, stderr: "" });
    expect(fault.stdout).toContain("\nfaults with code 121 (0x79)");
  });
});
