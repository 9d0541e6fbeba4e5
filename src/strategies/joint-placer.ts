/** `joint` in a replay, and the account of the trade that it made. */
import type { BatchMappings } from "../trace/mappings.js";
import { type Candidate, type JointOptions, type JointPiece, JointScorer, type Weights } from "./joint.js";
import { ANYWHERE, type PlacementColumn, type Placer } from "./placement.js";

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

export class JointPlacer implements Placer {
  readonly #scorer: JointScorer;
  readonly #sums = { nobody: NO_SUMS, importer: NO_SUMS, iommu: NO_SUMS, joint: NO_SUMS };
  #widest: Trade["widest"] = null;
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
      widest: this.#widest,
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
