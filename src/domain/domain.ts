import { hex, type Iova, type PhysicalAddress, type PrivateAddress } from "../engine/addresses.js";
import { IommuError } from "../engine/errors.js";
import type { PageTable, Permissions } from "../engine/page-table.js";
import type { RemappingDriver, StreamTarget } from "./remapping-driver.js";

/** One live range of a domain: what it maps and who may use it. */
export interface DomainMapping<A extends Iova = Iova> {
  readonly address: A;
  readonly length: bigint;
  readonly physical: PhysicalAddress;
  /** Names of the devices that it was mapped for. */
  readonly users: ReadonlySet<string>;
}

/**
 * An iommu_domain with a page table. `A` is the kind of its addresses: DMA addresses in a group's default domain, which
 * the DMA API alone fills; private addresses in a domain that a driver manages, for those it shares it with on purpose.
 */
export class IommuDomain<A extends Iova = PrivateAddress> {
  readonly table: PageTable;
  readonly id: number;
  /** By first address, ascending. */
  readonly #mappings: DomainMapping<A>[] = [];

  /** Throws `invalid` when the unit has no tag left, `memory-exhausted`. */
  constructor(
    readonly driver: RemappingDriver,
    readonly name: string,
    id: number,
  ) {
    this.id = id;
    this.table = driver.createTable();
  }

  get target(): StreamTarget {
    return { kind: "paging", table: this.table, id: this.id };
  }

  get mappings(): readonly DomainMapping<A>[] {
    return this.#mappings;
  }

  /** iommu_map(), for the devices named `users`. Throws as PageTable.map; nothing is changed then. */
  map(
    address: A,
    physical: PhysicalAddress,
    length: bigint,
    permissions: Permissions,
    users: Iterable<string>,
  ): DomainMapping<A> {
    const freed = this.table.map(address, physical, length, permissions);
    // Tables that earlier unmaps left empty gave way to a larger leaf.
    if (freed > 0) this.driver.invalidate(this.id, address, length, false);
    const mapping: DomainMapping<A> = { address, physical, length, users: new Set(users) };
    this.#mappings.splice(this.#indexAfter(address), 0, mapping);
    return mapping;
  }

  /**
   * iommu_unmap() of one whole mapping, with its invalidation. Throws `hole` for what was not mapped so.
   *
   * @param invalidate false: what hardware has cached stays in use, as under a driver that forgets
   */
  unmap(mapping: DomainMapping<A>, invalidate = true): void {
    const index = this.#mappings.indexOf(mapping);
    if (index < 0) {
      const what = `unmap ${hex(mapping.address)} of domain ${this.name}`;
      throw new IommuError("hole", what, mapping.address, "it is no live mapping of this domain");
    }
    const { freedPages } = this.table.unmap(mapping.address, mapping.length);
    this.#mappings.splice(index, 1);
    if (invalidate) this.driver.invalidate(this.id, mapping.address, mapping.length, freedPages.length === 0);
  }

  /** The mapping that holds this number, whatever kind of address whoever has it takes it for. */
  mappingAt(address: bigint): DomainMapping<A> | null {
    const mapping = this.#mappings[this.#indexAfter(address) - 1];
    return mapping !== undefined && address < mapping.address + mapping.length ? mapping : null;
  }

  /** Frees the table. No device may be attached any more. */
  release(): void {
    this.#mappings.length = 0;
    this.table.release();
  }

  #indexAfter(address: bigint): number {
    let low = 0;
    let high = this.#mappings.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#mappings[middle].address <= address) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
