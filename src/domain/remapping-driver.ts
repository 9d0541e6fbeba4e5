import type { PhysicalAddress } from "../engine/addresses.js";
import type { Engine } from "../engine/engine.js";
import type { PageTable } from "../engine/page-table.js";

/** What the requests of a device go through. */
export type StreamTarget =
  /** Nothing: every request is refused. */
  | { readonly kind: "blocking" }
  /** Requests reach memory at the address they carry. */
  | { readonly kind: "identity" }
  /** `id`: the number by which the unit tags what it caches of this table (VT-d domain ID, ASID). */
  | { readonly kind: "paging"; readonly table: PageTable; readonly id: number };

/** What became of one access of a device. */
export type DeviceAccess =
  | { readonly ok: true; readonly physical: PhysicalAddress }
  /** `code` and `name`: the specification's; null where the unit aborts without saying why. */
  | {
      readonly ok: false;
      readonly code: number | null;
      readonly name: string;
      /** What the name stands for, where that needs saying. */
      readonly condition?: string;
      readonly record: FaultReport | null;
    };

/** A fault as the unit recorded it: fields by the specification's names, as text. */
export type FaultReport = Readonly<Record<string, string>>;

/** What a kernel's driver of one remapping unit does: it writes the unit's tables in memory and its queues. */
export interface RemappingDriver {
  /** The architecture, for people. */
  readonly name: string;
  readonly engine: Engine;
  /** Addresses that no DMA of the machine can use (iommu_get_resv_regions). */
  readonly reserved: readonly { readonly first: bigint; readonly last: bigint }[];
  /** Makes an empty table of the format that the driver attaches devices to. */
  createTable(): PageTable;
  /** Changes what a device's requests go through, and drops what the unit has cached of it. */
  attach(sid: number, target: StreamTarget): void;
  /**
   * Drops what is cached of [first, first + length) in the table that devices are attached to by `id`.
   *
   * @param leafOnly no table page was freed
   */
  invalidate(id: number, first: bigint, length: bigint, leafOnly: boolean): void;
  /** What was unmapped of a table stays cached until `invalidateAll`: the flush queue has it. */
  deferInvalidation(table: PageTable, first: bigint, length: bigint): void;
  /** Drops all that is cached of that table. */
  invalidateAll(id: number): void;
  /** One access as the device puts it on the bus, of whatever kind the address is. */
  access(sid: number, address: bigint, write: boolean): DeviceAccess;
  /** Commands that invalidate, given so far. */
  readonly invalidations: number;
}
