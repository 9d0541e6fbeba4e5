/** What an SMMUv3 tells its sanitizer of invalidations: Arm IHI 0070 G.b, sections 4.3 to 4.5. */
import { hex } from "../engine/addresses.js";
import type { InvalidationTarget, TlbInvalidation } from "../smmuv3/invalidation.js";
import { SMMU_OWNER, tlbSelection } from "../smmuv3/regime.js";
import type { OwnerField } from "./cause.js";
import type { DmaSanitizer } from "./sanitizer.js";

export const SMMU_OWNER_FIELDS: readonly OwnerField[] = [
  { mask: SMMU_OWNER.GLOBAL, mistake: "global-entry" },
  { mask: SMMU_OWNER.ASID, mistake: "wrong-asid" },
  { mask: SMMU_OWNER.VMID, mistake: "wrong-vmid" },
  { mask: SMMU_OWNER.STAGES | SMMU_OWNER.WORLD, mistake: "wrong-stage" },
];

/** What is to be said of a TLB invalidation. */
function describe({ stages, asid, vmid, range, leafOnly }: TlbInvalidation): string {
  const whose = [asid === null ? [] : [`ASID ${asid}`], vmid === null ? [] : [`VMID ${vmid.vmid}`]].flat();
  const where = range === null ? [] : [`${hex(range.first)}-${hex(range.last)}`, `Leaf ${leafOnly ? 1 : 0}`];
  return ["TLB invalidation", stages, ...whose, ...where].join(", ");
}

/** A target whose invalidations the sanitizer is told of; it may be made later than the target. */
export function sanitizedSmmuTarget(
  target: InvalidationTarget,
  sanitizerOf: () => DmaSanitizer | null,
): InvalidationTarget {
  return {
    invalidateConfiguration: (request) => {
      const text = `configuration invalidation, ${request.scope}`;
      sanitizerOf()?.invalidated(text, {}, () => target.invalidateConfiguration(request), true);
    },
    invalidateTlb: (request) => {
      sanitizerOf()?.invalidated(describe(request), tlbSelection(request), () => target.invalidateTlb(request), true);
    },
    invalidateAtc: (request) => {
      const { sid, ssid, global, address, size } = request;
      sanitizerOf()?.invalidated(
        `ATC invalidation of ${hex(BigInt(sid))}`,
        {},
        () => {
          sanitizerOf()?.deviceInvalidated(sid, global ? undefined : ssid, address, size);
          target.invalidateAtc(request);
        },
        true,
      );
    },
    waited: () => sanitizerOf()?.waited(),
  };
}
