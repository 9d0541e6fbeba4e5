/** Conformance vectors of SMMUv3: sets a unit up as a driver would, by registers, and reads its events. */
import type { EngineFactory, VectorModel, VectorOutcome, VectorUnit } from "../conform/model.js";
import type { Vector, VectorRequest } from "../conform/vector.js";
import { type Iova, physicalAddress } from "../engine/addresses.js";
import type { Engine } from "../engine/engine.js";
import { UnitMemory } from "../unit/memory.js";
import { loadVectorMemory, VECTOR_ARENA_BASE } from "../unit/vector-memory.js";
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

  request({ sid, iova, access, pasid, privileged, execute }: VectorRequest): VectorOutcome {
    const { unit } = this;
    unit.invalidateCaches();
    const { result, reads } = unit.trace(() =>
      unit.translate({
        sid,
        iova: iova as Iova,
        access: access === "w" ? "write" : "read",
        ...(pasid === undefined ? {} : { pasid }),
        ...(privileged === undefined ? {} : { privileged }),
        ...(execute === undefined ? {} : { execute }),
      }),
    );
    if (result.ok) return { pa: result.physical, reads };
    const { event } = result;
    // The word that holds the IPA of other events holds the fetch address of this one.
    const fourth = event?.ipa ?? (event?.s2 ? event.fetchAddr : undefined);
    if (!event) return { code: null, fields: {}, reads };
    return {
      code: event.code,
      fields: {
        sid: event.sid,
        ...(event.inputAddr === undefined ? {} : { addr: event.inputAddr }),
        ...(event.rnw === undefined ? {} : { type: event.rnw ? "r" : "w" }),
        ...(event.s2 === undefined ? {} : { s2: event.s2 ? 1 : 0 }),
        ...(event.class === undefined ? {} : { class: event.class }),
        ...(fourth === undefined ? {} : { ipa: fourth & IPA_PAGE }),
        ...(event.fetchAddr === undefined ? {} : { fetchAddr: event.fetchAddr }),
      },
      reads,
    };
  }

  readWord(address: bigint): bigint | null {
    return new UnitMemory(this.engine).read64(address);
  }
}

/** The model of SMMUv3 for `conform`. */
export function smmuVectorModel(newEngine: EngineFactory): VectorModel {
  return {
    arch: "smmuv3",
    open({ config, memory }: Vector): VectorUnit {
      const engine = newEngine({ arenaBase: physicalAddress(VECTOR_ARENA_BASE) });
      loadVectorMemory(engine, config.pairs("ram"), memory);
      const registers = Object.fromEntries(IDENTIFICATION.map((name) => [name, config.word(name)]));
      const unit = new SmmuUnit(engine, { registers });
      unit.write32(CR2, Number(config.word("CR2")));
      unit.write64(STRTAB_BASE, config.word("STRTAB_BASE"));
      unit.write32(STRTAB_BASE_CFG, Number(config.word("STRTAB_BASE_CFG")));
      unit.write32(CR0, CR0_SMMUEN);
      return new SmmuVectorUnit(engine, unit);
    },
  };
}
