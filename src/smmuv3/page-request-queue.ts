/**
 * The PRI queue: Arm SMMU Architecture Specification version 3 (IHI 0070 G.b), chapter 8 and sections 6.3.34 to 6.3.36.
 */
import { IommuError } from "../engine/errors.js";
import { type BitFields, pack, unpack } from "../unit/bit-fields.js";
import type { PageGroupResponse } from "./invalidation.js";
import { OutputQueue, type OutputQueueKind, type OutputQueueOptions } from "./output-queue.js";

/** A Page Request message (PRI). Without a PASID it is neither privileged nor for execution. */
export interface PageRequest {
  readonly sid: number;
  readonly pasid?: number;
  /** Of the page, 4 KiB. */
  readonly address: bigint;
  readonly read: boolean;
  readonly write: boolean;
  readonly execute?: boolean;
  readonly privileged?: boolean;
  /** The last of its group. With a PASID, and for neither reading nor writing, it is a Stop Marker. */
  readonly last: boolean;
  readonly pageRequestGroupIndex: number;
}

/** What the SMMU answers of itself when a queue that overflows cannot take a request with a PASID (section 8.1). */
export type OverflowPolicy = (request: PageRequest) => Pick<PageGroupResponse, "ssid" | "response">;

export interface PageRequestQueueOptions extends OutputQueueOptions {
  readonly onOverflow: OverflowPolicy;
  /** Sends a response to a device. */
  readonly onResponse?: (response: PageGroupResponse) => void;
}

const PRIQ: OutputQueueKind = {
  source: "PRIQ",
  abort: "PRIQ_ABT_ERR",
  entryWords: 2,
  log2Limit: ({ idr1 }) => idr1.PRIQS,
};

const FIELDS = {
  StreamID: [0, 32],
  SubstreamID: [32, 20],
  Priv: [58, 1],
  X: [59, 1],
  R: [60, 1],
  W: [61, 1],
  L: [62, 1],
  SSV: [63, 1],
  PRGIndex: [64, 9],
} as const satisfies BitFields;

/** Page address, bits 63:12 of the second word. */
const PAGE = 0xffff_ffff_ffff_f000n;

/** The PRI queue of one unit. `enabled` is the effective value of PRIQEN: nothing is while SMMUEN is 0. */
export class PageRequestQueue extends OutputQueue {
  /** SMMU_PRIQ_IRQ_CFG2.LO: what interrupts is the last request of a group, not the first in the queue. */
  lastOnly = false;

  constructor(protected override readonly options: PageRequestQueueOptions) {
    super(PRIQ, options);
  }

  /** What software has yet to read, oldest first. */
  get requests(): readonly PageRequest[] {
    return this.entries.map(decode);
  }

  /** A message arrives. It is queued, answered with an automatic response to the device, or discarded. */
  accept(request: PageRequest): "queued" | "responded" | "discarded" {
    const words = this.encode(request);
    if (!this.registers.enabled || this.aborted) return this.respond(request, FAILURE);
    if (this.full) this.overflow();
    if (this.overflowing) {
      if (!request.last) return "discarded";
      if (this.lastOnly) this.raise();
      if (isStopMarker(request)) return "discarded";
      return this.respond(request, this.overflowResponse(request));
    }
    const written = this.write(words);
    if (!written) return this.respond(request, FAILURE);
    if (this.lastOnly ? request.last : written.wasEmpty) this.raise();
    return "queued";
  }

  private overflowResponse(request: PageRequest): Pick<PageGroupResponse, "ssid" | "response"> {
    const { ssidBits } = this.options.identification;
    if (request.pasid === undefined || ssidBits === 0) return { ssid: null, response: "success" };
    return this.options.onOverflow(request);
  }

  private respond(request: PageRequest, answer: Pick<PageGroupResponse, "ssid" | "response">) {
    if (isStopMarker(request)) return "discarded";
    const { sid, pageRequestGroupIndex } = request;
    this.options.onResponse?.({ sid, pageRequestGroupIndex, ...answer });
    return "responded";
  }

  /** Throws `invalid` for what does not fit. */
  private encode(request: PageRequest): readonly bigint[] {
    const { sid, address, read, write, last, pageRequestGroupIndex } = request;
    if (BigInt.asUintN(64, address) !== address) {
      throw new IommuError("invalid", `page request for address ${address}`, undefined, "an address has 64 bits");
    }
    const pasid = this.options.identification.ssidBits === 0 ? undefined : request.pasid;
    const entry = pack("page request", FIELDS, (address & PAGE) << 64n, {
      StreamID: sid,
      ...(pasid === undefined
        ? {}
        : { SSV: 1, SubstreamID: pasid, Priv: bit(request.privileged), X: bit(request.execute) }),
      R: bit(read),
      W: bit(write),
      L: bit(last),
      PRGIndex: pageRequestGroupIndex,
    });
    return [BigInt.asUintN(64, entry), entry >> 64n];
  }
}

const FAILURE = { ssid: null, response: "failure" } as const;

function isStopMarker({ pasid, read, write, last }: PageRequest): boolean {
  return pasid !== undefined && last && !read && !write;
}

function bit(value: boolean | undefined): number {
  return value ? 1 : 0;
}

function decode([first, second]: readonly bigint[]): PageRequest {
  const { StreamID, SubstreamID, Priv, X, R, W, L, SSV, PRGIndex } = unpack(FIELDS, (second << 64n) | first);
  return {
    sid: StreamID,
    ...(SSV === 1 ? { pasid: SubstreamID, execute: X === 1, privileged: Priv === 1 } : {}),
    address: second & PAGE,
    read: R === 1,
    write: W === 1,
    last: L === 1,
    pageRequestGroupIndex: PRGIndex,
  };
}
