#!/usr/bin/env node
import { Command } from "commander";
import { VectorError } from "../conform/errors.js";
import { DumpError } from "../dump/errors.js";
import { IommuError } from "../engine/errors.js";
import { loadEngine } from "../engine/load.js";
import { TraceError } from "../trace/errors.js";
import { addCompare } from "./compare.js";
import { addConform } from "./conform.js";
import { addExplain } from "./explain.js";
import { addExperiment } from "./experiment.js";
import { addValidate } from "./validate.js";
import { version } from "./version.js";

const program = new Command("iommu-lab")
  .description("What each choice of DMA address does to IOMMU page tables, counted on real traces")
  .version(version)
  .showHelpAfterError("(--help shows how it is used)")
  .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, "iommu-lab: ")) })
  .exitOverride((error) => {
    // Help and --version end well; a command line that cannot be understood could not be run.
    process.exit(error.exitCode === 0 ? 0 : 2);
  });

// A trace counts pages of 4 KiB, which tables of larger granules cannot map.
const { formats } = await loadEngine();
const formatsOf4K = formats.filter(({ granule }) => granule === 4096n);
addCompare(program, formatsOf4K);
addValidate(program, formatsOf4K);
addConform(program);
addExperiment(program);
addExplain(program);

// A reader that closes the pipe early (head) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 2));

try {
  await program.parseAsync();
} catch (error) {
  const expected = [DumpError, IommuError, RangeError, TraceError, VectorError].some((kind) => error instanceof kind);
  if (!(error instanceof Error && expected)) throw error;
  process.stderr.write(`iommu-lab: ${error.message}\n`);
  process.exitCode = 2;
}
