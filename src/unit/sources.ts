import type { ConfigurationPlaces, Regime, RegimeHandle, Translation } from "./translation.js";

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

/** The sources whose regime a translation has. */
export class ResolvedSources<R extends ResolvedSource> {
  readonly #resolved = new Map<number, R>();

  constructor(private readonly translation: Translation) {}

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

  /** What requests of a source go through from now on. `make`: what else is to be known of it. Throws as `setRegime`. */
  resolve(
    source: Omit<ResolvedSource, "handle">,
    regime: Regime,
    places: ConfigurationPlaces,
    make: (handle: RegimeHandle) => R,
  ): R {
    const { sid, pasid } = source;
    const before = this.get(sid, pasid);
    if (before) this.#forget(before);
    const resolved = make(this.translation.setRegime(sid, pasid, regime, places));
    this.#resolved.set(keyOf(sid, pasid), resolved);
    return resolved;
  }

  /** An entry that each of these was resolved from is not cached any more. */
  configurationDropped(condition: (resolved: R) => boolean): void {
    this.forgetWhere((resolved) => condition(resolved) && !this.translation.keepForIotlb(resolved));
  }

  /** The IOTLB is empty. */
  forgetKeptForIotlb(): void {
    this.forgetWhere(({ handle }) => this.translation.isKeptForIotlb(handle));
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
