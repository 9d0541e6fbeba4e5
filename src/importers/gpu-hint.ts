import { alignUp, pageSizeBitmap } from "../bits.js";
import { hex } from "../engine/addresses.js";
import { IommuError } from "../engine/errors.js";
import { addressBits, type Hint, prefer } from "./hint.js";
import type { HintRequest } from "./importer.js";

/**
 * The hint of a device that needs virtual and DMA address aligned to each entry's size.
 * @param starts what a virtual address must be a multiple of for the first entry of a size
 */
export function alignedEntriesHint(
  importer: string,
  sizes: readonly bigint[],
  dmaBits: number,
  { va, length }: HintRequest,
  starts: (size: bigint) => bigint = (size) => size,
): Hint {
  if (va === undefined) throw new IommuError("invalid", `${importer}: hint`, undefined, "it has virtual addresses");
  const hint = { pageSizes: pageSizeBitmap(sizes), addressLimit: addressBits(dmaBits) };
  const modulus = sizes.findLast((size) => alignUp(va, starts(size)) + size <= va + length);
  if (modulus === undefined || modulus === sizes[0]) {
    const reason =
      sizes.length === 1
        ? `its entries are of ${sizes[0]} bytes`
        : `no entry above ${sizes[0]} bytes fits ${hex(length)} bytes at virtual address ${hex(va)}`;
    return { ...hint, indifferent: { reason } };
  }
  return {
    ...hint,
    congruentTo: prefer(
      { address: va, modulus },
      `an entry of ${modulus} bytes needs virtual address and DMA address aligned to it`,
    ),
    singleSegment: prefer(true as const, "one segment must cover an entry"),
  };
}

/** A hint without a wish for the IOVA's value. */
export function indifferentHint(pageSizes: bigint, dmaBits: number, reason: string): Hint {
  return { pageSizes, addressLimit: addressBits(dmaBits), indifferent: { reason } };
}
