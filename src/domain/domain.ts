import { hex, type PhysicalAddress, type PrivateAddress } from "../engine/addresses.js";
import { IommuError } from "../engine/errors.js";
import type { PageTable, Permissions } from "../engine/page-table.js";
import { InvalidationGather } from "./gather.js";
import { type DomainMapping, Mappings } from "./mappings.js";
import type { RemappingDriver, StreamTarget } from "./remapping-driver.js";

/** A domain that devices can be attached to. */
export interface AttachableDomain {
  readonly name: string;
  readonly target: StreamTarget;
  mappingAt(address: bigint): DomainMapping | null;
}

/**
 * An iommu_domain that drivers manage themselves (IOMMU_DOMAIN_UNMANAGED): its addresses are private to those who share it
 * on purpose. The domain that the DMA API fills is DefaultDomain.
 */
export class IommuDomain implements AttachableDomain {
  readonly table: PageTable;
  readonly #mappings = new Mappings<PrivateAddress>();

  /**
   * @param id what the unit tags its translations by, of no other domain of the unit
   * @throws IommuError `memory-exhausted`
   */
  constructor(
    readonly driver: RemappingDriver,
    readonly name: string,
    readonly id: number,
  ) {
    this.table = driver.createTable();
  }

  get target(): StreamTarget {
    return { kind: "paging", table: this.table, id: this.id };
  }

  get mappings(): readonly DomainMapping<PrivateAddress>[] {
    return this.#mappings.all;
  }

  /** iommu_map(), for the devices named `users`. Throws as PageTable.map; nothing is changed then. */
  map(
    address: PrivateAddress,
    physical: PhysicalAddress,
    length: bigint,
    permissions: Permissions,
    users: Iterable<string>,
  ): DomainMapping<PrivateAddress> {
    const freed = this.table.map(address, physical, length, permissions);
    // Tables that earlier unmaps left empty gave way to a larger leaf.
    if (freed > 0) this.driver.invalidate(this.id, address, length, false);
    const mapping = { address, physical, length, users: new Set(users) };
    this.#mappings.add(mapping);
    return mapping;
  }

  /**
   * iommu_unmap() of one whole mapping, with its invalidation. Throws `hole` for what was not mapped so.
   *
   * @param invalidate false: what hardware has cached stays in use, as under a driver that forgets
   */
  unmap(mapping: DomainMapping<PrivateAddress>, invalidate = true): void {
    const freedTables = this.#remove(mapping);
    if (invalidate) this.driver.invalidate(this.id, mapping.address, mapping.length, !freedTables);
  }

  /** Unmaps whole mappings, with their invalidations gathered. Throws `hole` at the first that was not mapped so. */
  unmapAll(mappings: Iterable<DomainMapping<PrivateAddress>>): void {
    const gather = new InvalidationGather(this.driver, this.id);
    try {
      for (const mapping of mappings) gather.add(mapping.address, mapping.length, this.#remove(mapping));
    } finally {
      gather.sync();
    }
  }

  /** Takes a mapping out of the table; returns whether table pages were freed. */
  #remove(mapping: DomainMapping<PrivateAddress>): boolean {
    if (!this.#mappings.remove(mapping)) {
      const what = `unmap ${hex(mapping.address)} of domain ${this.name}`;
      throw new IommuError("hole", what, mapping.address, "it is no live mapping of this domain");
    }
    return this.table.unmap(mapping.address, mapping.length).freedPages.length > 0;
  }

  mappingAt(address: bigint): DomainMapping | null {
    return this.#mappings.at(address);
  }

  /** Frees the table. No device may be attached any more. */
  release(): void {
    this.#mappings.clear();
    this.table.release();
  }
}
