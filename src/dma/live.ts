/** What is mapped, as the DMA-API debug facility keeps it (kernel/dma/debug.c). */
import { type DmaAddress, hex } from "../engine/addresses.js";
import { type DmaAttributes, type DmaDirection, hasAttribute } from "./attributes.js";
import type { DmaDevice } from "./device.js";
import { DmaMisuseError } from "./errors.js";

/** Which functions map and unmap it. */
export type MappedBy = "phys" | "scatterlist" | "coherent";

/** One live mapping. */
export interface LiveMapping {
  readonly device: DmaDevice;
  readonly address: DmaAddress;
  /** Bytes, as the driver gave them. */
  readonly size: bigint;
  readonly by: MappedBy;
  readonly direction: DmaDirection;
  readonly attributes: DmaAttributes;
}

/** What a call says of the mapping that it takes back. */
export type Claim = Omit<LiveMapping, "device" | "address">;

/**
 * The live mapping that a call takes back. Throws DmaMisuseError when there is none or when it was mapped otherwise:
 * `not-allocated`, `foreign-device`, `wrong-size`, `wrong-function`, `wrong-direction`, `wrong-attributes`.
 */
export function findLive(device: DmaDevice, address: DmaAddress, claim: Claim, operation: string): LiveMapping {
  const live = device.domain.live.get(address);
  if (live?.device !== device) {
    const owners = device.domain.host.owners(address).map((owner) => owner.device.name);
    if (owners.length > 0)
      throw new DmaMisuseError("foreign-device", operation, `it was mapped by ${owners.join(", ")}`);
    throw new DmaMisuseError("not-allocated", operation, `nothing is mapped at ${hex(address)}`);
  }
  if (live.size !== claim.size) {
    throw new DmaMisuseError("wrong-size", operation, `mapped with ${live.size} bytes, unmapped with ${claim.size}`);
  }
  if (live.by !== claim.by) {
    throw new DmaMisuseError("wrong-function", operation, `mapped as ${live.by}, unmapped as ${claim.by}`);
  }
  if (live.direction !== claim.direction) {
    throw new DmaMisuseError("wrong-direction", operation, `mapped ${live.direction}, unmapped ${claim.direction}`);
  }
  // The two attributes with which dma_unmap_phys() does not look for a bounce buffer: mapping and unmapping must agree.
  for (const name of ["MMIO", "REQUIRE_COHERENT"] as const) {
    if (hasAttribute(live.attributes, name) !== hasAttribute(claim.attributes, name)) {
      throw new DmaMisuseError("wrong-attributes", operation, `mapped and unmapped differ in DMA_ATTR_${name}`);
    }
  }
  return live;
}
