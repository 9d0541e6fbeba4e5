import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { UnsupportedVector } from "../../src/conform/errors.js";
import type { ModelFactory, VectorOutcome, VectorUnit } from "../../src/conform/model.js";
import { parseVector } from "../../src/conform/reader.js";
import type { Vector, VectorRequest } from "../../src/conform/vector.js";

const PRESENT = 1n;
const ACCESSED = 1n << 5n;
const PAGE_MASK = 0xfffn;

/** An IOMMU of one table: entry n, at config.table + 8n, translates page n. Fault 2: not present, with sid, addr, type. */
class OneTableUnit implements VectorUnit {
  private readonly memory: Map<bigint, bigint>;
  private readonly table: bigint;

  constructor(vector: Vector) {
    this.memory = new Map(vector.memory);
    this.table = vector.config.word("table");
  }

  request({ sid, iova, access }: VectorRequest): VectorOutcome {
    const address = this.table + (iova >> 12n) * 8n;
    const entry = this.readWord(address);
    const reads = [{ structure: "table entry", address, words: entry === null ? null : [entry] }];
    if (entry === null || (entry & PRESENT) === 0n) {
      return { code: 2, fields: { sid, addr: iova & ~PAGE_MASK, type: access }, reads };
    }
    this.memory.set(address, entry | ACCESSED);
    return { pa: (entry & ~PAGE_MASK) | (iova & PAGE_MASK), reads };
  }

  readWord(address: bigint): bigint | null {
    return this.memory.get(address) ?? null;
  }
}

export const oneTable: ModelFactory = () => ({
  arch: "onetable",
  open(vector) {
    if (vector.config.has("nested")) throw new UnsupportedVector("nested translation");
    return new OneTableUnit(vector);
  },
});

/** A vector of the architecture above: page 0 is mapped to 0x5000, page 1 is not present. */
export const mapped = {
  id: "mapped",
  arch: "onetable",
  tags: ["t1"],
  config: { table: "0x1000" },
  memory: [
    ["0x1000", "0x5001"],
    ["0x1008", "0x6000"],
  ],
  requests: [
    { sid: "0x00ef", iova: "0x18", access: "r" },
    { sid: "0x00ef", iova: "0x1008", access: "w" },
  ],
  expect: [
    { pa: "0x5018", writes: [["0x1000", "0x5021"]] },
    { fault: { code: 2, name: "not present", sid: "0x00ef", addr: "0x1000", type: "w" } },
  ],
} as const;

/** One vector through its JSON form. */
export function vectorOf(vector: object): Vector {
  return parseVector(JSON.stringify(vector), { file: "x.jsonl", line: 1 });
}

/** Writes vectors to a new file, one a line, and returns its name. */
export async function vectorFile(...vectors: readonly object[]): Promise<string> {
  return temporaryFile("vectors.jsonl", vectors.map((vector) => `${JSON.stringify(vector)}\n`).join(""));
}

/** A file that is gone when the test has ended. */
export async function temporaryFile(name: string, content: string | Uint8Array): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "iommu-lab-"));
  onTestFinished(() => rm(directory, { recursive: true }));
  const file = join(directory, name);
  await writeFile(file, content);
  return file;
}
