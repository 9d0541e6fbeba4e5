/** Explains what a VT-d unit does with a request: the conditions are those of Rev. 5.10, Table 30 and Table 15. */
import type { EngineFactory } from "../conform/model.js";
import type { Vector, VectorRequest } from "../conform/vector.js";
import type { Engine } from "../engine/engine.js";
import type { Answer, ExplainableUnit, Explainer, Refused, Verdict } from "../explain/unit.js";
import type { DecodedField } from "../unit/fields.js";
import type { StructureRead, TranslationCompletion } from "../unit/request.js";
import { UnitMemory } from "../unit/memory.js";
import { vtdUnitFromDump } from "./dump-unit.js";
import { FAULT_REASONS } from "./fault-reasons.js";
import type { PendingFault } from "./faults.js";
import { decodeFields } from "./fields.js";
import type { VtdFault, VtdTranslation, VtdUnit } from "./unit.js";
import { openVectorUnit, recordFields, traceRequest } from "./vector-model.js";

/** A unit that tells what it read, how it decided and what it recorded. Its fault records stay as they were. */
export class VtdExplainableUnit implements ExplainableUnit {
  constructor(
    private readonly engine: Engine,
    private readonly unit: VtdUnit,
  ) {}

  request(request: VectorRequest): Answer {
    const { unit } = this;
    const pending = new Set(unit.faults.records.map(({ index }) => index));
    const { result, reads } = traceRequest(unit, request);
    if (result.ok) return { reads, verdict: this.reached(result) };
    const record = unit.faults.records.find(({ index }) => !pending.has(index));
    // The next request finds the registers as this one did.
    if (record) unit.faults.clearFault(record.index);
    return { reads, verdict: this.refused(result, record, reads) };
  }

  decode(structure: string, words: readonly bigint[]): DecodedField[] {
    return decodeFields(structure, words, this.unit.capabilities.haw);
  }

  readWord(address: bigint): bigint | null {
    return new UnitMemory(this.engine).read64(address);
  }

  private reached(result: VtdTranslation | TranslationCompletion): Verdict {
    const { ok, physical } = result;
    if ("size" in result) {
      const rights = [result.read ? "R" : "", result.write ? "W" : "", result.untranslatedOnly ? "U" : ""].join("");
      const note = `a translation completion that grants ${rights === "" ? "nothing" : rights}`;
      return { ok, physical, pageSize: result.size, note };
    }
    const { pageSize, interrupt } = result;
    if (interrupt) return { ok, physical, pageSize, note: "an interrupt message, which is not DMA" };
    return { ok, physical, pageSize, note: this.unit.registers.translationEnabled ? null : "GSTS.TES is clear" };
  }

  private refused(fault: VtdFault, record: PendingFault | undefined, reads: readonly StructureRead[]): Refused {
    const { code, name, completion } = fault;
    return {
      ok: false,
      code: FAULT_REASONS.has(code) ? code : null,
      name,
      condition: FAULT_REASONS.get(code)?.condition ?? name,
      record: record ? { place: `FRCD${record.index}`, fields: recordFields(record) } : null,
      unrecorded: record ? null : this.whyUnrecorded(fault, reads),
      completion,
    };
  }

  private whyUnrecorded({ code, reported }: VtdFault, reads: readonly StructureRead[]): string {
    if (reported) return "FSTS.PFO: no fault recording register is free";
    const disabling = reads.find(({ structure, words }) =>
      this.decode(structure, words ?? []).some(({ name, value }) => name === "FPD" && value !== 0n),
    );
    if (disabling && FAULT_REASONS.get(code)?.qualified) return `FPD of the ${disabling.structure}`;
    return "this fault is answered, not reported";
  }
}

/** VT-d for `explain`. */
export const vtdExplainer: Explainer = {
  arch: "vtd",
  fromDump: (engine, dump) => new VtdExplainableUnit(engine, vtdUnitFromDump(engine, dump)),
  fromVector(newEngine: EngineFactory, vector: Vector) {
    const { engine, unit } = openVectorUnit(newEngine, vector);
    return new VtdExplainableUnit(engine, unit);
  },
};
