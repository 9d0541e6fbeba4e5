#!/usr/bin/env node
import { Command } from "commander";
import { loadEngine } from "../engine/load.js";
import { addCompare } from "./compare.js";
import { addConform } from "./conform.js";
import { errorText } from "./errors.js";
import { addExplain } from "./explain.js";
import { addExperiment } from "./experiment.js";
import { addRegress } from "./regress.js";
import { addReplay } from "./replay.js";
import { addScenario } from "./scenario.js";
import { addValidate } from "./validate.js";
import { version } from "./version.js";

const program = new Command("iommu-lab")
  .description("What each choice of DMA address does to IOMMU page tables, counted on real traces")
  .version(version)
  .addHelpText("after", "\nExample:\n  iommu-lab compare trace.gz --strategy as-recorded,pa-congruent")
  .showHelpAfterError("(--help shows how it is used)")
  .configureOutput({
    outputError: (text, write) => write(text.replace(/^error: /, "iommu-lab: ").replace("\n(Did", " (Did")),
  })
  .exitOverride((error) => {
    // Help and --version end well; a command line that cannot be understood could not be run.
    process.exit(error.exitCode === 0 ? 0 : 2);
  });

// A trace counts pages of 4 KiB, which tables of larger granules cannot map.
const { formats } = await loadEngine();
const formatsOf4K = formats.filter(({ granule }) => granule === 4096n);
addCompare(program, formatsOf4K);
addReplay(program);
addValidate(program, formatsOf4K);
addConform(program);
addExperiment(program);
addExplain(program);
addScenario(program);
addRegress(program, formatsOf4K);

// A reader that closes the pipe early (head) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 2));

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(errorText(error));
  process.exitCode = 2;
}
