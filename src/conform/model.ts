/** What an architecture implements so that vectors can be judged; `models.ts` lists those that do. */
import type { Engine, EngineOptions } from "../engine/engine.js";
import type { StructureRead } from "../unit/request.js";
import type { Vector, VectorRequest } from "./vector.js";

/** Makes an emulated machine: memory and tables of its own. */
export type EngineFactory = (options?: EngineOptions) => Engine;

export type ModelFactory = (newEngine: EngineFactory) => VectorModel;

export interface VectorModel {
  readonly arch: string;
  /**
   * A unit set up as the vector's `config` and `memory` say. Throws `UnsupportedVector` when the vector asks for what is
   * not emulated.
   */
  open(vector: Vector): VectorUnit;
}

export interface VectorUnit {
  /** One request with all caches invalidated first. */
  request(request: VectorRequest): VectorOutcome;
  /** A 64-bit word of physical memory, null when nobody backs it. */
  readWord(address: bigint): bigint | null;
}

export type VectorOutcome = Translated | Faulted;

export interface Translated {
  readonly pa: bigint;
  readonly reads: readonly StructureRead[];
}

export interface Faulted {
  /** Null: blocked, and nothing recorded. */
  readonly code: number | null;
  /** The rest of the fault record, by the names of the vectors: sid, addr, type, pasid, s2, class, ipa, fetchAddr, iotval, iotval2. */
  readonly fields: Readonly<Record<string, bigint | number | string>>;
  readonly reads: readonly StructureRead[];
}
