/**
 * Buffers in the memory of a GPU that can be moved to host memory and back, as amdgpu and xe export them
 * (amdgpu_dma_buf.c, xe_dma_buf.c).
 */
import type { BuddyAllocator } from "../linux/buddy.js";
import type { BufferMemory } from "../workloads/buffer.js";
import type { Vram } from "../workloads/device-memory.js";
import { systemHeapBuffer } from "../workloads/host-memory.js";
import type { Attachment } from "./attachment.js";
import { DmaBuf, type Exporter } from "./dma-buf.js";
import { DmaBufError } from "./errors.js";
import { blocksOf, importingDevice, mapBlocks, mapScatterlist, PAGE, pagesFor } from "./exporter-map.js";
import { type HostForwarding, type PciNode, p2pMapType } from "./p2p.js";

export type Placement = "vram" | "system";

export interface VramOptions {
  readonly name?: string;
  /** Where the GPU is. */
  readonly node: PciNode;
  readonly vram: Vram;
  /** Memory of the host, where the buffer can go; without it it stays in VRAM. */
  readonly system?: BuddyAllocator;
  /** Between which peers the host forwards requests. Default: all. */
  readonly host?: HostForwarding;
}

export class VramBuffer {
  readonly dmaBuf: DmaBuf;
  #placement: Placement = "vram";
  #memory: BufferMemory;
  readonly #pages: number;
  readonly #options: VramOptions;

  /** Allocates and exports so many bytes, in whole pages. Throws IommuError `memory-exhausted`, DmaBufError `EINVAL`. */
  constructor(bytes: bigint, options: VramOptions) {
    this.#options = options;
    this.#pages = pagesFor(bytes);
    this.#memory = options.vram.allocate(this.#pages);
    const name = options.name ?? `VRAM of ${options.node.name}`;
    this.dmaBuf = new DmaBuf(name, BigInt(this.#pages) * PAGE, this.#exporter(name), options.host);
  }

  get placement(): Placement {
    return this.#placement;
  }

  /** Its memory now, block by block. */
  get blocks(): ReturnType<typeof blocksOf> {
    return blocksOf(this.#memory);
  }

  /** Pins of all importers together. */
  get pins(): number {
    return this.dmaBuf.attachments.reduce((sum, { pins }) => sum + pins, 0);
  }

  /**
   * Moves the memory: the importers are told to unmap, the copy is a fence of the kernel's, and the memory that it leaves is
   * free once the importers' work with it is over. The reservation is held. Throws DmaBufError `EBUSY` when pinned,
   * `EINVAL` without a place to go; IommuError `memory-exhausted`; what an importer throws. The memory then stays as it was.
   */
  move(to: Placement): void {
    const { dmaBuf } = this;
    const operation = `move ${dmaBuf.name} to ${to}`;
    dmaBuf.reservation.assertHeld(operation);
    if (to === this.#placement) return;
    if (this.pins > 0) throw new DmaBufError("EBUSY", operation, `it is pinned ${this.pins} times`);
    const { system, vram } = this.#options;
    if (to === "system" && system === undefined) throw new DmaBufError("EINVAL", operation, "it has no place there");
    const next = to === "system" && system ? systemHeapBuffer(system, this.#pages) : vram.allocate(this.#pages);
    const previous = this.#memory;
    try {
      dmaBuf.invalidateMappings();
    } catch (error) {
      next.release();
      throw error;
    }
    this.#memory = next;
    this.#placement = to;
    dmaBuf.reservation.add({ usage: "bookkeep", complete: () => previous.release() });
    dmaBuf.reservation.add({ usage: "kernel", complete: () => {} });
  }

  #exporter(name: string): Exporter {
    return {
      name,
      offers: [{ type: "scatterlist" }, { type: "physical-address-list" }],
      attach: (attachment) => this.#attach(attachment),
      pin: (attachment) => this.#keepReachable(attachment, "pin"),
      unpin: () => {},
      map: (attachment, context, direction) => {
        const device = importingDevice(attachment);
        this.#keepReachable(attachment, "map");
        const map = this.#placement === "vram" ? mapBlocks : mapScatterlist;
        return map(device, context, this.blocks, direction);
      },
      physical: (attachment) => {
        this.#keepReachable(attachment, "list");
        return this.blocks;
      },
      release: () => {
        this.dmaBuf.reservation.wait("bookkeep");
        this.#memory.release();
      },
    };
  }

  #attach(attachment: Attachment): void {
    const { node, host = "any", system } = this.#options;
    const reachable = attachment.node !== undefined && p2pMapType(node, attachment.node, host) !== "not-supported";
    if (!reachable) attachment.peer2peer = false;
    if (!attachment.peer2peer && system === undefined) {
      const operation = `attach ${attachment.party} to ${this.dmaBuf.name}`;
      throw new DmaBufError("EOPNOTSUPP", operation, "it cannot reach VRAM, which the buffer cannot leave");
    }
  }

  /** An importer out of reach of the GPU gets host memory. */
  #keepReachable(attachment: Attachment, verb: string): void {
    if (this.#placement === "system" || attachment.peer2peer) return;
    if (this.pins > 0) {
      const operation = `${verb} ${this.dmaBuf.name} for ${attachment.party}`;
      throw new DmaBufError("EBUSY", operation, "it cannot reach VRAM, where the buffer is pinned");
    }
    this.move("system");
  }
}
