/** Shared buffers: what exporters offer, and who has attached (drivers/dma-buf/dma-buf.c, 7.2). */
import type { DmaContext, DmaDevice, DmaDirection, DmaRange, MemoryRange, PrivateRange } from "../dma/index.js";
import { Attachment, type ImporterOps } from "./attachment.js";
import { DmaBufError, DmaBufMisuseError } from "./errors.js";
import { type Match, matchMapping, type Offer, type Want } from "./mapping-type.js";
import type { HostForwarding, PciNode } from "./p2p.js";
import { Reservation } from "./reservation.js";

/** What an exporter's map gives: the DMA addresses, and how to take them back. */
export interface ExporterMapping {
  readonly segments: readonly DmaRange[];
  unmap(context: DmaContext): void;
}

/** What an exporter fills in (struct dma_buf_ops). Those that fail throw DmaBufError or DmaError. */
export interface Exporter {
  readonly name: string;
  /** In the exporter's order of preference. */
  readonly offers: readonly Offer[];
  /** Refuses a device, or takes `peer2peer` from the attachment. */
  attach?(attachment: Attachment): void;
  detach?(attachment: Attachment): void;
  /** Keeps the memory where it is. Both or neither. */
  pin?(attachment: Attachment, context: DmaContext): void;
  unpin?(attachment: Attachment): void;
  /** null where the kernel's would return NULL. */
  map(attachment: Attachment, context: DmaContext, direction: DmaDirection): ExporterMapping | null;
  /** The memory as it lies now, for importers of a physical address list. */
  physical?(attachment: Attachment): readonly MemoryRange[];
  /** The addresses of the agreement that was offered. */
  agreed?(attachment: Attachment): readonly PrivateRange[];
  /** Nobody is attached any more. */
  release?(): void;
}

export interface AttachOptions {
  /** Without them the importer is static: what it has mapped cannot move. */
  readonly importerOps?: ImporterOps;
  /** Where the importing device is, for peer to peer. */
  readonly node?: PciNode;
}

export class DmaBuf {
  readonly reservation: Reservation;
  readonly #attachments = new Set<Attachment>();
  #released = false;

  /**
   * dma_buf_export(). Throws DmaBufError `EINVAL` for a size of no bytes, or an exporter that pins and cannot unpin.
   *
   * @param size bytes
   * @param host between which peers the host forwards requests
   */
  constructor(
    readonly name: string,
    readonly size: bigint,
    readonly exporter: Exporter,
    readonly host: HostForwarding = "any",
  ) {
    const refuse = (reason: string): DmaBufError => new DmaBufError("EINVAL", `export ${name}`, reason);
    if (size <= 0n) throw refuse(`a size of ${size} bytes`);
    if ((exporter.pin === undefined) !== (exporter.unpin === undefined)) throw refuse("it pins or unpins only");
    this.reservation = new Reservation(name);
  }

  get attachments(): readonly Attachment[] {
    return [...this.#attachments];
  }

  /**
   * dma_buf_attach() and dma_buf_dynamic_attach(): for scatterlists, as in 7.2. Throws what the exporter refuses with, and
   * DmaBufMisuseError `detached`.
   */
  attach(device: DmaDevice, options: AttachOptions = {}): Attachment {
    return this.#attach(device.name, device, null, options);
  }

  /**
   * As `attach`, for the first mapping type that both sides have. Throws as that, and as `matchMapping`.
   *
   * @param party who imports: a device, or whoever else is named in an agreement
   */
  attachMatching(party: string, wants: readonly Want[], options: AttachOptions = {}): Attachment {
    const operation = `attach ${party} to ${this.name}`;
    const match = matchMapping(this.exporter.offers, wants, operation, this.host);
    const device = match.want.type === "scatterlist" ? match.want.device : null;
    return this.#attach(party, device, match, options);
  }

  /** dma_buf_invalidate_mappings(): tells the importers that can be told. Throws DmaBufMisuseError `reservation`. */
  invalidateMappings(): void {
    this.reservation.assertHeld(`invalidate mappings of ${this.name}`);
    for (const attachment of this.#attachments) attachment.importerOps?.invalidateMappings?.(attachment);
  }

  /** The last reference is gone. Throws DmaBufMisuseError `still-attached`, `detached`. */
  release(): void {
    const operation = `release ${this.name}`;
    this.#checkAlive(operation);
    if (this.#attachments.size > 0) {
      throw new DmaBufMisuseError("still-attached", operation, `${this.#attachments.size} are attached`);
    }
    this.#released = true;
    this.exporter.release?.();
  }

  #attach(party: string, device: DmaDevice | null, match: Match | null, options: AttachOptions): Attachment {
    this.#checkAlive(`attach ${party} to ${this.name}`);
    const attachment = new Attachment(this, party, device, match, options, () => this.#attachments.delete(attachment));
    this.exporter.attach?.(attachment);
    this.#attachments.add(attachment);
    return attachment;
  }

  #checkAlive(operation: string): void {
    if (this.#released) throw new DmaBufMisuseError("detached", operation, "the buffer was released");
  }
}
