/** VT-d second stage, from the Intel VT-d Architecture Specification Rev. 5.10, sections 3.7 and 9.8. */
import { bit, coverage, fault, field, type SlowFormat } from "./slow-format.js";
import { requestOf } from "./slow-format.js";

const R = 0;
const W = 1;
const PS = 7;
const SNP = 11;
/** IW: reserved unless RTADDR.SSIRWE is set, which needs a unit. */
const IW = 62;

/** Flag of a table: the unit has snoop control (ECAP.SC). */
export const SNOOP_CONTROL = 1;

export const slowVtdss: SlowFormat = {
  name: "vtdss",
  minLevels: 3,
  maxLevels: 5,
  granuleShift: 12,
  indexBits: 9,
  largeLevels: [2, 3],
  outputBits: 52,
  widestInput: 57,
  runs: {},
  mostFirstTables: 0,
  flagSets: [0, 1, 2, 3],
  signExtended: false,
  addressMask: 0x000f_ffff_ffff_f000n,
  address: (entry) => entry & 0x000f_ffff_ffff_f000n,

  inUse: (entry) => bit(entry, R) || bit(entry, W),
  isLeaf: (entry, level) => level === 1 || bit(entry, PS),
  pointer: (address) => address | 0b11n,

  leaf(physical, permissions, level) {
    if (!permissions.read && !permissions.write) return null;
    let entry = physical;
    if (permissions.read) entry |= 1n << BigInt(R);
    if (permissions.write) entry |= 1n << BigInt(W);
    if (level > 1) entry |= 1n << BigInt(PS);
    return entry;
  },

  judge(path, level, access, geometry) {
    const entry = path[path.length - 1];
    const readable = path.every((each) => bit(each, R));
    const writable = path.every((each) => bit(each, W));
    if (!readable && !writable) return fault("not-present");
    // Reserved bits, one rule of the specification's tables after the other.
    if (geometry.outputBits < 52 && field(entry, 51, geometry.outputBits) !== 0n) return fault("reserved");
    if (bit(entry, IW)) return fault("reserved");
    if (level >= 4 && bit(entry, PS)) return fault("reserved");
    if (level === 1 || bit(entry, PS)) {
      if (level === 3 && (geometry.pageSizes & coverage(3)) === 0n) return fault("reserved");
      if (level === 2 && (geometry.pageSizes & coverage(2)) === 0n) return fault("reserved");
      if (level === 3 && field(entry, 29, 12) !== 0n) return fault("reserved");
      if (level === 2 && field(entry, 20, 12) !== 0n) return fault("reserved");
      if (bit(entry, SNP) && (geometry.flags & SNOOP_CONTROL) === 0) return fault("reserved");
      const request = requestOf(access);
      if (request.write && !writable) return fault("no-write");
      if (request.read && !readable) return fault("no-read");
      return { kind: "leaf" };
    }
    if (bit(entry, SNP)) return fault("reserved");
    return { kind: "table" };
  },
};
