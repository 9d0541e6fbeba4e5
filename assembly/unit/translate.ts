/**
 * Batches: requests of many sources in, physical addresses and status words out. A batch stops only where the architecture's
 * own side is needed: a source is new, or an address is not the translation's.
 */
import { dispatch } from "../format/formats";
import {
  NO_PASID,
  STALE_FROM_IOTLB,
  UNIT_BATCH_COUNT,
  UNIT_BATCH_NEXT,
  UNIT_BATCH_SANITIZER,
  UNIT_CACHES,
  UNIT_DONE,
  UNIT_INTERCEPTED,
  UNIT_MISSING,
  UNIT_REQUESTS,
} from "../layout";
import { count } from "../table/table";
import { iovaAt, pasidAt, translateOneSlowly } from "./batch";
import { runHits } from "./hits";
import { answeredFrom } from "./request";
import { ANOTHER_FORMAT, TranslateRun, nextFormat } from "./run";
import { sanitizerUse } from "./sanitizer";
import { shortcutsForget } from "./shortcuts";
import { isIntercepted } from "./unit";

/** `unitTranslate` where requests are made by themselves, unless they are hits that come one after another. */
function translateEach(unit: usize, batch: usize): i32 {
  const total = load<u32>(batch, UNIT_BATCH_COUNT);
  const first = load<u32>(batch, UNIT_BATCH_NEXT);
  let i = first;
  let why: i32 = UNIT_DONE;
  while (i < total) {
    if (pasidAt(batch, i) == <u32>NO_PASID && isIntercepted(unit, iovaAt(batch, i))) {
      why = UNIT_INTERCEPTED;
      break;
    }
    if (!translateOneSlowly(unit, batch, i)) {
      why = UNIT_MISSING;
      break;
    }
    i++;
    if (answeredFrom == STALE_FROM_IOTLB) i = runHits(unit, batch, i);
  }
  store<u32>(batch, i, UNIT_BATCH_NEXT);
  count(unit, UNIT_REQUESTS, <u64>(i - first));
  return why;
}

/**
 * Translates the requests of a batch from UNIT_BATCH_NEXT on, in order. Returns UNIT_DONE, or why request
 * UNIT_BATCH_NEXT needs the architecture's own side.
 */
export function unitTranslate(unit: usize, batch: usize): i32 {
  sanitizerUse(<usize>load<u32>(batch, UNIT_BATCH_SANITIZER));
  shortcutsForget();
  // Short cuts are for the direct-mapped IOTLB, and for walks that begin at the first table.
  if (load<u32>(unit, UNIT_CACHES)) return translateEach(unit, batch);
  let why = ANOTHER_FORMAT;
  while (why == ANOTHER_FORMAT) why = dispatch<TranslateRun>(nextFormat, unit, batch, <usize>nextFormat, 0);
  return why;
}
