/** What an architecture implements so that its answers can be explained; `explainers.ts` lists those that do. */
import type { EngineFactory } from "../conform/model.js";
import type { Vector, VectorRequest } from "../conform/vector.js";
import type { Dump } from "../dump/dump.js";
import type { Engine } from "../engine/engine.js";
import type { DecodedField } from "../unit/fields.js";
import type { StructureRead } from "../unit/request.js";

/** A request that reached memory. */
export interface Reached {
  readonly ok: true;
  readonly physical: bigint;
  /** Bytes of the page that the last structure read maps; null when the address passed untranslated. */
  readonly pageSize: bigint | null;
  /** What else there is to say: what let it pass, or what a translation completion grants. */
  readonly note: string | null;
}

/** A request that faulted. The last structure read is the one whose check failed. */
export interface Refused {
  readonly ok: false;
  /** The architecture's code; null where it has none. */
  readonly code: number | null;
  /** The condition's name in the specification, and what it says. */
  readonly name: string;
  readonly condition: string;
  /** The fault record that software reads, its fields by the names of the vectors; null when there is none. */
  readonly record: {
    readonly place: string;
    readonly fields: Readonly<Record<string, bigint | number | string>>;
  } | null;
  /** Why there is no record. */
  readonly unrecorded: string | null;
  /** What the requester gets. */
  readonly completion: string | null;
}

export type Verdict = Reached | Refused;

/** What came of one request. */
export interface Answer {
  readonly reads: readonly StructureRead[];
  readonly verdict: Verdict;
}

/** A unit whose answers can be explained. */
export interface ExplainableUnit {
  /** One request with all caches invalidated first. */
  request(request: VectorRequest): Answer;
  /** The fields of a structure that `request` read. */
  decode(structure: string, words: readonly bigint[]): readonly DecodedField[];
  /** A 64-bit word of physical memory, null when nobody backs it. */
  readWord(address: bigint): bigint | null;
}

/** Where an architecture's units come from. */
export interface Explainer {
  readonly arch: string;
  /** A unit with the registers and the memory of a dump of this architecture. Throws DumpError, IommuError. */
  fromDump(engine: Engine, dump: Dump): ExplainableUnit;
  /** A unit set up as a vector says. Throws `UnsupportedVector` when that asks for what is not emulated. */
  fromVector(newEngine: EngineFactory, vector: Vector): ExplainableUnit;
}
