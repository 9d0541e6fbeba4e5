/** Conformance vectors of SMMUv3: sets a unit up as a driver would, by registers, and reads its events. */
import type { EngineFactory, VectorModel, VectorOutcome, VectorUnit } from "../conform/model.js";
import type { Vector, VectorRequest } from "../conform/vector.js";
import { physicalAddress, privateAddress } from "../engine/addresses.js";
import type { Engine } from "../engine/engine.js";
import { UnitMemory } from "../unit/memory.js";
import { loadVectorMemory, VECTOR_ARENA_BASE } from "../unit/vector-memory.js";
import type { EventRecord } from "./events.js";
import type { SmmuFault, SmmuTranslation } from "./outcome.js";
import { SmmuUnit } from "./unit.js";

/** Register offsets: sections 6.3.9, 6.3.12, 6.3.24 and 6.3.25. */
const CR0 = 0x20;
const CR2 = 0x2c;
const STRTAB_BASE = 0x80;
const STRTAB_BASE_CFG = 0x88;
const CR0_SMMUEN = 1;

const IDENTIFICATION = ["IDR0", "IDR1", "IDR2", "IDR3", "IDR4", "IDR5"] as const;

/** The part of an address that InputAddr and IPA hold in a vector. */
const IPA_PAGE = ~0xfffn;

class SmmuVectorUnit implements VectorUnit {
  constructor(
    private readonly engine: Engine,
    private readonly unit: SmmuUnit,
  ) {}

  request(request: VectorRequest): VectorOutcome {
    const { result, reads } = traceRequest(this.unit, request);
    if (result.ok) return { pa: result.physical, reads };
    const { event } = result;
    return event ? { code: event.code, fields: recordFields(event), reads } : { code: null, fields: {}, reads };
  }

  readWord(address: bigint): bigint | null {
    return new UnitMemory(this.engine).read64(address);
  }
}

/** Makes a vector's request with all caches invalidated first. */
export function traceRequest(
  unit: SmmuUnit,
  { iova, access, type, ...source }: VectorRequest,
): ReturnType<typeof unit.trace<SmmuTranslation | SmmuFault>> {
  unit.invalidateCaches();
  const request = { ...source, iova: privateAddress(iova), ...(type ? { type } : {}) };
  return unit.trace(() => unit.translate({ ...request, access: access === "w" ? "write" : "read" }));
}

/** An event by the names of the vectors. */
export function recordFields(event: EventRecord): Record<string, bigint | number | string> {
  const { sid, ssid, inputAddr, rnw, s2, ipa, fetchAddr } = event;
  // The word that holds the IPA of other events holds the fetch address of F_WALK_EABT.
  const fourth = ipa ?? (s2 ? fetchAddr : undefined);
  return {
    sid,
    ...(ssid === undefined ? {} : { pasid: ssid }),
    ...(inputAddr === undefined ? {} : { addr: inputAddr }),
    ...(rnw === undefined ? {} : { type: rnw ? "r" : "w" }),
    ...(s2 === undefined ? {} : { s2: s2 ? 1 : 0 }),
    ...(event.class === undefined ? {} : { class: event.class }),
    ...(fourth === undefined ? {} : { ipa: fourth & IPA_PAGE }),
    ...(fetchAddr === undefined ? {} : { fetchAddr }),
  };
}

/** A unit set up as a vector says, by registers, in a machine of its own. */
export function openVectorUnit(
  newEngine: EngineFactory,
  { config, memory }: Vector,
): { readonly engine: Engine; readonly unit: SmmuUnit } {
  const engine = newEngine({ arenaBase: physicalAddress(VECTOR_ARENA_BASE) });
  loadVectorMemory(engine, config.pairs("ram"), memory);
  const registers = Object.fromEntries(IDENTIFICATION.map((name) => [name, config.word(name)]));
  const unit = new SmmuUnit(engine, { registers });
  unit.write32(CR2, Number(config.word("CR2")));
  unit.write64(STRTAB_BASE, config.word("STRTAB_BASE"));
  unit.write32(STRTAB_BASE_CFG, Number(config.word("STRTAB_BASE_CFG")));
  unit.write32(CR0, CR0_SMMUEN);
  return { engine, unit };
}

/** The model of SMMUv3 for `conform`. */
export function smmuVectorModel(newEngine: EngineFactory): VectorModel {
  return {
    arch: "smmuv3",
    open(vector: Vector): VectorUnit {
      const { engine, unit } = openVectorUnit(newEngine, vector);
      return new SmmuVectorUnit(engine, unit);
    },
  };
}
