/** What the importers get from the IOVAs that a strategy chose. */
import { type DmaAddress, dmaAddress } from "../engine/addresses.js";
import { IommuError } from "../engine/errors.js";
import { agreement, type Entries, type EntryCounter } from "../importers/depth.js";
import type { AnyImporter } from "../importers/importers.js";
import type { Importer, Segment } from "../importers/importer.js";
import type { BatchMappings } from "../trace/mappings.js";

/** An importer's entries over all mappings that a strategy could place. */
export interface ImporterFigures {
  readonly name: string;
  /** By the bytes that an entry covers, smallest first. */
  readonly entries: readonly { readonly size: number; readonly count: number }[];
  readonly entriesUsed: number;
  /** For these lengths if everything were congruent and contiguous, and for any IOVA. */
  readonly entriesFewest: number;
  readonly entriesAttainable: number;
  /** entriesFewest / entriesUsed and entriesFewest / entriesAttainable. */
  readonly tidiness: number;
  readonly attainableTidiness: number;
  /** Mappings that the importer's driver would refuse at their IOVA. */
  readonly refused: number;
}

const PAGE_SHIFT = 12n;

/** Counts one importer's entries under one strategy. */
export class ImporterAccount {
  readonly #importer: AnyImporter;
  readonly #counter: EntryCounter;
  readonly #isIdentity: boolean;
  /** First page that the importer's entries cannot hold. */
  readonly #endPage: number;
  readonly #bySize = new Map<bigint, number>();
  #used = 0;
  #fewest = 0;
  #attainable = 0;
  #refused = 0;
  /** Mappings of one page, which need no look at their addresses: the most of many traces. */
  #singlePages = 0;

  /**
   * @param counter of the same importer; what it remembers serves every strategy
   * @param isIdentity addresses are physical, so pieces are not joined
   */
  constructor(importer: AnyImporter, counter: EntryCounter, isIdentity: boolean) {
    this.#importer = importer;
    this.#counter = counter;
    this.#isIdentity = isIdentity;
    this.#endPage = 2 ** (importer.addressBits - 12);
  }

  /** @param iovaPages what the strategy chose for each operation, -1 where nothing */
  count(mappings: BatchMappings, iovaPages: Float64Array): void {
    for (let index = 0; index < mappings.count; index++) {
      if (!mappings.isMap(index) || iovaPages[index] < 0) continue;
      const virtualPage = mappings.virtualPages[index];
      const pages = mappings.pages(index);
      const isDma = this.#importer.addresses === "dma";
      if (isDma && pages === 1 && iovaPages[index] < this.#endPage) {
        this.#singlePages++;
        continue;
      }
      const attainable = isDma ? this.#counter.fewest(virtualPage, pages) : null;
      const entries = this.#entries(mappings, index, iovaPages[index]);
      if (entries === null) {
        this.#refused++;
        continue;
      }
      this.#add(entries, Math.min(entries.total, attainable?.total ?? entries.total), 1);
    }
  }

  figures(): ImporterFigures {
    if (this.#singlePages > 0) {
      const page = this.#counter.fewest(0, 1);
      this.#add(page, page.total, this.#singlePages);
      this.#singlePages = 0;
    }
    return {
      name: this.#importer.name,
      entries: [...this.#bySize]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([size, count]) => ({ size: Number(size), count })),
      entriesUsed: this.#used,
      entriesFewest: this.#fewest,
      entriesAttainable: this.#attainable,
      tidiness: this.#used === 0 ? 1 : this.#fewest / this.#used,
      attainableTidiness: this.#attainable === 0 ? 1 : this.#fewest / this.#attainable,
      refused: this.#refused,
    };
  }

  #add({ entries, total, ideal }: Entries, attainable: number, times: number): void {
    for (const [size, count] of entries) this.#bySize.set(size, (this.#bySize.get(size) ?? 0) + count * times);
    this.#used += total * times;
    this.#fewest += ideal * times;
    this.#attainable += attainable * times;
  }

  #entries(mappings: BatchMappings, index: number, iovaPage: number): Entries | null {
    const { addresses } = this.#importer;
    const pages = mappings.pages(index);
    const virtualPage = mappings.virtualPages[index];
    const oneSegment = addresses === "dma" && !(this.#isIdentity && mappings.pieceCount(index) > 1);
    if (oneSegment) {
      if (iovaPage + pages > this.#endPage) return null;
      return this.#counter.count(virtualPage, pages, agreement(iovaPage, virtualPage));
    }
    // A physical importer's own IOMMU maps at the IOVA.
    const va = BigInt(addresses === "physical" ? iovaPage : virtualPage) << PAGE_SHIFT;
    try {
      return (this.#importer as Importer).plan({ va, segments: physicalSegments(mappings, index) });
    } catch (error) {
      if (error instanceof IommuError) return null;
      throw error;
    }
  }
}

/** A mapping's pieces as an importer of physical addresses gets them. */
function physicalSegments(mappings: BatchMappings, index: number): Segment<DmaAddress>[] {
  const first = mappings.firstPiece(index);
  return Array.from({ length: mappings.pieceCount(index) }, (_, piece) => ({
    address: dmaAddress(BigInt(mappings.physicalPage(first + piece)) << PAGE_SHIFT),
    length: BigInt(mappings.piecePages(first + piece)) << PAGE_SHIFT,
  }));
}

/** Highest IOVA that all these importers' devices can reach; undefined where none is limited. */
export function dmaLimit(importers: readonly AnyImporter[]): bigint | undefined {
  const limits = importers.flatMap((importer) => {
    const limit = importer.hint({ va: 0n, length: 4096n }).addressLimit;
    return limit === undefined ? [] : [limit.value];
  });
  return limits.length === 0 ? undefined : limits.reduce((least, limit) => (limit < least ? limit : least));
}
