/** Fault conditions: Intel VT-d Architecture Specification Rev. 5.10, tables 15 and 30. */
import type { Completion, SlowOutcome, Walk } from "./unit.js";

/** A fault condition on its way to becoming an outcome. */
export class Fault {
  constructor(readonly code: number) {}
}

/**
 * Whether the fault is qualified (FPD keeps it from being recorded), and how a translation request and a translated
 * request are completed; null where the condition cannot arise.
 */
type Condition = readonly [qualified: boolean, translation: Completion | null, translated: Completion | null];

const CONDITIONS: Readonly<Record<number, Condition>> = {
  1: [false, "UR", "UR"],
  2: [true, "UR", "UR"],
  3: [true, "CA", "UR"],
  4: [true, "success", "UR"],
  5: [true, "success", null],
  6: [true, "success", null],
  7: [true, "CA", null],
  8: [false, "CA", "UR"],
  9: [false, "CA", "UR"],
  10: [false, "CA", "UR"],
  11: [true, "CA", "UR"],
  12: [true, "CA", null],
  13: [true, "UR", "UR"],
  14: [true, "CA", "UR"],
  48: [false, "CA", "UR"],
  49: [false, "UR", "UR"],
  51: [false, "UR", "UR"],
  52: [false, "UR", "UR"],
  56: [false, "CA", "UR"],
  57: [false, "UR", "UR"],
  58: [false, "CA", "UR"],
  64: [false, "CA", "UR"],
  65: [true, "UR", "UR"],
  66: [true, "CA", "UR"],
  67: [true, "CA", "UR"],
  68: [true, "UR", "UR"],
  69: [true, "UR", null],
  70: [true, "UR", "UR"],
  72: [true, "UR", "UR"],
  73: [true, null, "UR"],
  80: [false, "CA", "CA"],
  81: [true, "success", "UR"],
  82: [true, "CA", "CA"],
  88: [false, "CA", "CA"],
  89: [true, "success", "UR"],
  90: [true, "CA", "CA"],
  91: [true, "CA", "CA"],
  92: [true, "success", null],
  93: [true, "success", null],
  112: [true, "success", null],
  113: [true, "success", null],
  114: [true, "success", null],
  115: [true, "success", null],
  116: [true, "success", null],
  117: [true, "success", null],
  118: [true, "success", null],
  119: [true, "success", null],
  120: [true, "CA", null],
  121: [true, "success", null],
  122: [true, "CA", null],
  123: [true, "CA", null],
  124: [true, "CA", null],
  128: [true, "success", null],
  129: [true, "success", null],
  131: [true, "success", "UR"],
  132: [true, "success", null],
  133: [true, "success", null],
  134: [true, "success", null],
  135: [true, "CA", "UR"],
  137: [true, "UR", "UR"],
  144: [true, "success", null],
};

/** Every fault code that a DMA request can end with while memory accepts every write. */
export const FAULT_CODES: readonly number[] = Object.keys(CONDITIONS).map(Number);

/** How the unit answers a request that ran into a fault. */
export function faultOutcome(fault: Fault, walk: Walk): SlowOutcome {
  const { code } = fault;
  const [qualified, translation, translated] = CONDITIONS[code];
  const type = walk.request.type;
  const completion = type === "untranslated" ? "UR" : type === "translation" ? translation : translated;
  if (completion === null) throw new Error(`the model made fault ${code.toString(16)}h of a ${type} request`);
  const suppressed = qualified && walk.faultProcessingDisabled;
  return { kind: "fault", code, recorded: !suppressed && completion !== "success", completion };
}
