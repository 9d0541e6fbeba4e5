/** What an importer asks of an IOVA. */

/** A wish that must be met, or whose failure is only counted; and the importer's rule that it comes from. */
export interface Wish<T> {
  readonly value: T;
  readonly strength: "must" | "prefer";
  readonly reason: string;
}

export interface Hint {
  /** Page sizes of the importer's own entries as a bitmap, bit n = 2^n bytes (Linux's pgsize_bitmap). */
  readonly pageSizes: bigint;
  /** The number of entries is the same for every IOVA, for this reason. */
  readonly indifferent?: { readonly reason: string };
  /** IOVA is a multiple of this many bytes. */
  readonly align?: Wish<bigint>;
  /** IOVA ≡ address (mod modulus); the modulus is a power of two. */
  readonly congruentTo?: Wish<{ readonly address: bigint; readonly modulus: bigint }>;
  /** The whole buffer is contiguous in DMA address space. */
  readonly singleSegment?: Wish<true>;
  /** Mask of the boundary that no segment may cross (dma_set_seg_boundary). */
  readonly boundary?: Wish<bigint>;
  /** Longest segment, bytes (dma_set_max_seg_size). */
  readonly maxSegment?: Wish<bigint>;
  /** Highest DMA address of any byte (the DMA mask). */
  readonly addressLimit?: Wish<bigint>;
}

export function must<T>(value: T, reason: string): Wish<T> {
  return { value, strength: "must", reason };
}

export function prefer<T>(value: T, reason: string): Wish<T> {
  return { value, strength: "prefer", reason };
}

/** The DMA mask of a device of this many address bits, as a wish. */
export function addressBits(bits: number): Wish<bigint> {
  return must((1n << BigInt(bits)) - 1n, `the device addresses ${bits} bits`);
}
