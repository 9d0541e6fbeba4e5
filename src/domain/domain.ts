import { type Agreement, type DmaRange, expectMemory, type MemoryRange, type PrivateRange } from "../dma/index.js";
import { hex, type PhysicalAddress, type PrivateAddress } from "../engine/addresses.js";
import { IommuError } from "../engine/errors.js";
import type { PageTable, Permissions } from "../engine/page-table.js";
import { OwnershipError } from "./errors.js";
import { InvalidationGather } from "./gather.js";
import { type DomainMapping, Mappings } from "./mappings.js";
import type { RemappingDriver, StreamTarget } from "./remapping-driver.js";

/** A domain that devices can be attached to. */
export interface AttachableDomain {
  readonly name: string;
  readonly target: StreamTarget;
  mappingAt(address: bigint): DomainMapping | null;
  /** Whether the addresses of the range are of this domain. */
  owns(range: DmaRange | PrivateRange): boolean;
  /** A device was attached, or is not any more. */
  joined?(device: string): void;
  left?(device: string): void;
}

/**
 * An iommu_domain that drivers manage themselves (IOMMU_DOMAIN_UNMANAGED): its addresses are private to those who share it
 * on purpose. The domain that the DMA API fills is DefaultDomain.
 */
export class IommuDomain implements AttachableDomain, Agreement {
  readonly table: PageTable;
  /** Devices attached now: for them the addresses mean something. */
  readonly #members = new Set<string>();
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

  has(party: string): boolean {
    return this.#members.has(party);
  }

  joined(device: string): void {
    this.#members.add(device);
  }

  left(device: string): void {
    this.#members.delete(device);
  }

  owns(range: DmaRange | PrivateRange): boolean {
    return range.kind === "private" && range.agreement === this;
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
   * `map`, with the domain as the agreement that the addresses belong to. Throws as it does, and AddressMisuseError
   * `wrong-kind`.
   */
  mapRange(
    address: PrivateAddress,
    memory: MemoryRange,
    permissions: Permissions,
    users: Iterable<string>,
  ): PrivateRange {
    const { address: physical, length } = expectMemory(
      memory,
      `map ${hex(memory.length)} bytes in domain ${this.name}`,
    );
    this.map(address, physical, length, permissions, users);
    return { kind: "private", address, length, agreement: this };
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

  /** iommu_domain_free(): frees the table. Throws OwnershipError EBUSY while devices are attached. */
  release(): void {
    const members = [...this.#members].join(", ");
    if (members !== "") throw new OwnershipError("EBUSY", `free domain ${this.name}`, `${members} attached to it`);
    this.#mappings.clear();
    this.table.release();
  }
}
