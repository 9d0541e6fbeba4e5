/** Options of `compare` about who imports the buffers. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { type AnyImporter, findImporter } from "../importers/importers.js";
import type { ReplaysOptions } from "../replay/replays.js";
import { type VirtualAddressMode, virtualAddressModes } from "../replay/virtual-addresses.js";
import type { ComparisonInputs } from "../report/comparison.js";
import { DEFAULT_WEIGHTS, parseWeights, type Weights } from "../strategies/joint.js";
import { wholeNumber } from "./arguments.js";

export interface ImporterFlags {
  readonly importer?: readonly string[];
  readonly va?: VirtualAddressMode;
  readonly vaOffset?: number;
  readonly weights?: Weights;
}

function weights(text: string): Weights {
  const parsed = parseWeights(text);
  if (parsed === null) throw new InvalidArgumentError("not iommu=N, importer=N, space=N, separated by commas");
  return parsed;
}

export function addImporterOptions(command: Command): Command {
  return command
    .option(
      "--importer <name>",
      "device whose page-table entries are counted too; can be given several times",
      (name: string, names: readonly string[] = []) => [...names, name],
    )
    .addOption(
      new Option(
        "--va <mode>",
        "virtual addresses of the buffers for their importer (default: the workload's own, or aligned)",
      ).choices([...virtualAddressModes]),
    )
    .option("--va-offset <bytes>", "bytes to add to every virtual address, a multiple of 4096", wholeNumber)
    .option(
      "--weights <w>",
      "cost of a leaf, an entry and a page of space for joint: iommu=1,importer=1,space=0",
      weights,
    );
}

/** Throws `invalid` for a name that no importer has. */
export function importersOf({ importer = [] }: ImporterFlags): AnyImporter[] {
  return [...new Set(importer)].map(findImporter);
}

/** The flags as a comparison takes them. */
export function ofImporters(flags: ImporterFlags): Omit<ReplaysOptions, "strategies"> {
  const { va: mode, vaOffset: offset } = flags;
  return {
    importers: importersOf(flags),
    ...(flags.weights === undefined ? {} : { weights: flags.weights }),
    virtualAddresses: { ...(mode === undefined ? {} : { mode }), ...(offset === undefined ? {} : { offset }) },
  };
}

/** The flags as they stand at the head of a report; nothing where no importer was asked for. */
export function importerInputs(
  flags: ImporterFlags,
  ownAddresses: string,
): Pick<ComparisonInputs, "importers" | "va" | "vaOffset" | "weights"> {
  const names = importersOf(flags).map(({ name }) => name);
  if (names.length === 0) return {};
  return {
    importers: names,
    va: flags.va ?? ownAddresses,
    vaOffset: flags.vaOffset ?? 0,
    weights: flags.weights ?? DEFAULT_WEIGHTS,
  };
}
