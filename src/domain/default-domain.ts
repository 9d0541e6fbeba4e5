import {
  DmaDomain,
  type DmaDomainOptions,
  type DmaHost,
  type DmaRange,
  type PrivateRange,
  type TranslationFollower,
} from "../dma/index.js";
import { type DmaAddress, dmaAddress, physicalAddress } from "../engine/addresses.js";
import { LinuxIovaDomain } from "../engine/linux-iova.js";
import type { AttachableDomain } from "./domain.js";
import { type DomainMapping, Mappings } from "./mappings.js";
import type { RemappingDriver, StreamTarget } from "./remapping-driver.js";

export interface DefaultDomainOptions extends Pick<DmaDomainOptions, "flush" | "reserved" | "aperture"> {
  /** CPUs online. Default 2. */
  readonly cpus?: number;
}

/** The domain that the DMA API fills for a group: Linux's IOVA allocator over a table that the group's unit walks. */
export class DefaultDomain implements AttachableDomain {
  readonly dma: DmaDomain;
  readonly #mappings = new Mappings<DmaAddress>();

  /**
   * @param id what the unit tags its translations by, of no other domain of the unit
   * @throws IommuError `memory-exhausted`, `invalid`; DmaMisuseError `invalid`
   */
  constructor(
    readonly driver: RemappingDriver,
    host: DmaHost,
    readonly name: string,
    readonly id: number,
    options: DefaultDomainOptions = {},
  ) {
    const { cpus = 2, flush = "strict", reserved = [] } = options;
    const { exports, linear } = driver.engine;
    const table = driver.createTable();
    const iova = new LinuxIovaDomain(exports, linear, { cpus, flush, granuleShift: table.format.levelShift(1) });
    this.dma = new DmaDomain(host, table, iova, {
      ...options,
      name,
      flush,
      reserved: [...driver.reserved, ...reserved],
      queueFlushes: () => iova.counters().iotlbFlushes,
      follower: this.#follower(),
    });
  }

  get target(): StreamTarget {
    return { kind: "paging", table: this.dma.table, id: this.id };
  }

  owns(range: DmaRange | PrivateRange): boolean {
    return range.kind === "dma" && range.device.domain === this.dma;
  }

  get mappings(): readonly DomainMapping<DmaAddress>[] {
    return this.#mappings.all;
  }

  mappingAt(address: bigint): DomainMapping | null {
    return this.#mappings.at(address);
  }

  #follower(): TranslationFollower {
    const { driver, id } = this;
    return {
      mapped: (device, iova, physical, length) =>
        this.#mappings.add({
          address: dmaAddress(iova),
          physical: physicalAddress(physical),
          length,
          users: new Set([device]),
        }),
      unmapped: (iova, length, freedTables, how) => {
        this.#mappings.removeWithin(iova, length);
        // Pages of tables are given back only with their invalidation, even when that of the leaves is queued.
        if (how === "now" || freedTables) driver.invalidate(id, iova, length, !freedTables);
        else driver.deferInvalidation(this.dma.table, iova, length);
      },
      flushed: () => driver.invalidateAll(id),
    };
  }
}
