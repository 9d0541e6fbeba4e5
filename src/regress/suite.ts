/** Suites: files that name the cases of a regression run. */
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { z } from "zod";
import { parseAccess } from "../access/kinds.js";
import { jsonPath } from "../document-issue.js";
import { UnknownNameError } from "../engine/errors.js";
import { defaultLevels, type FormatDescription, findFormat } from "../engine/formats.js";
import { findImporter } from "../importers/importers.js";
import { findPreset } from "../machines/presets.js";
import { suggestion } from "../names.js";
import { workloadStrategies } from "../replay/compare-workload.js";
import { type ImporterInputs, importerInputs, importerOptions } from "../replay/importer-inputs.js";
import type { TrafficChoice } from "../replay/replay.js";
import { comparable } from "../replay/replays.js";
import { chooseTraffic, DEFAULT_ACCESS } from "../replay/traffic-inputs.js";
import { virtualAddressModes } from "../replay/virtual-addresses.js";
import type { ComparisonInputs, WorkloadInputs } from "../report/comparison.js";
import { DEFAULT_WEIGHTS } from "../strategies/joint.js";
import { asksImporter, findStrategy, strategies } from "../strategies/strategies.js";
import { workloadOptions } from "../workloads/workload.js";
import { findWorkload } from "../workloads/workloads.js";
import { pathFrom, readDocument } from "./document.js";
import { RegressError } from "./errors.js";
import { SUITE_FILE } from "./suite-file.js";

const wholeNumber = z.int().nonnegative();
const ofTraces = {
  device: z
    .string()
    .regex(/^[0-9a-f]{4,}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$/, "not a PCI device (DDDD:BB:DD.F)")
    .optional()
    .describe("device that owns the mappings which no dma event names, DDDD:BB:DD.F"),
  from: z.number().nonnegative().optional().describe("begin at this time of the trace's clock, seconds"),
  to: z.number().nonnegative().optional().describe("end before this time, seconds"),
};
const ofWorkloads = {
  seed: wholeNumber.optional().describe("what the workload's chance begins with (default: 1)"),
  memory: z.string().optional().describe("state of its physical memory (default: aged)"),
  operations: wholeNumber.optional().describe("its maps and unmaps (default: its own)"),
};
const weightFields = {
  iommu: z.number().nonnegative().default(DEFAULT_WEIGHTS.iommu).describe("of an IOMMU leaf"),
  importer: z.number().nonnegative().default(DEFAULT_WEIGHTS.importer).describe("of an importer's entry"),
  space: z.number().nonnegative().default(DEFAULT_WEIGHTS.space).describe("of a page of IOVA space"),
};
const ofImporters = {
  va: z
    .enum(virtualAddressModes)
    .optional()
    .describe("virtual addresses of the buffers for their importers (default: the workload's own, or aligned)"),
  vaOffset: wholeNumber
    .multipleOf(4096, "not a multiple of 4096")
    .optional()
    .describe("bytes to add to every virtual address"),
  weights: z.strictObject(weightFields).optional().describe("costs for the strategy joint"),
};
const ofTraffic = {
  machine: z
    .string()
    .optional()
    .describe("devices access what is mapped through the caches of this preset, or JSON file relative to this one"),
  access: z.string().optional().describe("how, KIND or KIND:BYTES (default with a machine: sequential:256)"),
  hints: z.boolean().optional().describe("invalidations spare paging-structure entries where they may (default: true)"),
};
const caseFields = {
  name: z
    .string()
    .regex(/^[\w.-]+$/, "a case's name has letters, digits, _ . and -")
    .describe("what baselines and reports call it; no other case has it"),
  trace: z.string().optional().describe("a trace, relative to this file; this or a workload"),
  ...ofTraces,
  workload: z.string().optional().describe("a synthetic workload"),
  ...ofWorkloads,
  format: z.string().optional().describe("page-table format (default: vtdss, or the machine's)"),
  levels: wholeNumber
    .optional()
    .describe("levels of the tables (default: the machine's, or 4, or as many as the format has)"),
  reclaim: z.enum(["covered", "empty"]).default("covered").describe("table pages that an unmap frees"),
  strategies: z.array(z.string()).min(1).optional().describe("strategies to replay (default: all)"),
  importers: z.array(z.string()).min(1).optional().describe("devices whose page-table entries are counted too"),
  ...ofImporters,
  ...ofTraffic,
};
const suiteFields = {
  $schema: z.string().optional(),
  cases: z.array(z.strictObject(caseFields)).min(1).describe("in the order in which they are reported"),
};

/** What a suite file is. `iommu-lab.suite.schema.json` says the same for editors. */
export const suiteSchema = z.strictObject(suiteFields);

/** The text of `iommu-lab.suite.schema.json` (JSON Schema 2020-12). */
export function suiteSchemaJson(): string {
  return `${JSON.stringify(z.toJSONSchema(suiteSchema, { io: "input" }), null, 2)}\n`;
}

type CaseDocument = z.output<typeof suiteSchema>["cases"][number];

/** What a case replays, with every default said. */
export type CaseInputs = (Omit<ComparisonInputs, "traffic"> | Omit<WorkloadInputs, "traffic">) & {
  /** As the suite names it. */
  readonly machine?: string;
  readonly access?: string;
  readonly hints?: boolean;
};

export interface SuiteCase {
  readonly name: string;
  readonly inputs: CaseInputs;
  /** What the machine and the access of the inputs are. */
  readonly traffic?: TrafficChoice;
}

export interface Suite {
  readonly file: string;
  readonly cases: readonly SuiteCase[];
}

/** The suite that comes with the package; the package finds itself by its own name, wherever it was compiled to. */
export function packagedSuite(): string {
  return join(dirname(createRequire(import.meta.url).resolve("iommu-lab/package.json")), SUITE_FILE);
}

/**
 * Reads a suite.
 * @throws RegressError `file`; `suite`, naming the path in the file of what is not as the schema says, has a name that
 * nothing has, or makes no sense
 */
export async function readSuite(file: string, formats: readonly FormatDescription[]): Promise<Suite> {
  const { cases } = await readDocument(file, "suite", suiteSchema);
  const names = new Set<string>();
  const read: SuiteCase[] = [];
  for (const [index, document] of cases.entries()) {
    const at = new CasePlace(file, index);
    if (names.has(document.name)) throw at.error(["name"], `there is another case "${document.name}"`);
    names.add(document.name);
    const traffic = await caseTraffic(document, dirname(file), formats, at);
    const inputs = caseInputs(document, formats, traffic, at);
    read.push({ name: document.name, inputs, ...(traffic === undefined ? {} : { traffic }) });
  }
  return { file, cases: read };
}

/** Where a case stands in its file. */
class CasePlace {
  constructor(
    private readonly file: string,
    private readonly index: number,
  ) {}

  error(path: readonly PropertyKey[], reason: string, cause?: unknown): RegressError {
    const where = `${this.file}: ${jsonPath(["cases", this.index, ...path])}`;
    return new RegressError("suite", where, reason, { cause });
  }

  /** What `work` returns; its errors get the path of the field that they are about. */
  check<T>(path: readonly PropertyKey[], work: () => T): T {
    try {
      return work();
    } catch (cause) {
      throw this.located(path, cause);
    }
  }

  /** An error that was thrown, with the path of the field that it is about. */
  located(path: readonly PropertyKey[], cause: unknown): unknown {
    if (!(cause instanceof Error)) return cause;
    const near = cause instanceof UnknownNameError ? suggestion(cause.unknown, cause.known) : "";
    return this.error(path, `${cause.message}${near}`, cause);
  }
}

function caseImporters(document: CaseDocument, at: CasePlace): ImporterInputs {
  if (document.importers === undefined) {
    const misplaced = (Object.keys(ofImporters) as (keyof CaseDocument)[]).find(
      (field) => document[field] !== undefined,
    );
    if (misplaced !== undefined) throw at.error([misplaced], "only a case with importers has this");
  }
  for (const [index, name] of (document.importers ?? []).entries()) {
    at.check(["importers", index], () => findImporter(name));
  }
  return importerInputs(document, document.trace === undefined ? "workload" : "trace");
}

/** What devices do, undefined where the case has neither machine nor access. */
async function caseTraffic(
  document: CaseDocument,
  directory: string,
  formats: readonly FormatDescription[],
  at: CasePlace,
): Promise<TrafficChoice | undefined> {
  const { machine, access, hints, seed } = document;
  if (machine === undefined && access === undefined) {
    if (hints !== undefined) throw at.error(["hints"], "only a case with a machine or an access has this");
    return undefined;
  }
  const misplaced = (["format", "levels"] as const).find((field) => document[field] !== undefined);
  if (misplaced !== undefined)
    throw at.error([misplaced], "it is the machine's, in a case with a machine or an access");
  if (access !== undefined) at.check(["access"], () => parseAccess(access));
  const found = machine === undefined || findPreset(machine) ? machine : pathFrom(directory, machine);
  try {
    return await chooseTraffic({ machine: found, access, hints, seed }, formats);
  } catch (cause) {
    throw at.located(["machine"], cause);
  }
}

/** The same as inputs, with every default said. */
function trafficNames(
  { machine, access = DEFAULT_ACCESS }: CaseDocument,
  traffic: TrafficChoice | undefined,
): Pick<CaseInputs, "machine" | "access" | "hints"> {
  if (traffic === undefined) return {};
  return { machine: machine ?? traffic.machine.name, access, hints: traffic.hints ?? true };
}

function caseInputs(
  document: CaseDocument,
  formats: readonly FormatDescription[],
  traffic: TrafficChoice | undefined,
  at: CasePlace,
): CaseInputs {
  const { trace, workload } = document;
  if ((trace === undefined) === (workload === undefined)) throw at.error([], "a case has a trace or a workload");
  const foreign = Object.keys(trace === undefined ? ofTraces : ofWorkloads) as (keyof CaseDocument)[];
  const misplaced = foreign.find((field) => document[field] !== undefined);
  if (misplaced !== undefined) {
    throw at.error([misplaced], `only a ${trace === undefined ? "trace" : "workload"} has this`);
  }
  const machine = traffic?.machine;
  const format = at.check([machine ? "machine" : "format"], () =>
    findFormat(formats, machine?.format ?? document.format ?? "vtdss"),
  );
  const levels = machine?.levels ?? document.levels ?? defaultLevels(format);
  if (levels < format.minLevels || levels > format.maxLevels) {
    throw at.error(
      [machine ? "machine" : "levels"],
      `${format.name} has ${format.minLevels} to ${format.maxLevels} levels`,
    );
  }
  const asked = caseImporters(document, at);
  const { importers } = importerOptions(asked);
  const known = comparable(workload === undefined ? strategies : workloadStrategies, importers);
  const named = document.strategies?.map((name, index) => {
    const strategy = at.check(["strategies", index], () => findStrategy(name));
    if (workload !== undefined && strategy.rule.source === "recorded") {
      throw at.error(["strategies", index], "a workload has no recorded IOVAs");
    }
    if (asksImporter(strategy) && asked.importers === undefined) {
      throw at.error(["strategies", index], "it needs importers to ask");
    }
    return strategy.name;
  });
  const replay = {
    strategies: named ?? known.map(({ name }) => name),
    format: format.name,
    levels,
    reclaim: document.reclaim,
    ...asked,
    ...trafficNames(document, traffic),
  };
  if (workload === undefined) {
    const { device = null, from = null, to = null } = document;
    return { trace: trace ?? "", ...replay, device, from, to };
  }
  const found = at.check(["workload"], () => findWorkload(workload));
  const options = Object.fromEntries(
    Object.entries({ seed: document.seed, memory: document.memory, operations: document.operations }).filter(
      ([, value]) => value !== undefined,
    ),
  );
  const { seed, memory, operations } = at.check([], () => workloadOptions(found, options));
  return { workload: found.name, seed, memory, operations, ...replay };
}
