/**
 * What the RDMA core decides for every HCA driver: one page size for a whole memory region.
 * Linux drivers/infiniband/core/umem.c, include/rdma/ib_umem.h.
 */
import { alignDown, alignUp, bitLength, pageSizesOf, trailingZeros } from "../bits.js";
import type { LeafRun, Segment } from "./importer.js";

/** The kernel's PAGE_SIZE: user memory is pinned in these. */
export const PAGE_SIZE = 4096n;

/** Pinned, mapped user memory (struct ib_umem). */
export interface Umem {
  /** User address of the first byte; only its offset in the page matters here. */
  readonly address: bigint;
  /** Bytes. */
  readonly length: bigint;
  /** DMA segments in whole pages, from the page of `address` on. */
  readonly segments: readonly Segment<bigint>[];
  /** log2 of the page size of an on-demand region, which has no other. */
  readonly odpPageShift?: number;
}

const ADDRESS_MASK = 0xffff_ffff_ffff_ffffn;

/**
 * The page size for a memory region (ib_umem_find_best_pgsz).
 * @param sizes page sizes of the hardware as a bitmap
 * @param virt I/O virtual address of the first byte
 * @returns a page size, or 0n if none of the sizes can map the memory
 */
export function findBestPageSize(umem: Umem, sizes: bigint, virt: bigint): bigint {
  const { address, length, segments, odpPageShift } = umem;
  if (odpPageShift !== undefined) return sizes & (1n << BigInt(odpPageShift));
  const last = virt + length - 1n;
  if (length <= 0n || last > ADDRESS_MASK) return 0n;
  const rangeBits = BigInt(Math.max(bitLength(virt ^ last), 1));
  // Pages that hold the whole region in one need agree with it in no further bit; the smallest of them is enough.
  let mask = (sizes >> rangeBits) << rangeBits;
  let va = virt;
  let pageOffset = address % PAGE_SIZE;
  let end: bigint | undefined;
  for (const { address: dma, length: bytes } of segments) {
    if (end !== dma) {
      mask |= (dma + pageOffset) ^ va;
      if (end !== undefined) mask |= va;
    }
    end = dma + bytes;
    va += bytes - pageOffset;
    pageOffset = 0n;
  }
  return largestWithin(sizes, mask);
}

/**
 * The page size where only the offset in the first page is told to the hardware, as for queues
 * (ib_umem_find_best_pgoff).
 * @param offsetMask bits of the first DMA address that the offset field can express
 */
export function findBestPageOffset(umem: Umem, sizes: bigint, offsetMask: bigint): bigint {
  const first = umem.segments[0].address + (umem.address % PAGE_SIZE);
  return findBestPageSize(umem, sizes, first & offsetMask);
}

/** Offset of the first byte in a page of this size (ib_umem_dma_offset). */
export function dmaOffset(umem: Umem, pageSize: bigint): bigint {
  return (umem.segments[0].address + (umem.address % PAGE_SIZE)) % pageSize;
}

/** Pages of a region (ib_umem_num_dma_blocks). */
export function dmaBlocks(virt: bigint, length: bigint, pageSize: bigint): number {
  return Number((alignUp(virt + length, pageSize) - alignDown(virt, pageSize)) / pageSize);
}

function largestWithin(sizes: bigint, mask: bigint): bigint {
  const limit = trailingZeros(mask);
  return pageSizesOf(sizes).findLast((size) => trailingZeros(size) <= limit) ?? 0n;
}

/** The memory region whose bytes are exactly these segments, in whole pages as ib_umem_get pins them. */
export function umemOf(segments: readonly Segment<bigint>[]): Umem {
  const address = segments[0].address;
  const length = segments.reduce((sum, segment) => sum + segment.length, 0n);
  const pages = segments.map((segment) => {
    const start = alignDown(segment.address, PAGE_SIZE);
    return { ...segment, address: start, length: alignUp(segment.address + segment.length, PAGE_SIZE) - start };
  });
  return { address, length, segments: pages };
}

/** The pages of a region, as rdma_umem_for_each_dma_block yields them. */
export function regionPages(virt: bigint, segments: readonly Required<Segment<bigint>>[], pageSize: bigint): LeafRun[] {
  const runs: LeafRun[] = [];
  let va = virt;
  let mapped = alignDown(virt, pageSize);
  for (const { address, length, memory } of segments) {
    const end = va + length;
    // A segment that touches its predecessor begins inside the predecessor's last page.
    const count = Number((alignUp(end, pageSize) - mapped) / pageSize);
    if (count > 0) {
      const dma = alignDown(address + (mapped > va ? mapped - va : 0n), pageSize);
      runs.push({ va: mapped, address: dma, size: pageSize, count, memory });
      mapped += BigInt(count) * pageSize;
    }
    va = end;
  }
  return runs;
}

/** Modulus of the congruence that lets a region use as large a page as it can: one page for all of it, or the largest. */
export function usefulModulus(sizes: bigint, virt: bigint, length: bigint): bigint | undefined {
  const rangeBits = BigInt(Math.max(bitLength(virt ^ (virt + length - 1n)), 1));
  const usable = pageSizesOf(sizes);
  const modulus = usable.find((size) => size >= 1n << rangeBits) ?? usable.at(-1);
  return modulus !== undefined && modulus > PAGE_SIZE ? modulus : undefined;
}
