/** VT-d first stage, from the Intel VT-d Architecture Specification Rev. 5.10, sections 3.6 and 9.7. */
import { bit, coverage, fault, field, requestOf, type SlowFormat } from "./slow-format.js";

const P = 0;
const RW = 1;
const US = 2;
const A = 5;
const D = 6;
const PS = 7;

/** Flag of a table: WPE, a privileged write obeys R/W. */
export const WRITE_PROTECT = 1;

export const slowX8664: SlowFormat = {
  name: "x86_64",
  minLevels: 4,
  maxLevels: 5,
  granuleShift: 12,
  indexBits: 9,
  largeLevels: [2, 3],
  outputBits: 52,
  widestInput: 57,
  runs: {},
  mostFirstTables: 0,
  flagSets: [0, 1, 2, 3],
  signExtended: true,
  addressMask: 0x000f_ffff_ffff_f000n,
  address: (entry) => entry & 0x000f_ffff_ffff_f000n,

  inUse: (entry) => bit(entry, P),
  isLeaf: (entry, level) => level === 1 || bit(entry, PS),
  pointer: (address) => address | (1n << BigInt(P)) | (1n << BigInt(RW)) | (1n << BigInt(US)) | (1n << BigInt(A)),

  leaf(physical, permissions, level) {
    if (!permissions.read && !permissions.write) return null;
    let entry = physical | (1n << BigInt(P)) | (1n << BigInt(A));
    if (permissions.write) entry |= (1n << BigInt(RW)) | (1n << BigInt(D));
    if (!permissions.privileged) entry |= 1n << BigInt(US);
    if (level > 1) entry |= 1n << BigInt(PS);
    return entry;
  },

  judge(path, level, access, geometry) {
    const entry = path[path.length - 1];
    if (!bit(entry, P)) return fault("not-present");
    if (geometry.outputBits < 52 && field(entry, 51, geometry.outputBits) !== 0n) return fault("reserved");
    if (level >= 4 && bit(entry, PS)) return fault("reserved");
    if (level > 1 && !bit(entry, PS)) return { kind: "table" };
    if (level === 3 && (geometry.pageSizes & coverage(3)) === 0n) return fault("reserved");
    if (level === 2 && (geometry.pageSizes & coverage(2)) === 0n) return fault("reserved");
    // Bit 12 of a large leaf is PAT.
    if (level === 3 && field(entry, 29, 13) !== 0n) return fault("reserved");
    if (level === 2 && field(entry, 20, 13) !== 0n) return fault("reserved");
    const request = requestOf(access);
    const user = path.every((each) => bit(each, US));
    const writable = path.every((each) => bit(each, RW));
    if (request.privileged) {
      if (request.write && !writable && (geometry.flags & WRITE_PROTECT) !== 0) return fault("no-write");
    } else {
      if (!user) return fault("no-user");
      if (request.write && !writable) return fault("no-write");
    }
    return { kind: "leaf" };
  },
};
