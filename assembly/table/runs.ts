/**
 * Contiguous runs: naturally aligned groups of leaves of one table, to a naturally aligned physical range, each of which
 * is marked so that one TLB entry may hold them all (Arm DDI 0487, "The Contiguous bit").
 */
import { TABLE_ENTRIES_WRITTEN, TABLE_RUNS } from "../layout";
import { count, entriesIn, levelShift } from "./table";

// @ts-ignore: decorator
@inline
function runsAt(level: u32): usize {
  return <usize>TABLE_RUNS + (<usize>level << 3);
}

/** Marks the runs among `n` leaves just written at `entries`, the first of which maps `iova` to `physical`. */
export function markRuns<F>(table: usize, entries: usize, level: u32, iova: u64, physical: u64, n: u32): void {
  const f = changetype<F>(0);
  const shift = levelShift<F>(level);
  const leaves = <u64>1 << f.runShift(level);
  const bytes = leaves << shift;
  if (!f.runShift(level) || (iova ^ physical) & (bytes - 1)) return;
  for (let i = (-iova & (bytes - 1)) >> shift; i + leaves <= <u64>n; i += leaves) {
    const run = entries + (<usize>i << 3);
    for (let p = run; p < run + (<usize>leaves << 3); p += 8) store<u64>(p, load<u64>(p) | f.runMark());
    count(table, runsAt(level), 1);
  }
}

/**
 * Before `n` leaves from `index` on are removed from the table at `entries`: takes the mark from every run that they are a
 * part of. Writes to leaves that stay are counted.
 */
export function breakRuns<F>(table: usize, entries: usize, level: u32, index: u32, n: u32): void {
  const f = changetype<F>(0);
  if (!f.runShift(level)) return;
  const leaves = <u32>1 << f.runShift(level);
  const end = index + n;
  for (let first = index & ~(leaves - 1); first < end; first += leaves) {
    const from = max<u32>(index, first);
    if (!(load<u64>(entries + (<usize>from << 3)) & f.runMark())) continue;
    const last = min<u32>(first + leaves, entriesIn<F>(table, level));
    for (let i = first; i < last; i++) {
      const p = entries + (<usize>i << 3);
      store<u64>(p, load<u64>(p) & ~f.runMark());
    }
    count(table, TABLE_ENTRIES_WRITTEN, <u64>(last - first - (min<u32>(last, end) - from)));
    count(table, runsAt(level), -1);
  }
}
