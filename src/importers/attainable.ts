/** From physical memory to what an importer gets: DMA segments at an IOVA, and the best that any IOVA can give. */
import { alignDown, alignUp, bitLength, nextCongruent, trailingZeros } from "../bits.js";
import { type DmaAddress, dmaAddress, hex, type PhysicalAddress } from "../engine/addresses.js";
import { IommuError } from "../engine/errors.js";
import type { Importer, MemoryKind, Plan, Segment } from "./importer.js";

/** Physically contiguous memory. */
export interface Piece {
  readonly physical: PhysicalAddress;
  /** Bytes. */
  readonly length: bigint;
  readonly memory?: MemoryKind;
}

export interface Buffer {
  /** The importer's virtual address, where it has one. */
  readonly va?: bigint;
  readonly pieces: readonly Piece[];
}

/** What a domain permits of an IOVA. */
export interface Domain {
  /** Smallest IOMMU page, bytes. */
  readonly granule: bigint;
  /** Lowest IOVA; the second granule when left out, as dma-iommu never hands out address 0. */
  readonly first?: bigint;
  /** Highest address of any byte. */
  readonly last: bigint;
  /** Longest segment that neighbours are joined to, bytes (dma_get_max_seg_size). */
  readonly maxSegment?: bigint;
}

/** Bytes of IOVA space that a buffer takes: each piece rounded out to granules (drivers/iommu/dma-iommu.c, iommu_dma_map_sg). */
export function iovaSpan(pieces: readonly Piece[], granule: bigint): bigint {
  return pieces.reduce((sum, { physical, length }) => sum + alignUp((physical % granule) + length, granule), 0n);
}

/**
 * The DMA segments of a buffer mapped at an IOVA, as iommu_dma_map_sg and __finalise_sg make them: pieces behind each other,
 * each keeping its offset in the granule; neighbours that touch become one segment.
 * @param iova a multiple of the granule
 */
export function dmaSegments(
  pieces: readonly Piece[],
  iova: bigint,
  { granule, maxSegment }: Pick<Domain, "granule" | "maxSegment">,
): Segment[] {
  const segments: { address: DmaAddress; length: bigint; memory: MemoryKind }[] = [];
  let at = iova;
  for (const { physical, length, memory = "system" } of pieces) {
    const offset = physical % granule;
    const address = at + offset;
    at += alignUp(offset + length, granule);
    const previous = segments.at(-1);
    if (
      previous !== undefined &&
      previous.address + previous.length === address &&
      previous.memory === memory &&
      (maxSegment === undefined || previous.length + length <= maxSegment)
    ) {
      previous.length += length;
    } else {
      segments.push({ address: dmaAddress(address), length, memory });
    }
  }
  return segments;
}

/** The best that an importer can get, and an IOVA that gives it (null where none is chosen). */
export interface Attainable {
  readonly total: number;
  readonly iova: bigint | null;
}

/**
 * The fewest entries over every IOVA that the domain permits.
 *
 * An importer that looks at the DMA address asks of a segment that begins at virtual address v and at offset d behind the
 * IOVA x only up to which power of two v and x + d agree: the depth to which x agrees with r = v - d. Deeper never needs
 * more entries. Now take any permitted x and the segment whose r it agrees with deepest, to depth m. Replace x by a
 * permitted x' that agrees with that r as deeply as any permitted address does, so at least to m. With every other segment's
 * r', x agrees to at most m; so r and r' agree at least as deeply as x and r' do, and so do x' and r'. Nothing got worse: the
 * minimum is among one candidate a segment.
 * @param domain null where no IOMMU translates and the addresses are physical
 * @throws IommuError `space-exhausted` if the domain has no room, or what the importer refuses at every IOVA
 */
export function attainable<A extends bigint>(importer: Importer<A>, buffer: Buffer, domain: Domain | null): Attainable {
  const { va, pieces } = buffer;
  const plan = (segments: Segment<bigint>[]): Plan =>
    importer.plan({ ...(va === undefined ? {} : { va }), segments: segments as unknown as Segment<A>[] });
  if (domain === null || importer.addresses !== "dma") {
    const segments = pieces.map(({ physical, ...rest }) => ({ address: physical, ...rest }));
    return { total: plan(segments).total, iova: null };
  }
  let best: Attainable | undefined;
  let refusal: IommuError | undefined;
  for (const iova of candidates(importer, buffer, domain)) {
    try {
      const { total } = plan(dmaSegments(pieces, iova, domain));
      if (best === undefined || total < best.total) best = { total, iova };
    } catch (error) {
      if (!(error instanceof IommuError)) throw error;
      refusal = error;
    }
  }
  if (best === undefined) throw refusal;
  return best;
}

/** For each segment one permitted IOVA that is as congruent as any to what the segment would like. */
function candidates<A extends bigint>(importer: Importer<A>, { va, pieces }: Buffer, domain: Domain): Set<bigint> {
  const { granule } = domain;
  const span = iovaSpan(pieces, granule);
  const widest = (1n << BigInt(importer.addressBits)) - 1n;
  const last = domain.last < widest ? domain.last : widest;
  const lowest = alignUp(domain.first ?? granule, granule);
  const highest = alignDown(last + 1n - span, granule);
  if (highest < lowest) {
    throw new IommuError("space-exhausted", `${importer.name}: find an IOVA for ${hex(span)} bytes below ${hex(last)}`);
  }
  const found = new Set([lowest]);
  if (va === undefined) return found;
  const deepest = bitLength(importer.pageSizes) - 1;
  let at = va;
  for (const { address: offset, length } of dmaSegments(pieces, 0n, domain)) {
    const residue = at - offset;
    at += length;
    for (let depth = deepest; depth >= trailingZeros(granule); depth--) {
      const modulus = 1n << BigInt(depth);
      const iova = nextCongruent(lowest, residue, modulus);
      // A residue that no multiple of the granule has: this segment's depth is the same for every IOVA.
      if (iova % granule !== 0n) break;
      if (iova <= highest) {
        found.add(iova);
        break;
      }
    }
  }
  return found;
}
