/**
 * Machines for the tests of the unit. `openMachine` puts one device's entries and page tables at fixed places of memory, of
 * which tests change single bits; `Driver` programs a unit as an operating system does, for any number of devices.
 */
import { expect } from "vitest";
import { hex, type Iova } from "../../src/engine/addresses.js";
import type { Engine } from "../../src/engine/engine.js";
import type { DmaRequest } from "../../src/unit/request.js";
import type { InterruptMessage } from "../../src/vtd/event.js";
import { VtdUnit, type VtdUnitOptions } from "../../src/vtd/unit.js";
import { newEngine } from "../support/engine.js";
import { iovaOf, physicalOf } from "../support/tables.js";

/** Register offsets: section 11.4. */
export const GCMD = 0x18;
export const GSTS = 0x1c;
export const RTADDR = 0x20;
export const CCMD = 0x28;
export const FSTS = 0x34;
export const FECTL = 0x38;
export const FEDATA = 0x3c;
export const FEADDR = 0x40;
export const FEUADDR = 0x44;
export const IQH = 0x80;
export const IQT = 0x88;
export const IQA = 0x90;

/** GCMD_REG and GSTS_REG: section 11.4.4. */
export const TE = 2 ** 31;
export const SRTP = 2 ** 30;
export const QIE = 2 ** 26;

/** FSTS_REG and FRCD_REG: sections 11.4.7.1 and 11.4.7.6. */
export const PFO = 1;
export const PPF = 2;
export const FRCD_F = 1n << 63n;

/** RTADDR_REG.TTM: section 11.4.5. */
const TTM_LEGACY = 0;
const TTM_SCALABLE = 1;

// ---- Entries: sections 9.1 to 9.8 ----

export const P = 1n;
/** Of context, PASID directory and PASID table entries. */
export const FPD = 1n << 1n;

/** TT of a legacy context entry. */
export const TT_MASK = 3n << 2n;
const TT_ALL = 1n;
const TT_PASS_THROUGH = 2n;

/** Scalable-mode context entry, word 0 and word 1. */
export const DTE = 1n << 2n;
export const PASIDE = 1n << 3n;
export const RID_PRIV = 1n << 20n;

/** PASID table entry, words 0, 1 and 2. */
export const AW_MASK = 7n << 2n;
export const PGTT_MASK = 7n << 6n;
export const SSADE = 1n << 9n;
export const PWSNP = 1n << 23n;
export const SRE = 1n;
export const FSPM_SHIFT = 2n;
export const WPE = 1n << 4n;
export const EAFE = 1n << 7n;

export const PGTT = { first: 1n, second: 2n, nested: 3n, passThrough: 4n } as const;

/** Second-stage entry. */
export const R = 1n;
export const W = 1n << 1n;
export const PS = 1n << 7n;
export const SS_A = 1n << 8n;
export const SS_D = 1n << 9n;
export const SNP = 1n << 11n;

/** First-stage entry; P and PS as above. */
export const RW = 1n << 1n;
export const US = 1n << 2n;
export const FS_A = 1n << 5n;
export const FS_D = 1n << 6n;
export const EA = 1n << 10n;

/** AW of a table: 1 for 3 levels, 2 for 4, 3 for 5. */
function addressWidth(levels: number): bigint {
  return BigInt(levels - 2);
}

interface LegacyContextFields {
  readonly translationType?: bigint;
  readonly domain: number;
  readonly table?: bigint;
  readonly levels?: number;
}

function legacyContext({ translationType = 0n, domain, table = 0n, levels = 4 }: LegacyContextFields): bigint[] {
  return [P | (translationType << 2n) | table, addressWidth(levels) | (BigInt(domain) << 8n)];
}

/** With a directory for 8192 PASIDs (PDTS = 0). */
function scalableContext(directory: bigint, ridPasid = 0): bigint[] {
  return [P | DTE | PASIDE | directory, BigInt(ridPasid), 0n, 0n];
}

interface PasidEntryFields {
  readonly type: bigint;
  readonly domain: number;
  readonly secondTable?: bigint;
  readonly secondLevels?: number;
  readonly firstTable?: bigint;
  readonly firstLevels?: number;
}

function pasidEntry(fields: PasidEntryFields): bigint[] {
  const { type, domain, secondTable = 0n, secondLevels = 4, firstTable = 0n, firstLevels = 4 } = fields;
  const usesFirst = type === PGTT.first || type === PGTT.nested;
  return [
    P | (addressWidth(secondLevels) << 2n) | (type << 6n) | secondTable,
    PWSNP | BigInt(domain),
    (usesFirst ? BigInt(firstLevels - 4) << FSPM_SHIFT : 0n) | firstTable,
    ...[0n, 0n, 0n, 0n, 0n],
  ];
}

// ---- A machine with one device ----

/** How the device's requests are translated. */
type Translator = "legacy" | "legacy pass-through" | "second" | "first" | "nested" | "pass-through";

export interface MachineOptions {
  readonly translator: Translator;
  /** Requests carry this PASID; otherwise they have none. RID_PASID is 0. */
  readonly pasid?: number;
  /** Default 4. */
  readonly firstLevels?: 4 | 5;
  readonly secondLevels?: 3 | 4 | 5;
  /** Levels of the leaves. Default 1. */
  readonly firstLeaf?: 1 | 2 | 3;
  readonly secondLeaf?: 1 | 2 | 3;
  /** The address that is mapped. */
  readonly iova?: bigint;
}

/** A change of one word: the bits of `mask` cleared, then those of `value` set. */
export interface Edit {
  readonly place: string;
  readonly mask: bigint;
  readonly value: bigint;
}

const ALL = 0xffff_ffff_ffff_ffffn;

export function set(place: string, bits: bigint): Edit {
  return { place, mask: 0n, value: bits };
}

export function clear(place: string, bits: bigint): Edit {
  return { place, mask: bits, value: 0n };
}

export function put(place: string, value: bigint): Edit {
  return { place, mask: ALL, value };
}

/** Puts another address into an entry. */
export function point(place: string, address: bigint): Edit {
  return { place, mask: 0x000f_ffff_ffff_f000n, value: address };
}

/** What is different from the machine as it is built. */
export interface Changes {
  readonly edits?: readonly Edit[];
  readonly options?: VtdUnitOptions;
  readonly ttm?: number;
}

export const SID = 0x1308;
export const DOMAIN = 0x21;
/** Where nobody backs memory. */
export const NOWHERE = 0x9000_0000n;

const RAM_START = 0x10_0000n;
const RAM_END = 0x8000_0000n;
const ROOT_TABLE = 0x10_0000n;
const CONTEXT_TABLE = 0x10_1000n;
const DIRECTORY = 0x10_2000n;
const PASID_TABLE = 0x10_3000n;
const SECOND_TABLES = 0x11_0000n;
/** The first stage's tables, by level, and the page that everything is mapped to: as a guest sees them and where they are. */
const GUEST = 0x8000_0000n;
const HOST = 0x4000_0000n;
const PAGE_BYTES = 0x1000n;
const MAPPED_PAGE = 8n * PAGE_BYTES;

function shiftOf(level: number): bigint {
  return BigInt(12 + 9 * (level - 1));
}

function sizeOf(level: number): bigint {
  return 1n << shiftOf(level);
}

/** Name and address of every word that a machine is made of, and its value. */
class Words {
  readonly places = new Map<string, bigint>();
  readonly values = new Map<bigint, bigint>();

  add(place: string, address: bigint, value: bigint): void {
    this.places.set(place, address);
    this.values.set(address, value);
  }

  addEntry(name: string, address: bigint, words: readonly bigint[]): void {
    for (const [i, word] of words.entries()) this.add(`${name} ${i}`, address + BigInt(8 * i), word);
  }

  edit({ place, mask, value }: Edit): void {
    const address = this.places.get(place);
    if (address === undefined) throw new Error(`no ${place} among ${[...this.places.keys()].join(", ")}`);
    this.values.set(address, ((this.values.get(address) ?? 0n) & ~mask) | value);
  }
}

interface Path {
  readonly prefix: string;
  readonly suffix?: string;
  readonly input: bigint;
  readonly levels: number;
  readonly leaf: number;
  /** Where the table of a level is, and what points to it. */
  tableAt(level: number): bigint;
  pointerTo(level: number): bigint;
  readonly output: bigint;
  readonly tableBits: bigint;
  readonly leafBits: bigint;
}

function addPath(words: Words, path: Path): void {
  const { prefix, suffix = "", input, levels, leaf, output, tableBits, leafBits } = path;
  for (let level = levels; level >= leaf; level--) {
    const address = path.tableAt(level) + ((input >> shiftOf(level)) & 0x1ffn) * 8n;
    const large = leaf > 1 ? PS : 0n;
    const page = output & ~(sizeOf(leaf) - 1n);
    const entry = level === leaf ? page | leafBits | large : path.pointerTo(level - 1) | tableBits;
    words.add(`${prefix}${level}${suffix}`, address, entry);
  }
}

function secondTableAt(level: number): bigint {
  return SECOND_TABLES + BigInt(level) * PAGE_BYTES;
}

function addSecondStage(words: Words, options: MachineOptions, input: bigint, suffix = ""): void {
  addPath(words, {
    prefix: "SS",
    suffix,
    input,
    levels: options.secondLevels ?? 4,
    leaf: options.secondLeaf ?? 1,
    tableAt: secondTableAt,
    pointerTo: secondTableAt,
    output: options.translator === "nested" ? input - GUEST + HOST : HOST + MAPPED_PAGE,
    tableBits: R | W,
    leafBits: R | W,
  });
}

function addFirstStage(words: Words, options: MachineOptions, input: bigint): void {
  const { translator, firstLevels = 4, firstLeaf = 1 } = options;
  const base = translator === "nested" ? GUEST : HOST;
  const tableFrom = (start: bigint) => (level: number) => start + BigInt(level) * PAGE_BYTES;
  addPath(words, {
    prefix: "FS",
    input,
    levels: firstLevels,
    leaf: firstLeaf,
    tableAt: tableFrom(HOST),
    pointerTo: tableFrom(base),
    output: base + MAPPED_PAGE,
    tableBits: P | RW | US | FS_A,
    leafBits: P | RW | US | FS_A | FS_D,
  });
  if (translator !== "nested") return;
  // The entry of the second stage that maps each table of the first.
  for (let level = firstLevels; level >= firstLeaf; level--) {
    addSecondStage(words, options, GUEST + BigInt(level) * PAGE_BYTES, ` of FS${level}`);
  }
  addSecondStage(words, options, GUEST + MAPPED_PAGE);
}

/** An address whose index differs from 0 at every level above the 1 GiB page, and is that of MAPPED_PAGE within it. */
function defaultIova(levels: number): bigint {
  const upper = (levels > 4 ? 5n << 48n : 0n) | (levels > 3 ? 0x12n << 39n : 0n) | (0x34n << 30n);
  return upper | MAPPED_PAGE | 0x123n;
}

function buildWords(options: MachineOptions, iova: bigint): Words {
  const { translator, pasid = 0, firstLevels = 4, secondLevels = 4 } = options;
  const words = new Words();
  const bus = BigInt(SID >> 8);
  const device = BigInt(SID & 0xff);
  words.addEntry("root", ROOT_TABLE + bus * 16n, [P | CONTEXT_TABLE, 0n]);
  const secondTable = secondTableAt(secondLevels);
  if (translator === "legacy" || translator === "legacy pass-through") {
    const fields =
      translator === "legacy"
        ? { translationType: TT_ALL, domain: DOMAIN, table: secondTable, levels: secondLevels }
        : { translationType: TT_PASS_THROUGH, domain: DOMAIN, levels: 5 };
    words.addEntry("context", CONTEXT_TABLE + device * 16n, legacyContext(fields));
    if (translator === "legacy") addSecondStage(words, options, iova);
    return words;
  }
  words.addEntry("context", CONTEXT_TABLE + device * 32n, scalableContext(DIRECTORY));
  words.add("directory", DIRECTORY + BigInt(pasid >> 6) * 8n, P | PASID_TABLE);
  const usesFirst = translator === "first" || translator === "nested";
  const usesSecond = translator === "second" || translator === "nested";
  const entry = pasidEntry({
    type: translator === "pass-through" ? PGTT.passThrough : PGTT[translator],
    domain: DOMAIN,
    ...(usesSecond ? { secondTable, secondLevels } : {}),
    ...(usesFirst
      ? { firstTable: (translator === "nested" ? GUEST : HOST) + BigInt(firstLevels) * PAGE_BYTES, firstLevels }
      : {}),
  });
  words.addEntry("pasid", PASID_TABLE + BigInt(pasid & 63) * 64n, entry);
  if (usesFirst) addFirstStage(words, options, iova);
  else if (usesSecond) addSecondStage(words, options, iova);
  return words;
}

/** One device behind a unit with translation enabled. */
export interface Machine {
  readonly engine: Engine;
  readonly unit: VtdUnit;
  /** A read of the mapped address. */
  readonly request: DmaRequest;
  /** What the mapped address is translated to; null page size: it passes untranslated. */
  readonly physical: bigint;
  readonly pageSize: bigint | null;
  /** Bits of entries that are not as they were built and edited, by place. */
  written(): Record<string, bigint>;
}

export async function openMachine(options: MachineOptions, changes: Changes = {}): Promise<Machine> {
  const { translator, pasid, firstLevels = 4, secondLevels = 4, firstLeaf = 1, secondLeaf = 1 } = options;
  const { edits = [] } = changes;
  const usesFirst = translator === "first" || translator === "nested";
  const passes = translator === "pass-through" || translator === "legacy pass-through";
  const legacy = translator === "legacy" || translator === "legacy pass-through";
  const iova = options.iova ?? defaultIova(usesFirst ? firstLevels : secondLevels);
  const inPage = sizeOf(usesFirst ? firstLeaf : secondLeaf) - 1n;
  const leaf = translator === "nested" ? Math.min(firstLeaf, secondLeaf) : usesFirst ? firstLeaf : secondLeaf;

  const words = buildWords(options, iova);
  for (const edit of edits) words.edit(edit);
  const engine = await newEngine();
  engine.memory.declareRam(physicalOf(RAM_START), physicalOf(RAM_END));
  for (const [address, value] of words.values) engine.memory.write64(physicalOf(address), value);

  const unit = new VtdUnit(engine, changes.options);
  const ttm = changes.ttm ?? (legacy ? TTM_LEGACY : TTM_SCALABLE);
  unit.write64(RTADDR, ROOT_TABLE | (BigInt(ttm) << 10n));
  unit.write32(GCMD, SRTP);
  unit.write32(GCMD, TE);
  return {
    engine,
    unit,
    request: { sid: SID, iova: iovaOf(iova), ...(pasid === undefined ? {} : { pasid }) },
    physical: passes ? iova : ((HOST + MAPPED_PAGE) & ~inPage) | (iova & inPage),
    pageSize: passes ? null : sizeOf(leaf),
    written() {
      const changed: Record<string, bigint> = {};
      for (const [place, address] of words.places) {
        const difference = engine.memory.read64(physicalOf(address)) ^ (words.values.get(address) ?? 0n);
        if (difference !== 0n) changed[place] = difference;
      }
      return changed;
    },
  };
}

// ---- Descriptors: section 6.5.2 ----

export type Descriptor = readonly [first: bigint, second: bigint];

const GRANULARITY = { global: 1n, domain: 2n, device: 3n, page: 3n } as const;
const PASID_CACHE_GRANULARITY = { domain: 0n, pasid: 1n, global: 3n } as const;

export function contextCache(
  granularity: "global" | "domain" | "device",
  { domain = 0, sid = 0, functionMask = 0 } = {},
): Descriptor {
  const fields = (BigInt(domain) << 16n) | (BigInt(sid) << 32n) | (BigInt(functionMask) << 48n);
  return [0x1n | (GRANULARITY[granularity] << 4n) | fields, 0n];
}

export function pasidCache(granularity: "global" | "domain" | "pasid", { domain = 0, pasid = 0 } = {}): Descriptor {
  return [0x7n | (PASID_CACHE_GRANULARITY[granularity] << 4n) | (BigInt(domain) << 16n) | (BigInt(pasid) << 32n), 0n];
}

export function iotlb(
  granularity: "global" | "domain" | "page",
  { domain = 0, address = 0n, addressMask = 0 } = {},
): Descriptor {
  return [0x2n | (GRANULARITY[granularity] << 4n) | (BigInt(domain) << 16n), address | BigInt(addressMask)];
}

/** The second word of a PASID-selective one is reserved but for its address fields, which do not matter. */
export function pasidIotlb(
  granularity: "pasid" | "page",
  { domain = 0, pasid = 0, address = 0n, addressMask = 0 } = {},
): Descriptor {
  const code = granularity === "pasid" ? 2n : 3n;
  return [0x6n | (code << 4n) | (BigInt(domain) << 16n) | (BigInt(pasid) << 32n), address | BigInt(addressMask)];
}

// ---- A driver of a unit ----

export type Mode = "legacy" | "scalable";

const PERSISTENT = 0x96ff_ffff;
const IQA_DW = 1n << 11n;
const QUEUE_BYTES = 4096;
const WAIT_WITH_STATUS = 0x25n;

/** Programs a unit by its registers, its queue and the structures in memory alone, as Linux does. */
export class Driver {
  readonly unit: VtdUnit;
  readonly messages: InterruptMessage[] = [];
  readonly #rootTable: bigint;
  readonly #queue: bigint;
  readonly #status: bigint;
  readonly #directories = new Map<number, bigint>();
  #tail = 0;
  #waits = 0;

  constructor(
    readonly engine: Engine,
    readonly mode: Mode,
    options: VtdUnitOptions = {},
  ) {
    this.unit = new VtdUnit(engine, { ...options, onMessage: (message) => this.messages.push(message) });
    this.#rootTable = engine.memory.allocatePage();
    this.#queue = engine.memory.allocatePage();
    this.#status = engine.memory.allocatePage();
  }

  /** Sets or clears a bit of GCMD_REG, the others as they are, and returns whether GSTS_REG shows it. */
  command(bit: number, on = true): boolean {
    const status = (this.unit.read32(GSTS) & PERSISTENT) >>> 0;
    this.unit.write32(GCMD, on ? (status | bit) >>> 0 : (status & ~bit) >>> 0);
    return (this.unit.read32(GSTS) & bit) !== 0;
  }

  enableQueue(): boolean {
    this.#tail = 0;
    this.unit.write64(IQT, 0n);
    this.unit.write64(IQA, this.#queue | (this.mode === "scalable" ? IQA_DW : 0n));
    return this.command(QIE);
  }

  setRootTable(): boolean {
    const ttm = this.mode === "scalable" ? TTM_SCALABLE : TTM_LEGACY;
    this.unit.write64(RTADDR, this.#rootTable | (BigInt(ttm) << 10n));
    return this.command(SRTP);
  }

  /** Everything up to GCMD.TE. */
  start(): void {
    expect(this.enableQueue()).toBe(true);
    expect(this.setRootTable()).toBe(true);
    this.invalidateAll();
    expect(this.command(TE)).toBe(true);
  }

  /** Submits descriptors, each with a wait behind it whose status must be in memory. */
  invalidate(...descriptors: readonly Descriptor[]): void {
    for (const descriptor of descriptors) {
      const token = BigInt(++this.#waits);
      this.submit(descriptor, [WAIT_WITH_STATUS | (token << 32n), this.#status]);
      expect(this.engine.memory.read64(physicalOf(this.#status)) & 0xffff_ffffn).toBe(token);
      expect(this.unit.read64(IQH)).toBe(BigInt(this.#tail));
    }
  }

  invalidateAll(): void {
    this.invalidate(contextCache("global"));
    if (this.mode === "scalable") this.invalidate(pasidCache("global"));
    this.invalidate(iotlb("global"));
  }

  /** Submits descriptors, and waits for nothing. */
  submit(...descriptors: readonly Descriptor[]): void {
    const bytes = this.mode === "scalable" ? 32 : 16;
    for (const descriptor of descriptors) {
      const at = this.#queue + BigInt(this.#tail);
      for (let i = 0; i < bytes / 8; i++) this.#write(at + BigInt(8 * i), descriptor[i] ?? 0n);
      this.#tail = (this.#tail + bytes) % QUEUE_BYTES;
    }
    this.unit.write64(IQT, BigInt(this.#tail));
  }

  /** Where the context entry of a device is; its table is made if there is none. */
  contextAt(sid: number): bigint {
    const scalable = this.mode === "scalable";
    const half = scalable && (sid & 0x80) !== 0 ? 8n : 0n;
    const table = this.#tableBehind(this.#rootTable + BigInt(sid >> 8) * 16n + half);
    return table + BigInt(scalable ? sid & 0x7f : sid & 0xff) * (scalable ? 32n : 16n);
  }

  /** Where the PASID table entry of a device is, behind its own directory; its table is made if there is none. */
  pasidAt(sid: number, pasid: number): bigint {
    const table = this.#tableBehind(this.#directoryOf(sid) + BigInt(pasid >> 6) * 8n);
    return table + BigInt(pasid & 63) * 64n;
  }

  /** Writes a legacy context entry. */
  setLegacyContext(sid: number, fields: LegacyContextFields): void {
    this.#writeEntry(this.contextAt(sid), legacyContext(fields));
  }

  /** Writes a scalable-mode context entry that points to the device's directory, whose RID_PASID is 0. */
  setScalableContext(sid: number): void {
    this.#writeEntry(this.contextAt(sid), scalableContext(this.#directoryOf(sid)));
  }

  setPasid(sid: number, pasid: number, fields: PasidEntryFields): void {
    this.#writeEntry(this.pasidAt(sid, pasid), pasidEntry(fields));
  }

  /** Makes requests without PASID go through a second-stage table, in either mode. */
  attach(sid: number, domain: number, table: bigint): void {
    if (this.mode === "legacy") {
      this.setLegacyContext(sid, { domain, table });
    } else {
      this.setPasid(sid, 0, { type: PGTT.second, domain, secondTable: table });
      this.setScalableContext(sid);
    }
  }

  /** Clears P of an entry. */
  clearPresent(entry: bigint): void {
    this.#write(entry, this.#read(entry) & ~P);
  }

  setBits(entry: bigint, bits: bigint): void {
    this.#write(entry, this.#read(entry) | bits);
  }

  #directoryOf(sid: number): bigint {
    const directory = this.#directories.get(sid) ?? this.engine.memory.allocatePage();
    this.#directories.set(sid, directory);
    return directory;
  }

  #tableBehind(entry: bigint): bigint {
    if ((this.#read(entry) & P) === 0n) this.#write(entry, this.engine.memory.allocatePage() | P);
    return this.#read(entry) & ~0xfffn;
  }

  /** The word that holds P last, as an entry in use is changed. */
  #writeEntry(address: bigint, words: readonly bigint[]): void {
    for (const [i, word] of [...words.entries()].reverse()) this.#write(address + BigInt(8 * i), word);
  }

  #read(address: bigint): bigint {
    return this.engine.memory.read64(physicalOf(address));
  }

  #write(address: bigint, value: bigint): void {
    this.engine.memory.write64(physicalOf(address), value);
  }
}

/** What a request came to, in a word: where it went, or the fault. */
export function outcome(unit: VtdUnit, request: Omit<DmaRequest, "iova"> & { readonly iova: bigint }): string {
  const result = unit.translate({ ...request, iova: request.iova as Iova });
  return result.ok ? hex(result.physical) : `fault ${hex(BigInt(result.code))}`;
}
