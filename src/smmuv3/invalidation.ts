/**
 * What commands ask of a unit's caches and devices: Arm SMMU Architecture Specification version 3 (IHI 0070 G.b), sections
 * 4.3 to 4.5. The command queue decodes; the unit drops.
 */

/**
 * Configuration to be dropped (section 4.3). With an STE goes everything that was cached through it: its CDs and the level 1
 * CD descriptors. `leafOnly`: level 1 descriptors on the way to it, of the stream table or of the CD table, may stay.
 */
export type ConfigurationInvalidation =
  | { readonly scope: "ste"; readonly sid: number; readonly leafOnly: boolean }
  | { readonly scope: "ste-range"; readonly firstSid: number; readonly lastSid: number }
  | { readonly scope: "all" }
  | { readonly scope: "cd"; readonly sid: number; readonly ssid: number; readonly leafOnly: boolean }
  | { readonly scope: "cd-all"; readonly sid: number };

/** The StreamWorlds of Non-secure streams (section 3.3.4). */
export type StreamWorld = "NS-EL1" | "NS-EL2" | "NS-EL2-E2H";

/** VMIDs that match: the low bits that VMID wildcards leave out are not compared (section 3.17.6). */
export interface VmidMatch {
  readonly vmid: number;
  readonly ignoredBits: number;
}

/** Addresses of which the translations are meant: VAs or IPAs, both ends included. */
export interface InvalidationRange {
  readonly first: bigint;
  readonly last: bigint;
  /** Bytes of the granule of the tables that the entries came from; null: any. */
  readonly granule: bigint | null;
  /** Level of the walk that the leaf entries came from; null: any. */
  readonly level: number | null;
}

/** TLB entries to be dropped: those that meet every condition (section 4.4). */
export interface TlbInvalidation {
  /**
   * `stage-1`: entries found by VA, those that combine both stages among them. `stage-2`: entries found by IPA, those of
   * streams with stage 2 only among them. `both`: all.
   */
  readonly stages: "stage-1" | "stage-2" | "both";
  readonly streamWorlds: readonly StreamWorld[];
  /** Null: of every VMID, or of none. */
  readonly vmid: VmidMatch | null;
  /** Null: of every ASID, and global ones. */
  readonly asid: number | null;
  /** Whether global entries match although an ASID is given. */
  readonly global: boolean;
  /** Null: of every address. */
  readonly range: InvalidationRange | null;
  /** What was cached of the levels above the leaf may stay. */
  readonly leafOnly: boolean;
}

/** Invalidation of a device's translation cache (section 4.5.1): passed on to the device. */
export interface AtcInvalidation {
  readonly sid: number;
  /** Null: without PASID. */
  readonly ssid: number | null;
  /** Global Invalidate: the PASID does not matter. */
  readonly global: boolean;
  /** First byte and size in bytes of the naturally aligned range; size null means everything. */
  readonly address: bigint;
  readonly size: bigint | null;
}

/** What obeys invalidations: the unit's caches, and the way to the devices. */
export interface InvalidationTarget {
  invalidateConfiguration(request: ConfigurationInvalidation): void;
  invalidateTlb(request: TlbInvalidation): void;
  invalidateAtc(request: AtcInvalidation): void;
  /** Software waits for those so far. */
  waited?(): void;
}

/** Answer of software to a page request group (section 4.5.2), to be sent to the device. */
export interface PageGroupResponse {
  readonly sid: number;
  readonly ssid: number | null;
  readonly pageRequestGroupIndex: number;
  readonly response: "failure" | "invalid-request" | "success";
}

/** What is to become of one stalled transaction (section 4.7.1): `terminate` reads zero and ignores writes. */
export interface ResumeRequest {
  readonly sid: number;
  readonly stag: number;
  readonly action: "retry" | "terminate" | "abort";
}
