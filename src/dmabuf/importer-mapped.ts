/**
 * The importer-mapped flow: an importer that was given physical memory maps it into a domain of its own, at an IOVA that
 * its hint asks for.
 */
import { alignDown, alignUp, isAligned, pageSizesOf } from "../bits.js";
import { expectMemory, type MemoryRange, type PrivateRange } from "../dma/index.js";
import type { IommuDomain } from "../domain/domain.js";
import type { DomainMapping } from "../domain/mappings.js";
import { hex, type PrivateAddress, privateAddress } from "../engine/addresses.js";
import { IommuError } from "../engine/errors.js";
import type { IovaSpace } from "../engine/iova-space.js";
import type { Permissions } from "../engine/page-table.js";
import type { Hint } from "../importers/hint.js";
import { allocateRequested, type HintedRequest, hintedRequest, unmetWishes } from "../strategies/hinted.js";

export interface HintedMapping {
  /** Address of the first byte. */
  readonly address: PrivateAddress;
  /** Bytes. */
  readonly length: bigint;
  /** What the importer's hardware gets. */
  readonly segments: readonly PrivateRange[];
  /** Names of the preferred wishes of the hint that were not met. */
  readonly unmet: readonly string[];
}

interface Live {
  readonly start: PrivateAddress;
  readonly mappings: readonly DomainMapping<PrivateAddress>[];
}

const HIGHEST = (1n << 48n) - 1n;
const READ_WRITE: Permissions = { read: true, write: true };

/** The IOVA space of a driver-managed domain, in which the driver that made it maps as its device wishes. */
export class ImporterDomain {
  readonly #space: IovaSpace<PrivateAddress>;
  readonly #live = new Map<HintedMapping, Live>();

  /** @param last highest IOVA of any byte. Default 2^48 - 1 */
  constructor(
    readonly domain: IommuDomain,
    last = HIGHEST,
  ) {
    const { table, driver } = domain;
    const translated = (1n << BigInt(table.format.inputBits(table.levels))) - 1n;
    this.#space = driver.engine.createIovaSpace<PrivateAddress>({
      granule: table.format.granule,
      last: last < translated ? last : translated,
    });
    for (const range of driver.reserved) this.#space.reserve(range.first, range.last);
  }

  get granule(): bigint {
    return this.#space.granule;
  }

  /**
   * Maps the ranges behind each other. What the hint leaves open is chosen for the IOMMU: congruent to the physical address.
   * Throws IommuError `invalid` when a `must` of the hint is at odds with the memory or with another `must`,
   * `space-exhausted` when no IOVA satisfies what must be, `misaligned` for memory with a break inside a granule;
   * AddressMisuseError `wrong-kind`.
   *
   * @param users names of the devices that are to use it
   */
  map(memory: readonly MemoryRange[], hint: Hint, users: Iterable<string>, permissions = READ_WRITE): HintedMapping {
    const { granule } = this.#space;
    const length = memory.reduce((sum, range) => sum + range.length, 0n);
    const operation = `map ${hex(length)} bytes in domain ${this.domain.name} as hinted`;
    for (const range of memory) expectMemory(range, operation);
    const offset = checkBreaks(memory, granule, operation);
    const bytes = alignUp(offset + length, granule);
    const request = hintedRequest(hint, bytes, { granule, offset });
    const wanted = forIommu(request, memory, this.domain.table.pageSizes);
    const start = this.#allocate(bytes, wanted, operation);
    const address = privateAddress(start + offset);
    const mappings = this.#mapAt(start, memory, permissions, new Set(users));
    const segments = splitSegments(address, length, hint, this.domain);
    // No segment crosses the boundary: they are cut there.
    const unmet = unmetWishes(hint, start, bytes, offset).filter((wish) => wish !== "boundary");
    if (segments.length > 1 && hint.singleSegment) unmet.push("singleSegment");
    const mapping = { address, length, segments, unmet };
    this.#live.set(mapping, { start, mappings });
    return mapping;
  }

  /** Unmaps and frees. Throws IommuError `not-allocated` for what is not mapped here. */
  unmap(mapping: HintedMapping): void {
    const live = this.#live.get(mapping);
    if (live === undefined) {
      throw new IommuError(
        "not-allocated",
        `unmap ${hex(mapping.address)} of domain ${this.domain.name}`,
        mapping.address,
      );
    }
    this.#live.delete(mapping);
    for (const part of live.mappings) this.domain.unmap(part);
    this.#space.free(live.start);
  }

  /** Frees the IOVA space; the domain is its maker's. */
  release(): void {
    for (const mapping of [...this.#live.keys()]) this.unmap(mapping);
    this.#space.release();
  }

  #mapAt(
    start: PrivateAddress,
    memory: readonly MemoryRange[],
    permissions: Permissions,
    users: ReadonlySet<string>,
  ): DomainMapping<PrivateAddress>[] {
    const { granule } = this.#space;
    const mappings: DomainMapping<PrivateAddress>[] = [];
    let at: bigint = start;
    try {
      for (const { address, length } of memory) {
        const first = alignDown(address, granule);
        const bytes = alignUp(address + length, granule) - first;
        mappings.push(this.domain.map(privateAddress(at), first as MemoryRange["address"], bytes, permissions, users));
        at += bytes;
      }
    } catch (error) {
      for (const mapping of mappings) this.domain.unmap(mapping);
      this.#space.free(start);
      throw error;
    }
    return mappings;
  }

  /** The highest IOVA; of what is only preferred as much as there is room for. */
  #allocate(length: bigint, request: HintedRequest, operation: string): PrivateAddress {
    const start = allocateRequested(this.#space, request, length);
    if (start !== null) return start;
    const { address, least, last = this.#space.last } = request;
    const what = `no free range ends by ${hex(last)} and begins at ${hex(address & (least - 1n))} modulo ${hex(least)}`;
    throw new IommuError("space-exhausted", operation, undefined, what);
  }
}

/** Bytes of the first granule before the buffer. Throws `misaligned` for a range that ends or begins inside a granule. */
function checkBreaks(memory: readonly MemoryRange[], granule: bigint, operation: string): bigint {
  if (memory.length === 0) throw new IommuError("invalid", operation, undefined, "there is no memory");
  memory.forEach(({ address, length }, index) => {
    const why = `only the buffer's ends may lie inside a granule of ${granule} bytes`;
    if (length <= 0n) throw new IommuError("invalid", operation, address, "a range is empty");
    if (index > 0 && !isAligned(address, granule)) throw new IommuError("misaligned", operation, address, why);
    if (index < memory.length - 1 && !isAligned(address + length, granule)) {
      throw new IommuError("misaligned", operation, address + length, why);
    }
  });
  return memory[0].address & (granule - 1n);
}

/**
 * The request, and beyond it congruence to the longest range as far as the IOMMU has leaves that fit into it, unless that is
 * at odds with the request.
 */
function forIommu(request: HintedRequest, memory: readonly MemoryRange[], pageSizes: bigint): HintedRequest {
  // Bytes from the first granule on.
  let before = memory[0].address & ((pageSizes & -pageSizes) - 1n);
  let longest = { at: 0n, length: 0n };
  for (const { address, length } of memory) {
    if (length > longest.length) longest = { at: address - before, length };
    before += length;
  }
  const modulus = pageSizesOf(pageSizes).findLast((size) => size <= longest.length) ?? 0n;
  if (modulus <= request.modulus || !isAligned(longest.at ^ request.address, request.modulus)) return request;
  return { ...request, modulus, address: longest.at & (modulus - 1n) };
}

/** One run of IOVA, cut where the hint says that a segment ends. */
function splitSegments(address: PrivateAddress, length: bigint, hint: Hint, agreement: IommuDomain): PrivateRange[] {
  const boundary = hint.boundary?.value;
  const longest = hint.maxSegment?.value ?? length;
  const segments: PrivateRange[] = [];
  for (let at: bigint = address; at < address + length; ) {
    const left = address + length - at;
    const toBoundary = boundary === undefined ? left : boundary + 1n - (at & boundary);
    const bytes = [left, longest, toBoundary].reduce((least, next) => (next < least ? next : least));
    segments.push({ kind: "private", address: privateAddress(at), length: bytes, agreement });
    at += bytes;
  }
  return segments;
}
