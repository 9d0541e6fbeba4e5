/**
 * NVIDIA ConnectX memory keys: MTT, KSM and KLM lists.
 * Linux drivers/infiniband/hw/mlx5 (mlx5_ib.h, mr.c, umr.c, mem.c), include/linux/mlx5/mlx5_ifc.h and device.h.
 */
import { alignUp, pageSizesOf, trailingZeros } from "../bits.js";
import { IommuError } from "../engine/errors.js";
import { addressBits, type Hint, must, prefer } from "./hint.js";
import { defineImporter, type Importer, type LeafRun, segmentName, type Tables } from "./importer.js";
import { dmaOffset, findBestPageOffset, PAGE_SIZE, type Umem } from "./rdma.js";
import { regionImporter } from "./rdma-region.js";
import { TableMemory } from "./table-memory.js";

/** MTT entry: DMA address, write enable, read enable (MLX5_IB_MTT_WRITE, MLX5_IB_MTT_READ). */
const MTT_READ = 1n << 0n;
const MTT_WRITE = 1n << 1n;
/** mkc.translations_octword_size counts 16 bytes. */
const OCTOWORD = 16;
/** A UMR writes translations in multiples of 64 bytes (MLX5_UMR_FLEX_ALIGNMENT). */
const UMR_ALIGNMENT = 64n;
/** MLX5_ADAPTER_PAGE_SHIFT. */
const ADAPTER_PAGE_SHIFT = 12;
/** Largest page where the HCA does not say, or where a UMR has only five bits for it. */
const DEFAULT_MAX_LOG_ENTITY = 31;

export interface Mlx5Options {
  /** mkc.access_mode. */
  readonly mode?: "mtt" | "ksm" | "klm";
  /** max_mkey_log_entity_size_mtt, or max_mkey_log_entity_size_fixed_buffer for KSM; 0 if the HCA does not say. */
  readonly maxLogEntitySize?: number;
  /** log_min_mkey_entity_size, or min_mkey_log_entity_size_fixed_buffer for KSM. */
  readonly minLogEntitySize?: number;
  /** umr_log_entity_size_5: a UMR has a sixth bit for the page size. */
  readonly umrLogEntitySize5?: boolean;
  /** Pages come with faults and may move (on-demand paging): only PAGE_SIZE always fits. */
  readonly onDemand?: boolean;
  /** Key that KSM and KLM entries name. */
  readonly key?: number;
}

/** Page sizes of an HCA as a bitmap (mlx5_umem_mkc_find_best_pgsz). */
export function mlx5PageSizes(options: Mlx5Options, virt: bigint): bigint {
  const { mode = "mtt", maxLogEntitySize = 0, minLogEntitySize = 0, umrLogEntitySize5 = false, onDemand } = options;
  const tooLarge = maxLogEntitySize > DEFAULT_MAX_LOG_ENTITY && !umrLogEntitySize5;
  const max = maxLogEntitySize === 0 || tooLarge ? DEFAULT_MAX_LOG_ENTITY : maxLogEntitySize;
  const min = Math.max(minLogEntitySize, ADAPTER_PAGE_SHIFT);
  const sizes = max < min ? 0n : (2n << BigInt(max)) - (1n << BigInt(min));
  if (onDemand) return sizes & PAGE_SIZE;
  // A KSM's pages are counted from its own start, so the start must be on a page boundary.
  return mode === "ksm" && virt !== 0n ? sizes & ((2n << BigInt(trailingZeros(virt))) - 1n) : sizes;
}

/** Bytes that a UMR writes for so many entries. */
export function umrBytes(entries: number, mode: NonNullable<Mlx5Options["mode"]>): number {
  return Number(alignUp(BigInt(entries) * (mode === "mtt" ? 8n : 16n), UMR_ALIGNMENT));
}

function octowords(listBytes: number): number {
  return Math.ceil(listBytes / OCTOWORD) * OCTOWORD;
}

/** A memory region of a ConnectX. */
export function mlx5(options: Mlx5Options = {}): Importer {
  const { mode = "mtt", key = 0x100 } = options;
  if (mode === "klm") return klm(key);
  const mtt = mode === "mtt";
  return regionImporter({
    name: mtt ? "mlx5" : "mlx5-ksm",
    title: `ConnectX memory key, ${mtt ? "MTT" : "KSM"}`,
    pageSizes: (virt) => mlx5PageSizes(options, virt),
    bigEndian: true,
    entryWords: mtt ? 1 : 2,
    flags: mtt ? MTT_READ | MTT_WRITE : 0n,
    // struct mlx5_ksm: reserved, key, va.
    prefix: BigInt(key),
    deviceBytes: octowords,
  });
}

/** Most bytes of a KLM. */
const KLM_BYTES = 0xffff_ffffn;

/** Any bytes at any place: an entry a segment (struct mlx5_klm: bcount, key, va). */
function klm(key: number): Importer {
  const name = "mlx5-klm";
  return defineImporter({
    name,
    title: "ConnectX memory key, KLM",
    pageSizes: 0n,
    addressBits: 64,
    rules: { granule: 1n, vaBits: 64 },
    leaves(va, segments) {
      let at = va;
      return segments.map((segment, index) => {
        const { address, length, memory } = segment;
        if (length > KLM_BYTES) {
          throw new IommuError("invalid", segmentName(name, index, segment), address, "a KLM's byte count has 32 bits");
        }
        const leaf = { va: at, address, size: length, count: 1, memory };
        at += length;
        return leaf;
      });
    },
    ideal: (length) => Number((length + KLM_BYTES - 1n) / KLM_BYTES),
    build: (leaves) => klmList(leaves, key),
    hint: () => ({
      pageSizes: 0n,
      indifferent: { reason: "a KLM entry begins at any byte and is as long as its segment" },
      singleSegment: prefer(true as const, "an entry a segment"),
      maxSegment: must(KLM_BYTES, "a KLM's byte count has 32 bits"),
      addressLimit: addressBits(64),
    }),
  });
}

function klmList(leaves: readonly LeafRun[], key: number): Tables {
  const memory = new TableMemory({ bigEndian: true });
  const list = memory.allocate(leaves.length * 16, 64);
  leaves.forEach(({ address, size }, index) => {
    const entry = list + BigInt(index) * 16n;
    memory.write(entry, (size << 32n) | BigInt(key));
    memory.write(entry + 8n, address);
  });
  const start = leaves[0].va;
  return {
    memory,
    leafWords: leaves.length,
    deviceBytes: octowords(memory.bytes),
    translate(va) {
      const slots: bigint[] = [];
      let offset = va - start;
      for (let index = 0; offset >= 0n && index < leaves.length; index++) {
        const entry = list + BigInt(index) * 16n;
        slots.push(entry, entry + 8n);
        const pageSize = memory.read(entry) >> 32n;
        if (offset < pageSize) return { address: memory.read(entry + 8n) + offset, pageSize, slots };
        offset -= pageSize;
      }
      return { fault: "outside the memory region", slots };
    },
  };
}

/** Where a queue's memory begins in its first page, as a QP or CQ context says it. */
export interface QueuePages {
  readonly pageSize: bigint;
  /** Offset in the first page, in units of pageSize / scale. */
  readonly pageOffset: number;
  readonly pages: number;
}

/** Bits of the page_offset fields of QP, CQ and SRQ contexts (mlx5_ifc.h), and the parts that they count pages in. */
const PAGE_OFFSET_BITS = 6;
const PAGE_OFFSET_SCALE = 64n;

/**
 * Pages and offset of a QP's or CQ's memory (__mlx5_umem_find_best_quantized_pgoff): pages are halved until the offset is
 * a number of 64ths of a page that the field can express.
 * @returns null if the driver refuses the memory
 */
export function mlx5QueuePages(umem: Umem, sizes: bigint): QueuePages | null {
  const offsetMask = 0xffff_ffffn & -PAGE_OFFSET_SCALE;
  let pageSize = findBestPageOffset(umem, sizes, offsetMask);
  if (pageSize === 0n) return null;
  const expressible = (size: bigint): bigint => ((1n << BigInt(PAGE_OFFSET_BITS)) - 1n) * (size / PAGE_OFFSET_SCALE);
  while ((dmaOffset(umem, pageSize) & ~expressible(pageSize)) !== 0n) pageSize /= 2n;
  if ((sizes & pageSize) === 0n) return null;
  const offset = dmaOffset(umem, pageSize);
  const pages = Number((offset + umem.length + pageSize - 1n) / pageSize);
  return { pageSize, pageOffset: Number(offset / (pageSize / PAGE_OFFSET_SCALE)), pages };
}

/** What a queue of so many bytes asks of an IOVA: to lie in one page, at its beginning. */
export function mlx5QueueHint(length: bigint, sizes: bigint): Hint {
  const pageSize = pageSizesOf(sizes).find((size) => size >= length);
  const hint = { pageSizes: sizes, addressLimit: addressBits(64) };
  if (pageSize === undefined) return hint;
  return {
    ...hint,
    align: prefer(pageSize, "a queue's page holds it whole if it does not cross a boundary of its size"),
  };
}
