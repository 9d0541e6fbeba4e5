import type { Command } from "commander";
import { loadEngine } from "../engine/load.js";
import { scenarioJson, scenarioList, scenarioListJson, scenarioText } from "../report/scenario.js";
import { holds } from "../scenarios/scenario.js";
import { findScenario, scenarios } from "../scenarios/scenarios.js";
import { version } from "./version.js";

export function addScenario(program: Command): void {
  program
    .command("scenario")
    .summary("run a scenario of drivers that share buffers, or list them")
    .description(
      "Sets up a machine, lets drivers share buffers by the rules and against them, and says whether what it claims of the " +
        "outcome holds. Without a name it lists the scenarios. Fails when a claim does not hold.",
    )
    .argument("[name]", "which scenario")
    .option("--json", "print one JSON document")
    .addHelpText("after", "\nExample:\n  iommu-lab scenario mr-100mb")
    .action(async (name: string | undefined, flags: { readonly json?: boolean }) => {
      if (name === undefined) {
        process.stdout.write(flags.json ? scenarioListJson(version, scenarios) : `${scenarioList(scenarios)}\n`);
        return;
      }
      const scenario = findScenario(name);
      const result = await scenario.run(() => loadEngine());
      process.stdout.write(
        flags.json ? scenarioJson(version, scenario, result) : `${scenarioText(scenario, result)}\n`,
      );
      if (!holds(result)) process.exitCode = 1;
    });
}
