/** What a machine's file is: the fields of `Machine`, most with a default, sizes of page as a list of bytes. */
import { z } from "zod";
import * as layout from "../../assembly/layout.js";
import { geometryFault, isPowerOfTwo, MOST_ENTRIES, MOST_WAYS, REPLACEMENTS } from "../cache/geometry.js";
import { TRANSLATIONS } from "./machine.js";

const GRANULE = 4096;
const SECOND_STAGE_FORMAT = /^vtdss$|-s2$/;

/** Which stage a format's tables are of. */
export function stageOf(format: string): "first" | "second" {
  return SECOND_STAGE_FORMAT.test(format) ? "second" : "first";
}

/** Windows of pcie-bench are mapped as a whole. */
const MOST_WINDOW = 2 ** 32;

const cacheFields = {
  sets: z.int().min(1).max(MOST_ENTRIES).default(1).describe("a power of two (default: 1, fully associative)"),
  ways: z.int().min(1).max(MOST_WAYS).describe("entries of a set"),
  replacement: z.enum(REPLACEMENTS).default("lru").describe("which entry of a full set gives way (default: lru)"),
  seed: z.int().min(0).max(0xffff_ffff).exactOptional().describe("of the replacement random (default: 1)"),
};
type CacheFields = z.output<z.ZodObject<typeof cacheFields>>;

function checkGeometry({ value, issues }: z.core.ParsePayload<CacheFields>): void {
  const fault = geometryFault(value);
  if (fault !== null) issues.push({ code: "custom", message: fault, input: value });
}

const cache = z.strictObject(cacheFields).check(checkGeometry);

const iotlb = z
  .strictObject({
    ...cacheFields,
    pageSizes: z
      .array(z.number().refine((size) => size >= GRANULE && isPowerOfTwo(size), "expected a power of two from 4096"))
      .min(1)
      .exactOptional()
      .describe(
        "bytes of the pages that it takes (default: any); a larger page is kept in parts of the largest of them",
      ),
  })
  .check(checkGeometry);

const structures = z.strictObject({
  2: cache.exactOptional().describe("of entries of level 2 (PDE), which point to the last tables"),
  3: cache.exactOptional().describe("of entries of level 3 (PDPE)"),
  4: cache.exactOptional().describe("of entries of level 4 (PML4E)"),
  5: cache.exactOptional().describe("of entries of level 5 (PML5E)"),
});

const caches = z.strictObject({
  iotlb: z
    .array(iotlb)
    .min(1)
    .max(layout.SIMULATOR_IOTLB_COUNT)
    .describe("one for every size of page, or several that split them"),
  firstStage: structures
    .exactOptional()
    .describe(
      "paging-structure caches of a machine whose stage is first; {} is none (default: fully associative, lru, 64 entries of level 2, 16 of levels 3 and 4)",
    ),
  secondStage: structures.exactOptional().describe("the same of a machine whose stage is second"),
});

const nonnegative = z.number().nonnegative();
const positive = z.number().positive();

/** What both hosts of pcie-bench have in common whose figures are published, its device included. */
const figures = z
  .strictObject({
    memoryReadNs: nonnegative.describe("ns of one read by the walker: of an entry of a page table"),
    linkGbps: positive.describe("Gb/s of the link in one direction"),
    walksInFlight: positive
      .default(6)
      .describe("walks under way at a time (default: 6, as on the hosts of pcie-bench)"),
    iotlbHitNs: nonnegative.default(0).describe("ns that an IOTLB hit adds (default: 0, contained in dmaReadNs)"),
    headerBytes: nonnegative
      .default(20)
      .describe("bytes on the link beside the data of a transaction (default: 20, a completion of PCI Express)"),
    dmaReadNs: nonnegative
      .default(420)
      .describe("ns from a read to its data, translation apart (default: 420, the device of pcie-bench)"),
    dmaReadsInFlight: positive
      .default(26.5)
      .describe("reads that the device keeps under way (default: 26.5, the device of pcie-bench)"),
    lastLevelCacheBytes: nonnegative
      .default(0)
      .describe("bytes of the last-level cache that hold what devices read (default: 0, there is none)"),
    dmaMemoryNs: nonnegative
      .exactOptional()
      .describe("ns that a read behind the last-level cache adds (default: 57 with such a cache, else 0)"),
    invalidation: z
      .strictObject({
        commandNs: nonnegative.describe("ns of a core to write a command to the queue"),
        waitNs: nonnegative.describe("ns that a core waits for completion"),
      })
      .exactOptional()
      .describe("CPU time of invalidations (default: not modelled)"),
  })
  .transform(({ dmaMemoryNs, ...rest }) => ({
    ...rest,
    dmaMemoryNs: dmaMemoryNs ?? (rest.lastLevelCacheBytes > 0 ? 57 : 0),
  }));

const published = z.array(positive.nullable()).exactOptional().describe("published Gb/s by window, null: none");
const pcieBench = z
  .strictObject({
    readBytes: z
      .int()
      .min(1)
      .max(GRANULE)
      .refine(isPowerOfTwo, "expected a power of two")
      .default(64)
      .describe("bytes of a read, a power of two (default: 64)"),
    windows: z.array(z.int().min(1).max(MOST_WINDOW)).min(1).describe("bytes that reads are spread over"),
    off: published,
    "small-pages": published,
    superpages: published,
  })
  .check(({ value, issues }) => {
    const { windows, readBytes } = value;
    for (const [index, window] of windows.entries()) {
      if (window % readBytes === 0) continue;
      const message = `expected a multiple of readBytes, ${readBytes}`;
      issues.push({ code: "custom", message, path: ["windows", index], input: window });
    }
    for (const translation of TRANSLATIONS) {
      const count = value[translation]?.length ?? windows.length;
      if (count === windows.length) continue;
      const message = `expected a figure for each of ${windows.length} windows, found ${count}`;
      issues.push({ code: "custom", message, path: [translation], input: value[translation] });
    }
  });

/** What a machine's file is. `iommu-lab.machine.schema.json` says the same for editors. */
export const machineSchema = z
  .strictObject({
    $schema: z.string().optional(),
    name: z.string().min(1),
    title: z.string().min(1).exactOptional().describe("what reports call it (default: its name)"),
    format: z.string().default("vtdss").describe("page-table format (default: vtdss)"),
    levels: z.int().min(1).max(5).exactOptional().describe("of the tables (default: 4, or as many as the format has)"),
    stage: z
      .enum(["first", "second"])
      .exactOptional()
      .describe(
        "which stage devices go through: that of the format, which is the default (second: vtdss, vmsav8-…-s2)",
      ),
    caches,
    figures,
    pcieBench: pcieBench.exactOptional().describe("windows of experiment pcie-bench, and what was measured"),
    sources: z.unknown().optional().describe("where figures come from, for people"),
  })
  .transform(({ $schema: _, sources: __, stage, ...rest }) => ({
    ...rest,
    stage: stage ?? stageOf(rest.format),
  }))
  .check(({ value, issues }) => {
    const other = value.stage === "first" ? "secondStage" : "firstStage";
    if (value.caches[other] === undefined) return;
    const message = `expected ${value.stage}Stage, as devices go through the ${value.stage} stage`;
    issues.push({ code: "custom", message, path: ["caches", other], input: value.caches[other] });
  });

/** The text of `iommu-lab.machine.schema.json` (JSON Schema 2020-12). */
export function machineSchemaJson(): string {
  return `${JSON.stringify(z.toJSONSchema(machineSchema, { io: "input" }), null, 2)}\n`;
}
