/**
 * The caches of a VT-d unit as lists of entries: Intel VT-d Architecture Specification Rev. 5.10, section 6.2, Table 17
 * (tags), and section 6.5.2, Tables 23 and 24 (what is dropped). Tables are functions; pages have 4 KiB.
 */
import type { CacheGeometry } from "../../src/cache/geometry.js";
import { SlowStore } from "./slow-store.js";

/** Null: the page is not mapped. */
export type SlowTable = (page: number) => bigint | null;

/** A context entry, in legacy mode with a domain and a table, or a PASID table entry. */
export interface SlowEntry {
  present: boolean;
  domain: number;
  table: number;
  firstStage: boolean;
}

interface Kept extends Readonly<SlowEntry> {
  readonly sid: number;
  readonly pasid: number;
}

export interface SlowVtdRequest {
  readonly sid: number;
  readonly pasid: number | null;
  readonly page: number;
}

export type SlowVtdInvalidation =
  | { readonly cache: "context"; readonly by: "global" }
  | { readonly cache: "context"; readonly by: "domain"; readonly domain: number }
  | {
      readonly cache: "context";
      readonly by: "device";
      readonly domain: number;
      readonly sid: number;
      readonly functionMask: number;
    }
  | { readonly cache: "pasid"; readonly by: "global" }
  | { readonly cache: "pasid"; readonly by: "domain"; readonly domain: number }
  | { readonly cache: "pasid"; readonly by: "pasid"; readonly domain: number; readonly pasid: number }
  | { readonly cache: "iotlb"; readonly by: "global" }
  | { readonly cache: "iotlb"; readonly by: "domain"; readonly domain: number }
  | { readonly cache: "iotlb"; readonly by: "page"; readonly domain: number; readonly page: number }
  | { readonly cache: "pasid iotlb"; readonly by: "pasid"; readonly domain: number; readonly pasid: number }
  | {
      readonly cache: "pasid iotlb";
      readonly by: "page";
      readonly domain: number;
      readonly pasid: number;
      readonly page: number;
    };

/** Function numbers that a function mask leaves out of the comparison. */
const FUNCTION_BITS = [0, 0b100, 0b110, 0b111] as const;

export interface SlowVtdMemory {
  /** By SID; a scalable-mode entry says no more than whether it is present. */
  readonly contexts: ReadonlyMap<number, SlowEntry>;
  /** By SID and PASID, 0 for requests without; null in legacy mode. */
  readonly pasids: ReadonlyMap<number, ReadonlyMap<number, SlowEntry>> | null;
  readonly tables: readonly SlowTable[];
  /** Entries that a walk reads. */
  readonly levels: number;
}

export class SlowVtdCaches {
  readonly iotlb: SlowStore<Kept & { readonly physical: bigint }>;
  readonly contexts: SlowStore<Kept>;
  readonly pasids: SlowStore<Kept>;
  requests = 0;
  iotlbLookups = 0;
  configurationReads = 0;
  tableReads = 0;

  constructor(
    private readonly memory: SlowVtdMemory,
    geometry: { readonly iotlb: CacheGeometry; readonly context: CacheGeometry; readonly pasid: CacheGeometry },
    private readonly keepsFaults: boolean,
  ) {
    this.iotlb = new SlowStore(geometry.iotlb);
    this.contexts = new SlowStore(geometry.context);
    this.pasids = new SlowStore(geometry.pasid);
  }

  /** Where a request leads; null: a fault. */
  request({ sid, pasid, page }: SlowVtdRequest): bigint | null {
    this.requests++;
    const requester = BigInt(sid) | (pasid === null ? 0n : BigInt(pasid + 1) << 16n);
    const address = BigInt(page) << 12n;
    const held = this.iotlb.find(requester, address);
    if (held) {
      this.iotlbLookups++;
      return held.physical;
    }
    const { contexts, pasids } = this.memory;
    const context = this.entry(this.contexts, BigInt(sid), { sid, pasid: 0 }, contexts.get(sid), 2);
    if (!context) return null;
    const effective = pasid ?? 0;
    const tag = BigInt(sid) | (BigInt(effective) << 16n);
    const entry = pasids
      ? this.entry(this.pasids, tag, { sid, pasid: effective }, pasids.get(sid)?.get(effective), 2)
      : context;
    if (!entry) return null;
    this.iotlbLookups++;
    this.tableReads += this.memory.levels;
    const physical = this.memory.tables[entry.table](page);
    if (physical !== null) this.iotlb.keep({ ...entry, physical }, requester, address);
    return physical;
  }

  /** The entry that is cached or in memory, if it is present. */
  private entry(
    cache: SlowStore<Kept>,
    tag: bigint,
    whose: Pick<Kept, "sid" | "pasid">,
    inMemory: SlowEntry | undefined,
    reads: number,
  ): Kept | null {
    const cached = cache.find(tag);
    if (cached) return cached.present ? cached : null;
    this.configurationReads += reads;
    if (!inMemory) throw new Error("a source that the model does not know");
    const kept = { ...inMemory, ...whose, domain: inMemory.present ? inMemory.domain : 0 };
    if (kept.present || this.keepsFaults) cache.keep(kept, tag);
    return kept.present ? kept : null;
  }

  invalidate(request: SlowVtdInvalidation): void {
    const inDomain = (domain: number): boolean => request.by !== "global" && domain === request.domain;
    switch (request.cache) {
      case "context": {
        // An entry of scalable mode has no domain: any domain is its own.
        const matches = (entry: Kept): boolean => this.memory.pasids !== null || inDomain(entry.domain);
        this.contexts.dropWhere((entry) => {
          if (request.by === "global") return true;
          if (request.by === "domain") return matches(entry);
          const ignored = FUNCTION_BITS[request.functionMask];
          return matches(entry) && (entry.sid | ignored) === (request.sid | ignored);
        });
        return;
      }
      case "pasid":
        this.pasids.dropWhere((entry) => {
          if (request.by === "global") return true;
          return inDomain(entry.domain) && (request.by === "domain" || entry.pasid === request.pasid);
        });
        return;
      case "iotlb":
        this.iotlb.dropWhere((entry, address) => {
          if (request.by === "global") return true;
          if (!inDomain(entry.domain)) return false;
          return request.by === "domain" || entry.firstStage || address === BigInt(request.page) << 12n;
        });
        return;
      case "pasid iotlb":
        this.iotlb.dropWhere((entry, address) => {
          if (!inDomain(entry.domain) || entry.pasid !== request.pasid) return false;
          return request.by === "pasid" || (entry.firstStage && address === BigInt(request.page) << 12n);
        });
        return;
    }
  }
}
