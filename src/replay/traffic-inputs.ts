/** What devices do with the mappings of a comparison, as users ask for it and as reports repeat it. */
import { type MappingAccess, parseAccess } from "../access/kinds.js";
import type { Machine } from "../machines/machine.js";
import { loadMachine } from "../machines/parse.js";
import { DEFAULT_MACHINE } from "../machines/presets.js";
import type { TrafficChoice } from "./replay.js";

/** What may be asked for. */
export interface TrafficRequest {
  /** A preset or a JSON file. */
  readonly machine?: string | undefined;
  /** KIND or KIND:BYTES. */
  readonly access?: string | undefined;
  readonly seed?: number | undefined;
  readonly hints?: boolean | undefined;
}

/** The same with every default said. */
export interface TrafficInputs {
  readonly machine: Machine;
  readonly access: MappingAccess;
  readonly invalidationHints: boolean;
}

/** Where only a machine was asked for. */
export const DEFAULT_ACCESS = "sequential";

/** Undefined when neither a machine nor an access was asked for. Throws `invalid`. */
export async function chooseTraffic({
  machine,
  access,
  seed,
  hints = true,
}: TrafficRequest): Promise<TrafficChoice | undefined> {
  if (machine === undefined && access === undefined) return undefined;
  return {
    machine: await loadMachine(machine ?? DEFAULT_MACHINE),
    access: parseAccess(access ?? DEFAULT_ACCESS, seed),
    hints,
  };
}

/** How it stands in a report's inputs. */
export function trafficInputs(traffic: TrafficChoice | undefined): { readonly traffic?: TrafficInputs } {
  if (!traffic) return {};
  const { machine, access, hints = true } = traffic;
  return { traffic: { machine, access, invalidationHints: hints } };
}
