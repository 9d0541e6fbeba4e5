import { type Command, Option } from "commander";
import { type FormatDescription, findFormat } from "../engine/formats.js";
import { loadModule } from "../engine/load.js";
import { findImporter } from "../importers/importers.js";
import { type ValidationInputs, validationJson, validationText } from "../report/validation.js";
import { findStrategy } from "../strategies/strategies.js";
import { type Property, properties } from "../validate/judge.js";
import { DEFAULT_CASES, validate } from "../validate/validate.js";
import { oneOf, wholeNumber } from "./arguments.js";
import { namedList } from "./help.js";
import { Progress } from "./progress.js";
import { version } from "./version.js";

interface ValidateFlags {
  readonly importer: string;
  readonly strategy: string;
  readonly property: Property;
  readonly cases: number;
  readonly seed: number;
  readonly format: string;
  readonly case?: string;
  readonly json?: boolean;
}

export function addValidate(program: Command, formats: readonly FormatDescription[]): void {
  program
    .command("validate")
    .summary("search for a buffer that a strategy serves worse than another IOVA would")
    .description(
      "Lets a strategy place enumerated, random and adversarial buffers in domains that others have used, and holds what the " +
        "importer gets against the best that any IOVA gives. Ends with the smallest counterexample found and status 1, or with " +
        "status 2 when no buffer got an IOVA, so that nothing is shown.",
    )
    .requiredOption("--importer <name>", "whose entries are counted")
    .requiredOption("--strategy <name>", "what chooses the IOVAs")
    .addOption(oneOf(new Option("--property <name>", "what must hold of every case"), properties).default("tidy"))
    .option("--cases <n>", "cases to judge", wholeNumber, DEFAULT_CASES)
    .option("--seed <n>", "what chance begins with", wholeNumber, 1)
    .option("--format <name>", "page-table format of the domain", "vtdss")
    .addOption(
      new Option("--case <text>", "judge this case only, as a counterexample is printed").conflicts(["cases", "seed"]),
    )
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      [
        "",
        namedList("Properties", [
          {
            name: "tidy",
            summary: "the importer gets as few entries as the buffer's layout and the domain permit for any IOVA",
          },
          { name: "indifferent", summary: "the importer gets the same number of entries at every IOVA" },
          { name: "must", summary: "what the importer's hint says must be, is" },
          { name: "placed", summary: "there is an IOVA whenever a hole is long enough" },
        ]),
        "",
        "Example:",
        "  iommu-lab validate --importer xe --strategy linux",
      ].join("\n"),
    )
    .action(async (flags: ValidateFlags) => {
      const importer = findImporter(flags.importer);
      const strategy = findStrategy(flags.strategy);
      const format = findFormat(formats, flags.format);
      const inputs: ValidationInputs = {
        importer: importer.name,
        strategy: strategy.name,
        property: flags.property,
        cases: flags.case === undefined ? flags.cases : 1,
        seed: flags.seed,
        format: format.name,
        case: flags.case ?? null,
      };
      const progress = new Progress({ doing: "validating", unit: "cases", total: inputs.cases });
      const { cases, seed, property } = flags;
      const validation = await validate({
        ...{ module: await loadModule(), importer, strategy, property, cases, seed },
        format: format.name,
        ...(flags.case === undefined ? {} : { only: flags.case }),
        onProgress: (done) => progress.update(done),
      }).finally(() => progress.stop());
      const text = flags.json ? validationJson(version, inputs, validation) : `${validationText(inputs, validation)}\n`;
      process.stdout.write(text);
      if (validation.holds !== true) process.exitCode = validation.holds === null ? 2 : 1;
    });
}
