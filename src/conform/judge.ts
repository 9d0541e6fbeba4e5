import { hex } from "../engine/addresses.js";
import type { VectorOutcome } from "./model.js";
import type { WordPair } from "./record.js";
import type { Expectation, ExpectedFault, ExpectedTranslation, FaultField, Specification } from "./vector.js";

/** One thing in which an answer is not as expected. */
export interface Difference {
  /** "answer", a field of the fault record, "word 0x…". */
  readonly what: string;
  readonly expected: string;
  readonly got: string;
}

/** A field of a fault record that must agree: its name in our record, and the bits that count. */
interface ComparedField {
  readonly ours: string;
  readonly mask?: bigint;
  /** Compared for these codes only. */
  readonly codes?: readonly number[];
}

/** By the names of the vectors. Whatever else a fault carries explains the recorded machine and is not compared. */
const COMPARED: Readonly<Record<string, ComparedField>> = {
  sid: { ours: "sid" },
  addr: { ours: "addr" },
  type: { ours: "type" },
  pasid: { ours: "pasid" },
  s2: { ours: "s2" },
  class: { ours: "class" },
  ipa: { ours: "ipa" },
  fetchAddr: { ours: "fetchAddr" },
  iotval: { ours: "iotval" },
  // RISC-V IOMMU fault record: the guest physical address for guest page faults (20, 21, 23)
  // alone; its two low bits are flags of implicit accesses, which the recorded machine does not set.
  qemuIotval2: { ours: "iotval2", mask: ~3n, codes: [20, 21, 23] },
};

/** In what an answer differs from the expected one; table words are compared by `wordDifferences`. */
export function answerDifferences(expectation: Expectation, outcome: VectorOutcome): Difference[] {
  const { answer, deviation } = expectation;
  if (deviation !== null) {
    if (meets(outcome, deviation.specification, answer)) return [];
    return [{ what: "answer", expected: specificationText(deviation.specification), got: answerText(outcome) }];
  }
  const same = "pa" in answer ? "pa" in outcome && outcome.pa === answer.pa : hasCode(outcome, answer.code);
  if (!same) return [{ what: "answer", expected: answerText(answer), got: answerText(outcome) }];
  return "pa" in answer || "pa" in outcome ? [] : recordDifferences(answer, outcome.fields);
}

function meets(outcome: VectorOutcome, specification: Specification, recorded: Expectation["answer"]): boolean {
  if ("pa" in specification) return "pa" in outcome && outcome.pa === specification.pa;
  if ("code" in specification) return hasCode(outcome, specification.code);
  const { anyOf, orPa } = specification;
  if ("pa" in outcome) return outcome.pa === orPa;
  if (outcome.code !== null) return anyOf.includes(outcome.code);
  // The list does not say whether a fault is recorded at all: where FPD is set, the recorded machine's silence is right.
  return anyOf.length === 0 || ("code" in recorded && recorded.code === null);
}

function hasCode(outcome: VectorOutcome, code: number | null): boolean {
  return "code" in outcome && outcome.code === code;
}

function recordDifferences(expected: ExpectedFault, got: Readonly<Record<string, FaultField | number>>): Difference[] {
  return Object.entries(expected.fields).flatMap(([name, value]) => {
    const compared = COMPARED[name];
    if (compared === undefined) return [];
    const { ours, mask, codes } = compared;
    if (codes !== undefined && (expected.code === null || !codes.includes(expected.code))) return [];
    const field = got[ours];
    if (field !== undefined && masked(field, mask) === masked(value, mask)) return [];
    return [{ what: ours, expected: fieldText(value), got: field === undefined ? "absent" : fieldText(field) }];
  });
}

function masked(value: FaultField | number, mask: bigint | undefined): FaultField {
  const wide = typeof value === "number" ? BigInt(value) : value;
  return typeof wide === "bigint" && mask !== undefined ? wide & mask : wide;
}

/** Words that changed otherwise than expected; a null word is one that nobody backs. */
export function wordDifferences(
  expected: readonly WordPair[],
  changed: ReadonlyMap<bigint, bigint | null>,
): Difference[] {
  const wanted = new Map(expected);
  const addresses = [...new Set([...wanted.keys(), ...changed.keys()])].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  return addresses
    .filter((address) => wanted.get(address) !== changed.get(address))
    .map((address) => ({
      what: `word ${hex(address)}`,
      expected: changeText(wanted.get(address)),
      got: changeText(changed.get(address)),
    }));
}

function changeText(word: bigint | null | undefined): string {
  return word === undefined ? "unchanged" : word === null ? "not backed" : hex(word);
}

/** A translation or a fault's code in words. */
export function answerText(answer: ExpectedTranslation | ExpectedFault | VectorOutcome): string {
  if ("pa" in answer) return `pa ${hex(answer.pa)}`;
  const name = "name" in answer && answer.name !== null && answer.code !== null ? `: ${answer.name}` : "";
  return `${codeText(answer.code)}${name}`;
}

/** A code as the vectors write it and as specifications do. */
function codeText(code: number | null): string {
  return code === null ? "blocked, nothing recorded" : `code ${code} (${hex(BigInt(code))})`;
}

export function specificationText(specification: Specification): string {
  if ("pa" in specification) return `pa ${hex(specification.pa)}`;
  if ("code" in specification) return codeText(specification.code);
  const { anyOf, orPa } = specification;
  const faults = anyOf.length === 0 ? [codeText(null)] : anyOf.map(codeText);
  return [...faults, ...(orPa === null ? [] : [`pa ${hex(orPa)}`])].join(" or ");
}

/** A field of a fault record: numbers in hex. */
export function fieldText(value: FaultField | number): string {
  return typeof value === "bigint" || typeof value === "number" ? hex(BigInt(value)) : String(value);
}
