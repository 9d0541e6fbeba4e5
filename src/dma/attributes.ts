import type { Permissions } from "../engine/page-table.js";

/** Bit numbers of DMA_ATTR_* (include/linux/dma-mapping.h, 7.2). */
const ATTRIBUTE_BITS = {
  WEAK_ORDERING: 1,
  WRITE_COMBINE: 2,
  NO_KERNEL_MAPPING: 4,
  SKIP_CPU_SYNC: 5,
  FORCE_CONTIGUOUS: 6,
  ALLOC_SINGLE_PAGES: 7,
  NO_WARN: 8,
  PRIVILEGED: 9,
  MMIO: 10,
  DEBUGGING_IGNORE_CACHELINES: 11,
  REQUIRE_COHERENT: 12,
  CC_SHARED: 13,
} as const;

export type DmaAttribute = keyof typeof ATTRIBUTE_BITS;

declare const attributes: unique symbol;

/** A set of attributes, with the bits that the kernel gives them. */
export type DmaAttributes = number & { readonly [attributes]: true };

export function dmaAttributes(...names: readonly DmaAttribute[]): DmaAttributes {
  return names.reduce((bits, name) => bits | (1 << ATTRIBUTE_BITS[name]), 0) as DmaAttributes;
}

export const NO_ATTRIBUTES = dmaAttributes();

/** Whether any of the named attributes is in the set. */
export function hasAttribute(set: DmaAttributes, ...names: readonly DmaAttribute[]): boolean {
  return (set & dmaAttributes(...names)) !== 0;
}

/** The names in a set, in the order of their bits. */
export function attributeNames(set: DmaAttributes): DmaAttribute[] {
  return (Object.keys(ATTRIBUTE_BITS) as DmaAttribute[]).filter((name) => hasAttribute(set, name));
}

/** enum dma_data_direction without DMA_NONE, which no mapping may have. */
export type DmaDirection = "bidirectional" | "to-device" | "from-device";

/** dma_info_to_prot(), as far as a page table of the emulator can tell: memory types are not in it. */
export function permissionsOf(direction: DmaDirection, set: DmaAttributes): Permissions {
  return {
    read: direction !== "from-device",
    write: direction !== "to-device",
    privileged: hasAttribute(set, "PRIVILEGED"),
  };
}
