import * as layout from "../../assembly/layout.js";
import { type PhysicalAddress, physicalAddress } from "../engine/addresses.js";
import { type Access, decodeWalkStatus } from "../engine/page-table.js";
import type { DmaRequest, StructureRead } from "./request.js";
import { type EntryRead, type Translation, type TranslationHandler, UnitBatch } from "./translation.js";

/** What was traced: a result, and every entry that was read on the way to it, in order. */
export interface Traced<T> {
  readonly result: T;
  readonly reads: readonly StructureRead[];
}

/** Requests that a unit makes one at a time, and what is read for them while somebody wants to know. */
export class SingleRequest {
  readonly #batch: UnitBatch;
  #reads: StructureRead[] | null = null;

  /** @param describe a page-table entry by the names of the architecture */
  constructor(
    private readonly translation: Translation,
    private readonly handler: TranslationHandler,
    private readonly describe: (read: EntryRead, request: DmaRequest) => StructureRead,
  ) {
    this.#batch = new UnitBatch(translation.engine, 1);
  }

  /** Makes a request of this kind of access. */
  translate(request: DmaRequest, access: Access): void {
    const { sid, iova, pasid } = request;
    const batch = this.#batch;
    batch.iova[0] = iova;
    batch.source[0] = sid;
    batch.sanitized = request.sanitized ?? true;
    batch.pasid[0] = pasid ?? layout.NO_PASID;
    const run = (): void => this.translation.translate(batch, 1, access, pasid !== undefined, this.handler);
    if (!this.#reads) run();
    else for (const read of this.translation.logReads(run)) this.#reads.push(this.describe(read, request));
  }

  /** Bytes of the page that the last request went to; null when it passed without a table. */
  get pageSize(): bigint | null {
    const { pageSize } = decodeWalkStatus(this.#batch.status[0]);
    return pageSize === 0n ? null : pageSize;
  }

  /** Where the last request led. */
  get physical(): PhysicalAddress {
    return physicalAddress(this.#batch.physical[0]);
  }

  /** Notes words of a structure that were read. */
  note(read: StructureRead): void {
    this.#reads?.push(read);
  }

  /** Notes entries of other tables than the request's own, read on the way to it. */
  noteEntries(describe: (read: EntryRead) => StructureRead): void {
    if (this.#reads) this.#reads.push(...this.translation.takeReads().map(describe));
  }

  trace<T>(work: () => T): Traced<T> {
    const reads: StructureRead[] = [];
    this.#reads = reads;
    try {
      return { result: work(), reads };
    } finally {
      this.#reads = null;
    }
  }

  release(): void {
    this.#batch.release();
  }
}
