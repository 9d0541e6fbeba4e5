/** Explains what an SMMU does with a transaction: the conditions are those of Arm IHI 0070 G.b, section 7.3. */
import type { EngineFactory } from "../conform/model.js";
import type { Vector, VectorRequest } from "../conform/vector.js";
import type { Engine } from "../engine/engine.js";
import type { Answer, ExplainableUnit, Explainer, Refused, Verdict } from "../explain/unit.js";
import type { DecodedField } from "../unit/fields.js";
import type { StructureRead } from "../unit/request.js";
import { UnitMemory } from "../unit/memory.js";
import { smmuUnitFromDump } from "./dump-unit.js";
import type { Granule } from "./entries.js";
import { EVENT, type EventName } from "./events.js";
import { decodeFields, type Granules } from "./fields.js";
import type { SmmuFault, SmmuTranslation } from "./outcome.js";
import type { SmmuUnit } from "./unit.js";
import { openVectorUnit, recordFields, traceRequest } from "./vector-model.js";

/** What an event of a transaction says, sections 7.3.2 to 7.3.17. */
const CONDITIONS: Readonly<Partial<Record<EventName, string>>> = {
  C_BAD_STREAMID: "the stream table has no entry for the StreamID",
  F_STE_FETCH: "the stream table cannot be read",
  C_BAD_STE: "the STE is not valid or says what the SMMU does not support",
  F_STREAM_DISABLED: "the stream has no context for this transaction",
  C_BAD_SUBSTREAMID: "the stream has no context for the SubstreamID",
  F_CD_FETCH: "the context descriptor cannot be read",
  C_BAD_CD: "the context descriptor is not valid or says what the SMMU does not support",
  F_WALK_EABT: "a descriptor cannot be read",
  F_TRANSLATION: "the address is not mapped",
  F_ADDR_SIZE: "an address has more bits than it may have",
  F_ACCESS: "the access flag is clear",
  F_PERMISSION: "the access is not permitted",
};

/** TG0 and S2TG, section 5.2; TG1, section 5.4. */
const GRANULES_0: Readonly<Record<number, Granule>> = { 0: 12, 1: 16, 2: 14 };
const GRANULES_1: Readonly<Record<number, Granule>> = { 1: 14, 2: 12, 3: 16 };

/** SMMU_EVENTQ_PROD.WR with its wrap flag, section 6.3.30. */
const EVENTQ_INDEX = 0xf_ffff;

/** The value of a field of a structure that was read; zero where there is none. */
function fieldOf(reads: readonly StructureRead[], structure: string, name: string): bigint {
  const words = reads.find((read) => read.structure === structure)?.words ?? [];
  return decodeFields(structure, words).find((field) => field.name === name)?.value ?? 0n;
}

/** The granules of the tables that a transaction went through: address bit 55 chooses between TTB0 and TTB1. */
function granulesOf(reads: readonly StructureRead[], iova: bigint): Granules {
  const upper = ((iova >> 55n) & 1n) === 1n;
  const stage1 = Number(fieldOf(reads, "context descriptor", upper ? "TG1" : "TG0"));
  return {
    stage1: (upper ? GRANULES_1 : GRANULES_0)[stage1] ?? 12,
    stage2: GRANULES_0[Number(fieldOf(reads, "STE", "S2TG"))] ?? 12,
  };
}

/** A unit that tells what it read, how it decided and what it recorded. Its registers stay as they were. */
export class SmmuExplainableUnit implements ExplainableUnit {
  private granules: Granules = { stage1: 12, stage2: 12 };

  /** `queue`: "its own" loses events as the unit's Event queue does, "endless" loses none. */
  constructor(
    private readonly engine: Engine,
    private readonly unit: SmmuUnit,
    private readonly queue: "its own" | "endless",
  ) {}

  request(request: VectorRequest): Answer {
    const { unit } = this;
    const { events, notifications } = unit;
    const { prod } = events.registers;
    const { gerror } = notifications;
    const aborted = notifications.isActive("EVENTQ_ABT_ERR");
    const { result, reads } = traceRequest(unit, request);
    this.granules = granulesOf(reads, request.iova);
    const verdict = result.ok ? this.reached(result) : this.refused(result, reads, this.whyLost(prod, aborted));
    // The next transaction finds the registers as this one did.
    unit.stalls.forget();
    events.restore({ prod });
    notifications.gerror = gerror;
    return { reads, verdict };
  }

  decode(structure: string, words: readonly bigint[]): DecodedField[] {
    return decodeFields(structure, words, this.granules);
  }

  readWord(address: bigint): bigint | null {
    return new UnitMemory(this.engine).read64(address);
  }

  private reached({ ok, physical, pageSize }: SmmuTranslation): Verdict {
    return { ok, physical, pageSize, note: this.unit.registers.translationEnabled ? null : "CR0.SMMUEN is clear" };
  }

  private refused(
    { cause, name, event, completion }: SmmuFault,
    reads: readonly StructureRead[],
    lost: string | null,
  ): Refused {
    const unrecorded = event === null ? whyNoEvent(this.unit, name, reads) : lost;
    return {
      ok: false,
      code: cause,
      name,
      condition: (isEvent(name) ? CONDITIONS[name] : undefined) ?? "terminated without an event",
      record: event && unrecorded === null ? { place: "Event queue", fields: recordFields(event) } : null,
      unrecorded,
      completion: completion === null ? "stalled" : completion === "abort" ? null : completion,
    };
  }

  /** Why an event is not in the Event queue (section 7.2); null when it is. A queue outside a dump's pages took it. */
  private whyLost(before: number, aborted: boolean): string | null {
    if (this.queue === "endless") return null;
    const { enabled, prod } = this.unit.events.registers;
    if (!enabled) return "CR0.EVENTQEN is clear";
    if (aborted) return "GERROR.EVENTQ_ABT_ERR is active";
    const written = ((prod ^ before) & EVENTQ_INDEX) !== 0;
    return written || this.unit.notifications.isActive("EVENTQ_ABT_ERR") ? null : "the Event queue is full";
  }
}

function isEvent(name: string): name is EventName {
  return name in EVENT;
}

/** What keeps a fault from being an event: a configuration without any, or what tells the SMMU not to record it. */
function whyNoEvent({ registers }: SmmuUnit, name: string, reads: readonly StructureRead[]): string {
  if (!registers.translationEnabled) {
    return registers.bypassAborts ? "GBPA.ABORT is set" : "CR0.SMMUEN is clear, and the address has too many bits";
  }
  if (!isEvent(name)) return "Config of the STE aborts";
  if (name === "C_BAD_STREAMID") return "CR2.RECINVSID is clear";
  const config = fieldOf(reads, "STE", "Config");
  const silent = [
    ...((config & 1n) !== 0n && fieldOf(reads, "context descriptor", "R") === 0n
      ? ["R of the context descriptor"]
      : []),
    ...((config & 2n) !== 0n && fieldOf(reads, "STE", "S2R") === 0n ? ["S2R of the STE"] : []),
  ];
  return `${silent.join(" and ")} ${silent.length > 1 ? "are" : "is"} clear`;
}

/** SMMUv3 for `explain`. */
export const smmuExplainer: Explainer = {
  arch: "smmuv3",
  fromDump: (engine, dump) => new SmmuExplainableUnit(engine, smmuUnitFromDump(engine, dump), "its own"),
  fromVector(newEngine: EngineFactory, vector: Vector) {
    const { engine, unit } = openVectorUnit(newEngine, vector);
    return new SmmuExplainableUnit(engine, unit, "endless");
  },
};
