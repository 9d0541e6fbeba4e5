/**
 * `joint`: IOMMU and importer want different low bits of an IOVA. Every candidate for them is scored by what it costs both
 * sides and the IOVA space, and the cheapest is taken.
 */
import { pageSizesOf } from "../bits.js";
import { DEEPEST, EntryCounter } from "../importers/depth.js";
import type { AnyImporter } from "../importers/importers.js";
import { hintedRequest } from "./hinted.js";

/** Cost of one IOMMU leaf, one entry of the importer, and one page of IOVA space. */
export interface Weights {
  readonly iommu: number;
  readonly importer: number;
  readonly space: number;
}

export const DEFAULT_WEIGHTS: Weights = { iommu: 1, importer: 1, space: 0 };

/** A physically contiguous piece in pages of 4 KiB. */
export interface JointPiece {
  readonly physicalPage: number;
  readonly pages: number;
}

/** IOVA ≡ address (mod modulus), in pages of 4 KiB, and what it costs at least where no more is agreed by chance. */
export interface Candidate {
  /** For whom its low bits are: nobody, the importer's virtual address, or the physical address of some pieces. */
  readonly serves: "nobody" | "importer" | "iommu";
  readonly modulus: number;
  readonly address: number;
  readonly iommuLeaves: number;
  readonly importerEntries: number;
  /** Pages of IOVA space: the mapping's own, and what the modulus may leave unused before it. */
  readonly spacePages: number;
  readonly score: number;
}

/** Physical residues that are tried for each leaf size: those that save most leaves. */
const MOST_RESIDUES = 4;
const PAGE_BYTES = 4096;

/** Leaves of a range of pages whose IOVA and physical address agree in `agree` pages; sizes in pages, largest first. */
function leavesOf(physical: number, pages: number, agree: number, sizes: readonly number[]): number {
  for (let index = 0; index < sizes.length - 1; index++) {
    const size = sizes[index];
    if (size > agree) continue;
    const first = Math.ceil(physical / size) * size;
    const end = Math.floor((physical + pages) / size) * size;
    if (first >= end) continue;
    const smaller = sizes.slice(index + 1);
    const before = leavesOf(physical, first - physical, agree, smaller);
    return before + (end - first) / size + leavesOf(end, physical + pages - end, agree, smaller);
  }
  return pages;
}

function modulo(value: number, modulus: number): number {
  return ((value % modulus) + modulus) % modulus;
}

export interface JointOptions {
  readonly importer: AnyImporter;
  readonly weights?: Weights;
  /** Leaf sizes of the IOMMU, bytes as a bitmap. */
  readonly pageSizes: bigint;
}

/** Scores the candidates for one mapping. */
export class JointScorer {
  readonly weights: Weights;
  readonly #importer: AnyImporter;
  readonly #entries: EntryCounter | null;
  /** Pages, largest first. */
  readonly #leafSizes: readonly number[];

  constructor({ importer, weights = DEFAULT_WEIGHTS, pageSizes }: JointOptions) {
    this.weights = weights;
    this.#importer = importer;
    this.#entries = importer.addresses === "dma" ? new EntryCounter(importer) : null;
    this.#leafSizes = pageSizesOf(pageSizes)
      .map((size) => Number(size) / PAGE_BYTES)
      .reverse();
  }

  /** All candidates, in the order in which they are preferred when their scores and their space are equal. */
  candidates(virtualPage: number, pieces: readonly JointPiece[]): Candidate[] {
    const pages = pieces.reduce((sum, piece) => sum + piece.pages, 0);
    const places = new Map<string, Pick<Candidate, "serves" | "modulus" | "address">>();
    const add = (serves: Candidate["serves"], modulus: number, wanted: number): void => {
      const address = modulo(wanted, modulus);
      const key = `${modulus}:${address}`;
      if (!places.has(key)) places.set(key, { serves, modulus, address });
    };
    add("nobody", 1, 0);
    if (pages > 1) {
      const hint = this.#importer.hint({ va: BigInt(virtualPage) << 12n, length: BigInt(pages) << 12n });
      const most = Number(hintedRequest(hint, BigInt(pages) << 12n).modulus) / PAGE_BYTES;
      for (const size of pageSizesOf(this.#importer.pageSizes)) {
        const modulus = Number(size) / PAGE_BYTES;
        if (modulus > 1 && modulus <= most) add("importer", modulus, virtualPage);
      }
      for (const size of this.#leafSizes) {
        if (size > 1 && size <= pages) for (const residue of this.#residues(pieces, size)) add("iommu", size, residue);
      }
    }
    return [...places.values()].map((place) => this.#score(place, virtualPage, pages, pieces));
  }

  /** The cheapest candidate; of equals the one that takes least space. */
  static best(candidates: readonly Candidate[]): Candidate {
    return candidates.reduce((best, candidate) =>
      candidate.score < best.score || (candidate.score === best.score && candidate.spacePages < best.spacePages)
        ? candidate
        : best,
    );
  }

  #score(
    place: Pick<Candidate, "serves" | "modulus" | "address">,
    virtualPage: number,
    pages: number,
    pieces: readonly JointPiece[],
  ): Candidate {
    const { modulus, address } = place;
    let iommuLeaves = 0;
    let offset = 0;
    for (const piece of pieces) {
      iommuLeaves += leavesOf(
        piece.physicalPage,
        piece.pages,
        agreeing(piece.physicalPage - offset - address, modulus),
        this.#leafSizes,
      );
      offset += piece.pages;
    }
    const depth = Math.min(DEEPEST, 12 + Math.log2(agreeing(virtualPage - address, modulus)));
    const importerEntries = this.#entries?.count(virtualPage, pages, depth).total ?? 0;
    const spacePages = pages + modulus - 1;
    const { iommu, importer, space } = this.weights;
    const score = iommu * iommuLeaves + importer * importerEntries + space * spacePages;
    return { ...place, iommuLeaves, importerEntries, spacePages, score };
  }

  /** What the start must be congruent to for leaves of a size; the residues that serve most pages with it. */
  #residues(pieces: readonly JointPiece[], size: number): number[] {
    const served = new Map<number, number>();
    let offset = 0;
    for (const { physicalPage, pages } of pieces) {
      const inside = Math.floor((physicalPage + pages) / size) - Math.ceil(physicalPage / size);
      if (inside > 0) {
        const residue = modulo(physicalPage - offset, size);
        served.set(residue, (served.get(residue) ?? 0) + inside);
      }
      offset += pages;
    }
    const order = [...served].sort(([a, many], [b, more]) => more - many || a - b);
    return order.slice(0, MOST_RESIDUES).map(([residue]) => residue);
  }
}

/** The largest power of two, at most `modulus`, that divides a difference. */
function agreeing(difference: number, modulus: number): number {
  let size = 1;
  while (size < modulus && difference % (2 * size) === 0) size *= 2;
  return size;
}

/** Weights from "iommu=1,importer=2,space=0.01"; the others keep their default. Null when it cannot be understood. */
export function parseWeights(text: string): Weights | null {
  const weights = { ...DEFAULT_WEIGHTS };
  for (const part of text.split(",")) {
    const found = /^(iommu|importer|space)=(\d+(?:\.\d+)?)$/.exec(part);
    if (!found) return null;
    weights[found[1] as keyof Weights] = Number(found[2]);
  }
  return weights;
}
