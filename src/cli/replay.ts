import { access, readFile } from "node:fs/promises";
import { type Command, InvalidArgumentError, Option } from "commander";
import { Engine } from "../engine/engine.js";
import type { WasmExports } from "../engine/instance.js";
import { loadModule } from "../engine/load.js";
import { CallReader, type TraceCalls } from "../predict/calls.js";
import { PredictError } from "../predict/errors.js";
import { parseGroups } from "../predict/groups.js";
import { predict } from "../predict/predict.js";
import { type PredictionInputs, predictionJson, predictionText } from "../predict/report.js";
import { type PageRange, parseIoMemory } from "../predict/reserved.js";
import type { Flush } from "../predict/spaces.js";
import { compareTrace } from "../replay/compare.js";
import { type ComparisonInputs, comparisonJson, comparisonText } from "../report/comparison.js";
import { findStrategy, type Strategy, strategyNames } from "../strategies/strategies.js";
import { openTraceText } from "../trace/open.js";
import { requireMappings } from "../trace/usable.js";
import { oneOf, refuseUnused, wholeNumber } from "./arguments.js";
import { namedList } from "./help.js";
import { Progress, StagedProgress } from "./progress.js";
import { warn } from "./warnings.js";
import { version } from "./version.js";

interface ReplayFlags {
  readonly strategy: string;
  readonly predict?: boolean;
  readonly recoverOrder?: boolean;
  readonly iomem?: string;
  readonly groups?: string;
  readonly reserve?: readonly ReservedRange[];
  readonly dmaMask?: readonly DmaMask[];
  readonly flush: Flush | "auto";
  readonly learnReserved?: boolean;
  readonly limit: number;
  readonly strict?: boolean;
  readonly json?: boolean;
}

interface ReservedRange extends PageRange {
  readonly text: string;
}

interface DmaMask {
  readonly text: string;
  /** null: of all devices. */
  readonly device: string | null;
  readonly bits: number;
}

/** Options that only a prediction has. */
const OF_PREDICTIONS = ["recoverOrder", "iomem", "groups", "reserve", "dmaMask", "flush", "learnReserved", "limit"];

const PAGE_BYTES = 4096n;

function reservedRange(text: string, before: readonly ReservedRange[] = []): ReservedRange[] {
  const found = /^(?:0x)?([0-9a-f]{1,16})-(?:0x)?([0-9a-f]{1,16})$/i.exec(text);
  if (found === null) throw new InvalidArgumentError("not a range FIRST-LAST of hexadecimal addresses");
  const first = BigInt(`0x${found[1]}`) / PAGE_BYTES;
  const last = BigInt(`0x${found[2]}`) / PAGE_BYTES;
  if (last < first) throw new InvalidArgumentError("the range ends before it begins");
  return [...before, { text, first: Number(first), last: Number(last) }];
}

function dmaMask(text: string, before: readonly DmaMask[] = []): DmaMask[] {
  const found = /^(?:([0-9a-f]{4,}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7])=)?(\d+)$/i.exec(text);
  const bits = Number(found?.[2]);
  if (found === null || bits < 13 || bits > 64) {
    throw new InvalidArgumentError("not a number of bits from 13 to 64, with or without DDDD:BB:DD.F= before it");
  }
  return [...before, { text, device: found[1]?.toLowerCase() ?? null, bits }];
}

export function addReplay(program: Command): void {
  program
    .command("replay")
    .summary("replay a trace under one IOVA strategy, or predict the IOVAs that Linux recorded")
    .description(
      "Replays the mappings of a recorded trace under one IOVA strategy. With --predict, Linux's own allocator answers " +
        "the calls of the trace, from a device's first on, and what it gives is compared with what the kernel recorded.",
    )
    .argument("<trace>", 'text of tracefs, trace-cmd report or perf script, plain or gzip; "-" reads standard input')
    .requiredOption("--strategy <name>", "IOVA strategy")
    .option("--predict", "compare each IOVA with the recorded one (strategies of Linux)")
    .option("--recover-order", "let calls move within the times that the trace leaves open, then predict uncorrected")
    .option("--iomem <file>", "the machine's /proc/iomem (default: NAME.iomem.txt beside NAME.trace.gz)")
    .option("--groups <file>", "its IOMMU groups, GROUP/devices/DEVICE TYPE (default: NAME.groups.txt)")
    .option("--reserve <first-last>", "a further reserved range, hexadecimal; may be repeated", reservedRange)
    .option("--dma-mask <bits>", "DMA mask, of all or DDDD:BB:DD.F=BITS; may be repeated (default: 64)", dmaMask)
    .addOption(
      oneOf(new Option("--flush <how>", "how unmapped ranges are flushed where the groups do not tell"), [
        "auto",
        "strict",
        "lazy",
        "lazy-single",
      ]).default("auto"),
    )
    .option("--learn-reserved", "infer reserved ranges from what the trace leaves out")
    .option("--limit <n>", "misses to list", wholeNumber, 20)
    .option("--strict", "stop at the first malformed line")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      [
        "",
        namedList("Strategies", strategyNames),
        "",
        "Examples:",
        "  iommu-lab replay trace.gz --strategy pa-congruent",
        "  iommu-lab replay nvme.trace.gz --strategy linux --predict --recover-order",
      ].join("\n"),
    )
    .action(async (trace: string, flags: ReplayFlags, command: Command) => {
      const strategy = findStrategy(flags.strategy);
      if (flags.predict) {
        if (strategy.rule.source !== "linux")
          command.error(`error: --predict is for Linux's strategies, not ${strategy.name}`);
        if (strategy.rule.linux?.flush !== undefined) refuseUnused(command, ["flush"], `is ${strategy.name}'s own`);
        await predictTrace(trace, strategy, flags);
        return;
      }
      refuseUnused(command, OF_PREDICTIONS, "needs --predict");
      await replay(trace, strategy, flags);
    });
}

async function replay(trace: string, strategy: Strategy, flags: ReplayFlags): Promise<void> {
  const inputs: ComparisonInputs = {
    trace,
    strategies: [strategy.name],
    format: "vtdss",
    levels: 4,
    reclaim: "covered",
    device: null,
    from: null,
    to: null,
  };
  const { format, levels } = inputs;
  const progress = await Progress.throughFiles("reading", [trace]);
  const comparison = await compareTrace(await loadModule(), openTraceText(trace, progress.read), {
    strategies: [strategy],
    format,
    levels,
    strict: flags.strict ?? false,
  }).finally(() => progress.stop());
  requireMappings(comparison.statistics, trace, comparison.incomplete);
  process.stdout.write(
    flags.json ? comparisonJson(version, inputs, comparison, "replay") : `${comparisonText(inputs, comparison)}\n`,
  );
  warn(comparison);
}

async function predictTrace(trace: string, strategy: Strategy, flags: ReplayFlags): Promise<void> {
  const iomem = flags.iomem ?? (await beside(trace, "iomem"));
  const groups = flags.groups ?? (await beside(trace, "groups"));
  const ioMemory = iomem === null ? null : parseIoMemory(await readText(iomem, "iomem"), iomem);
  const members = groups === null ? [] : parseGroups(await readText(groups, "groups"), groups);
  const module = await loadModule();
  const newEngine = (): Engine => new Engine(new WebAssembly.Instance(module, {}).exports as unknown as WasmExports);
  const engine = newEngine();
  const calls = await readCalls(trace, flags, () => {
    const { exports } = newEngine();
    return { exports, memory: exports.memory };
  });
  requireMappings(calls.statistics, trace);
  const { alignment, flush } = strategy.rule.linux ?? {};
  const progress = new StagedProgress();
  const prediction = (() => {
    try {
      return predict(calls, {
        machine: {
          factory: (options) => engine.createLinuxIovaDomain(options),
          cpus: calls.cpus,
          groups: members,
          ioMemory,
          reserved: flags.reserve ?? [],
          masks: new Map((flags.dmaMask ?? []).map(({ device, bits }) => [device, bits])),
          flush: flush ?? flags.flush,
          alignment: alignment ?? "size",
        },
        recoverOrder: flags.recoverOrder,
        learnReserved: flags.learnReserved,
        onProgress: progress.share,
      });
    } finally {
      progress.stop();
    }
  })();
  const inputs: PredictionInputs = {
    trace,
    strategy: strategy.name,
    iomem,
    groups,
    reserve: (flags.reserve ?? []).map(({ text }) => text),
    dmaMask: (flags.dmaMask ?? []).map(({ text }) => text),
    flush: flags.flush,
    learnReserved: flags.learnReserved ?? false,
    recoverOrder: flags.recoverOrder ?? false,
  };
  process.stdout.write(
    flags.json
      ? predictionJson(version, inputs, calls, prediction, flags.limit)
      : `${predictionText(inputs, calls, prediction, flags.limit)}\n`,
  );
  warn(calls);
}

async function readCalls(
  trace: string,
  flags: ReplayFlags,
  newInstance: ConstructorParameters<typeof CallReader>[0],
): Promise<TraceCalls> {
  const reader = new CallReader(newInstance, { strict: flags.strict });
  const progress = await Progress.throughFiles("reading", [trace]);
  try {
    for await (const chunk of openTraceText(trace, progress.read)) reader.push(chunk);
  } finally {
    progress.stop();
  }
  return reader.end();
}

/** NAME.KIND.txt beside NAME.trace or NAME.trace.gz, if it is there. */
async function beside(trace: string, kind: string): Promise<string | null> {
  const found = /^(.*)\.trace(?:\.gz)?$/.exec(trace);
  if (found === null) return null;
  const path = `${found[1]}.${kind}.txt`;
  return access(path).then(
    () => path,
    () => null,
  );
}

async function readText(file: string, code: "iomem" | "groups"): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new PredictError(code, `cannot be read: ${cause instanceof Error ? cause.message : cause}`, { file });
  }
}
