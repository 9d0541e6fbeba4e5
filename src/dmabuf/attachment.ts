/** One importer of a shared buffer (struct dma_buf_attachment), and what it has mapped. */
import type { DmaContext, DmaDevice, DmaDirection, DmaRange, MemoryRange, PrivateRange } from "../dma/index.js";
import type { AttachOptions, DmaBuf, Exporter, ExporterMapping } from "./dma-buf.js";
import { DmaBufError, DmaBufMisuseError } from "./errors.js";
import type { MappingTypeName, Match } from "./mapping-type.js";

/** What makes an importer dynamic (struct dma_buf_attach_ops). */
export interface ImporterOps {
  readonly allowPeer2peer?: boolean;
  /** The exporter moves or revokes the memory: what is mapped must go. The reservation is held. */
  invalidateMappings?(attachment: Attachment): void;
}

/** What an importer got: addresses of the kind that was agreed on. */
export type Mapped =
  | { readonly type: "scatterlist"; readonly segments: readonly DmaRange[] }
  | { readonly type: "physical-address-list"; readonly segments: readonly MemoryRange[] }
  | { readonly type: "private"; readonly segments: readonly PrivateRange[] };

type MappedAs<T extends MappingTypeName> = Extract<Mapped, { type: T }>;

const UNMAP_NOTHING = (): void => {};

export class Attachment {
  /** The importer takes peer-to-peer addresses, and the exporter has not found the peer out of reach. */
  peer2peer: boolean;
  readonly importerOps: AttachOptions["importerOps"];
  readonly node: AttachOptions["node"];
  readonly #live = new Map<Mapped, ExporterMapping["unmap"]>();
  #pins = 0;
  #attached = true;

  /** Made by `DmaBuf.attach`. */
  constructor(
    readonly buffer: DmaBuf,
    readonly party: string,
    /** Null for who takes no DMA addresses. */
    readonly device: DmaDevice | null,
    /** What the two sides agreed on; null for the scatterlist that 7.2 has. */
    readonly match: Match | null,
    { importerOps, node }: AttachOptions,
    private readonly onDetach: () => void,
  ) {
    this.importerOps = importerOps;
    // An importer that was matched has said so when it wanted a scatterlist.
    const want = match?.want.type === "scatterlist" ? match.want : undefined;
    this.node = node ?? want?.node;
    this.peer2peer = importerOps?.allowPeer2peer ?? want?.acceptsPeer ?? false;
  }

  /** dma_buf_attachment_is_dynamic(). */
  get isDynamic(): boolean {
    return this.importerOps !== undefined;
  }

  /** dma_buf_attach_revocable(): the importer can be told to unmap. */
  get isRevocable(): boolean {
    return this.importerOps?.invalidateMappings !== undefined;
  }

  /** Mapped now. */
  get mapped(): readonly Mapped[] {
    return [...this.#live.keys()];
  }

  /** How often the importer itself has pinned, and a static one's mappings have. */
  get pins(): number {
    return this.#pins;
  }

  /**
   * dma_buf_map_attachment(): the exporter maps for the importer's device. Of a static importer the memory is pinned as
   * long as it is mapped, and what the kernel does with it is waited for; a dynamic one waits by itself. The reservation is
   * held.
   *
   * Throws what the exporter refuses with; DmaBufError `ENOMEM` where it returns NULL; DmaBufMisuseError `reservation`,
   * `detached`, `wrong-type`.
   */
  map(context: DmaContext, direction: DmaDirection): MappedAs<"scatterlist"> {
    return this.#map("scatterlist", context, (exporter) => {
      const mapping = exporter.map(this, context, direction);
      if (mapping === null) return null;
      const { segments } = mapping;
      return [{ type: "scatterlist", segments }, (at) => mapping.unmap(at)];
    });
  }

  /** `map` with the reservation taken for its duration (dma_buf_map_attachment_unlocked). */
  mapUnlocked(context: DmaContext, direction: DmaDirection): MappedAs<"scatterlist"> {
    return this.buffer.reservation.with(() => this.map(context, direction));
  }

  /** The memory itself, to be mapped by the importer. Throws as `map`. */
  mapPhysical(context: DmaContext): MappedAs<"physical-address-list"> {
    return this.#map("physical-address-list", context, (exporter) => {
      const segments = exporter.physical?.(this);
      return segments ? [{ type: "physical-address-list", segments }, UNMAP_NOTHING] : null;
    });
  }

  /** The private addresses of the agreement. Throws as `map`. */
  mapPrivate(context: DmaContext): MappedAs<"private"> {
    return this.#map("private", context, (exporter) => {
      const segments = exporter.agreed?.(this);
      return segments ? [{ type: "private", segments }, UNMAP_NOTHING] : null;
    });
  }

  /** dma_buf_unmap_attachment(), of whatever type; the reservation is held. Throws DmaBufMisuseError. */
  unmap(context: DmaContext, mapped: Mapped): void {
    const operation = this.#operation("unmap");
    this.#check(operation);
    const unmap = this.#live.get(mapped);
    if (unmap === undefined) throw new DmaBufMisuseError("not-mapped", operation, "it is not mapped by this importer");
    this.#live.delete(mapped);
    unmap(context);
    if (!this.isDynamic) this.#unpin();
  }

  unmapUnlocked(context: DmaContext, mapped: Mapped): void {
    this.buffer.reservation.with(() => this.unmap(context, mapped));
  }

  /**
   * dma_buf_pin(): keeps the memory where it is, for a dynamic importer; the reservation is held. Throws what the exporter
   * refuses with, and DmaBufMisuseError `reservation`, `detached`, `not-dynamic`.
   */
  pin(context: DmaContext): void {
    const operation = this.#operation("pin");
    this.#check(operation);
    if (!this.isDynamic) throw new DmaBufMisuseError("not-dynamic", operation, "its mappings are pinned anyway");
    this.#pin(context);
  }

  /** dma_buf_unpin(). Throws DmaBufMisuseError as `pin`, and `not-pinned`. */
  unpin(): void {
    const operation = this.#operation("unpin");
    this.#check(operation);
    if (!this.isDynamic) throw new DmaBufMisuseError("not-dynamic", operation, "its mappings are pinned anyway");
    if (this.#pins === 0) throw new DmaBufMisuseError("not-pinned", operation, "it is not pinned");
    this.#unpin();
  }

  /** dma_buf_detach(). Throws DmaBufMisuseError `still-mapped`, `detached`. */
  detach(): void {
    const operation = this.#operation("detach");
    if (!this.#attached) throw new DmaBufMisuseError("detached", operation, "it was detached");
    if (this.#live.size > 0) throw new DmaBufMisuseError("still-mapped", operation, `${this.#live.size} mappings live`);
    while (this.#pins > 0) this.#unpin();
    this.#attached = false;
    this.buffer.exporter.detach?.(this);
    this.onDetach();
  }

  #pin(context: DmaContext): void {
    this.buffer.exporter.pin?.(this, context);
    this.#pins++;
  }

  #unpin(): void {
    this.#pins--;
    this.buffer.exporter.unpin?.(this);
  }

  #map<M extends Mapped>(
    type: M["type"],
    context: DmaContext,
    ask: (exporter: Exporter) => readonly [M, ExporterMapping["unmap"]] | null,
  ): M {
    const operation = this.#operation("map");
    this.#check(operation);
    const agreed = this.match?.type ?? "scatterlist";
    if (agreed !== type) throw new DmaBufMisuseError("wrong-type", operation, `${agreed} was agreed on, not ${type}`);
    const { exporter, reservation } = this.buffer;
    if (!this.isDynamic) this.#pin(context);
    try {
      const answer = ask(exporter);
      if (answer === null) throw new DmaBufError("ENOMEM", operation, "the exporter gave nothing");
      if (!this.isDynamic) reservation.wait("kernel");
      this.#live.set(...answer);
      return answer[0];
    } catch (error) {
      if (!this.isDynamic) this.#unpin();
      throw error;
    }
  }

  #check(operation: string): void {
    if (!this.#attached) throw new DmaBufMisuseError("detached", operation, "it was detached");
    this.buffer.reservation.assertHeld(operation);
  }

  #operation(verb: string): string {
    return `${verb} ${this.buffer.name} for ${this.party}`;
  }
}
