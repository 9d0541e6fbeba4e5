/** What invalidations select, compared with addresses and owners. */
import type { CachePredicate } from "../cache/cache.js";

export interface AddressRange {
  readonly first: bigint;
  readonly last: bigint;
}

export const EVERYWHERE = { first: 0n, last: 0xffff_ffff_ffff_ffffn };

export function reaches(
  { first = EVERYWHERE.first, last = EVERYWHERE.last }: CachePredicate,
  address: bigint,
): boolean {
  return first <= address && address <= last;
}

/** Bits of the owner that a predicate compares and that differ. */
export function difference({ mask = 0n, owner = 0n }: CachePredicate, of: bigint): bigint {
  return (owner ^ of) & mask;
}

export function selects(predicates: readonly CachePredicate[] | undefined, owner: bigint, address: bigint): boolean {
  return predicates?.some((one) => reaches(one, address) && difference(one, owner) === 0n) ?? false;
}

/** Whether a range has an address in common with what a predicate selects. */
export function meets({ first, last }: AddressRange, predicate: CachePredicate): boolean {
  return first <= (predicate.last ?? last) && last >= (predicate.first ?? first);
}

export function covers(outer: CachePredicate, inner: CachePredicate): boolean {
  const { first = EVERYWHERE.first, last = EVERYWHERE.last } = inner;
  return reaches(outer, first) && reaches(outer, last);
}

/** Whether no address of a range is left out by all of the predicates. */
export function coverTogether(predicates: readonly CachePredicate[], { first, last }: AddressRange): boolean {
  const ranges = predicates.map((one) => ({ ...EVERYWHERE, ...one })).sort((a, b) => (a.first < b.first ? -1 : 1));
  let next = first;
  for (const range of ranges) if (range.first <= next && range.last >= next) next = range.last + 1n;
  return next > last;
}
