/** What the requests of one source go through: its tables, and what ordinary walks of them look like (REGIME_* of layout.ts). */
import { dispatch } from "../format/formats";
import {
  ACCESS_READ,
  ACCESS_WRITE,
  INTERRUPT_SPAN,
  PATTERN_BYTES,
  PATTERN_COUNT,
  PATTERN_LEAF_DENIED,
  PATTERN_LEAF_REQUIRED,
  PATTERN_TABLE_EXPECTED,
  PATTERN_TABLE_MASK,
  REGIME_ACCESS_CLEAR,
  REGIME_ACCESS_SET,
  REGIME_BYTES,
  REGIME_FLAGS,
  REGIME_FORMAT,
  REGIME_LAST,
  REGIME_LOWER_UNPRIVILEGED_DISABLED,
  REGIME_LOOKED_UP,
  REGIME_NOW,
  REGIME_ORDINARY,
  REGIME_OWNER,
  REGIME_PATTERNS,
  REGIME_REFUSED_SPAN,
  REGIME_REFUSES_INTERRUPT_RANGE,
  REGIME_REFUSES_PRIVILEGED,
  REGIME_TABLE,
  REGIME_TAG,
  REGIME_UPPER_TABLE,
  TABLE_FORMAT,
  TABLE_RESERVED_TABLE,
  TABLE_SECOND_STAGE,
} from "../layout";
import { heapAllocate, heapFree } from "../memory/heap";
import { arenaBase } from "../memory/physical";
import { tableForget } from "../table/table";

/**
 * What must be true of every entry of an ordinary walk for this kind of access: see `nextTable` of table.ts. False when
 * no mask can say it.
 */
function makePattern<F>(table: usize, access: u32, pattern: usize): bool {
  const f = changetype<F>(0);
  const required = f.requiredInTable(table, access) | f.ordinaryTable();
  const denied = f.deniedInTable(table, access);
  const reserved = load<u64>(table + 16, TABLE_RESERVED_TABLE) | denied | f.largeLeaf();
  store<u64>(pattern, f.tableAddress(-1) | required | reserved, PATTERN_TABLE_MASK);
  store<u64>(pattern, arenaBase | required, PATTERN_TABLE_EXPECTED);
  store<u64>(pattern, f.requiredInLeaf(table, access), PATTERN_LEAF_REQUIRED);
  store<u64>(pattern, f.deniedInLeaf(table, access), PATTERN_LEAF_DENIED);
  return denied != u64.MAX_VALUE;
}

@unmanaged
class MakePatterns {
  /** a: regime, b: table. Returns the kinds of access whose walks may be ordinary ones. */
  // @ts-ignore: decorator
  @inline run<F>(a: usize, b: usize, c: usize, d: usize): i32 {
    let kinds: u32 = 0;
    for (let access: u32 = 0; access < <u32>PATTERN_COUNT; access++) {
      const said = makePattern<F>(b, access, a + REGIME_PATTERNS + <usize>access * <usize>PATTERN_BYTES);
      if (said && access & <u32>(ACCESS_READ | ACCESS_WRITE)) kinds |= <u32>1 << access;
    }
    return kinds;
  }
}

const PRIVILEGED_KINDS: u32 = 0xf0;
const UNPRIVILEGED_KINDS: u32 = 0x0f;

/** Makes a regime; 0 when memory is exhausted. `table` is a table's handle, or 0: addresses up to `last` pass. */
export function regimeCreate(table: usize, upper: usize, last: u64, tag: u64, owner: u64, flags: u32, accessClear: u32, accessSet: u32): usize {
  const regime = heapAllocate(REGIME_BYTES);
  if (!regime) return 0;
  store<u32>(regime, <u32>table, REGIME_TABLE);
  store<u32>(regime, <u32>upper, REGIME_UPPER_TABLE);
  store<u64>(regime, last, REGIME_LAST);
  store<u64>(regime, tag, REGIME_TAG);
  store<u64>(regime, owner, REGIME_OWNER);
  store<u32>(regime, <u32>regime, REGIME_NOW);
  store<u32>(regime, flags | REGIME_LOOKED_UP, REGIME_FLAGS);
  store<u32>(regime, accessClear, REGIME_ACCESS_CLEAR);
  store<u32>(regime, accessSet, REGIME_ACCESS_SET);
  store<u64>(regime, flags & <u32>REGIME_REFUSES_INTERRUPT_RANGE ? <u64>INTERRUPT_SPAN : 0, REGIME_REFUSED_SPAN);
  if (table) {
    const format = load<u32>(table, TABLE_FORMAT);
    const kinds = <u32>dispatch<MakePatterns>(format, regime, table, 0, 0);
    const refused =
      (flags & <u32>REGIME_REFUSES_PRIVILEGED ? PRIVILEGED_KINDS : 0) |
      (flags & <u32>REGIME_LOWER_UNPRIVILEGED_DISABLED ? UNPRIVILEGED_KINDS : 0);
    store<u32>(regime, format, REGIME_FORMAT);
    store<u32>(regime, load<u32>(table, TABLE_SECOND_STAGE) ? 0 : kinds & ~refused, REGIME_ORDINARY);
  }
  return regime;
}

/** Gives back a regime and the handles of its tables (not the tables in memory, which are software's). */
export function regimeRelease(regime: usize): void {
  const table = <usize>load<u32>(regime, REGIME_TABLE);
  const upper = <usize>load<u32>(regime, REGIME_UPPER_TABLE);
  if (table || upper) {
    // Both halves have the same second stage.
    const second = <usize>load<u32>(table ? table : upper, TABLE_SECOND_STAGE);
    if (second) tableForget(second);
    if (table) tableForget(table);
    if (upper) tableForget(upper);
  }
  heapFree(regime, REGIME_BYTES);
}
