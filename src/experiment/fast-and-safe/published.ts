/**
 * Fast & Safe IO memory protection (SOSP'24): Xeon Gold 6234 (Cascade Lake), 100G ConnectX-5, Linux 6.0.3 in strict mode, DDIO
 * off, 5 cores. Misses per 4096-byte page received; L1, L2 and L3 are the caches of entries of levels 4, 3 and 2.
 */
export interface Misses {
  readonly l1: number;
  readonly l2: number;
  readonly l3: number;
  readonly iotlb: number;
  /** Memory reads of the walker. */
  readonly reads: number;
}

export interface PublishedCase {
  readonly name: string;
  readonly flows: number;
  readonly misses: Misses;
}

export const PUBLISHED_CASES: readonly PublishedCase[] = [
  { name: "5 flows", flows: 5, misses: { l1: 0.05, l2: 0.05, l3: 0.36, iotlb: 1.3, reads: 1.76 } },
  { name: "40 flows", flows: 40, misses: { l1: 0.63, l2: 0.63, l3: 0.9, iotlb: 2.2, reads: 4.36 } },
];

/** With contiguous IOVAs and IOTLB-only invalidation, after warm-up: no L1 and L2 misses, and at most so many of L3. */
export const PUBLISHED_CONTIGUOUS_L3 = 0.054;

/** The paper's model of throughput, within 10 % of what it measured: page / (l0 + reads * lm). */
const PAGE_BITS = 4096 * 8;
const L0_NS = 65;
const LM_NS = 197;

/** Gb/s for so many memory reads a page. */
export function modelledGbps(reads: number): number {
  return PAGE_BITS / (L0_NS + reads * LM_NS);
}
