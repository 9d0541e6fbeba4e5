/** Conformance vectors of VT-d: sets a unit up as a driver would, by registers, and reads its fault records. */
import { physicalAddress, privateAddress } from "../engine/addresses.js";
import type { EngineFactory, VectorModel, VectorOutcome, VectorUnit } from "../conform/model.js";
import type { Vector, VectorRequest } from "../conform/vector.js";
import type { Engine } from "../engine/engine.js";
import { UnitMemory } from "../unit/memory.js";
import type { TranslationCompletion } from "../unit/request.js";
import { loadVectorMemory, VECTOR_ARENA_BASE } from "../unit/vector-memory.js";
import type { PendingFault } from "./faults.js";
import { type VtdFault, type VtdTranslation, VtdUnit } from "./unit.js";

/** Register offsets and bits: sections 11.4.4 and 11.4.5, 11.4.7. */
const GCMD = 0x18;
const RTADDR = 0x20;
const FSTS = 0x34;
const GCMD_TE = 2 ** 31;
const GCMD_SRTP = 2 ** 30;
const FSTS_PFO = 1;
const FRCD_BYTES = 16;
const FRCD_F = 1n << 63n;

class VtdVectorUnit implements VectorUnit {
  constructor(
    private readonly engine: Engine,
    private readonly unit: VtdUnit,
  ) {}

  request(request: VectorRequest): VectorOutcome {
    const { unit } = this;
    const { result, reads } = traceRequest(unit, request);
    if (result.ok) return { pa: result.physical, reads };
    const [record] = unit.faults.records;
    if (!record) return { code: null, fields: {}, reads };
    unit.write64(unit.capabilities.faultRecordOffset + record.index * FRCD_BYTES + 8, FRCD_F);
    unit.write32(FSTS, FSTS_PFO);
    return { code: record.reason, fields: recordFields(record), reads };
  }

  readWord(address: bigint): bigint | null {
    return new UnitMemory(this.engine).read64(address);
  }
}

/** Makes a vector's request, untranslated unless it says otherwise, with all caches invalidated first. */
export function traceRequest(
  unit: VtdUnit,
  { iova, access, type, ...source }: VectorRequest,
): ReturnType<typeof unit.trace<VtdTranslation | TranslationCompletion | VtdFault>> {
  unit.invalidateCaches();
  const request = { ...source, iova: privateAddress(iova) };
  return unit.trace<VtdTranslation | TranslationCompletion | VtdFault>(() =>
    type === "translation"
      ? unit.requestTranslation(request, access === "r")
      : unit.translate({ ...request, access: access === "w" ? "write" : "read", ...(type ? { type } : {}) }),
  );
}

/** A fault record by the names of the vectors. */
export function recordFields({ sid, address, access, pasid }: PendingFault): Record<string, bigint | number | string> {
  return { sid, addr: address, type: access === "write" ? "w" : "r", ...(pasid === undefined ? {} : { pasid }) };
}

/** A unit set up as a vector says, by registers, in a machine of its own. */
export function openVectorUnit(
  newEngine: EngineFactory,
  { config, memory }: Vector,
): { readonly engine: Engine; readonly unit: VtdUnit } {
  const engine = newEngine({ arenaBase: physicalAddress(VECTOR_ARENA_BASE) });
  loadVectorMemory(engine, config.pairs("ram"), memory);
  const unit = new VtdUnit(engine, {
    capRegister: config.word("CAP_REG"),
    ecapRegister: config.word("ECAP_REG"),
    haw: config.number("haw"),
  });
  unit.write64(RTADDR, config.word("rootTable"));
  unit.write32(GCMD, GCMD_SRTP);
  unit.write32(GCMD, GCMD_TE);
  return { engine, unit };
}

/** The model of VT-d for `conform`. */
export function vtdVectorModel(newEngine: EngineFactory): VectorModel {
  return {
    arch: "vtd",
    open(vector: Vector): VectorUnit {
      const { engine, unit } = openVectorUnit(newEngine, vector);
      return new VtdVectorUnit(engine, unit);
    },
  };
}
