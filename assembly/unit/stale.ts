/** Whether a request that was let through is stale: whether memory as it is would have led it elsewhere. */
import { valuePhysical } from "../cache/iotlb";
import { dispatch } from "../format/formats";
import {
  INTERRUPT_FIRST,
  REGIME_FORMAT,
  REGIME_NOW,
  REGIME_REFUSED_SPAN,
  REGIME_TABLE,
  STALE_FROM_WALK,
  WALK_OUTCOME_MASK,
  WALK_SIZE_SHIFT,
} from "../layout";
import { accessInForce } from "./access";
import { answeredFrom, answeredOwner, rehearse, route, routedAddress, routedTable } from "./request";
import { sanitizerNote } from "./sanitizer";
import {
  SHORTCUT_STATUS,
  SHORTCUT_TO_VALUE,
  shortcutAt,
  shortcutExpects,
  shortcutHolds,
  shortcutKind,
  shortcutLeaf,
  shortcutMake,
  shortcutsReserve,
} from "./shortcuts";
import { sourceKey } from "./unit";

const rehearsed = memory.data(16, 16);

/** Where a walk without caches, which changes nothing, leads now; all ones when it faults. */
export function unitRehearse(regime: usize, iova: u64, requested: u32): u64 {
  const access = accessInForce(regime, requested);
  if (route(regime, iova, access)) return -1;
  if (!routedTable) return iova;
  const status = rehearse(routedTable, routedAddress, access, rehearsed);
  const physical = load<u64>(rehearsed);
  const refused = physical - <u64>INTERRUPT_FIRST < load<u64>(regime, REGIME_REFUSED_SPAN);
  return status & <u32>WALK_OUTCOME_MASK || refused ? -1 : physical;
}

/** Where a shortcut led, which answers as a walk does. */
let shortlyLed: u64 = 0;

@unmanaged
class Shortly {
  /** a: regime, b: kind of access; address and source at `rehearsed`. Returns 0 when there can be no shortcut. */
  // @ts-ignore: decorator
  @inline run<F>(a: usize, b: usize, c: usize, d: usize): i32 {
    const iova = load<u64>(rehearsed);
    const source = load<u64>(rehearsed, 8);
    const kind = shortcutKind(load<u32>(a, REGIME_FORMAT), <u32>b);
    if (!shortcutHolds<F>(shortcutAt<F>(iova, source), iova, source, kind)) {
      shortcutsReserve(1);
      if (!shortcutMake<F>(a, iova, source, <u32>b)) return 0;
    }
    const shortcut = shortcutAt<F>(iova, source);
    const leaf = shortcutLeaf<F>(shortcut, iova, false);
    if (!shortcutExpects<F>(shortcut, leaf)) return 0;
    const shift = (load<u32>(shortcut, SHORTCUT_STATUS) >> <u32>WALK_SIZE_SHIFT) & 0x3f;
    shortlyLed = valuePhysical(leaf ^ load<u64>(shortcut, SHORTCUT_TO_VALUE), shift, iova);
    return 1;
  }
}

/** Notes the request that `translateSlowly` has just let through, if memory would not. */
export function sanitizeSlowly(regime: usize, source: u32, pasid: u32, iova: u64, requested: u32, physical: u64): void {
  const now = <usize>load<u32>(regime, REGIME_NOW);
  if (answeredFrom == STALE_FROM_WALK && now == regime) return;
  if (now == regime && load<u32>(regime, REGIME_TABLE)) {
    store<u64>(rehearsed, iova);
    store<u64>(rehearsed, sourceKey(source, pasid), 8);
    if (dispatch<Shortly>(load<u32>(regime, REGIME_FORMAT), regime, <usize>requested, 0, 0) && shortlyLed == physical) return;
  }
  const led = now ? unitRehearse(now, iova, requested) : <u64>-1;
  if (led == physical) return;
  sanitizerNote(source, pasid, requested, iova, physical, led, answeredOwner, answeredFrom);
}
