import { type Command, Option } from "commander";
import { packagedList, readDisputed } from "../conform/disputed.js";
import { VectorError } from "../conform/errors.js";
import type { ModelFactory } from "../conform/model.js";
import { VECTOR_MODELS } from "../conform/models.js";
import { conformanceJson, conformanceText } from "../conform/report.js";
import { conform } from "../conform/run.js";
import { Engine } from "../engine/engine.js";
import type { WasmExports } from "../engine/instance.js";
import { loadModule } from "../engine/load.js";
import { wholeNumber } from "./arguments.js";
import { Progress } from "./progress.js";
import { version } from "./version.js";

interface ConformFlags {
  readonly disputed?: string;
  readonly limit: number;
  readonly json?: boolean;
}

export function addConform(program: Command, models: ReadonlyMap<string, ModelFactory> = VECTOR_MODELS): void {
  program
    .command("conform")
    .summary("judge the emulated units by conformance vectors")
    .description(
      "Sets up a unit as each vector says, makes its requests and compares translations, fault records and changed table " +
        "words with what the vector expects. Fails when an entry that nobody disputes does not agree.",
    )
    .argument("<vectors...>", 'JSON Lines, plain or gzip; "-" reads standard input')
    .option("--disputed <file>", "entries held to be wrong, with reasons (default: the list of this package)")
    .option("--limit <n>", "mismatches to print", wholeNumber, 20)
    .addOption(new Option("--json", "print one JSON document, with every mismatch").conflicts("limit"))
    .addHelpText("after", "\nExample:\n  iommu-lab conform vtd-*.jsonl")
    .action(async (files: readonly string[], flags: ConformFlags) => {
      const disputed = await readDisputed(flags.disputed ?? packagedList());
      const module = await loadModule();
      const progress = await Progress.throughFiles("judging", files);
      const conformance = await conform(files, {
        models,
        disputed,
        onRead: progress.read,
        newEngine: (options) =>
          new Engine(new WebAssembly.Instance(module, {}).exports as unknown as WasmExports, options),
      }).finally(() => progress.stop());
      if (Object.values(conformance.counts).every((count) => count === 0)) {
        throw new VectorError("there are no vectors", { file: files.join(", ") });
      }
      process.stdout.write(
        flags.json
          ? conformanceJson(version, { files, disputed: flags.disputed ?? null }, conformance)
          : `${conformanceText(conformance, flags.limit)}\n`,
      );
      for (const line of conformance.warnings) process.stderr.write(`iommu-lab: ${line}\n`);
      if (conformance.counts.failed > 0) process.exitCode = 1;
    });
}
