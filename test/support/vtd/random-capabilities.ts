import type { CapabilityOptions } from "../../../src/vtd/capabilities.js";
import type { Random } from "../random.js";

type Fields<Name extends "cap" | "ecap"> = Required<NonNullable<CapabilityOptions[Name]>>;

/** Options with the fields that random units differ in filled in. */
export interface RandomCapabilities extends CapabilityOptions {
  readonly haw: number;
  readonly cap: Pick<Fields<"cap">, "ND" | "SAGAW" | "MGAW" | "ZLR" | "SSLPS" | "FS1GP" | "FS5LP">;
  readonly ecap: Pick<
    Fields<"ecap">,
    | "ADMS"
    | "DT"
    | "EAFS"
    | "ERS"
    | "FSTS"
    | "MTS"
    | "NEST"
    | "PASID"
    | "PRS"
    | "PSS"
    | "PT"
    | "RPRIVS"
    | "RPS"
    | "SC"
    | "SMPWCS"
    | "SMTS"
    | "SRS"
    | "SSADS"
    | "SSTS"
  >;
}

export function randomCapabilities(random: Random): RandomCapabilities {
  const flag = (probability: number) => (random.chance(probability) ? 1 : 0);
  const secondStage = flag(0.92);
  const firstStage = secondStage === 1 ? flag(0.92) : 1;
  return {
    haw: random.pick([36, 39, 42, 46, 48, 52]),
    version: random.chance(0.9) ? { major: 5, minor: 0 } : { major: 8, minor: 0 },
    cap: {
      ND: random.pick([6, 6, 4, 2]),
      SAGAW: random.pick([0b0010, 0b0100, 0b0110, 0b1100, 0b1110]),
      MGAW: random.pick([39, 42, 48, 48, 52, 57]) - 1,
      ZLR: flag(0.7),
      SSLPS: random.pick([0b00, 0b01, 0b11, 0b11]),
      FS1GP: flag(0.8),
      FS5LP: flag(0.7),
    },
    ecap: {
      ADMS: flag(0.7),
      DT: flag(0.95),
      EAFS: flag(0.7),
      ERS: flag(0.3),
      FSTS: firstStage,
      MTS: flag(0.2),
      NEST: secondStage & firstStage & flag(0.9),
      PASID: flag(0.96),
      PRS: flag(0.3),
      PSS: random.pick([19, 19, 15, 13, 9]),
      PT: flag(0.9),
      RPRIVS: flag(0.75),
      RPS: flag(0.75),
      SC: flag(0.7),
      SMPWCS: flag(0.5),
      SMTS: flag(0.99),
      SRS: flag(0.85),
      SSADS: secondStage & flag(0.75),
      SSTS: secondStage,
    },
  };
}
