/**
 * Invalidation by register: Intel VT-d Architecture Specification Rev. 5.10, sections 6.5.1 and 11.4.6. A request is done as
 * soon as it is written.
 */
import { unpack } from "../unit/bit-fields.js";
import type { Capabilities } from "./capabilities.js";
import { truncate } from "./descriptors.js";
import type { ContextCacheInvalidation, IotlbInvalidation } from "./invalidation.js";

/** CCMD_REG, section 11.4.6.1. */
const CCMD = { DID: [0, 16], SID: [16, 16], FM: [32, 2], CIRG: [61, 2], ICC: [63, 1] } as const;
const CCMD_ICC = 1n << 63n;
const CCMD_CAIG = 59n;

/** IOTLB_REG, section 11.4.6.3. */
const IOTLB = { DID: [32, 16], IIRG: [60, 2], IVT: [63, 1] } as const;
const IOTLB_IVT = 1n << 63n;
const IOTLB_IAIG = 57n;

/** IVA_REG, section 11.4.6.4. */
const IVA = { AM: [0, 6], IH: [6, 1] } as const;
const IVA_ADDR = ~0xfffn;

/** Granularities by their code, in requests and in reports; 0 is reserved there and "incorrect request" here. */
const INCORRECT = 0;
const CONTEXT_GRANULARITIES = [null, "global", "domain", "device"] as const;
const IOTLB_GRANULARITIES = [null, "global", "domain", "page"] as const;
const DOMAIN = 2;
const PAGE = 3;

/** Newest major version with register-based invalidation (section 6.5.1). */
export const LAST_MAJOR_VERSION = 5;

/** What comes of a command: what its register holds afterwards, and what to invalidate. */
export interface RegisterCommand<Request> {
  readonly register: bigint;
  readonly request: Request | null;
}

/**
 * A value written to CCMD_REG. A unit that may not obey completes the request all the same, so that nobody waits for it, and
 * reports it as incorrect.
 */
export function contextCommand(
  ccmd: bigint,
  capabilities: Capabilities,
  mayObey: boolean,
): RegisterCommand<ContextCacheInvalidation> {
  const { DID, SID, FM, CIRG, ICC } = unpack(CCMD, ccmd);
  if (ICC === 0) return { register: ccmd, request: null };
  const performed = mayObey ? CIRG : INCORRECT;
  const register = (ccmd & ~CCMD_ICC & ~(3n << CCMD_CAIG)) | (BigInt(performed) << CCMD_CAIG);
  const granularity = CONTEXT_GRANULARITIES[performed];
  if (!granularity) return { register, request: null };
  const domain = truncate(DID, capabilities.domainBits);
  return { register, request: { granularity, domain, sid: SID, functionMask: FM } };
}

/** A value written to IOTLB_REG, with what IVA_REG holds. Without CAP.PSI a page's whole domain is invalidated. */
export function iotlbCommand(
  iotlb: bigint,
  iva: bigint,
  capabilities: Capabilities,
  mayObey: boolean,
): RegisterCommand<IotlbInvalidation> {
  const { DID, IIRG, IVT } = unpack(IOTLB, iotlb);
  if (IVT === 0) return { register: iotlb, request: null };
  const { AM, IH } = unpack(IVA, iva);
  const { cap, domainBits, mgaw } = capabilities;
  let performed = mayObey ? IIRG : INCORRECT;
  if (performed === PAGE && cap.PSI === 0) performed = DOMAIN;
  if (performed === PAGE && AM > cap.MAMV) performed = INCORRECT;
  const register = (iotlb & ~IOTLB_IVT & ~(3n << IOTLB_IAIG)) | (BigInt(performed) << IOTLB_IAIG);
  const granularity = IOTLB_GRANULARITIES[performed];
  if (!granularity) return { register, request: null };
  const domain = truncate(DID, domainBits);
  const address = BigInt.asUintN(mgaw, iva & IVA_ADDR);
  return { register, request: { granularity, domain, address, addressMask: AM, leafOnly: IH === 1 } };
}
