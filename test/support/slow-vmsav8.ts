/**
 * VMSAv8-64, 4 KiB granule, stage 1: Arm IHI 0070 G.b section 3.4 and Arm DDI 0487. Our level is 4 minus the
 * architecture's.
 */
import { bit, fault, field, requestOf, type SlowFormat } from "./slow-format.js";

/** Flags of a table: CD.AFFD and CD.HAD0. */
export const ACCESS_FLAG_DISABLE = 1;
export const HIERARCHICAL_DISABLE = 2;

const AP1 = 6;
const AP2 = 7;
const AF = 10;
const PXN = 53;
const UXN = 54;
const PXN_TABLE = 59;
const UXN_TABLE = 60;
const AP_TABLE0 = 61;
const AP_TABLE1 = 62;

export const slowVmsav8: SlowFormat = {
  name: "vmsav8-4k",
  minLevels: 3,
  maxLevels: 4,
  outputBits: 48,
  signExtended: false,
  addressMask: 0x0000_ffff_ffff_f000n,

  inUse: (entry) => bit(entry, 0),
  isLeaf: (entry, level) => level === 1 || !bit(entry, 1),
  pointer: (address) => address | 0b11n,

  leaf(physical, permissions, level) {
    if (!permissions.read && !permissions.write) return null;
    // Valid; a page has bit 1 set as well; AttrIndx 1; inner shareable; AF; nG.
    let entry = physical | (level === 1 ? 0b11n : 0b01n) | (1n << 2n) | (3n << 8n) | (1n << BigInt(AF)) | (1n << 11n);
    if (!permissions.write) entry |= 1n << BigInt(AP2);
    if (!permissions.privileged) entry |= 1n << BigInt(AP1);
    if (permissions.noExecute) entry |= (1n << BigInt(PXN)) | (1n << BigInt(UXN));
    return entry;
  },

  judge(path, level, access, geometry) {
    const entry = path[path.length - 1];
    const above = path.slice(0, -1);
    const type = field(entry, 1, 0);
    if (type === 0b00n || type === 0b10n) return fault("not-present");
    // A block exists at the architecture's levels 1 and 2 only.
    if (type === 0b01n && level !== 3 && level !== 2) return fault("not-present");
    if (geometry.outputBits < 48 && field(entry, 47, geometry.outputBits) !== 0n) return fault("output-range");
    if (type === 0b11n && level > 1) return { kind: "table" };

    if (!bit(entry, AF) && (geometry.flags & ACCESS_FLAG_DISABLE) === 0) return fault("access-flag");
    const hierarchical = (geometry.flags & HIERARCHICAL_DISABLE) === 0 ? above : [];
    const unprivileged = bit(entry, AP1) && !hierarchical.some((table) => bit(table, AP_TABLE0));
    const writable = !bit(entry, AP2) && !hierarchical.some((table) => bit(table, AP_TABLE1));
    const request = requestOf(access);
    if (!request.privileged && !unprivileged) return fault("no-user");
    if (request.write && !writable) return fault("no-write");
    if (request.execute) {
      const uxn = bit(entry, UXN) || hierarchical.some((table) => bit(table, UXN_TABLE));
      const pxn = bit(entry, PXN) || hierarchical.some((table) => bit(table, PXN_TABLE));
      // What unprivileged software may write is never executed with privilege.
      const implied = unprivileged && writable;
      if (request.privileged ? pxn || implied : uxn) return fault("no-execute");
    }
    return { kind: "leaf" };
  },
};
