/**
 * Other HCAs' page sizes and page lists, as their drivers in Linux drivers/infiniband/hw register memory: most ask
 * ib_umem_find_best_pgsz, some write pages of PAGE_SIZE whatever page_size_cap they tell their users.
 */
import { GIB, KIB, MIB, pageSizeBitmap } from "../bits.js";
import { IommuError, UnknownNameError } from "../engine/errors.js";
import type { Importer } from "./importer.js";
import { regionImporter } from "./rdma-region.js";

export interface RdmaDevice {
  readonly name: string;
  /** Page sizes as a bitmap, or null where each device reports its own and its driver has no default. */
  readonly pageSizes: bigint | null;
  /** Bits of a page-list entry beside the address. */
  readonly flags?: bigint;
  readonly bigEndian?: boolean;
  /** Most bytes of a region. */
  readonly maxBytes?: bigint;
}

/** Every power of two from one size to another. */
function powers(from: bigint, to: bigint): bigint {
  return 2n * to - from;
}

const FOUR_KIB = 4n * KIB;

export const rdmaDevices: readonly RdmaDevice[] = [
  // bnxt_re.h: BNXT_RE_PAGE_SIZE_SUPPORTED, BNXT_RE_MAX_MR_SIZE_HIGH; qplib_res.h: PTU_PTE_VALID.
  { name: "bnxt_re", pageSizes: powers(FOUR_KIB, GIB), flags: 1n, maxBytes: 512n * GIB },
  // irdma/icrdma_hw.c and ig3rdma_hw.c: page_size_cap.
  { name: "irdma", pageSizes: pageSizeBitmap([FOUR_KIB, 2n * MIB, GIB]) },
  // irdma/i40iw_hw.c: page_size_cap.
  { name: "i40iw", pageSizes: pageSizeBitmap([FOUR_KIB, 2n * MIB]) },
  // mana/mana_ib.h: PAGE_SZ_BM; the larger ones by feature.
  { name: "mana", pageSizes: powers(FOUR_KIB, 2n * MIB) },
  { name: "mana-large", pageSizes: powers(FOUR_KIB, 4n * MIB) | GIB | (2n * GIB) },
  // erdma/erdma_verbs.c, erdma_reg_user_mr: SZ_2G - SZ_4K.
  { name: "erdma", pageSizes: powers(FOUR_KIB, GIB) },
  // hns/hns_roce_mr.c, get_best_page_shift: page_size_cap of the firmware, else HNS_ROCE_V2_PAGE_SIZE_SUPPORTED.
  { name: "hns", pageSizes: powers(FOUR_KIB, 2n * GIB) },
  // mlx4_core/main.c: page_size_cap has every 32-bit size from the device's smallest on, here 4 KiB. mlx4/mr.c:
  // MLX4_MAX_MTT_SHIFT 31; that newer kernels ask ib_umem_find_best_pgsz is from memory. MLX4_MTT_FLAG_PRESENT.
  { name: "mlx4", pageSizes: powers(FOUR_KIB, 2n * GIB), flags: 1n, bigEndian: true },
  // mthca/mthca_provider.c, mthca_reg_user_mr: PAGE_SIZE; mthca_mr.c: MTHCA_MTT_FLAG_PRESENT.
  { name: "mthca", pageSizes: FOUR_KIB, flags: 1n, bigEndian: true },
  // cxgb4/mem.c, c4iw_reg_user_mr: PAGE_SHIFT. T4 and T5 take less than 8 GiB (mr_exceeds_hw_limits), T6 any length.
  { name: "cxgb4", pageSizes: FOUR_KIB, bigEndian: true },
  // ocrdma/ocrdma_verbs.c, build_user_pbes: PAGE_SIZE.
  { name: "ocrdma", pageSizes: FOUR_KIB },
  // rdmavt and usnic_uiom.c: PAGE_SIZE.
  { name: "hfi1", pageSizes: FOUR_KIB },
  { name: "usnic", pageSizes: FOUR_KIB },
  // efa/efa_verbs.c: dev_attr.page_size_cap.
  { name: "efa", pageSizes: null },
  // ionic/ionic_controlpath.c: lif_cfg.page_size_supported.
  { name: "ionic", pageSizes: null },
];

/**
 * A memory region of one of these HCAs.
 * @param reported page sizes that the device reports, as a bitmap, in place of its driver's
 * @throws IommuError `invalid` for an unknown name, and for a device whose driver has no page sizes and that reports none
 */
export function rdmaDevice(name: string, reported?: bigint): Importer {
  const device = rdmaDevices.find((candidate) => candidate.name === name);
  if (!device) {
    const names = rdmaDevices.map((each) => each.name);
    throw new UnknownNameError("RDMA device", "devices", name, names);
  }
  const sizes = reported ?? device.pageSizes;
  if (sizes === null) {
    throw new IommuError("invalid", `use RDMA device "${name}"`, undefined, "it reports its page sizes; give them");
  }
  return regionImporter({
    name,
    title: `RDMA memory region of ${name}`,
    pageSizes: () => sizes,
    bigEndian: device.bigEndian ?? false,
    entryWords: 1,
    flags: device.flags ?? 0n,
    prefix: 0n,
    ...(device.maxBytes === undefined ? {} : { maxBytes: device.maxBytes }),
    deviceBytes: (listBytes) => listBytes,
  });
}
