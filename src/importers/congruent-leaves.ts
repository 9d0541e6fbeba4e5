import { alignUp, isAligned } from "../bits.js";
import type { LeafRun, Segment } from "./importer.js";

/**
 * The fewest leaves for one contiguous range where a leaf needs virtual address and address aligned to its size: rising
 * sizes up to the first boundary of the largest that fits, then falling ones.
 * @param sizes powers of two, smallest first; the smallest divides everything
 */
export function congruentLeaves(
  va: bigint,
  { address, length, memory }: Required<Segment<bigint>>,
  sizes: readonly bigint[],
): LeafRun[] {
  const leaves: LeafRun[] = [];
  const end = va + length;
  let at = va;
  const emit = (size: bigint, until: bigint): void => {
    const count = Number((until - at) / size);
    if (count > 0) leaves.push({ va: at, address: address + at - va, size, count, memory });
    at += BigInt(count) * size;
  };
  let level = 0;
  for (; level + 1 < sizes.length; level++) {
    const next = sizes[level + 1];
    const boundary = alignUp(at, next);
    if (!isAligned(va ^ address, next) || boundary + next > end) break;
    emit(sizes[level], boundary);
  }
  for (; level >= 0; level--) emit(sizes[level], end);
  return leaves;
}

/** `congruentLeaves` of each segment: for importers whose entries never span two. */
export function leavesOfSegments(
  va: bigint,
  segments: readonly Required<Segment<bigint>>[],
  sizes: readonly bigint[],
): LeafRun[] {
  let at = va;
  return segments.flatMap((segment) => {
    const leaves = congruentLeaves(at, segment, sizes);
    at += segment.length;
    return leaves;
  });
}
