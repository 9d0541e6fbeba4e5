import { smmuExplainer } from "../smmuv3/explain.js";
import { vtdExplainer } from "../vtd/explain.js";
import { vtdUnitFromListing } from "../vtd/listing-unit.js";
import type { Explainer } from "./unit.js";

/** The architectures whose units can be explained, by the `arch` of their vectors and dumps. */
export const EXPLAINERS: ReadonlyMap<string, Explainer> = new Map([
  ["vtd", vtdExplainer],
  ["smmuv3", smmuExplainer],
]);

/** Listings are those of Linux's Intel driver. */
export const unitFromListing = vtdUnitFromListing;
