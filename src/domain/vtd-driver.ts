/** Drives an Intel VT-d unit in scalable mode: Intel VT-d Architecture Specification Rev. 5.10. */
import { hex, INTERRUPT_RANGE, type PhysicalAddress, physicalAddress, privateAddress } from "../engine/addresses.js";
import type { Engine } from "../engine/engine.js";
import { IommuError } from "../engine/errors.js";
import type { PageTable } from "../engine/page-table.js";
import { PGTT_PASS_THROUGH, PGTT_SECOND } from "../vtd/entries.js";
import { FAULT_REASONS } from "../vtd/fault-reasons.js";
import { rootTableAddress, TTM } from "../vtd/table-mode.js";
import { VtdUnit, type VtdUnitOptions } from "../vtd/unit.js";
import type { DeviceAccess, FaultReport, RemappingDriver, StreamTarget } from "./remapping-driver.js";

/** Section 11.4. */
const REGISTER = { GCMD: 0x18, RTADDR: 0x20, FSTS: 0x34, IQT: 0x88, IQA: 0x90 } as const;
/** Section 11.4.4. A one-shot command is given together with what is already enabled. */
const TE = 2 ** 31;
const SRTP = 2 ** 30;
const QIE = 2 ** 26;

/** IQA_REG.DW: descriptors of 256 bits, which scalable mode needs. The queue is one page. */
const WIDE_DESCRIPTORS = 1n << 11n;
const DESCRIPTOR_BYTES = 32;
const QUEUE_BYTES = 4096;

/** F of a fault recording register's upper half (section 11.4.7.6), and FSTS_REG.PFO (11.4.7.1). */
const FAULT_PENDING = 1n << 63n;
const FAULT_OVERFLOW = 1;

/** Descriptors, section 6.5.2: type and granularity in the first word. */
const PASID_CACHE_GLOBAL = 0x7n | (3n << 4n);
const PASID_CACHE_OF_PASID = 0x7n | (1n << 4n);
const CONTEXT_CACHE_GLOBAL = 0x1n | (1n << 4n);
const IOTLB_GLOBAL = 0x2n | (1n << 4n);
const IOTLB_OF_DOMAIN = 0x2n | (2n << 4n);
const IOTLB_OF_PAGES = 0x2n | (3n << 4n);
const DOMAIN_SHIFT = 16n;
/** Invalidation wait with SW: writes 0 to the status address. */
const WAIT_WITH_STATUS = 0x5n | (1n << 5n);
/** IH: only leaves have changed. */
const INVALIDATION_HINT = 1n << 6n;

/** P of every structure. */
const PRESENT = 1n;
/** Scalable-mode context entry: section 9.4. RID_PASID is 0. */
const PASID_ENABLE = 1n << 3n;
/** PASID table entry: section 9.6. Words above the second are zero. */
const ADDRESS_WIDTH_SHIFT = 2n;
const PGTT_SHIFT = 6n;
const PAGE_WALK_SNOOP = 1n << 23n;

/** The domain ID of devices that bypass translation. */
const PASS_THROUGH_DOMAIN = 1;

export class VtdDriver implements RemappingDriver {
  readonly name = "Intel VT-d";
  readonly reserved = [INTERRUPT_RANGE];
  readonly unit: VtdUnit;
  invalidations = 0;
  readonly #rootTable: PhysicalAddress;
  readonly #queue: PhysicalAddress;
  readonly #status: PhysicalAddress;
  /** PASID table of each device, one page behind a directory of its own. */
  readonly #pasidTables = new Map<number, PhysicalAddress>();
  /** Domain of each device: what PASID-cache invalidations name. */
  readonly #domains = new Map<number, number>();
  #tail = 0;

  /** Makes a unit and switches it on, with no device let through. Throws as VtdUnit. */
  constructor(
    readonly engine: Engine,
    options: VtdUnitOptions = {},
  ) {
    this.unit = new VtdUnit(engine, options);
    this.#rootTable = engine.memory.allocatePage();
    this.#queue = engine.memory.allocatePage();
    this.#status = engine.memory.allocatePage();
    const { unit } = this;
    unit.write64(REGISTER.IQT, 0n);
    unit.write64(REGISTER.IQA, this.#queue | WIDE_DESCRIPTORS);
    unit.write32(REGISTER.GCMD, QIE);
    unit.write64(REGISTER.RTADDR, rootTableAddress(this.#rootTable, TTM.SCALABLE));
    unit.write32(REGISTER.GCMD, QIE + SRTP);
    this.#submit(CONTEXT_CACHE_GLOBAL);
    this.#submit(PASID_CACHE_GLOBAL);
    this.#submit(IOTLB_GLOBAL);
    unit.write32(REGISTER.GCMD, QIE + TE);
  }

  createTable(): PageTable {
    return this.engine.createTable("vtdss");
  }

  attach(sid: number, target: StreamTarget): void {
    if (!Number.isInteger(sid) || sid < 0 || sid > 0xffff) {
      throw new IommuError("invalid", `attach device ${sid}`, undefined, "a requester ID has 16 bits");
    }
    const entry = this.#pasidEntry(sid);
    const before = this.#domains.get(sid);
    // P last when an entry begins to be used, and first when it ends.
    this.#write(entry, 0n);
    if (before !== undefined) this.#invalidateDomain(before);
    this.#domains.delete(sid);
    if (target.kind === "blocking") return;
    const domain = target.kind === "identity" ? PASS_THROUGH_DOMAIN : this.#domainId(target.id);
    this.#write(entry + 8n, PAGE_WALK_SNOOP | BigInt(domain));
    this.#write(entry, target.kind === "identity" ? this.#passThrough() : this.#secondStage(target.table));
    this.#domains.set(sid, domain);
  }

  invalidate(id: number, first: bigint, length: bigint, leafOnly: boolean): void {
    const domain = this.#domainId(id);
    const { shift, base } = coveringBlock(first, length);
    const { MAMV, PSI } = this.unit.capabilities.cap;
    if (PSI === 0 || shift - 12 > MAMV) {
      this.invalidateAll(id);
      return;
    }
    const hint = leafOnly ? INVALIDATION_HINT : 0n;
    this.#submit(IOTLB_OF_PAGES | (BigInt(domain) << DOMAIN_SHIFT), base | hint | BigInt(shift - 12));
  }

  deferInvalidation(table: PageTable, first: bigint, length: bigint): void {
    this.unit.sanitizer?.deferred(table.root, first, length);
  }

  invalidateAll(id: number): void {
    this.#submit(IOTLB_OF_DOMAIN | (BigInt(this.#domainId(id)) << DOMAIN_SHIFT));
  }

  access(sid: number, address: bigint, write: boolean): DeviceAccess {
    const result = this.unit.translate({ sid, iova: privateAddress(address), access: write ? "write" : "read" });
    if (result.ok) return { ok: true, physical: result.physical };
    const { code, name, reported } = result;
    const condition = FAULT_REASONS.get(code)?.condition;
    const record = reported ? this.#takeRecord() : null;
    return { ok: false, code, name, ...(condition === undefined ? {} : { condition }), record };
  }

  /** Reads the newest fault record and clears all of them, as a fault handler does. */
  #takeRecord(): FaultReport | null {
    const { faults, capabilities } = this.unit;
    const pending = faults.records;
    for (const { index } of pending) {
      this.unit.write64(capabilities.faultRecordOffset + 16 * index + 8, FAULT_PENDING);
    }
    this.unit.write32(REGISTER.FSTS, FAULT_OVERFLOW);
    const record = pending.at(-1);
    if (record === undefined) return null;
    return {
      FR: hex(BigInt(record.reason)),
      SID: hex(BigInt(record.sid)),
      FI: hex(record.address),
      T: record.access,
    };
  }

  #domainId(id: number): number {
    // 0 is reserved where CAP.CM is set, and PASS_THROUGH_DOMAIN is taken.
    const domain = id + PASS_THROUGH_DOMAIN;
    if (!Number.isInteger(id) || id < 1 || domain >= 2 ** this.unit.capabilities.domainBits) {
      throw new IommuError("invalid", `use domain ${id}`, undefined, "the unit has no such domain ID");
    }
    return domain;
  }

  #passThrough(): bigint {
    return PRESENT | (BigInt(PGTT_PASS_THROUGH) << PGTT_SHIFT) | (2n << ADDRESS_WIDTH_SHIFT);
  }

  #secondStage(table: PageTable): bigint {
    const width = BigInt(table.levels - 2) << ADDRESS_WIDTH_SHIFT;
    return PRESENT | width | (BigInt(PGTT_SECOND) << PGTT_SHIFT) | table.root;
  }

  /** Where the PASID table entry of requests without PASID is; the structures before it are made when there are none. */
  #pasidEntry(sid: number): bigint {
    const known = this.#pasidTables.get(sid);
    if (known !== undefined) return known;
    const half = BigInt((sid >> 7) & 1) * 8n;
    const root = this.#rootTable + BigInt(sid >> 8) * 16n + half;
    if ((this.#read(root) & PRESENT) === 0n) this.#write(root, this.engine.memory.allocatePage() | PRESENT);
    const context = (this.#read(root) & ~0xfffn) + BigInt(sid & 0x7f) * 32n;
    const directory = this.engine.memory.allocatePage();
    const table = this.engine.memory.allocatePage();
    this.#write(directory, table | PRESENT);
    this.#write(context, directory | PRESENT | PASID_ENABLE);
    this.#pasidTables.set(sid, table);
    this.#submit(CONTEXT_CACHE_GLOBAL);
    return table;
  }

  /** PASID 0 of a domain: a device that leaves it shares the tag with those that stay. */
  #invalidateDomain(domain: number): void {
    const id = BigInt(domain) << DOMAIN_SHIFT;
    this.#submit(PASID_CACHE_OF_PASID | id);
    this.#submit(IOTLB_OF_DOMAIN | id);
  }

  /** An invalidation and a wait for it. */
  #submit(first: bigint, second = 0n): void {
    this.#put(first, second);
    this.#put(WAIT_WITH_STATUS, this.#status);
    this.unit.write64(REGISTER.IQT, BigInt(this.#tail));
    this.invalidations++;
  }

  #put(first: bigint, second: bigint): void {
    const at = this.#queue + BigInt(this.#tail);
    for (const [i, word] of [first, second, 0n, 0n].entries()) this.#write(at + BigInt(8 * i), word);
    this.#tail = (this.#tail + DESCRIPTOR_BYTES) % QUEUE_BYTES;
  }

  #read(address: bigint): bigint {
    return this.engine.memory.read64(physicalAddress(address));
  }

  #write(address: bigint, value: bigint): void {
    this.engine.memory.write64(physicalAddress(address), value);
  }
}

/** The smallest naturally aligned block that covers a range (calculate_psi_aligned_address), its size as log2. */
function coveringBlock(first: bigint, length: bigint): { shift: number; base: bigint } {
  const last = first + length - 1n;
  let shift = 12;
  while (first >> BigInt(shift) !== last >> BigInt(shift)) shift++;
  return { shift, base: (first >> BigInt(shift)) << BigInt(shift) };
}
