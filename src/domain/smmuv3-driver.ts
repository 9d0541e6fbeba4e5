/** Drives an Arm SMMUv3: Arm SMMU Architecture Specification version 3 (IHI 0070 G.b). One stage, 4 KiB granule. */
import { hex, type PhysicalAddress, physicalAddress, privateAddress } from "../engine/addresses.js";
import type { Engine } from "../engine/engine.js";
import { IommuError } from "../engine/errors.js";
import type { PageTable } from "../engine/page-table.js";
import { SmmuUnit, type SmmuUnitOptions } from "../smmuv3/unit.js";
import type { DeviceAccess, FaultReport, RemappingDriver, StreamTarget } from "./remapping-driver.js";

/** Section 6.3. */
const REGISTER = {
  CR0: 0x20,
  STRTAB_BASE: 0x80,
  STRTAB_BASE_CFG: 0x88,
  CMDQ_BASE: 0x90,
  CMDQ_PROD: 0x98,
  EVENTQ_BASE: 0xa0,
  EVENTQ_PROD: 0x100a8,
  EVENTQ_CONS: 0x100ac,
} as const;
const SMMUEN = 1 << 0;
const EVENTQEN = 1 << 2;
const CMDQEN = 1 << 3;

/** Queues of one page: 256 commands of 16 bytes, 128 events of 32. */
const LOG2_COMMANDS = 8;
const LOG2_EVENTS = 7;
const COMMAND_BYTES = 16n;

/** SMMU_STRTAB_BASE_CFG: FMT 1, two levels, SPLIT 8: 256 STEs, 16 KiB, behind each level 1 descriptor. */
const TWO_LEVELS = 1 << 16;
const SPLIT = 8;
const LEVEL_2_PAGES = 16384;
/** 16-bit StreamIDs: 256 level 1 descriptors, half a page. */
const STREAM_ID_BITS = 16;
const STE_BYTES = 64n;

/** STE: section 5.2. */
const STE_VALID = 1n;
const CONFIG_ABORT = 0b000n << 1n;
const CONFIG_BYPASS = 0b100n << 1n;
const CONFIG_STAGE_1 = 0b101n << 1n;
/** SHCFG of word 1, 01b: the incoming attribute. */
const SHARE_INCOMING = 1n << 44n;

/** CD: section 5.4. EPD1, IPS, AA64, R, A and ASID of word 0. */
const CD_VALID = 1n << 31n;
const NO_UPPER_HALF = 1n << 30n;
const OUTPUTS_48_BITS = 5n << 32n;
const AARCH64 = 1n << 41n;
const RECORD_AND_ABORT = (1n << 45n) | (1n << 46n);
const ASID_SHIFT = 48n;

/** Commands: sections 4.3, 4.4 and 4.7. */
const CFGI_STE = 0x03n;
const CFGI_STE_RANGE = 0x04n;
const ALL_STREAMS = 31n;
const TLBI_NH_ASID = 0x11n;
const TLBI_NH_VA = 0x12n;
const TLBI_NSNH_ALL = 0x30n;
const SYNC = 0x46n;
const STREAM_SHIFT = 32n;
/** TG 01b: 4 KiB granule; the range is (NUM + 1) * 2^SCALE granules. */
const GRANULE_4K = 1n << 10n;
const NUM_SHIFT = 12n;
const SCALE_SHIFT = 20n;
const MOST_NUM = 32n;
const PAGE = 4096n;

export class SmmuDriver implements RemappingDriver {
  readonly name = "Arm SMMUv3";
  readonly reserved = [];
  readonly unit: SmmuUnit;
  invalidations = 0;
  readonly #streams: PhysicalAddress;
  readonly #commands: PhysicalAddress;
  readonly #contexts = new Map<number, PhysicalAddress>();
  /** ASID of each stream. */
  readonly #asids = new Map<number, number>();
  #prod = 0;

  /** Makes a unit and switches it on, with no stream let through. Throws as SmmuUnit. */
  constructor(
    readonly engine: Engine,
    options: SmmuUnitOptions = {},
  ) {
    const { memory } = engine;
    this.unit = new SmmuUnit(engine, options);
    this.#streams = memory.allocatePage();
    this.#commands = memory.allocatePage();
    const { unit } = this;
    unit.write64(REGISTER.STRTAB_BASE, this.#streams);
    unit.write32(REGISTER.STRTAB_BASE_CFG, TWO_LEVELS | (SPLIT << 6) | STREAM_ID_BITS);
    unit.write64(REGISTER.CMDQ_BASE, this.#commands | BigInt(LOG2_COMMANDS));
    unit.write64(REGISTER.EVENTQ_BASE, memory.allocatePage() | BigInt(LOG2_EVENTS));
    unit.write32(REGISTER.CR0, CMDQEN);
    this.#submit(CFGI_STE_RANGE, ALL_STREAMS);
    this.#submit(TLBI_NSNH_ALL);
    this.#sync();
    unit.write32(REGISTER.CR0, CMDQEN | EVENTQEN);
    unit.write32(REGISTER.CR0, CMDQEN | EVENTQEN | SMMUEN);
  }

  createTable(): PageTable {
    return this.engine.createTable("vmsav8-4k");
  }

  attach(sid: number, target: StreamTarget): void {
    if (!Number.isInteger(sid) || sid < 0 || sid >= 2 ** STREAM_ID_BITS) {
      throw new IommuError("invalid", `attach stream ${sid}`, undefined, `a StreamID has ${STREAM_ID_BITS} bits`);
    }
    const asid = target.kind === "paging" ? target.id : undefined;
    if (asid !== undefined && (!Number.isInteger(asid) || asid < 1 || asid > 0xffff)) {
      throw new IommuError("invalid", `use ASID ${asid}`, undefined, "an ASID has 16 bits");
    }
    const entry = this.#entryOf(sid);
    const before = this.#asids.get(sid);
    if (target.kind === "paging") {
      const context = this.#contextOf(sid);
      // No transaction uses the context descriptor while it changes.
      this.#writeEntry(sid, entry, CONFIG_ABORT);
      this.#write(context, this.#context(target.table, target.id));
      this.#write(context + 8n, target.table.root);
      this.#writeEntry(sid, entry, CONFIG_STAGE_1 | context);
      this.#asids.set(sid, target.id);
    } else {
      this.#writeEntry(sid, entry, target.kind === "identity" ? CONFIG_BYPASS : CONFIG_ABORT);
      this.#asids.delete(sid);
    }
    if (before !== undefined && before !== asid) this.#submit(TLBI_NH_ASID | (BigInt(before) << ASID_SHIFT));
    this.#sync();
  }

  invalidate(id: number, first: bigint, length: bigint, leafOnly: boolean): void {
    const command = TLBI_NH_VA | (BigInt(id) << ASID_SHIFT);
    const leaf = leafOnly ? 1n : 0n;
    let at = first;
    let pages = length / PAGE;
    if (this.unit.identification.idr3.RIL === 0) {
      for (; pages > 0n; pages--, at += PAGE) this.#submit(command, at | leaf);
    }
    // The largest scale of which the rest is a multiple, so that no command reaches beyond the range.
    for (let scale = 0n; pages > 0n; ) {
      while (((pages >> scale) & 1n) === 0n) scale++;
      const inScale = (pages >> scale) & (MOST_NUM - 1n);
      // A range of one granule at no given level is Reserved: one page is asked for without granule (section 4.4.1.1).
      const granule = inScale === 1n && scale === 0n ? 0n : GRANULE_4K;
      this.#submit(command | ((inScale - 1n) << NUM_SHIFT) | (scale << SCALE_SHIFT), at | granule | leaf);
      at += (inScale << scale) * PAGE;
      pages -= inScale << scale;
    }
    this.#sync();
  }

  deferInvalidation(table: PageTable, first: bigint, length: bigint): void {
    this.unit.sanitizer?.deferred(table.root, first, length);
  }

  invalidateAll(id: number): void {
    this.#submit(TLBI_NH_ASID | (BigInt(id) << ASID_SHIFT));
    this.#sync();
  }

  access(sid: number, address: bigint, write: boolean): DeviceAccess {
    const { unit } = this;
    const result = unit.translate({ sid, iova: privateAddress(address), access: write ? "write" : "read" });
    if (result.ok) return { ok: true, physical: result.physical };
    return { ok: false, code: result.code, name: result.name, record: result.event ? this.#takeEvent() : null };
  }

  /** Reads the newest event and empties the queue, as an event handler does. */
  #takeEvent(): FaultReport | null {
    const event = this.unit.events.records.at(-1);
    this.unit.write32(REGISTER.EVENTQ_CONS, this.unit.read32(REGISTER.EVENTQ_PROD));
    if (event === undefined) return null;
    return {
      event: hex(BigInt(event.code)),
      StreamID: hex(BigInt(event.sid)),
      ...(event.inputAddr === undefined ? {} : { InputAddr: hex(event.inputAddr) }),
      ...(event.rnw === undefined ? {} : { RnW: event.rnw ? "1" : "0" }),
      ...(event.class === undefined ? {} : { CLASS: event.class }),
    };
  }

  /** T0SZ of the table's depth, in word 0 of its context descriptor. */
  #context(table: PageTable, asid: number): bigint {
    const inputBits = table.format.inputBits(table.levels);
    return (
      BigInt(64 - inputBits) |
      NO_UPPER_HALF |
      CD_VALID |
      OUTPUTS_48_BITS |
      AARCH64 |
      RECORD_AND_ABORT |
      (BigInt(asid) << ASID_SHIFT)
    );
  }

  #contextOf(sid: number): PhysicalAddress {
    const context = this.#contexts.get(sid) ?? this.engine.memory.allocatePage();
    this.#contexts.set(sid, context);
    return context;
  }

  /** Where the STE of a stream is; its level 2 table, all of whose entries abort, is made when there is none. */
  #entryOf(sid: number): bigint {
    const descriptor = this.#streams + BigInt(sid >> SPLIT) * 8n;
    if (this.#read(descriptor) === 0n) {
      const table = this.engine.memory.allocatePage(LEVEL_2_PAGES);
      for (let i = 0n; i < 1n << BigInt(SPLIT); i++) this.#write(table + i * STE_BYTES, STE_VALID | CONFIG_ABORT);
      const span = BigInt(SPLIT + 1);
      this.#write(descriptor, table | span);
      this.#submit(CFGI_STE_RANGE, ALL_STREAMS);
      this.#sync();
    }
    const table = this.#read(descriptor) & ~0xfffn;
    return table + BigInt(sid & ((1 << SPLIT) - 1)) * STE_BYTES;
  }

  #writeEntry(sid: number, entry: bigint, fields: bigint): void {
    this.#write(entry + 8n, SHARE_INCOMING);
    this.#write(entry, STE_VALID | fields);
    this.#submit(CFGI_STE | (BigInt(sid) << STREAM_SHIFT), 1n);
    this.#sync();
  }

  #sync(): void {
    this.#put(SYNC, 0n);
  }

  #submit(first: bigint, second = 0n): void {
    this.#put(first, second);
    this.invalidations++;
  }

  #put(first: bigint, second: bigint): void {
    const count = 1 << LOG2_COMMANDS;
    const at = this.#commands + BigInt(this.#prod % count) * COMMAND_BYTES;
    this.#write(at, first);
    this.#write(at + 8n, second);
    // The index with its wrap flag.
    this.#prod = (this.#prod + 1) % (2 * count);
    this.unit.write32(REGISTER.CMDQ_PROD, this.#prod);
  }

  #read(address: bigint): bigint {
    return this.engine.memory.read64(physicalAddress(address));
  }

  #write(address: bigint, value: bigint): void {
    this.engine.memory.write64(physicalAddress(address), value);
  }
}
