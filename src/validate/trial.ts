/** Places the buffers of cases with a strategy: one replay for many, a domain for each. */
import { instantiateEngine } from "../engine/engine.js";
import type { AnyImporter } from "../importers/importers.js";
import { BatchMappings } from "../trace/mappings.js";
import { Replay } from "../replay/replay.js";
import { PlacementColumn } from "../strategies/placement.js";
import { newPlacer } from "../strategies/placer.js";
import type { Strategy } from "../strategies/strategies.js";
import { BatchWriter, type OperationBatch } from "../trace/batch.js";
import type { ValidationCase, Window } from "./case.js";

/** A range of IOVAs in pages of 4 KiB. */
export interface PageRange {
  readonly first: number;
  readonly pages: number;
}

/** Where a strategy put a case's buffer, -1 for nowhere, and what was in use then. */
export interface Placed {
  readonly iovaPage: number;
  readonly live: readonly PageRange[];
}

export interface TrialOptions {
  readonly module: WebAssembly.Module;
  readonly importer: AnyImporter;
  readonly strategy: Strategy;
  readonly format: string;
}

/** Virtual and physical page of the earlier mappings, which nobody looks at. */
const EARLIER_VIRTUAL_PAGE = 2 ** 30;
const EARLIER_PHYSICAL_PAGE = 256;

interface Recorded {
  readonly batch: OperationBatch;
  /** For each case the operations that map its earlier mappings and its buffer. */
  readonly earlier: readonly (readonly number[])[];
  readonly buffers: readonly number[];
  readonly virtualPages: Float64Array;
}

function record(cases: readonly ValidationCase[]): Recorded {
  const count = cases.reduce((sum, { earlier }) => sum + 1 + earlier.length * 2, 0);
  const batches: OperationBatch[] = [];
  const writer = new BatchWriter((batch) => batches.push(batch), count);
  const virtualPages = new Float64Array(count);
  const earlier: number[][] = [];
  const buffers: number[] = [];
  let slot = 0;
  cases.forEach((each, domain) => {
    const firstSlot = slot;
    earlier.push(
      each.earlier.map(({ pages }) => {
        const operation = writer.total;
        virtualPages[operation] = EARLIER_VIRTUAL_PAGE;
        writer.map(domain, slot++, 1, 0, pages, operation + 1);
        writer.piece(EARLIER_PHYSICAL_PAGE, pages);
        return operation;
      }),
    );
    each.earlier.forEach(({ pages, gone }, index) => {
      if (gone) writer.unmap(domain, firstSlot + index, 0, pages, writer.total + 1);
    });
    const operation = writer.total;
    buffers.push(operation);
    virtualPages[operation] = Number(each.va >> 12n);
    const lengths = each.pieces.map(({ length }) => Number(length >> 12n));
    const pages = lengths.reduce((sum, length) => sum + length, 0);
    writer.map(domain, slot++, each.pieces.length, 0, pages, operation + 1);
    each.pieces.forEach(({ physical }, index) => {
      writer.piece(Number(physical >> 12n), lengths[index]);
    });
  });
  writer.flush();
  return { batch: batches[0], earlier, buffers, virtualPages };
}

/** Throws `invalid` for a strategy that cannot place anything by itself, `memory-exhausted`. */
export async function placeCases(
  { module, importer, strategy, format }: TrialOptions,
  cases: readonly ValidationCase[],
  { last }: Window,
): Promise<Placed[]> {
  const { batch, earlier, buffers, virtualPages } = record(cases);
  const engine = await instantiateEngine(module);
  const replay = new Replay(engine, { strategy, format, last });
  const placer = newPlacer(strategy, { importer, pageSizes: engine.format(format).pageSizes });
  const iovaPages = new Float64Array(batch.count);
  const column = new PlacementColumn();
  column.reset(batch.count);
  placer?.place(new BatchMappings(batch, () => virtualPages), column);
  replay.run(batch, { iovaPages, ...(placer === null ? {} : { placements: column.bytes }) });
  return cases.map((each, index) => ({
    iovaPage: iovaPages[buffers[index]],
    live: earlier[index].flatMap((operation, at) => {
      const { pages, gone } = each.earlier[at];
      const first = iovaPages[operation];
      return gone || first < 0 ? [] : [{ first, pages }];
    }),
  }));
}
