import type { RegimeHandle, Translation } from "./translation.js";

/** What was resolved for a source, with or without PASID (or SubstreamID). */
export interface ResolvedSource {
  readonly sid: number;
  readonly pasid: number | null;
  readonly handle: RegimeHandle;
}

/** PASIDs have 20 bits; one value more is for requests without. */
const PASIDS = 2 ** 21;

function keyOf(sid: number, pasid: number | null): number {
  return sid * PASIDS + (pasid === null ? 0 : pasid + 1);
}

/** The sources whose regime a translation has, at most `capacity`: the oldest makes room. */
export class ResolvedSources<R extends ResolvedSource> {
  readonly #resolved = new Map<number, R>();

  constructor(
    private readonly translation: Translation,
    private readonly capacity = Number.POSITIVE_INFINITY,
  ) {}

  get(sid: number, pasid: number | null): R | undefined {
    return this.#resolved.get(keyOf(sid, pasid));
  }

  get all(): IterableIterator<R> {
    return this.#resolved.values();
  }

  /** What a request that went through a regime belongs to. */
  known(sid: number, pasid: number | null): R {
    const resolved = this.get(sid, pasid);
    if (!resolved) throw new Error(`source ${sid} was never resolved`);
    return resolved;
  }

  add(resolved: R): void {
    if (this.#resolved.size >= this.capacity) {
      const [oldest] = this.#resolved.values();
      this.#forget(oldest);
    }
    this.#resolved.set(keyOf(resolved.sid, resolved.pasid), resolved);
  }

  /** The next request of each of these is resolved anew. */
  forgetWhere(condition: (resolved: R) => boolean): void {
    for (const resolved of [...this.#resolved.values()]) if (condition(resolved)) this.#forget(resolved);
  }

  #forget({ sid, pasid, handle }: R): void {
    this.#resolved.delete(keyOf(sid, pasid));
    this.translation.forgetRegime(sid, pasid, handle);
  }
}
