/**
 * Why a request faults and how it is answered: Intel VT-d Architecture Specification Rev. 5.10, Table 30 (section 7.1.3) for
 * DMA and Table 15 (section 5.1.4.1) for interrupts.
 */
import type { AddressType } from "../unit/request.js";

/**
 * What the requester gets:
 * - `UR`, `CA`: Unsupported Request, Completer Abort
 * - `success`: a translation completion with R=W=U=S=0
 * - `effective`: a translation completion with the permissions there are
 * - null: a request of this type does not meet the condition
 */
export type Completion = "UR" | "CA" | "success" | "effective" | null;

/** One fault reason (the FR field of a fault recording register). */
export interface FaultReason {
  readonly code: number;
  /** Name of the condition, without its sub-conditions; Table 15 gives none, so there it is the code. */
  readonly name: string;
  readonly condition: string;
  /** Not reported when an FPD bit was met on the way to the fault. */
  readonly qualified: boolean;
  readonly untranslated: Completion;
  readonly translation: Completion;
  readonly translated: Completion;
}

type Row = readonly [
  code: number,
  name: string,
  condition: string,
  qualified: "Y" | "N",
  untranslated: Completion,
  translation: Completion,
  translated: Completion,
];

const ROWS: readonly Row[] = [
  [0x01, "LRT.2", "root entry not present", "N", "UR", "UR", "UR"],
  [0x02, "LCT.2", "context entry not present", "Y", "UR", "UR", "UR"],
  // LCT.4.3, the access error, is not met by translated requests, which walk no table; LCT.4.1 and LCT.4.2 are.
  [0x03, "LCT.4", "context entry: AW or TT unsupported, or its table cannot be read", "Y", "UR", "CA", "UR"],
  [0x04, "LGN.1", "address beyond what the unit or the table translates", "Y", "UR", "success", "UR"],
  [0x05, "LGN.2", "no write permission", "Y", "UR", "effective", null],
  [0x06, "LGN.3", "no read permission", "Y", "UR", "effective", null],
  [0x07, "LSS.1", "second-stage entry cannot be read", "Y", "UR", "CA", null],
  [0x08, "LRT.1", "root entry cannot be read", "N", "UR", "CA", "UR"],
  [0x09, "LCT.1", "context entry cannot be read", "N", "UR", "CA", "UR"],
  [0x0a, "LRT.3", "reserved bit set in the root entry", "N", "UR", "CA", "UR"],
  [0x0b, "LCT.3", "reserved bit set in the context entry", "Y", "UR", "CA", "UR"],
  [0x0c, "LSS.2", "reserved bit set in a second-stage entry", "Y", "UR", "CA", null],
  [0x0d, "LCT.5", "TT of the context entry blocks translation and translated requests", "Y", null, "UR", "UR"],
  [0x0e, "LGN.4", "output address in the interrupt range", "Y", "UR", "CA", "UR"],

  [0x20, "20h", "interrupt request: reserved bit set", "N", "UR", null, null],
  [0x21, "21h", "interrupt index beyond the table, or its entry beyond the host address width", "N", "UR", null, null],
  [0x22, "22h", "IRTE not present", "Y", "UR", null, null],
  [0x23, "23h", "IRTE cannot be read", "N", "UR", null, null],
  [0x24, "24h", "reserved bit set in the IRTE", "Y", "UR", null, null],
  [0x25, "25h", "compatibility-format interrupt blocked", "N", "UR", null, null],
  [0x26, "26h", "source of the interrupt fails the IRTE's check", "Y", "UR", null, null],
  [0x27, "27h", "posted interrupt descriptor cannot be accessed", "Y", "UR", null, null],
  [0x28, "28h", "reserved bit set in the posted interrupt descriptor", "Y", "UR", null, null],
  [0x29, "29h", "request to the interrupt range that is no valid interrupt", "N", "UR", null, null],
  [0x2a, "2Ah", "extended interrupt mode is required and not enabled", "N", "UR", null, null],
  [0x2b, "2Bh", "interrupt remapping is required and not enabled", "N", "UR", null, null],

  [0x30, "RTA.1", "RTADDR_REG: TTM unsupported, or SSIRWE in legacy mode", "N", "UR", "CA", "UR"],
  [0x31, "RTA.2", "request with PASID in legacy mode", "N", "UR", "UR", "UR"],
  [0x32, "RTA.3", "page request in legacy mode", "N", null, null, null],
  [0x33, "RTA.4", "abort-DMA mode", "N", "UR", "UR", "UR"],
  [0x34, "RTA.5", "execute requested, major version 8 or later", "N", "UR", "UR", "UR"],

  [0x38, "SRT.1", "scalable-mode root entry cannot be read", "N", "UR", "CA", "UR"],
  [0x39, "SRT.2", "LP or UP of the scalable-mode root entry clear", "N", "UR", "UR", "UR"],
  [0x3a, "SRT.3", "reserved bit set in the scalable-mode root entry", "N", "UR", "CA", "UR"],

  [0x40, "SCT.1", "scalable-mode context entry cannot be read", "N", "UR", "CA", "UR"],
  [0x41, "SCT.2", "scalable-mode context entry not present", "Y", "UR", "UR", "UR"],
  [0x42, "SCT.3", "reserved bit set in the scalable-mode context entry", "Y", "UR", "CA", "UR"],
  [0x43, "SCT.4", "scalable-mode context entry: DTE, PRE, RID_PASID, EPTR, PASIDE inconsistent", "Y", "UR", "CA", "UR"],
  [0x44, "SCT.5", "DTE of the scalable-mode context entry clear", "Y", null, "UR", "UR"],
  [0x45, "SCT.6", "PASIDE of the scalable-mode context entry clear", "Y", "UR", "UR", null],
  [0x46, "SCT.7", "PASID beyond the PASID directory (PDTS)", "Y", "UR", "UR", "UR"],
  [0x47, "SCT.8", "PRE of the scalable-mode context entry clear, page request", "Y", null, null, null],
  [0x48, "SCT.9", "PASID equal to RID_PASID", "Y", "UR", "UR", "UR"],
  [
    0x49,
    "SCT.10",
    "EPTR of the scalable-mode context entry clear, translated request with PASID",
    "Y",
    null,
    null,
    "UR",
  ],

  [0x50, "SPD.1", "PASID directory entry cannot be read", "N", "UR", "CA", "CA"],
  [0x51, "SPD.2", "PASID directory entry not present", "Y", "UR", "success", "UR"],
  [0x52, "SPD.3", "reserved bit set in the PASID directory entry", "Y", "UR", "CA", "CA"],

  [0x58, "SPT.1", "PASID table entry cannot be read", "N", "UR", "CA", "CA"],
  [0x59, "SPT.2", "PASID table entry not present", "Y", "UR", "success", "UR"],
  [0x5a, "SPT.3", "reserved bit set in the PASID table entry", "Y", "UR", "CA", "CA"],
  [0x5b, "SPT.4", "PASID table entry: AW, PGTT or FSPM unsupported, or FSPTPTR beyond AW", "Y", "UR", "CA", "CA"],
  [0x5c, "SPT.5", "execute requested and ECAP.ERS clear, major version 7 or earlier", "Y", "UR", "success", null],
  [0x5d, "SPT.6", "privileged request and SRE clear", "Y", "UR", "success", null],
  [0x60, "SPT.9", "translated address beyond the host permission table", "Y", null, null, "UR"],

  [0x70, "SFS.1", "first-stage entry cannot be read", "Y", "UR", "success", null],
  [0x71, "SFS.2", "first-stage entry not present", "Y", "UR", "success", null],
  [0x72, "SFS.3", "reserved bit set in a first-stage entry", "Y", "UR", "success", null],
  [0x73, "SFS.4", "topmost first-stage entry cannot be read", "Y", "UR", "success", null],
  [0x74, "SFS.5", "nested: address in a first-stage entry beyond the second stage", "Y", "UR", "success", null],
  [0x75, "SFS.6", "nested: second stage denies reading the topmost first-stage entry", "Y", "UR", "success", null],
  [0x76, "SFS.7", "nested: second stage denies reading a first-stage entry", "Y", "UR", "success", null],
  [0x77, "SFS.8", "nested: second stage denies setting A, D or EA of a first-stage entry", "Y", "UR", "success", null],

  [0x78, "SSS.1", "second-stage entry cannot be read", "Y", "UR", "CA", null],
  [0x79, "SSS.2", "second stage grants neither reading nor writing", "Y", "UR", "success", null],
  [0x7a, "SSS.3", "reserved bit set in a second-stage entry", "Y", "UR", "CA", null],
  [0x7b, "SSS.4", "topmost second-stage entry cannot be read", "Y", "UR", "CA", null],
  [0x7c, "SSS.5", "A or D of a second-stage entry to be set in a table that is not snooped", "Y", "UR", "CA", null],
  [0x7d, "SSS.6", "A or D of a second-stage entry could not be set", "Y", "UR", "CA", null],

  [0x80, "SGN.1", "input address not canonical", "Y", "UR", "success", null],
  [0x81, "SGN.2", "user request and U/S of a first-stage entry clear", "Y", "UR", "success", null],
  // Reported by earlier units only; Rev. 5.10 does not say how translation requests were answered.
  [0x82, "SGN.3", "no execute permission (before Rev. 5.10)", "Y", "UR", null, null],
  [0x83, "SGN.4", "host address beyond the host address width", "Y", "UR", "success", "UR"],
  [0x84, "SGN.5", "input address beyond the second stage", "Y", "UR", "success", null],
  [0x85, "SGN.6", "no write permission", "Y", "UR", "effective", null],
  [0x86, "SGN.7", "no read permission", "Y", "UR", "effective", null],
  [0x87, "SGN.8", "output address in the interrupt range", "Y", "UR", "CA", "UR"],
  [0x89, "SGN.10", "PASID beyond ECAP.PSS", "Y", "UR", "UR", "UR"],

  [0x90, "SFS.9", "A or D of a first-stage entry to be set in a table that is not snooped", "Y", "UR", "success", null],
  [0x91, "SFS.10", "A, D or EA of a first-stage entry could not be set", "Y", "UR", "success", null],

  [0xa0, "HPT.1", "host permission table entry cannot be read", "Y", null, null, "CA"],
  [0xa1, "HPT.2", "reserved bit set in a host permission table entry", "Y", null, null, "CA"],
  [0xa2, "HPT.3", "topmost host permission table entry cannot be read", "Y", null, null, "CA"],
  [0xa3, "HPT.4", "host permission table grants a zero-length read nothing", "Y", null, null, "UR"],
  [0xa4, "HPT.5", "host permission table denies writing", "Y", null, null, "UR"],
  [0xa5, "HPT.6", "host permission table denies reading", "Y", null, null, "UR"],
];

/** Every fault reason by its code. */
export const FAULT_REASONS: ReadonlyMap<number, FaultReason> = new Map(
  ROWS.map(([code, name, condition, qualified, untranslated, translation, translated]) => [
    code,
    { code, name, condition, qualified: qualified === "Y", untranslated, translation, translated },
  ]),
);

/** SFS.10 is reported even where the device gets a successful completion. */
const REPORTED_THOUGH_SUCCESSFUL = 0x91;

/** Whether a fault is reported to software, if no FPD bit prevents it: recoverable ones are not (section 7.1.2). */
export function isReported(reason: FaultReason, type: AddressType): boolean {
  if (type !== "translation" || reason.code === REPORTED_THOUGH_SUCCESSFUL) return true;
  return reason.translation !== "success" && reason.translation !== "effective";
}
