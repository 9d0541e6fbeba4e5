/** The STE: Arm IHI 0070, sections 5.2 and 5.2.2 (validity). Non-secure streams only. */
import { bit, field } from "../slow-format.js";
import { C_BAD_STE, Fault } from "./faults.js";
import { type Features, STALL_CONFIGURABLE } from "./features.js";
import { readSecondStage, type SecondStage, secondStageIllegal } from "./stage2-configuration.js";
import type { Attempt, Walk } from "./unit.js";

const BYPASS = 0b100n;

/** Which privileges and address ranges a stream's stage 1 has. */
export type StreamWorld = "EL1" | "EL2" | "EL2-E2H";

export interface FirstStageOfSte {
  /** Encoding of S1Fmt; 0 where there are no substreams. */
  readonly format: bigint;
  readonly contextPointer: bigint;
  /** S1CDMax; 0 where substreams are not supported. */
  readonly cdMax: number;
  /** Encoding of S1DSS. */
  readonly defaultSubstream: bigint;
  readonly stallDisabled: boolean;
  readonly world: StreamWorld;
}

export interface Ste {
  readonly stage1: FirstStageOfSte | null;
  readonly stage2: SecondStage | null;
}

/** 1xx, not yet known to be legal. */
interface Configured {
  readonly value: bigint;
  readonly config: bigint;
  readonly usesStage1: boolean;
  readonly usesStage2: boolean;
}

function strwUsed({ config, usesStage2 }: Configured, features: Features): boolean {
  return features.stage1 && features.hypervisor && !usesStage2 && config !== BYPASS;
}

function atsIllegal({ value, config, usesStage2 }: Configured, features: Features): boolean {
  if (!features.ats || config === BYPASS) return false;
  const eats = field(value, 93, 92);
  const stall = bit(value, 185);
  if (eats === 0b10n) return config !== 0b111n || stall || features.stage1Ats;
  return eats === 0b01n && stall && usesStage2;
}

function stage1Illegal({ value, usesStage2 }: Configured, features: Features): boolean {
  const stallDisabled = bit(value, 91);
  if (stallDisabled && features.stallModel !== STALL_CONFIGURABLE) return true;
  if (features.ssidSize !== 0) {
    const cdMax = Number(field(value, 63, 59));
    const format = field(value, 5, 4);
    if (cdMax > features.ssidSize) return true;
    if (cdMax !== 0 && !features.twoLevelCdTables && (format === 0b01n || format === 0b10n)) return true;
  }
  const limit = usesStage2 ? features.ias : features.oas;
  return contextPointerOf(value) >= 1n << BigInt(limit);
}

function contextPointerOf(value: bigint): bigint {
  return field(value, 55, 6) << 6n;
}

function illegal(ste: Configured, features: Features): boolean {
  const { value, usesStage1, usesStage2 } = ste;
  if (usesStage1 && !features.stage1) return true;
  if (usesStage2 && !features.stage2) return true;
  if (atsIllegal(ste, features)) return true;
  const strw = strwUsed(ste, features) ? field(value, 95, 94) : 0n;
  if (bit(strw, 0)) return true;
  if (usesStage1 && stage1Illegal(ste, features)) return true;
  if (usesStage2 && secondStageIllegal(value, features)) return true;
  const vmidUsed = features.stage2 && ste.config !== BYPASS && strw === 0n;
  return vmidUsed && !features.vmid16 && field(value, 143, 136) !== 0n;
}

function readFirstStage(ste: Configured, features: Features): FirstStageOfSte {
  const { value } = ste;
  const cdMax = features.ssidSize === 0 ? 0 : Number(field(value, 63, 59));
  const el2 = strwUsed(ste, features) && field(value, 95, 94) === 0b10n;
  return {
    format: cdMax === 0 ? 0n : field(value, 5, 4),
    contextPointer: contextPointerOf(value),
    cdMax,
    defaultSubstream: field(value, 65, 64),
    stallDisabled: bit(value, 91),
    world: !el2 ? "EL1" : features.e2h ? "EL2-E2H" : "EL2",
  };
}

/** Checks an STE. A Config of 0xx aborts without an event. */
export function checkSte({ features }: Walk, value: bigint): Attempt<Ste> {
  if (!bit(value, 0)) return Fault.configuration(C_BAD_STE);
  const config = field(value, 3, 1);
  if (!bit(config, 2)) return Fault.withoutEvent();
  const configured = { value, config, usesStage1: bit(config, 0), usesStage2: bit(config, 1) };
  if (illegal(configured, features)) return Fault.configuration(C_BAD_STE);
  return {
    stage1: configured.usesStage1 ? readFirstStage(configured, features) : null,
    stage2: configured.usesStage2 ? readSecondStage(value, features) : null,
  };
}

/** PRIVCFG and INSTCFG; writes are always data: section 13.1.2. */
export function overriddenAccess({ features, access }: Walk, value: bigint): Walk["access"] {
  const override = (encoding: bigint, incoming: boolean) =>
    features.permissionOverrides && bit(encoding, 1) ? bit(encoding, 0) : incoming;
  return {
    write: access.write,
    privileged: override(field(value, 113, 112), access.privileged),
    instruction: !access.write && override(field(value, 115, 114), access.instruction),
  };
}
