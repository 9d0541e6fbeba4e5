import { Argument, type Command } from "commander";
import { loadEngine } from "../engine/load.js";
import { congruenceExperiment, congruenceJson, congruenceText } from "../report/congruence.js";
import { oneOf } from "./arguments.js";
import { version } from "./version.js";

export function addExperiment(program: Command): void {
  program
    .command("experiment")
    .summary("run a named experiment")
    .description(
      "Runs a named experiment.\n\nExperiments:\n" +
        "  congruence    leaves of a 64 MiB buffer by alignment and by congruence, in every page-table format",
    )
    .addArgument(oneOf(new Argument("<name>", "which experiment"), ["congruence"]))
    .option("--json", "print one JSON document")
    .addHelpText("after", "\nExample:\n  iommu-lab experiment congruence")
    .action(async (_name: string, flags: { readonly json?: boolean }) => {
      const cases = congruenceExperiment(await loadEngine());
      process.stdout.write(flags.json ? congruenceJson(version, cases) : `${congruenceText(cases)}\n`);
    });
}
