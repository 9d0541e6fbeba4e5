/** Groups, and who owns their devices: drivers/iommu/iommu.c of Linux 7.2. */
import {
  type AddressMisuse,
  AddressMisuseError,
  type DmaRange,
  describeRange,
  type PrivateRange,
} from "../dma/index.js";
import { hex, physicalAddress } from "../engine/addresses.js";
import type { AttachableDomain, IommuDomain } from "./domain.js";
import { OwnershipError } from "./errors.js";
import type { DomainMapping } from "./mappings.js";
import type { DeviceAccess, RemappingDriver, StreamTarget } from "./remapping-driver.js";

/** What devices of a group are attached to: a domain with a table, or one of the two without. */
export type AnyDomain = AttachableDomain | "identity" | "blocking";

/** What an access of a device turned out to touch. */
export type AccessReport =
  /** Memory that the mapping gave this device. */
  | { readonly touches: "own"; readonly access: DeviceAccess & { ok: true }; readonly mapping: DomainMapping }
  /** Memory that was mapped for other devices: nothing stopped it. */
  | { readonly touches: "foreign"; readonly access: DeviceAccess & { ok: true }; readonly mapping: DomainMapping }
  /** Memory through a translation that is no longer mapped, which the unit still has cached. */
  | { readonly touches: "stale"; readonly access: DeviceAccess & { ok: true } }
  /** Memory at the very address: nothing translates this device. */
  | { readonly touches: "untranslated"; readonly access: DeviceAccess & { ok: true } }
  | { readonly touches: "nothing"; readonly access: DeviceAccess & { ok: false } };

/** Addresses that a driver has put into its device. The device uses them until it is told to stop. */
export interface Programmed {
  /** One access so many bytes into the range. */
  access(offset?: bigint, write?: boolean): AccessReport;
}

/** One device behind a remapping unit. */
export class IommuDevice {
  constructor(
    /** "0000:01:00.0". */
    readonly name: string,
    /** Requester ID or StreamID. */
    readonly sid: number,
    readonly group: IommuGroup,
  ) {}

  /**
   * Puts addresses into the device as a driver may: DMA addresses that the DMA API gave this device, or private ones of a
   * domain that it shares, mapped for it now. Throws AddressMisuseError, naming both sides. `access` is for who cheats.
   */
  program(range: DmaRange | PrivateRange): Programmed {
    this.#check(range);
    return {
      access: (offset = 0n, write = false) =>
        range.kind === "dma" && range.busAddress
          ? // A switch routes it to the peer; the unit never sees it.
            { touches: "untranslated", access: { ok: true, physical: physicalAddress(range.address + offset) } }
          : this.access(range.address + offset, write),
    };
  }

  #check(range: DmaRange | PrivateRange): void {
    const { domain } = this.group;
    const translated = domain !== "identity" && domain !== "blocking";
    const place = translated ? `domain "${domain.name}"` : `the ${domain} domain`;
    const wanted = `an address of ${this.name} in ${place}`;
    const refuse = (code: AddressMisuse, given = describeRange(range)): AddressMisuseError =>
      new AddressMisuseError(code, `program ${this.name}`, given, wanted);
    if (range.kind !== "dma" && range.kind !== "private") throw refuse("wrong-kind");
    if (range.kind === "dma" && range.device.name !== this.name) throw refuse("foreign-device");
    if (range.kind === "dma" && range.busAddress) return;
    if (range.kind === "private" && !range.agreement.has(this.name)) throw refuse("not-a-party");
    if (!translated || !domain.owns(range)) throw refuse("not-attached");
    const end = range.address + range.length;
    for (let at: bigint = range.address; at < end; ) {
      const mapping = domain.mappingAt(at);
      if (!mapping?.users.has(this.name))
        throw refuse("not-mapped", `${describeRange(range)}, not mapped at ${hex(at)}`);
      at = mapping.address + mapping.length;
    }
  }

  /**
   * One access as the hardware makes it, of a plain number: hardware does not know which kind of address it was given.
   */
  access(address: bigint, write = false): AccessReport {
    const { group } = this;
    const access = group.driver.access(this.sid, address, write);
    if (!access.ok) return { touches: "nothing", access };
    const { domain } = group;
    if (domain === "identity" || domain === "blocking") return { touches: "untranslated", access };
    const mapping = domain.mappingAt(address);
    if (mapping === null || access.physical !== mapping.physical + (address - mapping.address)) {
      return { touches: "stale", access };
    }
    return { touches: mapping.users.has(this.name) ? "own" : "foreign", access, mapping };
  }
}

/** The devices that share one translation (struct iommu_group). */
export class IommuGroup {
  readonly #devices: IommuDevice[] = [];
  #domain: AnyDomain;
  #owner: object | null = null;
  #ownerCount = 0;

  /**
   * @param defaultDomain what the DMA API uses; null until the driver core has set one up
   */
  constructor(
    readonly id: number,
    readonly driver: RemappingDriver,
    readonly defaultDomain: AttachableDomain | "identity" | null,
  ) {
    this.#domain = defaultDomain ?? "blocking";
  }

  get devices(): readonly IommuDevice[] {
    return this.#devices;
  }

  /** What the devices are attached to now. */
  get domain(): AnyDomain {
    return this.#domain;
  }

  /** Who claimed the group, null when the DMA API may use it. */
  get owner(): object | null {
    return this.#owner;
  }

  /** Bound drivers that use the DMA API, or nested claims. */
  get ownerCount(): number {
    return this.#ownerCount;
  }

  /** Puts a device into the group and behind its present domain (iommu_group_add_device). */
  addDevice(name: string, sid: number): IommuDevice {
    const device = new IommuDevice(name, sid, this);
    this.driver.attach(sid, targetOf(this.#domain));
    this.#devices.push(device);
    if (typeof this.#domain === "object") this.#domain.joined?.(name);
    return device;
  }

  /**
   * iommu_device_use_default_domain(), before a driver that uses the DMA API is bound. Throws EPROBE_DEFER without a
   * default domain, EBUSY when somebody owns the group or its devices are elsewhere.
   */
  useDefaultDomain(): void {
    const what = `use the default domain of group ${this.id}`;
    if (this.defaultDomain === null) throw new OwnershipError("EPROBE_DEFER", what, "it has none yet");
    if (this.#ownerCount > 0) {
      if (this.#owner !== null) throw new OwnershipError("EBUSY", what, "the group is claimed");
      if (this.#domain !== this.defaultDomain) throw new OwnershipError("EBUSY", what, "it is attached elsewhere");
    }
    this.#ownerCount++;
  }

  /** iommu_device_unuse_default_domain(), after the driver was unbound. */
  unuseDefaultDomain(): void {
    if (this.#ownerCount > 0 && this.#owner === null) this.#ownerCount--;
  }

  /**
   * iommu_group_claim_dma_owner(): takes the group from the DMA API; nothing reaches memory until a domain is attached.
   * Throws EINVAL without owner, EPERM when anybody uses the group, EBUSY when its devices are attached elsewhere.
   */
  claimDmaOwner(owner: object | null): void {
    const what = `claim group ${this.id}`;
    if (owner === null) throw new OwnershipError("EINVAL", what, "there is no owner");
    if (this.#ownerCount > 0) throw new OwnershipError("EPERM", what, this.#usedBy());
    this.#takeOwnership(owner, what);
  }

  /** iommu_group_release_dma_owner(): ends every claim; the devices return to the default domain. */
  releaseDmaOwner(): void {
    if (this.#owner === null) return;
    this.#owner = null;
    this.#ownerCount = 0;
    this.#attachAll(this.defaultDomain ?? "blocking");
  }

  /**
   * iommu_device_claim_dma_owner(): as `claimDmaOwner`, by a device of the group; the same owner may claim again. Throws
   * EINVAL without owner, ENODEV for a device of another group, EPERM, EBUSY.
   */
  claimDeviceDmaOwner(device: IommuDevice, owner: object | null): void {
    const what = `claim ${device.name}`;
    if (owner === null) throw new OwnershipError("EINVAL", what, "there is no owner");
    if (!this.#devices.includes(device)) throw new OwnershipError("ENODEV", what, `it is not of group ${this.id}`);
    if (this.#ownerCount > 0) {
      if (this.#owner !== owner) throw new OwnershipError("EPERM", what, this.#usedBy());
      this.#ownerCount++;
      return;
    }
    this.#takeOwnership(owner, what);
  }

  /** iommu_device_release_dma_owner(): ends one claim, and with the last all as `releaseDmaOwner`. */
  releaseDeviceDmaOwner(): void {
    if (this.#owner !== null && this.#ownerCount > 1) this.#ownerCount--;
    else this.releaseDmaOwner();
  }

  /**
   * iommu_attach_group(). Throws EBUSY when the devices are attached to another domain than the default or the blocking
   * one.
   */
  attach(domain: IommuDomain): void {
    if (this.#domain !== this.defaultDomain && this.#domain !== "blocking") {
      throw new OwnershipError("EBUSY", `attach group ${this.id} to ${domain.name}`, "it is attached elsewhere");
    }
    this.#attachAll(domain);
  }

  /** iommu_detach_group(): to the blocking domain when somebody owns the group, else to the default domain. */
  detach(): void {
    this.#attachAll(this.#owner === null ? (this.defaultDomain ?? "blocking") : "blocking");
  }

  /** __iommu_take_dma_ownership(). */
  #takeOwnership(owner: object, what: string): void {
    if (this.#domain !== (this.defaultDomain ?? "blocking")) {
      throw new OwnershipError("EBUSY", what, "it is attached elsewhere");
    }
    this.#attachAll("blocking");
    this.#owner = owner;
    this.#ownerCount = 1;
  }

  #usedBy(): string {
    return this.#owner === null ? `drivers that use the DMA API: ${this.#ownerCount}` : "it is claimed already";
  }

  #attachAll(domain: AnyDomain): void {
    for (const { sid, name } of this.#devices) {
      this.driver.attach(sid, targetOf(domain));
      if (typeof this.#domain === "object") this.#domain.left?.(name);
      if (typeof domain === "object") domain.joined?.(name);
    }
    this.#domain = domain;
  }
}

function targetOf(domain: AnyDomain): StreamTarget {
  return domain === "identity" || domain === "blocking" ? { kind: domain } : domain.target;
}
