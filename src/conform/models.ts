import { vtdVectorModel } from "../vtd/vector-model.js";
import type { ModelFactory } from "./model.js";

/** The architectures that can be judged, by the `arch` of their vectors. */
export const VECTOR_MODELS: ReadonlyMap<string, ModelFactory> = new Map([["vtd", vtdVectorModel]]);
