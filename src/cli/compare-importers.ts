/** Options of `compare` about who imports the buffers. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { ImporterRequest } from "../replay/importer-inputs.js";
import { type VirtualAddressMode, virtualAddressModes } from "../replay/virtual-addresses.js";
import { parseWeights, type Weights } from "../strategies/joint.js";
import { findStrategy } from "../strategies/strategies.js";
import { byteCount, oneOf, refuseUnused } from "./arguments.js";

export interface ImporterFlags {
  readonly importer?: readonly string[];
  readonly va?: VirtualAddressMode;
  readonly vaOffset?: number;
  readonly weights?: Weights;
  readonly strategy?: readonly string[];
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
      oneOf(
        new Option(
          "--va <mode>",
          "virtual addresses of the buffers for their importer (default: the workload's own, or aligned)",
        ),
        virtualAddressModes,
      ),
    )
    .option(
      "--va-offset <bytes>",
      "bytes to add to every virtual address, as 4096, 0x1000 or 4K: whole pages",
      byteCount,
    )
    .option(
      "--weights <w>",
      "cost of a leaf, an entry and a page of space for joint: iommu=1,importer=1,space=0",
      weights,
    );
}

/** What the flags ask for. Ends the command for options without effect. */
export function importerFlags(
  { importer, va, vaOffset, weights, strategy }: ImporterFlags,
  command: Command,
): ImporterRequest {
  if (importer === undefined) refuseUnused(command, ["va", "vaOffset", "weights"], "needs --importer NAME");
  if (strategy?.map(findStrategy).every(({ rule }) => rule.placement !== "joint")) {
    refuseUnused(command, ["weights"], "needs the strategy joint");
  }
  return { importers: importer, va, vaOffset, weights };
}
