/** Strategies that follow the importer: its virtual address alone, or the hint that it derives from its own rules. */
import { alignDown, bitLength, isAligned } from "../bits.js";
import { hex, type Iova } from "../engine/addresses.js";
import { IommuError } from "../engine/errors.js";
import type { IovaSpace } from "../engine/iova-space.js";
import type { Hint, Wish } from "../importers/hint.js";
import type { AnyImporter } from "../importers/importers.js";
import { ANYWHERE, eachMapping, type Placement, type Placer } from "./placement.js";

/** A hint as a request for one IOVA, bytes. */
export interface HintedRequest {
  /** IOVA ≡ address (mod modulus); the modulus is a power of two. */
  readonly modulus: bigint;
  readonly address: bigint;
  /** What the modulus may be halved to. */
  readonly least: bigint;
  /** Highest address of any byte. */
  readonly last?: bigint;
  /** The preferred wishes that no IOVA can meet beside the others, by name. */
  readonly unmet: readonly string[];
}

export interface HintedOptions {
  /** Smallest page of the IOMMU, bytes. Default 4096. */
  readonly granule?: bigint;
  /** Where in its first granule the buffer begins: the IOVA is of that granule. Default 0. */
  readonly offset?: bigint;
}

interface Congruence {
  readonly name: string;
  readonly modulus: bigint;
  readonly address: bigint;
  readonly wish: Wish<unknown>;
}

/** How a wish is named to people. */
function spell({ name, modulus, address, wish }: Congruence): string {
  const what = address === 0n ? `${name} to ${hex(modulus)}` : `${name} ${hex(address)} modulo ${hex(modulus)}`;
  return `${wish.strength} ${what} (${wish.reason})`;
}

/** Throws `invalid` for a wish that is no power of two, or a boundary that is not one less. */
function checkWishes({ align, congruentTo, boundary }: Hint): void {
  const sizes = [
    ["align", align, align?.value],
    ["congruentTo", congruentTo, congruentTo?.value.modulus],
    ["boundary", boundary, boundary && boundary.value + 1n],
  ] as const;
  for (const [name, wish, size] of sizes) {
    if (wish === undefined || size === undefined || (size > 0n && isAligned(size, size))) continue;
    const what = `choose an IOVA: ${wish.strength} ${name} (${wish.reason})`;
    throw new IommuError("invalid", what, undefined, `${hex(size)} is no power of two`);
  }
}

/**
 * What a hint asks of the value of an IOVA for so many bytes. Throws `invalid` naming a `must` that no IOVA can meet, or a
 * wish that makes no sense.
 */
export function hintedRequest(hint: Hint, length: bigint, options: HintedOptions = {}): HintedRequest {
  const { granule = 4096n, offset = 0n } = options;
  checkWishes(hint);
  const unmet: string[] = [];
  let [modulus, address, least] = [granule, 0n, granule];
  const met: Congruence[] = [];
  for (const wanted of congruences(hint, offset)) {
    const common = wanted.modulus < modulus ? wanted.modulus : modulus;
    const isMust = wanted.wish.strength === "must";
    if (((wanted.address - address) & (common - 1n)) !== 0n) {
      if (!isMust) {
        unmet.push(wanted.name);
        continue;
      }
      const beside = met.length === 0 ? `granules of ${granule} bytes` : met.map(spell).join(" and ");
      const what = `choose an IOVA: ${spell(wanted)}`;
      throw new IommuError("invalid", what, undefined, `it cannot be met with ${beside}`);
    }
    met.push(wanted);
    if (wanted.modulus > modulus) [modulus, address] = [wanted.modulus, wanted.address & (wanted.modulus - 1n)];
    if (isMust && wanted.modulus > least) least = wanted.modulus;
  }
  const { boundary, addressLimit } = hint;
  if (boundary) {
    const size = boundary.value + 1n;
    const end = (address & boundary.value) + length;
    if (end > size) {
      // The DMA API cuts segments at the boundary, so only a single segment cannot be had.
      if (boundary.strength === "must" && hint.singleSegment?.strength === "must") {
        const preferred = met.filter(({ wish }) => wish.strength === "prefer").map(({ name }) => name);
        if (preferred.length > 0) {
          const less = Object.fromEntries(Object.entries(hint).filter(([name]) => !preferred.includes(name)));
          const request = hintedRequest(less as unknown as Hint, length, options);
          return { ...request, unmet: [...unmet, ...preferred, ...request.unmet] };
        }
        const what = `choose an IOVA: must boundary ${hex(boundary.value)} (${boundary.reason})`;
        throw new IommuError("invalid", what, undefined, `${hex(length)} bytes in a single segment cross it`);
      }
      unmet.push("boundary");
    } else {
      const inside = 1n << BigInt(bitLength(end - 1n));
      if (inside > modulus) modulus = inside;
      if (boundary.strength === "must" && inside > least) least = inside;
    }
  }
  return { modulus, address, least, unmet, ...(addressLimit?.strength === "must" ? { last: addressLimit.value } : {}) };
}

/** The wishes for an IOVA's low bits; what must be comes first, so that nothing preferred stands in its way. */
function congruences({ align, congruentTo }: Hint, offset: bigint): Congruence[] {
  const found: Congruence[] = [];
  if (align) found.push({ name: "align", modulus: align.value, address: 0n, wish: align });
  if (congruentTo) {
    const { address, modulus } = congruentTo.value;
    found.push({ name: "congruentTo", modulus, address: (address - offset) & (modulus - 1n), wish: congruentTo });
  }
  return found.sort((a, b) => Number(b.wish.strength === "must") - Number(a.wish.strength === "must"));
}

/** The IOVA that a request gets, its modulus halved until there is room; null where there is none for the least either. */
export function allocateRequested<A extends Iova>(
  space: IovaSpace<A>,
  { modulus, address, least, last = space.last }: HintedRequest,
  length: bigint,
): A | null {
  const highest = last < space.last ? last : space.last;
  for (let alignment = modulus; alignment >= least; alignment /= 2n) {
    try {
      return space.allocate({ length, alignment, congruentTo: address & (alignment - 1n), last: highest });
    } catch (error) {
      if (!(error instanceof IommuError && error.code === "space-exhausted")) throw error;
    }
  }
  return null;
}

/**
 * Allocates in a space, of DMA addresses or private ones, what an importer's hint asks for, halving what is only preferred
 * until there is room.
 * @returns the IOVA and the names of the preferred wishes that were not met
 * @throws IommuError `invalid` for a `must` that no IOVA can meet and a wish that makes no sense, `misaligned` for a length
 * that is not of whole granules, `space-exhausted` naming the `must`s that leave no room
 */
export function allocateHinted<A extends Iova>(
  space: IovaSpace<A>,
  hint: Hint,
  length: bigint,
  options: Omit<HintedOptions, "granule"> = {},
): { readonly iova: A; readonly unmet: readonly string[] } {
  const request = hintedRequest(hint, length, { ...options, granule: space.granule });
  const iova = allocateRequested(space, request, length);
  if (iova !== null) return { iova, unmet: unmetWishes(hint, iova, length, options.offset ?? 0n) };
  const musts = Object.entries(hint).flatMap(([name, wish]) =>
    typeof wish === "object" && "strength" in wish && wish.strength === "must" ? [`must ${name} (${wish.reason})`] : [],
  );
  const why = musts.length === 0 ? "no range is long enough" : `no free range meets ${musts.join(" and ")}`;
  throw new IommuError("space-exhausted", `allocate ${hex(length)} bytes of IOVA as hinted`, undefined, why);
}

/** Names of the wishes for an IOVA's value that this one does not meet. */
export function unmetWishes(hint: Hint, iova: bigint, length: bigint, offset = 0n): string[] {
  const { align, congruentTo, boundary, addressLimit } = hint;
  const differs = congruentTo && (iova + offset - congruentTo.value.address) & (congruentTo.value.modulus - 1n);
  const met: Readonly<Record<string, boolean>> = {
    align: align === undefined || iova % align.value === 0n,
    congruentTo: differs === undefined || differs === 0n,
    boundary: boundary === undefined || (iova & boundary.value) + length <= boundary.value + 1n,
    addressLimit: addressLimit === undefined || iova + length - 1n <= addressLimit.value,
  };
  return Object.keys(met).filter((name) => !met[name]);
}

const PAGE_SHIFT = 12n;
/** Hints repeat themselves after 4 GiB of virtual addresses: their moduli are not larger. */
const PERIOD_PAGES = 2 ** 20;
const REMEMBERED = 2 ** 16;

/** `hinted`: what the importer's hint asks for. */
export function hintedPlacer(importer: AnyImporter): Placer {
  const known = new Map<number, Placement>();
  return eachMapping((mappings, index) => {
    const pages = mappings.pages(index);
    const page = mappings.virtualPages[index] % PERIOD_PAGES;
    const key = page * 2 ** 32 + pages;
    let placement = known.get(key);
    if (placement === undefined) {
      if (known.size >= REMEMBERED) known.clear();
      placement = hintedPlacement(importer, page, pages);
      known.set(key, placement);
    }
    return placement;
  });
}

function hintedPlacement(importer: AnyImporter, page: number, pages: number): Placement {
  const length = BigInt(pages) << PAGE_SHIFT;
  const hint = importer.hint({ va: BigInt(page) << PAGE_SHIFT, length });
  const { modulus, address, least } = hintedRequest(hint, length);
  return {
    modulus: Number(modulus >> PAGE_SHIFT),
    address: Number(address >> PAGE_SHIFT),
    least: Number(least >> PAGE_SHIFT),
  };
}

/** `va-congruent`: IOVA ≡ VA modulo the importer's largest page, whatever the length. */
export function vaCongruentPlacer({ pageSizes }: AnyImporter): Placer {
  const largest = pageSizes === 0n ? 1n : alignDown(pageSizes, 1n << BigInt(bitLength(pageSizes) - 1));
  const modulus = Math.max(1, Number(largest >> PAGE_SHIFT));
  if (modulus === 1) return eachMapping(() => ANYWHERE);
  return eachMapping(({ virtualPages }, index) => ({ modulus, address: virtualPages[index] % modulus, least: 1 }));
}
