/** Machines of the scenarios: a remapping unit, and devices that each have a group and a default domain. */
import { type DmaContext, DmaDevice, type DmaDeviceOptions, DmaHost } from "../dma/index.js";
import { DefaultDomain, type DefaultDomainOptions } from "../domain/default-domain.js";
import { IommuDomain } from "../domain/domain.js";
import { type IommuDevice, IommuGroup } from "../domain/group.js";
import type { RemappingDriver } from "../domain/remapping-driver.js";
import { SmmuDriver } from "../domain/smmuv3-driver.js";
import { VtdDriver } from "../domain/vtd-driver.js";
import type { Engine } from "../engine/engine.js";
import type { PageTable } from "../engine/page-table.js";

/** Entries of a unit's IOTLB here: the default of both units. */
export const IOTLB_ENTRIES = 64;

export const UNITS = ["Intel VT-d", "Arm SMMUv3"] as const;
export type UnitName = (typeof UNITS)[number];

/** One CPU, and no time passes. */
export const NOW: DmaContext = { cpu: 0, now: 0 };

/** A device, and what its driver sees of it. */
export interface MachineDevice {
  readonly group: IommuGroup;
  readonly domain: DefaultDomain;
  readonly hardware: IommuDevice;
  readonly dma: DmaDevice;
}

export class Machine {
  readonly driver: RemappingDriver;
  readonly host = new DmaHost();
  #groups = 0;
  #domains = 0;

  constructor(engine: Engine, unit: UnitName) {
    const options = { iotlbEntries: IOTLB_ENTRIES };
    this.driver = unit === "Intel VT-d" ? new VtdDriver(engine, options) : new SmmuDriver(engine, options);
  }

  /** A device in a group of its own, behind its default domain. */
  add(
    name: string,
    sid: number,
    options: Omit<DmaDeviceOptions, "name"> = {},
    domainOptions: DefaultDomainOptions = {},
  ): MachineDevice {
    const domain = new DefaultDomain(this.driver, this.host, `default of ${name}`, ++this.#domains, domainOptions);
    const group = new IommuGroup(this.#groups++, this.driver, domain);
    return this.addTo({ group, domain }, name, sid, options);
  }

  /** Another device of a group. */
  addTo(
    { group, domain }: Pick<MachineDevice, "group" | "domain">,
    name: string,
    sid: number,
    options: Omit<DmaDeviceOptions, "name"> = {},
  ): MachineDevice {
    const hardware = group.addDevice(name, sid);
    return { group, domain, hardware, dma: new DmaDevice(domain.dma, { name, ...options }) };
  }

  /** A domain for drivers to manage. */
  createDomain(name: string): IommuDomain {
    return new IommuDomain(this.driver, name, ++this.#domains);
  }
}

/** Leaves and bytes of a table, and what the IOTLB reaches of its leaves: its entries, of their mean size. */
export function tableFigures(table: PageTable): { leaves: number; tableBytes: number; reach: number } {
  const { leaves: bySize, tableBytes } = table.counters;
  let leaves = 0;
  let bytes = 0;
  for (const [size, count] of bySize) {
    leaves += count;
    bytes += count * Number(size);
  }
  const reach = leaves <= IOTLB_ENTRIES ? bytes : Math.floor((bytes / leaves) * IOTLB_ENTRIES);
  return { leaves, tableBytes, reach };
}
