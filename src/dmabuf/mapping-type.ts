/**
 * What an exporter and an importer agree to pass each other, as proposed for Linux ("Add DMA-buf mapping types", RFC of
 * 2026-02-17): the exporter's list is tried in its order, against each of the importer's. Ours adds the importer's hint.
 */
import type { Agreement, DmaDevice } from "../dma/index.js";
import type { Hint } from "../importers/hint.js";
import type { HintRequest } from "../importers/importer.js";
import { DmaBufError } from "./errors.js";
import { type HostForwarding, type PciNode, p2pMapType } from "./p2p.js";

export type MappingTypeName = "scatterlist" | "physical-address-list" | "private";

/** A scatterlist of DMA addresses, mapped by the exporter. */
export interface ScatterlistOffer {
  readonly type: "scatterlist";
  /** The device whose memory it is, when importers must reach it peer to peer. */
  readonly requiresPeer?: PciNode;
}

export interface ScatterlistWant {
  readonly type: "scatterlist";
  /** Maps for this device. */
  readonly device: DmaDevice;
  readonly acceptsPeer?: boolean;
  /** Where the device is, for peer to peer. */
  readonly node?: PciNode;
}

/** Physical ranges, for an importer that maps them itself. */
export interface PhysicalListMatch {
  readonly type: "physical-address-list";
}

/** Addresses that both sides have agreed on beforehand. */
export interface PrivateOffer {
  readonly type: "private";
  readonly agreement: Agreement;
}

export interface PrivateWant extends PrivateOffer {
  /** Who the importer is in the agreement. */
  readonly party: string;
}

export type Offer = ScatterlistOffer | PhysicalListMatch | PrivateOffer;

/** What an importer takes, and what it would ask of the IOVA if it may: whoever maps can look at it. */
export type Want = (ScatterlistWant | PhysicalListMatch | PrivateWant) & {
  readonly hint?: (buffer: HintRequest) => Hint;
};

/** What was agreed on: attach->map_type. */
export interface Match {
  readonly type: MappingTypeName;
  readonly offer: Offer;
  readonly want: Want;
}

/**
 * 0: the two fit; EOPNOTSUPP: these two do not, look on; any other error ends the search (struct dma_buf_mapping_type,
 * match()).
 */
type Verdict = 0 | "EOPNOTSUPP" | "EINVAL";

function matchScatterlist(offer: ScatterlistOffer, want: ScatterlistWant, host: HostForwarding): Verdict {
  if (offer.requiresPeer === undefined) return 0;
  if (!want.acceptsPeer || want.node === undefined) return "EOPNOTSUPP";
  return p2pMapType(offer.requiresPeer, want.node, host) === "not-supported" ? "EOPNOTSUPP" : 0;
}

/** Two who name the same agreement, of which the importer is no party, have mistaken each other: nothing else is tried. */
function matchPrivate(offer: PrivateOffer, want: PrivateWant): Verdict {
  if (offer.agreement !== want.agreement) return "EOPNOTSUPP";
  return offer.agreement.has(want.party) ? 0 : "EINVAL";
}

function match(offer: Offer, want: Want, host: HostForwarding): Verdict {
  if (offer.type === "scatterlist" && want.type === "scatterlist") return matchScatterlist(offer, want, host);
  if (offer.type === "private" && want.type === "private") return matchPrivate(offer, want);
  return 0;
}

/**
 * dma_buf_match_mapping(): the first of the exporter's offers for which the importer has a fitting want. Throws DmaBufError
 * `EINVAL` when there is none, or what a match() answers other than EOPNOTSUPP.
 */
export function matchMapping(
  offers: readonly Offer[],
  wants: readonly Want[],
  operation: string,
  host: HostForwarding = "any",
): Match {
  for (const offer of offers) {
    for (const want of wants) {
      if (offer.type !== want.type) continue;
      const verdict = match(offer, want, host);
      if (verdict === "EOPNOTSUPP") continue;
      if (verdict !== 0) throw new DmaBufError(verdict, operation, "it is no party of the agreement that it names");
      return { type: offer.type, offer, want };
    }
  }
  throw new DmaBufError("EINVAL", operation, "there is no mapping type that both sides have");
}
