/** Ranges of a device's BARs, as VFIO exports them (drivers/vfio/pci/vfio_pci_dmabuf.c, 7.2): revoked when it is reset. */
import {
  type Agreement,
  type MemoryRange,
  mapPhysVec,
  type PhysVecOffsets,
  type PrivateRange,
  rangesOf,
  unmapPhysVec,
} from "../dma/index.js";
import { privateAddress } from "../engine/addresses.js";
import type { Attachment } from "./attachment.js";
import { DmaBuf, type Exporter } from "./dma-buf.js";
import { DmaBufError } from "./errors.js";
import { importingDevice } from "./exporter-map.js";
import type { Offer } from "./mapping-type.js";
import { type HostForwarding, type PciNode, p2pMapType } from "./p2p.js";

export interface MmioOptions {
  readonly name?: string;
  /** Where the device is. */
  readonly node: PciNode;
  readonly ranges: readonly MemoryRange[];
  /** Between which peers the host forwards requests. Default: all. */
  readonly host?: HostForwarding;
  /** What is added to an address on the bus. Default 0. */
  readonly busOffset?: bigint;
  /** Where ranges are linked: see `mapPhysVec`. Default `zero`, as 7.2. */
  readonly offsets?: PhysVecOffsets;
  /** Offered first: page frame numbers, to the parties of this agreement. */
  readonly agreement?: Agreement;
}

export class MmioBuffer {
  readonly dmaBuf: DmaBuf;
  #revoked = false;
  readonly #options: MmioOptions;

  /** Exports the ranges. Throws DmaBufError `EINVAL` for none, or an empty one. */
  constructor(options: MmioOptions) {
    this.#options = options;
    const { agreement, node, ranges, name = `MMIO of ${node.name}` } = options;
    const size = ranges.reduce((sum, { length }) => sum + length, 0n);
    const empty = ranges.findIndex(({ length }) => length <= 0n);
    if (empty >= 0)
      throw new DmaBufError("EINVAL", `export ${name}`, `range ${empty} has ${ranges[empty].length} bytes`);
    const offers: Offer[] = [
      ...(agreement ? [{ type: "private" as const, agreement }] : []),
      { type: "physical-address-list" },
      { type: "scatterlist", requiresPeer: node },
    ];
    this.dmaBuf = new DmaBuf(name, size, this.#exporter(name, offers), options.host);
  }

  get revoked(): boolean {
    return this.#revoked;
  }

  /**
   * vfio_pci_dma_buf_move(): nothing can be mapped from now on, the importers are told to unmap, and their work is waited
   * for. Returns those that still map the memory then, which the kernel would wait for; takes the reservation.
   */
  revoke(): readonly Attachment[] {
    const { dmaBuf } = this;
    dmaBuf.reservation.with(() => {
      this.#revoked = true;
      dmaBuf.invalidateMappings();
      dmaBuf.reservation.wait("bookkeep");
    });
    return dmaBuf.attachments.filter(({ mapped }) => mapped.length > 0);
  }

  /** The device can be used again. */
  restore(): void {
    this.#revoked = false;
  }

  #exporter(name: string, offers: readonly Offer[]): Exporter {
    const { ranges, agreement } = this.#options;
    return {
      name,
      offers,
      attach: (attachment) => this.#attach(attachment),
      map: (attachment, context, direction) => {
        const device = importingDevice(attachment);
        this.#checkUsable(attachment, "map");
        const { busOffset = 0n, offsets, node, host } = this.#options;
        const vectors = ranges.map(({ address, length }) => ({ physical: address, length, busOffset }));
        const type = attachment.node ? p2pMapType(node, attachment.node, host) : "not-supported";
        const mapping = mapPhysVec(device, context, vectors, type, direction, offsets);
        return {
          segments: rangesOf(device, mapping.segments),
          unmap: (at) => unmapPhysVec(device, at, mapping, direction),
        };
      },
      physical: (attachment) => {
        this.#checkUsable(attachment, "list");
        return ranges;
      },
      agreed: (attachment) => {
        this.#checkUsable(attachment, "map");
        return agreement ? ranges.map((range) => asPrivate(range, agreement)) : [];
      },
    };
  }

  #attach(attachment: Attachment): void {
    const refuse = (code: "EOPNOTSUPP" | "ENODEV", reason: string): DmaBufError =>
      new DmaBufError(code, `attach ${attachment.party} to ${this.dmaBuf.name}`, reason);
    const scatterlist = (attachment.match?.type ?? "scatterlist") === "scatterlist";
    if (scatterlist && !attachment.peer2peer) throw refuse("EOPNOTSUPP", "it does not take peer-to-peer addresses");
    if (this.#revoked) throw refuse("ENODEV", "the device is not to be used");
    if (!attachment.isRevocable) throw refuse("EOPNOTSUPP", "it cannot be told to unmap");
  }

  #checkUsable(attachment: Attachment, verb: string): void {
    if (!this.#revoked) return;
    const operation = `${verb} ${this.dmaBuf.name} for ${attachment.party}`;
    throw new DmaBufError("ENODEV", operation, "the device is not to be used");
  }
}

/** Page frame numbers, as byte addresses. */
function asPrivate({ address, length }: MemoryRange, agreement: Agreement): PrivateRange {
  return { kind: "private", address: privateAddress(address), length, agreement };
}
