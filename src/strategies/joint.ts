/**
 * `joint`: IOMMU and importer want different low bits of an IOVA. Every candidate for them is scored by what it costs both
 * sides and the IOVA space, and the cheapest is taken.
 */
import { DEEPEST, EntryCounter } from "../importers/depth.js";
import { pageSizesOf } from "../importers/bits.js";
import type { AnyImporter } from "../importers/importers.js";
import type { BatchMappings } from "../replay/mappings.js";
import { sizeName } from "../report/units.js";
import { ANYWHERE, type PlacementColumn, type Placer } from "./placement.js";
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

/** Sums over mappings of what always serving one side would cost, and of what was chosen. */
export interface TradeSums {
  readonly iommuLeaves: number;
  readonly importerEntries: number;
  readonly spacePages: number;
  readonly score: number;
  /** Mappings for which such a candidate was chosen. */
  readonly chosen: number;
}

/** The trade that `joint` made. */
export interface Trade {
  readonly weights: Weights;
  readonly sums: Readonly<Record<"nobody" | "importer" | "iommu" | "joint", TradeSums>>;
  /** The mapping for which the two sides disagree most, with all its candidates; null when they never do. */
  readonly widest: {
    readonly virtualPage: number;
    readonly pieces: readonly JointPiece[];
    readonly candidates: readonly Candidate[];
    readonly chosen: Candidate;
    readonly why: string;
  } | null;
}

const NO_SUMS: TradeSums = { iommuLeaves: 0, importerEntries: 0, spacePages: 0, score: 0, chosen: 0 };

function plus(
  sums: TradeSums,
  { iommuLeaves, importerEntries, spacePages, score }: Candidate,
  chosen: boolean,
): TradeSums {
  return {
    iommuLeaves: sums.iommuLeaves + iommuLeaves,
    importerEntries: sums.importerEntries + importerEntries,
    spacePages: sums.spacePages + spacePages,
    score: sums.score + score,
    chosen: sums.chosen + (chosen ? 1 : 0),
  };
}

/** What a candidate is, as people read it: "anywhere", "VA modulo 2M". */
export function candidateName({ serves, modulus }: Pick<Candidate, "serves" | "modulus">): string {
  if (serves === "nobody") return "anywhere";
  return `${serves === "importer" ? "VA" : "PA"} modulo ${sizeName(modulus * PAGE_BYTES)}`;
}

/** Why the cheapest of these candidates was chosen. */
export function whyChosen(candidates: readonly Candidate[], chosen: Candidate): string {
  const others = candidates.filter((candidate) => candidate !== chosen);
  if (others.length === 0) return "there is no other candidate";
  const next = JointScorer.best(others);
  const score = `score ${chosen.score}`;
  if (chosen.score < next.score) return `${score} is the lowest; ${candidateName(next)} would score ${next.score}`;
  if (chosen.spacePages < next.spacePages)
    return `${score} is shared with ${candidateName(next)}, which takes more space`;
  return `${score} is shared with ${candidateName(next)}, which comes later`;
}

export class JointPlacer implements Placer {
  readonly #scorer: JointScorer;
  readonly #sums = { nobody: NO_SUMS, importer: NO_SUMS, iommu: NO_SUMS, joint: NO_SUMS };
  #widest: Omit<NonNullable<Trade["widest"]>, "why"> | null = null;
  #widestConflict = 0;
  #singlePages = 0;

  constructor(options: JointOptions) {
    this.#scorer = new JointScorer(options);
  }

  place(mappings: BatchMappings, column: PlacementColumn): void {
    for (let index = 0; index < mappings.count; index++) {
      if (!mappings.isMap(index)) continue;
      // A page alone is one leaf and one entry wherever it is.
      if (mappings.pages(index) === 1) {
        this.#singlePages++;
        column.place(index, ANYWHERE);
        continue;
      }
      const first = mappings.firstPiece(index);
      const pieces = Array.from({ length: mappings.pieceCount(index) }, (_, piece) => ({
        physicalPage: mappings.physicalPage(first + piece),
        pages: mappings.piecePages(first + piece),
      }));
      const virtualPage = mappings.virtualPages[index];
      const candidates = this.#scorer.candidates(virtualPage, pieces);
      const chosen = JointScorer.best(candidates);
      this.#account(candidates, chosen, virtualPage, pieces);
      column.place(index, { modulus: chosen.modulus, address: chosen.address, least: 1 });
    }
  }

  trade(): Trade {
    const widest = this.#widest;
    const [page] = this.#scorer.candidates(0, [{ physicalPage: 0, pages: 1 }]);
    const withPages = (sums: TradeSums, chosen: boolean): TradeSums => ({
      iommuLeaves: sums.iommuLeaves + this.#singlePages * page.iommuLeaves,
      importerEntries: sums.importerEntries + this.#singlePages * page.importerEntries,
      spacePages: sums.spacePages + this.#singlePages * page.spacePages,
      score: sums.score + this.#singlePages * page.score,
      chosen: sums.chosen + (chosen ? this.#singlePages : 0),
    });
    const { nobody, importer, iommu, joint } = this.#sums;
    return {
      weights: this.#scorer.weights,
      sums: {
        nobody: withPages(nobody, true),
        importer: withPages(importer, false),
        iommu: withPages(iommu, false),
        joint: withPages(joint, true),
      },
      widest: widest === null ? null : { ...widest, why: whyChosen(widest.candidates, widest.chosen) },
    };
  }

  #account(
    candidates: readonly Candidate[],
    chosen: Candidate,
    virtualPage: number,
    pieces: readonly JointPiece[],
  ): void {
    const [anywhere] = candidates;
    // Each side's own best, as if the other did not count.
    const importer = candidates.reduce((a, b) => (b.importerEntries < a.importerEntries ? b : a));
    const iommu = candidates.reduce((a, b) => (b.iommuLeaves < a.iommuLeaves ? b : a));
    const sums = this.#sums;
    sums.nobody = plus(sums.nobody, anywhere, chosen.serves === "nobody");
    sums.importer = plus(sums.importer, importer, chosen.serves === "importer");
    sums.iommu = plus(sums.iommu, iommu, chosen.serves === "iommu");
    sums.joint = plus(sums.joint, chosen, true);
    // They disagree as far as the side that loses less loses.
    const conflict = Math.min(
      importer.iommuLeaves - iommu.iommuLeaves,
      iommu.importerEntries - importer.importerEntries,
    );
    if (conflict <= this.#widestConflict) return;
    this.#widestConflict = conflict;
    this.#widest = { virtualPage, pieces, candidates, chosen };
  }
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
