/** Makes a failing case smaller while it still fails. */
import { physicalAddress } from "../engine/addresses.js";
import { caseWeight, type ValidationCase, type Window } from "./case.js";

export interface WindowedCase {
  readonly case: ValidationCase;
  readonly window: Window;
}

const PAGE = 4096n;
const FOUR_GIB = 2n ** 32n;

/** Shorter lengths in multiples of the granule: the shortest first. */
function shorter(length: bigint): bigint[] {
  const pages = length / PAGE;
  return [...new Set([1n, pages / 2n, pages - 1n])]
    .filter((each) => each >= 1n && each < pages)
    .map((each) => each * PAGE);
}

/** Smaller addresses: zero, then with ever fewer high bits, then without low bits. */
function rounder(address: bigint): bigint[] {
  const found = new Set<bigint>([0n]);
  for (let bit = 13n; bit < 48n; bit++) found.add(BigInt.asUintN(Number(bit), address));
  for (let bit = 47n; bit > 12n; bit--) found.add((address >> bit) << bit);
  found.delete(address);
  return [...found];
}

function* smaller({ case: each, window }: WindowedCase, widest: bigint): Generator<WindowedCase> {
  const { va, pieces, earlier, maxSegment } = each;
  const changed = (change: Partial<ValidationCase>): WindowedCase => ({ case: { ...each, ...change }, window });
  const replaced = <T>(list: readonly T[], index: number, ...by: T[]): T[] => [
    ...list.slice(0, index),
    ...by,
    ...list.slice(index + 1),
  ];
  yield { case: each, window: { last: widest } };
  yield changed({ earlier: [] });
  for (let index = 0; index < earlier.length; index++) yield changed({ earlier: replaced(earlier, index) });
  if (maxSegment !== null) yield changed({ maxSegment: null });
  if (pieces.length > 1) {
    yield changed({ pieces: [{ ...pieces[0], length: pieces.reduce((sum, { length }) => sum + length, 0n) }] });
    for (let index = 0; index < pieces.length; index++) yield changed({ pieces: replaced(pieces, index) });
  }
  for (const [index, piece] of pieces.entries()) {
    for (const length of shorter(piece.length))
      yield changed({ pieces: replaced(pieces, index, { ...piece, length }) });
    for (const address of [FOUR_GIB, FOUR_GIB | BigInt.asUintN(21, piece.physical)]) {
      yield changed({ pieces: replaced(pieces, index, { ...piece, physical: physicalAddress(address) }) });
    }
  }
  for (const [index, { pages, gone }] of earlier.entries()) {
    for (const length of shorter(BigInt(pages) * PAGE)) {
      yield changed({ earlier: replaced(earlier, index, { pages: Number(length / PAGE), gone }) });
    }
    if (gone) yield changed({ earlier: replaced(earlier, index, { pages, gone: false }) });
  }
  for (const address of rounder(va)) yield changed({ va: address });
}

/** @param fails whether a case still fails; asked until no smaller case does */
export async function shrink(
  failing: WindowedCase,
  widest: bigint,
  fails: (candidate: WindowedCase) => Promise<boolean>,
): Promise<WindowedCase> {
  let least = failing;
  for (let found = true; found; ) {
    found = false;
    for (const candidate of smaller(least, widest)) {
      if (caseWeight(candidate.case, candidate.window) >= caseWeight(least.case, least.window)) continue;
      if (!(await fails(candidate))) continue;
      least = candidate;
      found = true;
      break;
    }
  }
  return least;
}
