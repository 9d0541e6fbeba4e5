/** Who imports the buffers of a comparison, as users ask for it and as reports repeat it. */
import { findImporter } from "../importers/importers.js";
import { DEFAULT_WEIGHTS, type Weights } from "../strategies/joint.js";
import type { ReplaysOptions } from "./replays.js";
import { type VirtualAddressMode, virtualAddressModes } from "./virtual-addresses.js";

/** What may be asked for. */
export interface ImporterRequest {
  readonly importers?: readonly string[] | undefined;
  readonly va?: VirtualAddressMode | undefined;
  readonly vaOffset?: number | undefined;
  readonly weights?: Weights | undefined;
}

/** The same with every default said; nothing of it where no importer was asked for. */
export interface ImporterInputs {
  readonly importers?: readonly string[];
  /** Where virtual addresses come from, and bytes added to them. */
  readonly va?: string;
  readonly vaOffset?: number;
  readonly weights?: Weights;
}

/** Where virtual addresses come from when nothing is said of it. */
export const OWN_ADDRESSES = { trace: "aligned", workload: "the workload's own" } as const;

/** Throws `invalid` for a name that no importer has. */
export function importerInputs(
  { importers = [], va, vaOffset = 0, weights = DEFAULT_WEIGHTS }: ImporterRequest,
  source: keyof typeof OWN_ADDRESSES,
): ImporterInputs {
  if (importers.length === 0) return {};
  const names = new Set(importers.map((name) => findImporter(name).name));
  return { importers: [...names], va: va ?? OWN_ADDRESSES[source], vaOffset, weights };
}

/** The inputs as a comparison takes them. Throws `invalid` for a name that no importer has. */
export function importerOptions({
  importers = [],
  va,
  vaOffset,
  weights,
}: ImporterInputs): Pick<ReplaysOptions, "importers" | "weights" | "virtualAddresses"> {
  const mode = virtualAddressModes.find((each) => each === va);
  return {
    importers: importers.map(findImporter),
    ...(weights === undefined ? {} : { weights }),
    virtualAddresses: {
      ...(mode === undefined ? {} : { mode }),
      ...(vaOffset === undefined ? {} : { offset: vaOffset }),
    },
  };
}
