/** The placer of each strategy that looks at mappings one by one. */
import { IommuError } from "../engine/errors.js";
import type { AnyImporter } from "../importers/importers.js";
import { hintedPlacer, vaCongruentPlacer } from "./hinted.js";
import type { Weights } from "./joint.js";
import { JointPlacer } from "./joint-placer.js";
import type { Placer } from "./placement.js";
import { RingContiguous } from "./ring-contiguous.js";
import { asksImporter, type Strategy } from "./strategies.js";

export interface PlacerOptions {
  /** The importer that `va-congruent`, `hinted` and `joint` ask. */
  readonly importer?: AnyImporter;
  readonly weights?: Weights;
  /** Leaf sizes of the IOMMU, bytes as a bitmap. */
  readonly pageSizes: bigint;
}

/** A new placer for one replay; null for a strategy that needs none. Throws `invalid` when it has nobody to ask. */
export function newPlacer(strategy: Strategy, { importer, weights, pageSizes }: PlacerOptions): Placer | null {
  const { placement } = strategy.rule;
  if (placement === undefined) return null;
  if (placement === "ring-contiguous") return new RingContiguous();
  if (importer === undefined) {
    throw new IommuError("invalid", `use strategy "${strategy.name}"`, undefined, "it needs an importer to ask");
  }
  if (placement === "va-congruent") return vaCongruentPlacer(importer);
  if (placement === "hinted") return hintedPlacer(importer);
  return new JointPlacer({ importer, pageSizes, ...(weights === undefined ? {} : { weights }) });
}

/** The strategies with whom they ask: those that ask an importer once for each. */
export function withImporters(
  strategies: readonly Strategy[],
  importers: readonly AnyImporter[],
): { readonly strategy: Strategy; readonly importer?: AnyImporter }[] {
  return strategies.flatMap((strategy) => {
    if (!asksImporter(strategy)) return [{ strategy }];
    if (importers.length === 1) return [{ strategy, importer: importers[0] }];
    if (importers.length === 0) return [{ strategy }];
    return importers.map((importer) => ({
      strategy: { ...strategy, name: `${strategy.name}/${importer.name}` },
      importer,
    }));
  });
}
