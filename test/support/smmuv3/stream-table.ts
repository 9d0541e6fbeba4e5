/** The stream table: Arm IHI 0070, sections 5.1, 6.3.24 and 6.3.25. */
import { bit, field } from "../slow-format.js";
import { C_BAD_STREAMID, F_STE_FETCH, Fault } from "./faults.js";
import { alignDown, max, readStructure, WORDS_OF_ENTRY } from "./structures.js";
import type { Attempt, Walk } from "./unit.js";

const STE_BYTES = 64n;
const L1STD_BYTES = 8n;
const TWO_LEVEL = 0b01n;

function badStreamId({ unit }: Walk): Fault {
  const recordInvalid = bit(unit.registers.CR2, 1);
  return Fault.configuration(C_BAD_STREAMID, {}, recordInvalid);
}

/** Addresses beyond the OAS are truncated, which section 3.4.3 permits. */
function fetch({ unit, features }: Walk, address: bigint, words: number): Attempt<bigint> {
  const fetchAddr = BigInt.asUintN(features.oas, address);
  const structure = readStructure(unit.memory, fetchAddr, words);
  return structure ?? Fault.configuration(F_STE_FETCH, { fetchAddr });
}

/** The address of the STE of the request's StreamID. */
function locate(walk: Walk): Attempt<bigint> {
  const { registers } = walk.unit;
  const { sidSize, twoLevelStreamTables } = walk.features;
  const sid = BigInt(walk.request.sid);
  const base = field(registers.STRTAB_BASE, 55, 6) << 6n;
  const log2Size = Number(field(registers.STRTAB_BASE_CFG, 5, 0));
  // The alignment goes by LOG2SIZE as it is written, the range by what SIDSIZE leaves of it.
  if (sid >= 1n << BigInt(Math.min(log2Size, sidSize))) return badStreamId(walk);
  if (!twoLevelStreamTables || field(registers.STRTAB_BASE_CFG, 17, 16) !== TWO_LEVEL) {
    return alignDown(base, STE_BYTES << BigInt(log2Size)) + STE_BYTES * sid;
  }

  const written = field(registers.STRTAB_BASE_CFG, 10, 6);
  const split = written === 8n || written === 10n ? written : 6n;
  const level1Bytes = log2Size > split ? L1STD_BYTES << (BigInt(log2Size) - split) : 0n;
  const level1 = alignDown(base, max(64n, level1Bytes));
  const descriptor = fetch(walk, level1 + L1STD_BYTES * (sid >> split), 1);
  if (descriptor instanceof Fault) return descriptor;
  const span = field(descriptor, 4, 0);
  if (span === 0n || span > 11n || span > split + 1n) return badStreamId(walk);
  const entries = 1n << (span - 1n);
  const index = sid % (1n << split);
  if (index >= entries) return badStreamId(walk);
  return alignDown(field(descriptor, 55, 6) << 6n, STE_BYTES * entries) + STE_BYTES * index;
}

/** The STE, not yet looked at. */
export function fetchSte(walk: Walk): Attempt<bigint> {
  const address = locate(walk);
  return address instanceof Fault ? address : fetch(walk, address, WORDS_OF_ENTRY);
}
