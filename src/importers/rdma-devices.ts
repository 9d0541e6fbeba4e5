/**
 * Other HCAs' page sizes and page lists, as their drivers in Linux drivers/infiniband/hw pass them to ib_umem_find_best_pgsz.
 */
import { IommuError } from "../engine/errors.js";
import { GIB, KIB, MIB, pageSizeBitmap } from "./bits.js";
import type { Importer } from "./importer.js";
import { regionImporter } from "./rdma-region.js";

export interface RdmaDevice {
  readonly name: string;
  /** Page sizes as a bitmap, or null where each device reports its own. */
  readonly pageSizes: bigint | null;
  /** Bits of a page-list entry beside the address. */
  readonly flags?: bigint;
}

/** Every power of two from one size to another. */
function powers(from: bigint, to: bigint): bigint {
  return 2n * to - from;
}

const FOUR_KIB = 4n * KIB;

export const rdmaDevices: readonly RdmaDevice[] = [
  // bnxt_re: all powers up to 1 GiB; PTU_PTE_VALID is bit 0.
  { name: "bnxt_re", pageSizes: powers(FOUR_KIB, GIB), flags: 1n },
  { name: "irdma", pageSizes: pageSizeBitmap([FOUR_KIB, 2n * MIB, GIB]) },
  { name: "i40iw", pageSizes: pageSizeBitmap([FOUR_KIB, 2n * MIB]) },
  { name: "mana", pageSizes: powers(FOUR_KIB, 2n * MIB) },
  { name: "mana-large", pageSizes: powers(FOUR_KIB, 4n * MIB) | GIB | (2n * GIB) },
  { name: "ocrdma", pageSizes: 0xffff000n },
  { name: "hfi1", pageSizes: FOUR_KIB },
  { name: "usnic", pageSizes: FOUR_KIB },
  { name: "efa", pageSizes: null },
  { name: "hns", pageSizes: null },
  { name: "erdma", pageSizes: null },
  { name: "ionic", pageSizes: null },
  { name: "mlx4", pageSizes: null },
];

/**
 * A memory region of one of these HCAs.
 * @param reported page sizes that the device reports, where its driver has none of its own
 */
export function rdmaDevice(name: string, reported?: bigint): Importer {
  const device = rdmaDevices.find((candidate) => candidate.name === name);
  if (!device) {
    const names = rdmaDevices.map((candidate) => candidate.name).join(", ");
    throw new IommuError("invalid", `use RDMA device "${name}"`, undefined, `the devices are ${names}`);
  }
  const sizes = device.pageSizes ?? reported;
  if (sizes === undefined) {
    throw new IommuError("invalid", `use RDMA device "${name}"`, undefined, "it reports its page sizes; give them");
  }
  return regionImporter({
    name,
    title: `RDMA memory region of ${name}`,
    pageSizes: () => sizes,
    bigEndian: false,
    entryWords: 1,
    flags: device.flags ?? 0n,
    prefix: 0n,
    deviceBytes: (listBytes) => listBytes,
  });
}
