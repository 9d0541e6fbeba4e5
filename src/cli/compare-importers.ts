/** Options of `compare` about who imports the buffers. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { IommuError } from "../engine/errors.js";
import type { ImporterRequest } from "../replay/importer-inputs.js";
import { type VirtualAddressMode, virtualAddressModes } from "../replay/virtual-addresses.js";
import { parseWeights, type Weights } from "../strategies/joint.js";
import { byteCount } from "./arguments.js";

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

/** What the flags ask for. Throws `invalid` for what says something of importers where there is none. */
export function importerFlags({ importer, va, vaOffset, weights }: ImporterFlags): ImporterRequest {
  if (importer === undefined) {
    const idle = Object.entries({ "--va": va, "--va-offset": vaOffset, "--weights": weights });
    const [option] = idle.find(([, value]) => value !== undefined) ?? [];
    if (option !== undefined) throw new IommuError("invalid", `use ${option}`, undefined, "it needs --importer");
  }
  return { importers: importer, va, vaOffset, weights };
}
