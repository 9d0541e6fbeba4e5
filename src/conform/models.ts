import { smmuVectorModel } from "../smmuv3/vector-model.js";
import { vtdVectorModel } from "../vtd/vector-model.js";
import type { ModelFactory } from "./model.js";

/** The architectures that can be judged, by the `arch` of their vectors. */
export const VECTOR_MODELS: ReadonlyMap<string, ModelFactory> = new Map([
  ["vtd", vtdVectorModel],
  ["smmuv3", smmuVectorModel],
]);
