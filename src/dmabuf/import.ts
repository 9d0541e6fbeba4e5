/** What an importer puts into its own page tables: addresses that are meant for it, and no others. */
import {
  AddressMisuseError,
  describeRange,
  expectDma,
  expectMemory,
  expectPrivate,
  type DmaDevice,
  type OwnedRange,
} from "../dma/index.js";
import type { DeviceMapping, Importer, MapRequest, MemoryKind, Plan } from "../importers/importer.js";
import type { AnyImporter } from "../importers/importers.js";

/** Who imports: the name by which agreements know it, and its device where it takes DMA addresses. */
export interface Party {
  readonly name: string;
  readonly device?: DmaDevice;
}

export interface ImportRequest {
  readonly importer: AnyImporter;
  readonly party: Party;
  readonly ranges: readonly OwnedRange[];
  /** The importer's virtual address of the first byte, for importers that have one. */
  readonly va?: bigint;
  /** What is behind the addresses. Default: memory of the host. */
  readonly memory?: MemoryKind;
}

/**
 * A device puts into its tables what its IOMMU translates for it: DMA addresses, or private ones of a domain that it shares.
 * KVM takes the page frame numbers that it agreed on, host1x physical memory.
 */
function check(range: OwnedRange, importer: AnyImporter, { name, device }: Party): void {
  const operation = `${name}: import into ${importer.name}`;
  if (importer.addresses === "physical") expectMemory(range, operation);
  else if (importer.addresses === "private" || range.kind === "private") expectPrivate(range, name, operation);
  else if (device) expectDma(range, device, operation);
  else {
    throw new AddressMisuseError(
      "wrong-kind",
      operation,
      describeRange(range),
      `a private address agreed on with ${name}`,
    );
  }
}

function request({ importer, party, ranges, va, memory = "system" }: ImportRequest): MapRequest<bigint> {
  for (const range of ranges) check(range, importer, party);
  const segments = ranges.map(({ address, length }) => ({ address, length, memory }));
  return { ...(va === undefined ? {} : { va }), segments };
}

/** The entries that the importer would use. Throws AddressMisuseError, and as `Importer.plan`. */
export function planImport(asked: ImportRequest): Plan {
  return (asked.importer as Importer<bigint>).plan(request(asked));
}

/** The importer's tables. Throws AddressMisuseError, and as `Importer.map`. */
export function mapImport(asked: ImportRequest): DeviceMapping {
  return (asked.importer as Importer<bigint>).map(request(asked));
}
