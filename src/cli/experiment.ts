import { Argument, type Command } from "commander";
import { loadEngine } from "../engine/load.js";
import { fastAndSafe } from "../experiment/fast-and-safe/experiment.js";
import { LENGTH } from "../experiment/fast-and-safe/run.js";
import { isPublished, pcieBench } from "../experiment/pcie-bench.js";
import { LIVE_RANGES, rcacheCliff } from "../experiment/rcache-cliff.js";
import { loadMachine } from "../machines/load.js";
import { PRESETS } from "../machines/presets.js";
import { congruenceExperiment, congruenceJson, congruenceText } from "../report/congruence.js";
import { fastAndSafeJson, fastAndSafeText } from "../report/fast-and-safe.js";
import { pcieBenchJson, pcieBenchText } from "../report/pcie-bench.js";
import { rcacheCliffJson, rcacheCliffText } from "../report/rcache-cliff.js";
import { oneOf, refuseUnused } from "./arguments.js";
import { Progress } from "./progress.js";
import { version } from "./version.js";

interface ExperimentFlags {
  readonly machine?: string;
  readonly json?: boolean;
}

interface Experiment {
  readonly summary: string;
  /** Whether it runs on a machine that the user may choose. */
  readonly takesMachine: boolean;
  /** @param onProgress receives the share that is done */
  run(flags: ExperimentFlags, onProgress: (share: number) => void): Promise<string>;
}

const EXPERIMENTS: Readonly<Record<string, Experiment>> = {
  congruence: {
    summary: "leaves of a 64 MiB buffer by alignment and by congruence, in every page-table format",
    takesMachine: false,
    async run({ json }) {
      const cases = congruenceExperiment(await loadEngine());
      return json ? congruenceJson(version, cases) : `${congruenceText(cases)}\n`;
    },
  },
  "fast-and-safe": {
    summary: "misses per page of a 100 Gb/s card in strict mode (SOSP'24), ours beside the published figures",
    takesMachine: false,
    async run({ json }, onProgress) {
      const cases = await fastAndSafe(loadEngine, LENGTH, onProgress);
      return json ? fastAndSafeJson(version, cases) : `${fastAndSafeText(cases)}\n`;
    },
  },
  "pcie-bench": {
    summary: "random 64-byte reads over growing windows (SIGCOMM'18), ours beside the published figures",
    takesMachine: true,
    async run({ machine, json }, onProgress) {
      const engine = await loadEngine();
      const machines =
        machine === undefined ? PRESETS.filter(isPublished) : [await loadMachine(machine, engine.formats)];
      const rows = pcieBench(engine, machines, onProgress);
      return json ? pcieBenchJson(version, machines, rows) : `${pcieBenchText(machines, rows)}\n`;
    },
  },
  "rcache-cliff": {
    summary: "what an IOVA costs beyond the 128 KiB that Linux's magazines hold, counted",
    takesMachine: false,
    async run({ json }, onProgress) {
      const rows = rcacheCliff(await loadEngine(), LIVE_RANGES, onProgress);
      return json ? rcacheCliffJson(version, rows) : `${rcacheCliffText(rows)}\n`;
    },
  },
};

export function addExperiment(program: Command): void {
  const names = Object.keys(EXPERIMENTS);
  const width = Math.max(...names.map((name) => name.length));
  const list = names.map((name) => `  ${name.padEnd(width)}    ${EXPERIMENTS[name].summary}`).join("\n");
  program
    .command("experiment")
    .summary("run a named experiment")
    .description(`Runs a named experiment.\n\nExperiments:\n${list}`)
    .addArgument(oneOf(new Argument("<name>", "which experiment"), names))
    .option("--machine <name>", `a preset (${PRESETS.map(({ name }) => name).join(", ")}) or a JSON file`)
    .option("--json", "print one JSON document")
    .addHelpText("after", "\nExample:\n  iommu-lab experiment congruence")
    .action(async (name: string, flags: ExperimentFlags, command: Command) => {
      const experiment = EXPERIMENTS[name];
      if (!experiment.takesMachine) refuseUnused(command, ["machine"], `has no meaning for experiment ${name}`);
      const progress = Progress.ofShares("counting");
      process.stdout.write(await experiment.run(flags, progress.share).finally(() => progress.stop()));
    });
}
