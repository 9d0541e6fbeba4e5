/**
 * What an SMMUv3's caches find entries by and what its commands drop: Arm SMMU Architecture Specification version 3 (IHI 0070
 * G.b), sections 3.17 (tags), 4.3 and 4.4 (commands), 16.2 (caching).
 *
 * A granule or level that a command hints at is not looked at: more is dropped than must be, as the architecture allows.
 */
import type { TagAndOwner } from "../access/caches.js";
import type { DeviceTags, Selection } from "../access/simulator.js";
import type { ConfigurationInvalidation, StreamWorld, TlbInvalidation } from "../smmuv3/invalidation.js";
import type { CachePredicate } from "./cache.js";

/** Whose transactions they are. */
export interface SmmuRequester {
  readonly sid: number;
  /** Null: without SubstreamID. */
  readonly ssid: number | null;
  readonly streamWorld: StreamWorld;
  /** Null: no stage 2, and no VMID in the tags. */
  readonly vmid: number | null;
  /** Null: stage 2 only, or global translations. */
  readonly asid: number | null;
  /** Whether entries are found by VA: there is a stage 1. */
  readonly firstStage: boolean;
}

/**
 * Owner of TLB entries: VMID in bits 15:0, ASID in 31:16, no ASID (global, or stage 2 only) in 32, found by VA in 33,
 * StreamWorld in 35:34. Of configuration: SID in 31:0, SubstreamID in 51:32.
 */
const VMID = 0xffffn;
const ASID_SHIFT = 16n;
const ASID = 0xffffn << ASID_SHIFT;
const NO_ASID = 1n << 32n;
const BY_VA = 1n << 33n;
const WORLD_SHIFT = 34n;
const WORLD = 3n << WORLD_SHIFT;
const WORLDS: Readonly<Record<StreamWorld, bigint>> = { "NS-EL1": 0n, "NS-EL2": 1n, "NS-EL2-E2H": 2n };
const SID = 0xffff_ffffn;
const SSID_SHIFT = 32n;
const SSID = 0xf_ffffn << SSID_SHIFT;

/** What an STE is found by and invalidated by. */
export function smmuv3EntryTags(sid: number): TagAndOwner {
  const configuration = BigInt(sid);
  return { tag: configuration, owner: configuration };
}

/** What a CD is found by and invalidated by; `index`: its place in the CD table of the stream. */
export function smmuv3ContextTags(sid: number, index: number): TagAndOwner {
  const configuration = BigInt(sid) | (BigInt(index) << SSID_SHIFT);
  return { tag: configuration, owner: configuration };
}

export function smmuv3Tags({ sid, ssid, streamWorld, vmid, asid, firstStage }: SmmuRequester): DeviceTags {
  const common = BigInt(vmid ?? 0) | (WORLDS[streamWorld] << WORLD_SHIFT);
  const byAsid = common | (asid === null ? NO_ASID : BigInt(asid) << ASID_SHIFT) | (firstStage ? BY_VA : 0n);
  const byIpa = common | NO_ASID;
  return {
    iotlb: { tag: byAsid, owner: byAsid },
    firstStage: { tag: byAsid, owner: byAsid },
    secondStage: { tag: byIpa, owner: byIpa },
    nested: { tag: byIpa, owner: byIpa },
    context: smmuv3EntryTags(sid),
    pasid: smmuv3ContextTags(sid, ssid ?? 0),
  };
}

/** TLBI commands. Stage-2 commands by IPA leave what combines both stages alone. */
export function smmuv3TlbSelection(request: TlbInvalidation): Selection {
  const { stages, streamWorlds, vmid, asid, global, range, leafOnly } = request;
  const within = range === null ? {} : { first: range.first, last: range.last };
  const vmidMask = vmid === null ? 0n : VMID & ~BigInt(vmid.ignoredBits);
  const vmidOwner = vmid === null ? 0n : BigInt(vmid.vmid);
  const select = (mask: bigint, owner: bigint): CachePredicate[] =>
    streamWorlds.map((world) => ({
      ...within,
      mask: mask | WORLD | vmidMask,
      owner: owner | (WORLDS[world] << WORLD_SHIFT) | vmidOwner,
    }));
  const byVa =
    asid === null
      ? select(BY_VA, BY_VA)
      : [
          ...select(BY_VA | NO_ASID | ASID, BY_VA | (BigInt(asid) << ASID_SHIFT)),
          ...(global ? select(BY_VA | NO_ASID, BY_VA | NO_ASID) : []),
        ];
  const byIpa = select(BY_VA, 0n);
  const first = stages === "stage-2" ? [] : byVa;
  const second = stages === "stage-1" ? [] : byIpa;
  return {
    iotlb: [...first, ...second],
    nested: second,
    ...(leafOnly ? {} : { firstStage: first, secondStage: second }),
  };
}

/** CFGI commands. With an STE go its CDs. */
export function smmuv3ConfigurationSelection(request: ConfigurationInvalidation): Selection {
  const ofSid = (sid: number): CachePredicate => ({ mask: SID, owner: BigInt(sid) });
  switch (request.scope) {
    case "all":
      return { context: [{}], pasid: [{}] };
    case "ste":
      return { context: [ofSid(request.sid)], pasid: [ofSid(request.sid)] };
    case "ste-range": {
      const those = alignedBlocks(request.firstSid, request.lastSid);
      return { context: those, pasid: those };
    }
    case "cd-all":
      return { pasid: [ofSid(request.sid)] };
    case "cd":
      return { pasid: [{ mask: SID | SSID, owner: BigInt(request.sid) | (BigInt(request.ssid) << SSID_SHIFT) }] };
  }
}

/** A range of SIDs as naturally aligned powers of two, each of which a mask selects. */
function alignedBlocks(first: number, last: number): CachePredicate[] {
  const blocks: CachePredicate[] = [];
  let sid = BigInt(first);
  while (sid <= BigInt(last)) {
    let size = 1n;
    while (sid % (size * 2n) === 0n && sid + size * 2n - 1n <= BigInt(last)) size *= 2n;
    blocks.push({ mask: SID & ~(size - 1n), owner: sid });
    sid += size;
  }
  return blocks;
}
