/**
 * What a VT-d unit's caches find entries by and what its invalidation commands drop: Intel VT-d Architecture Specification
 * Rev. 5.10, sections 6.2 (tags, Table 17) and 6.5.2 (granularities, Tables 23 and 24).
 */
import type { TagAndOwner } from "../access/caches.js";
import type { DeviceTags, Selection } from "../access/simulator.js";
import type {
  ContextCacheInvalidation,
  IotlbInvalidation,
  PasidCacheInvalidation,
  PasidIotlbInvalidation,
} from "../vtd/invalidation.js";
import type { CachePredicate } from "./cache.js";

/** Whose requests they are. */
export interface VtdRequester {
  readonly sid: number;
  readonly domain: number;
  /** Null: requests without PASID. */
  readonly pasid: number | null;
  /** RID_PASID of the context entry, as which requests without PASID are tagged in scalable mode. Default 0. */
  readonly ridPasid?: number;
  /** PGTT is first-stage or nested, not second-stage, pass-through or legacy. */
  readonly firstStage: boolean;
  /** Legacy mode: the context entry names the domain. */
  readonly legacy?: boolean;
}

/** Owner: DID in bits 15:0, PASID in 35:16, PGTT (1: first-stage or nested) in 36, SID in 52:37, no DID in 53. */
const DOMAIN = { mask: 0xffffn, shift: 0n };
const PASID = { mask: 0xf_ffffn << 16n, shift: 16n };
const FIRST_STAGE = 1n << 36n;
const SID = { mask: 0xffffn << 37n, shift: 37n };
const NO_DOMAIN = 1n << 53n;

interface OwnerField {
  readonly mask: bigint;
  readonly shift: bigint;
}

function put(field: OwnerField, value: number): bigint {
  return (BigInt(value) << field.shift) & field.mask;
}

function select(fields: readonly (readonly [OwnerField, number])[], further: CachePredicate = {}): CachePredicate {
  const { mask = 0n, owner = 0n } = further;
  return {
    ...further,
    mask: fields.reduce((bits, [field]) => bits | field.mask, mask),
    owner: fields.reduce((bits, [field, value]) => bits | put(field, value), owner),
  };
}

/** What a context entry is found by and invalidated by; `domain`: null in scalable mode. */
export function vtdContextTags(sid: number, domain: number | null): TagAndOwner {
  return { tag: BigInt(sid), owner: put(SID, sid) | (domain === null ? NO_DOMAIN : put(DOMAIN, domain)) };
}

/** What a PASID entry is found by and invalidated by. */
export function vtdPasidTags(sid: number, pasid: number, domain: number): TagAndOwner {
  return {
    tag: BigInt(sid) | (BigInt(pasid) << 16n),
    owner: put(SID, sid) | put(DOMAIN, domain) | put(PASID, pasid),
  };
}

/** Requests with and without PASID are told apart even where both have the same PASID in effect. */
export function vtdTags({ sid, domain, pasid, ridPasid = 0, firstStage, legacy = false }: VtdRequester): DeviceTags {
  const effective = pasid ?? ridPasid;
  const owner = put(DOMAIN, domain) | put(PASID, effective);
  const requester = BigInt(sid) | (pasid === null ? 0n : BigInt(pasid + 1) << 16n);
  const domainTag = BigInt(domain);
  return {
    iotlb: { tag: requester, owner: owner | (firstStage ? FIRST_STAGE : 0n) },
    firstStage: { tag: domainTag | (BigInt(effective) << 16n), owner },
    secondStage: { tag: domainTag, owner: put(DOMAIN, domain) },
    nested: { tag: domainTag, owner: put(DOMAIN, domain) },
    context: vtdContextTags(sid, legacy ? domain : null),
    pasid: vtdPasidTags(sid, effective, domain),
  };
}

/** Bytes of 2^AM naturally aligned pages: the low AM bits of the page number are not looked at (section 6.5.2.3). */
function addressRange(address: bigint, addressMask: number): { readonly first: bigint; readonly last: bigint } {
  const bytes = 1n << BigInt(addressMask + 12);
  const first = (address / bytes) * bytes;
  return { first, last: first + bytes - 1n };
}

/** IOTLB invalidation, type 2. Page-selective, it drops the whole domain's first-stage translations. */
export function vtdIotlbSelection(request: IotlbInvalidation): Selection {
  const { granularity, domain, address, addressMask, leafOnly } = request;
  const everything: readonly CachePredicate[] = [{}];
  if (granularity === "global") {
    return { iotlb: everything, firstStage: everything, secondStage: everything, nested: everything };
  }
  const ofDomain = [select([[DOMAIN, domain]])];
  if (granularity === "domain") {
    return { iotlb: ofDomain, firstStage: ofDomain, secondStage: ofDomain, nested: ofDomain };
  }
  const { first, last } = addressRange(address, addressMask);
  const owner = put(DOMAIN, domain);
  const pages = { first, last, mask: DOMAIN.mask, owner };
  const mask = DOMAIN.mask | FIRST_STAGE;
  return {
    iotlb: [
      { first, last, mask, owner },
      { mask, owner: owner | FIRST_STAGE },
    ],
    firstStage: ofDomain,
    nested: [pages],
    ...(leafOnly ? {} : { secondStage: [pages] }),
  };
}

/** PASID-based IOTLB invalidation, type 6. Page-selective, it reaches first-stage and nested translations only. */
export function vtdPasidIotlbSelection(request: PasidIotlbInvalidation): Selection {
  const { granularity, domain, pasid, address, addressMask, leafOnly } = request;
  const fields = [
    [DOMAIN, domain],
    [PASID, pasid],
  ] as const;
  if (granularity === "pasid") return { iotlb: [select(fields)], firstStage: [select(fields)] };
  const range = addressRange(address, addressMask);
  return {
    iotlb: [select(fields, { ...range, mask: FIRST_STAGE, owner: FIRST_STAGE })],
    ...(leafOnly ? {} : { firstStage: [select(fields, range)] }),
  };
}

/** Bits of the SID that are compared, by function mask (section 6.5.2.1). */
const FUNCTION_MASKS = [0xffff, 0xfffb, 0xfff9, 0xfff8] as const;

/** Context-cache invalidation, type 1. Entries of scalable mode have no domain: any domain is theirs. */
export function vtdContextSelection(request: ContextCacheInvalidation): Selection {
  const { granularity, domain, sid, functionMask } = request;
  if (granularity === "global") return { context: [{}] };
  const device: CachePredicate =
    granularity === "device"
      ? { mask: put(SID, FUNCTION_MASKS[functionMask & 3]), owner: put(SID, sid) }
      : { mask: 0n, owner: 0n };
  const { mask = 0n, owner = 0n } = device;
  return {
    context: [
      { mask: mask | DOMAIN.mask | NO_DOMAIN, owner: owner | put(DOMAIN, domain) },
      { mask: mask | NO_DOMAIN, owner: owner | NO_DOMAIN },
    ],
  };
}

/** PASID-cache invalidation, type 7. */
export function vtdPasidSelection({ granularity, domain, pasid }: PasidCacheInvalidation): Selection {
  if (granularity === "global") return { pasid: [{}] };
  if (granularity === "domain") return { pasid: [select([[DOMAIN, domain]])] };
  return {
    pasid: [
      select([
        [DOMAIN, domain],
        [PASID, pasid],
      ]),
    ],
  };
}
