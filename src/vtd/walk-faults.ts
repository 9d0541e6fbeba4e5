/** What a failed walk means: from its status word to the fault code of Table 30 (Intel VT-d Rev. 5.10, section 7.1.3). */
import * as layout from "../../assembly/layout.js";

/** How the addresses of a request were to be translated. */
export type Translator = "legacy" | "second" | "first" | "nested" | "pass-through";

type Codes = Readonly<Record<number, number>>;

const LEGACY: Codes = {
  [layout.WALK_INPUT_RANGE]: 0x4,
  [layout.WALK_ROOT_ACCESS]: 0x3,
  [layout.WALK_TABLE_ACCESS]: 0x7,
  [layout.WALK_RESERVED]: 0xc,
  [layout.WALK_NO_READ]: 0x6,
  [layout.WALK_NO_WRITE]: 0x5,
};

const SECOND_STAGE: Codes = {
  [layout.WALK_INPUT_RANGE]: 0x84,
  [layout.WALK_ROOT_ACCESS]: 0x7b,
  [layout.WALK_TABLE_ACCESS]: 0x78,
  [layout.WALK_NOT_PRESENT]: 0x79,
  [layout.WALK_RESERVED]: 0x7a,
  [layout.WALK_NO_READ]: 0x86,
  [layout.WALK_NO_WRITE]: 0x85,
  [layout.WALK_UPDATE_REFUSED]: 0x7c,
  [layout.WALK_UPDATE_FAILED]: 0x7d,
};

const FIRST_STAGE: Codes = {
  [layout.WALK_INPUT_RANGE]: 0x80,
  [layout.WALK_ROOT_ACCESS]: 0x73,
  [layout.WALK_TABLE_ACCESS]: 0x70,
  [layout.WALK_NOT_PRESENT]: 0x71,
  [layout.WALK_RESERVED]: 0x72,
  [layout.WALK_NO_USER]: 0x81,
  [layout.WALK_NO_READ]: 0x86,
  [layout.WALK_NO_WRITE]: 0x85,
  [layout.WALK_UPDATE_REFUSED]: 0x90,
  [layout.WALK_UPDATE_FAILED]: 0x91,
};

/** The second stage behind the first: an address beyond it is the first stage's fault (SFS.5). */
const NESTED_OUTPUT: Codes = { ...SECOND_STAGE, [layout.WALK_INPUT_RANGE]: 0x74 };
/** The same for a table of the first stage; a missing right of the first one has its own code (SFS.6
 * against SFS.7). With SSADE a table is read as if written, and the right to write may be what is missing. */
const NESTED_TABLE: Codes = {
  ...NESTED_OUTPUT,
  [layout.WALK_NO_READ]: 0x76,
  [layout.WALK_NO_WRITE]: 0x76,
  [layout.WALK_UPDATE_DENIED]: 0x77,
};
const NESTED_FIRST_TABLE: Codes = { ...NESTED_TABLE, [layout.WALK_NO_READ]: 0x75, [layout.WALK_NO_WRITE]: 0x75 };

/** What the unit itself refuses, in legacy and in scalable mode. */
const LEGACY_UNIT: Codes = { [layout.UNIT_INTERRUPT_RANGE]: 0xe, [layout.UNIT_BEYOND]: 0x4 };
const SCALABLE_UNIT: Codes = {
  [layout.UNIT_PRIVILEGED]: 0x5d,
  [layout.UNIT_EXECUTE]: 0x5c,
  [layout.UNIT_INTERRUPT_RANGE]: 0x87,
  [layout.UNIT_BEYOND]: 0x83,
};

function codesOf(status: number, translator: Translator, firstLevels: number): Codes {
  if (status & layout.WALK_SECOND_STAGE_TABLE) {
    const level = (status >>> layout.WALK_LEVEL_SHIFT) & 0xf;
    return level === firstLevels ? NESTED_FIRST_TABLE : NESTED_TABLE;
  }
  if (status & layout.WALK_SECOND_STAGE_OUTPUT) return NESTED_OUTPUT;
  if (translator === "legacy") return LEGACY;
  return translator === "second" ? SECOND_STAGE : FIRST_STAGE;
}

/**
 * The fault code of a status word whose outcome is not WALK_OK.
 *
 * @param writes whether the request writes: legacy mode reports what is not mapped as the right that it lacks
 * @param firstLevels levels of the first stage
 */
export function walkFault(
  status: number,
  translator: Translator,
  legacy: boolean,
  writes: boolean,
  firstLevels: number,
): number {
  const outcome = status & layout.WALK_OUTCOME_MASK;
  const refused = (legacy ? LEGACY_UNIT : SCALABLE_UNIT)[outcome];
  if (refused !== undefined) return refused;
  if (translator === "legacy" && outcome === layout.WALK_NOT_PRESENT) return writes ? 0x5 : 0x6;
  const code = codesOf(status, translator, firstLevels)[outcome];
  if (code === undefined) throw new Error(`a ${translator} walk has no outcome ${outcome}`);
  return code;
}
