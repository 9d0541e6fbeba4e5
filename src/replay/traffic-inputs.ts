/** What devices do with the mappings of a comparison, as users ask for it and as reports repeat it. */
import { type MappingAccess, parseAccess } from "../access/kinds.js";
import type { Machine } from "../machines/machine.js";
import type { FormatDescription } from "../engine/formats.js";
import { loadMachine } from "../machines/load.js";
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
  readonly unmapsPerWait?: number | undefined;
}

/** The same with every default said. */
export interface TrafficInputs {
  readonly machine: Machine;
  readonly access: MappingAccess;
  readonly invalidationHints: boolean;
  readonly unmapsPerWait: number;
}

/** Where only a machine was asked for. */
export const DEFAULT_ACCESS = "sequential";

/** Undefined when neither a machine nor an access was asked for. Throws `invalid`. */
export async function chooseTraffic(
  { machine, access, seed, hints = true, unmapsPerWait = 1 }: TrafficRequest,
  formats: readonly FormatDescription[],
): Promise<TrafficChoice | undefined> {
  if (machine === undefined && access === undefined) return undefined;
  return {
    machine: await loadMachine(machine ?? DEFAULT_MACHINE, formats),
    access: parseAccess(access ?? DEFAULT_ACCESS, seed),
    hints,
    unmapsPerWait,
  };
}

/** How it stands in a report's inputs. */
export function trafficInputs(traffic: TrafficChoice | undefined): { readonly traffic?: TrafficInputs } {
  if (!traffic) return {};
  const { machine, access, hints = true, unmapsPerWait = 1 } = traffic;
  return { traffic: { machine, access, invalidationHints: hints, unmapsPerWait } };
}
