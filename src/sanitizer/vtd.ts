/** What a VT-d unit tells its sanitizer of invalidations: Intel VT-d Architecture Specification Rev. 5.10, section 6.5.2. */
import { vtdContextSelection, vtdIotlbSelection, vtdPasidIotlbSelection, vtdPasidSelection } from "../cache/vtd.js";
import { hex } from "../engine/addresses.js";
import type { InvalidationTarget } from "../vtd/invalidation.js";
import type { OwnerField } from "./cause.js";
import type { DmaSanitizer } from "./sanitizer.js";

/** IOTLB owners: see src/cache/vtd.ts. */
export const VTD_OWNER_FIELDS: readonly OwnerField[] = [
  { mask: 0xffffn, mistake: "wrong-domain" },
  { mask: 0xf_ffffn << 16n, mistake: "wrong-pasid" },
  { mask: 1n << 36n, mistake: "wrong-stage" },
];

function pages({
  granularity,
  address,
  addressMask,
  leafOnly,
}: {
  granularity: string;
  address: bigint;
  addressMask: number;
  leafOnly: boolean;
}): string {
  return granularity === "page" ? ` ${hex(address)} AM ${addressMask} IH ${leafOnly ? 1 : 0}` : "";
}

/** A target whose invalidations the sanitizer is told of: those of the queue, or of registers, which nobody waits for. */
export function sanitizedVtdTarget(
  target: InvalidationTarget,
  sanitizer: DmaSanitizer,
  from: "queue" | "registers",
): InvalidationTarget {
  const queued = from === "queue";
  return {
    invalidateContextCache: (request) => {
      const text = `context-cache invalidation, ${request.granularity}`;
      sanitizer.invalidated(text, vtdContextSelection(request), () => target.invalidateContextCache(request), queued);
    },
    invalidatePasidCache: (request) => {
      const text = `PASID-cache invalidation, ${request.granularity}, domain ${request.domain}`;
      sanitizer.invalidated(text, vtdPasidSelection(request), () => target.invalidatePasidCache(request), queued);
    },
    invalidateIotlb: (request) => {
      const text = `IOTLB invalidation, ${request.granularity}, domain ${request.domain}${pages(request)}`;
      sanitizer.invalidated(text, vtdIotlbSelection(request), () => target.invalidateIotlb(request), queued);
    },
    invalidatePasidIotlb: (request) => {
      const { granularity, domain, pasid } = request;
      const text = `PASID-based IOTLB invalidation, ${granularity}, domain ${domain}, PASID ${pasid}${pages(request)}`;
      sanitizer.invalidated(text, vtdPasidIotlbSelection(request), () => target.invalidatePasidIotlb(request), queued);
    },
    invalidateDeviceTlb: (request) => {
      const { sid, pasid, globalInvalidate = false, address, size } = request;
      sanitizer.invalidated(
        `device-TLB invalidation of ${hex(BigInt(sid))}`,
        {},
        () => {
          sanitizer.deviceInvalidated(sid, globalInvalidate ? undefined : pasid, address, size);
          target.invalidateDeviceTlb(request);
        },
        queued,
      );
    },
    invalidateInterruptEntries: (request) => target.invalidateInterruptEntries(request),
    waited: () => sanitizer.waited(),
  };
}
