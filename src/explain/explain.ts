import type { VectorRequest } from "../conform/vector.js";
import type { DecodedField } from "../unit/fields.js";
import type { StructureRead } from "../unit/request.js";
import type { ExplainableUnit, Verdict } from "./unit.js";

/** One structure that the unit read on the way to its answer. */
export interface Step extends StructureRead {
  readonly fields: readonly DecodedField[];
  /** Its words after the request when that changed them (accessed and dirty flags), otherwise null. */
  readonly written: readonly (bigint | null)[] | null;
}

/** One request, step by step. */
export interface Explanation {
  readonly request: VectorRequest;
  /** In the order of reading. */
  readonly steps: readonly Step[];
  readonly verdict: Verdict;
}

const WORD_BYTES = 8n;

function toStep(unit: ExplainableUnit, read: StructureRead): Step {
  const { structure, address, words } = read;
  if (words === null) return { ...read, fields: [], written: null };
  const now = words.map((_, index) => unit.readWord(address + BigInt(index) * WORD_BYTES));
  const changed = now.some((word, index) => word !== words[index]);
  return { ...read, fields: unit.decode(structure, words), written: changed ? now : null };
}

/** Makes a request and says what the unit read, what that says, and what came of it. */
export function explainRequest(unit: ExplainableUnit, request: VectorRequest): Explanation {
  const { reads, verdict } = unit.request(request);
  return { request, steps: reads.map((read) => toStep(unit, read)), verdict };
}
