/** Every scenario, in the order that they are listed in. */
import { UnknownNameError } from "../engine/errors.js";
import { claimOwner } from "./claim-owner.js";
import { exporterVsImporter } from "./exporter-vs-importer.js";
import { host1xScenario } from "./host1x.js";
import { kvmPfn } from "./kvm-pfn.js";
import { move } from "./move.js";
import { mr100mb } from "./mr-100mb.js";
import type { Scenario } from "./scenario.js";

export const scenarios: readonly Scenario[] = [exporterVsImporter, mr100mb, host1xScenario, claimOwner, move, kvmPfn];

/** The scenario of this name. Throws `invalid`, naming the ones there are. */
export function findScenario(name: string): Scenario {
  const found = scenarios.find((scenario) => scenario.name === name);
  if (found) return found;
  const names = scenarios.map((scenario) => scenario.name);
  throw new UnknownNameError("scenario", "scenarios", name, names);
}
