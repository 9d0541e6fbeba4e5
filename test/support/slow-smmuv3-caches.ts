/**
 * The caches of an SMMUv3 as lists of entries: Arm IHI 0070 G.b, section 3.17 (what TLB entries are found by), sections 4.3
 * and 4.4 (what commands drop). Streams have one stage, in StreamWorld NS-EL1; tables are functions; pages have 4 KiB.
 */
import type { CacheGeometry } from "../../src/cache/geometry.js";
import { SlowStore } from "./slow-store.js";

export interface SlowSte {
  readonly valid: boolean;
  readonly config: "abort" | "bypass" | "stage-1" | "stage-2";
  /** Which of the CD tables; of stage 2, which of the tables. */
  readonly table: number;
  readonly vmid: number;
}

export interface SlowCd {
  readonly valid: boolean;
  readonly asid: number;
  readonly table: number;
}

interface Translation {
  readonly stage: 1 | 2;
  readonly asid: number;
  readonly vmid: number;
  readonly physical: bigint;
}

export interface SlowTransaction {
  readonly sid: number;
  readonly ssid: number | null;
  readonly page: number;
}

export type SlowSmmuCommand =
  | { readonly command: "CFGI_ALL" | "NSNH_ALL" | "NH_ALL" }
  | { readonly command: "CFGI_STE" | "CFGI_CD_ALL"; readonly sid: number }
  | { readonly command: "CFGI_STE_RANGE"; readonly sid: number; readonly range: number }
  | { readonly command: "CFGI_CD"; readonly sid: number; readonly ssid: number }
  | { readonly command: "NH_ASID"; readonly asid: number }
  | { readonly command: "NH_VA"; readonly asid: number; readonly page: number }
  | { readonly command: "NH_VAA"; readonly page: number }
  | { readonly command: "S12_VMALL"; readonly vmid: number }
  | { readonly command: "S2_IPA"; readonly vmid: number; readonly page: number };

export interface SlowSmmuMemory {
  readonly entries: ReadonlyMap<number, SlowSte>;
  /** By table and index. */
  readonly contexts: readonly (readonly SlowCd[])[];
  readonly stage1: readonly ((page: number) => bigint | null)[];
  readonly stage2: readonly ((page: number) => bigint | null)[];
  /** Descriptors that a walk reads. */
  readonly levels: number;
}

/** CDs are found by SID and index; the commands name the index as SubstreamID. */
interface KeptContext extends SlowCd {
  readonly sid: number;
  readonly index: number;
}

export class SlowSmmuCaches {
  readonly tlb: SlowStore<Translation>;
  readonly entries: SlowStore<SlowSte & { readonly sid: number }>;
  readonly contexts: SlowStore<KeptContext>;
  transactions = 0;
  configurationReads = 0;
  configurationMisses = 0;
  tableReads = 0;

  constructor(
    private readonly memory: SlowSmmuMemory,
    geometry: { readonly iotlb: CacheGeometry; readonly context: CacheGeometry; readonly pasid: CacheGeometry },
  ) {
    this.tlb = new SlowStore(geometry.iotlb);
    this.entries = new SlowStore(geometry.context);
    this.contexts = new SlowStore(geometry.pasid);
  }

  /** Where a transaction leads; null: a fault. */
  transaction(transaction: SlowTransaction): bigint | null {
    this.transactions++;
    const before = this.configurationReads;
    const physical = this.translate(transaction);
    if (this.configurationReads > before) this.configurationMisses++;
    return physical;
  }

  private translate({ sid, ssid, page }: SlowTransaction): bigint | null {
    const entry = this.entryOf(sid);
    if (!entry || entry.config === "abort") return null;
    if (entry.config !== "stage-1" && ssid !== null) return null;
    const address = BigInt(page) << 12n;
    if (entry.config === "bypass") return address;
    if (entry.config === "stage-2") {
      const { vmid, table } = entry;
      return this.throughTlb({ stage: 2, asid: 0, vmid }, address, this.memory.stage2[table](page));
    }
    const context = this.contextOf(sid, ssid ?? 0, entry.table);
    if (!context) return null;
    const { asid, table } = context;
    return this.throughTlb({ stage: 1, asid, vmid: entry.vmid }, address, this.memory.stage1[table](page));
  }

  private throughTlb(whose: Omit<Translation, "physical">, address: bigint, walked: bigint | null): bigint | null {
    const tag = BigInt(whose.asid) | (BigInt(whose.vmid) << 16n) | (BigInt(whose.stage) << 32n);
    const held = this.tlb.find(tag, address);
    if (held) return held.physical;
    this.tableReads += this.memory.levels;
    if (walked !== null) this.tlb.keep({ ...whose, physical: walked }, tag, address);
    return walked;
  }

  private entryOf(sid: number): SlowSte | null {
    const cached = this.entries.find(BigInt(sid));
    if (cached) return cached;
    this.configurationReads++;
    const entry = this.memory.entries.get(sid);
    if (!entry?.valid) return null;
    this.entries.keep({ ...entry, sid }, BigInt(sid));
    return entry;
  }

  private contextOf(sid: number, index: number, table: number): SlowCd | null {
    const tag = BigInt(sid) | (BigInt(index) << 32n);
    const cached = this.contexts.find(tag);
    if (cached) return cached;
    this.configurationReads++;
    const context = this.memory.contexts[table][index];
    if (!context.valid) return null;
    this.contexts.keep({ ...context, sid, index }, tag);
    return context;
  }

  /** Returns how many entries are dropped. */
  obey(command: SlowSmmuCommand): number {
    const at = "page" in command ? BigInt(command.page) << 12n : 0n;
    switch (command.command) {
      case "CFGI_ALL":
        return this.dropStreams(() => true);
      case "CFGI_STE":
        return this.dropStreams((sid) => sid === command.sid);
      case "CFGI_STE_RANGE":
        return this.dropStreams((sid) => sid >> (command.range + 1) === command.sid >> (command.range + 1));
      case "CFGI_CD_ALL":
        return this.contexts.dropWhere(({ sid }) => sid === command.sid);
      case "CFGI_CD":
        return this.contexts.dropWhere(({ sid, index }) => sid === command.sid && index === command.ssid);
      case "NSNH_ALL":
        return this.tlb.dropWhere(() => true);
      case "NH_ALL":
        return this.tlb.dropWhere(({ stage, vmid }) => stage === 1 && vmid === 0);
      case "NH_ASID":
        return this.tlb.dropWhere(({ stage, vmid, asid }) => stage === 1 && vmid === 0 && asid === command.asid);
      case "NH_VA":
        return this.tlb.dropWhere(
          ({ stage, vmid, asid }, address) => stage === 1 && vmid === 0 && asid === command.asid && address === at,
        );
      case "NH_VAA":
        return this.tlb.dropWhere(({ stage, vmid }, address) => stage === 1 && vmid === 0 && address === at);
      case "S12_VMALL":
        return this.tlb.dropWhere(({ vmid }) => vmid === command.vmid);
      case "S2_IPA":
        return this.tlb.dropWhere(({ stage, vmid }, address) => stage === 2 && vmid === command.vmid && address === at);
    }
  }

  /** With an STE go its CDs. */
  private dropStreams(condition: (sid: number) => boolean): number {
    return this.entries.dropWhere(({ sid }) => condition(sid)) + this.contexts.dropWhere(({ sid }) => condition(sid));
  }
}
