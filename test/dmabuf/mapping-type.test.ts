/** Which mapping type an exporter and an importer agree on. */
import { describe, expect, test } from "vitest";
import { DmaDevice, PfnAgreement } from "../../src/dma/index.js";
import { DmaBuf, matchMapping, type Offer, type Want } from "../../src/dmabuf/index.js";
import { mlx5 } from "../../src/importers/mlx5.js";
import { newEngine } from "../support/engine.js";
import { CONTEXT, makeMachine } from "../dma/support.js";
import { codeOf, FAR, GPU, MIB, NEAR } from "./support.js";

const { domain } = makeMachine(await newEngine());
const device = new DmaDevice(domain, { name: NEAR.name });
const agreement = new PfnAgreement("vfio and kvm", ["kvm"]);
const others = new PfnAgreement("someone else", ["kvm", "nvme0"]);

const SGT: Offer = { type: "scatterlist" };
const PEER: Offer = { type: "scatterlist", requiresPeer: GPU };
const PAL: Offer & Want = { type: "physical-address-list" };
const AGREED: Offer = { type: "private", agreement };

const sgt = (more: object = {}): Want => ({ type: "scatterlist", device, ...more });
const NEAR_PEER = sgt({ acceptsPeer: true, node: NEAR });
const agreed = (party: string, by = agreement): Want => ({ type: "private", agreement: by, party });

describe("the exporter's order decides", () => {
  test.each<[string, Offer[], Want[], [offer: number, want: number] | string]>([
    ["nothing offered", [], [PAL], "EINVAL"],
    ["nothing wanted", [PAL], [], "EINVAL"],
    ["one each", [SGT], [sgt()], [0, 0]],
    ["no type in common", [SGT], [PAL], "EINVAL"],
    ["the exporter prefers physical addresses", [PAL, PEER], [NEAR_PEER, PAL], [0, 1]],
    ["the importer has no use for them", [PAL, PEER], [NEAR_PEER], [1, 0]],
    ["of two wants of a type the importer's first", [SGT], [PAL, sgt(), NEAR_PEER], [0, 1]],
    ["peer to peer is required and not accepted", [PEER], [sgt({ node: NEAR })], "EINVAL"],
    ["accepted by a device that is nowhere", [PEER], [sgt({ acceptsPeer: true })], "EINVAL"],
    ["then the next want is tried", [PEER], [sgt(), NEAR_PEER], [0, 1]],
    ["then the next offer is tried", [PEER, SGT], [sgt()], [1, 0]],
    ["peer to peer where it is not required", [SGT], [NEAR_PEER], [0, 0]],
    ["an agreement of both", [AGREED, PAL], [PAL, agreed("kvm")], [0, 1]],
    ["an agreement of others: look on", [AGREED, PAL], [agreed("kvm", others), PAL], [1, 1]],
    ["an agreement that the importer is not of: abort", [AGREED, PAL], [agreed("nvme0"), PAL], "EINVAL"],
  ])("%s", (_what, offers, wants, expected) => {
    const match = () => matchMapping(offers, wants, "attach");
    if (typeof expected === "string") {
      expect(codeOf(match)).toBe(expected);
      return;
    }
    const { type, offer, want } = match();
    expect([type, offer, want]).toEqual([offers[expected[0]].type, offers[expected[0]], wants[expected[1]]]);
    expect(offer).toBe(offers[expected[0]]);
    expect(want).toBe(wants[expected[1]]);
  });

  test("a peer that the host does not forward to", () => {
    const far = sgt({ acceptsPeer: true, node: FAR });
    expect(matchMapping([PEER], [far], "attach", "any").type).toBe("scatterlist");
    expect(codeOf(() => matchMapping([PEER], [far], "attach", "none"))).toBe("EINVAL");
    expect(matchMapping([PEER], [NEAR_PEER], "attach", "none").type).toBe("scatterlist");
  });
});

test("the attachment keeps what was agreed on, with the importer's hint", () => {
  const memory = [{ kind: "memory" as const, address: 0n as never, length: MIB }];
  const buffer = new DmaBuf("buffer", MIB, {
    name: "exporter",
    offers: [PAL, SGT],
    map: () => null,
    physical: () => memory,
  });
  const hint = (asked: { length: bigint }) => mlx5().hint({ va: 0x7f00_0000_1000n, ...asked });
  const attachment = buffer.attachMatching(NEAR.name, [sgt(), { type: "physical-address-list", hint }]);
  expect(attachment.match?.type).toBe("physical-address-list");
  expect(attachment.device).toBe(null);
  expect(attachment.match?.want.hint?.({ length: MIB }).congruentTo?.value).toEqual({
    address: 0x7f00_0000_1000n,
    modulus: 2n * MIB,
  });
  buffer.reservation.with(() => {
    expect(codeOf(() => attachment.map(CONTEXT, "bidirectional"))).toBe("wrong-type");
    expect(codeOf(() => attachment.mapPrivate(CONTEXT))).toBe("wrong-type");
    expect(attachment.mapPhysical(CONTEXT).segments).toEqual(memory);
  });
  const plain = buffer.attach(device);
  buffer.reservation.with(() => expect(codeOf(() => plain.mapPhysical(CONTEXT))).toBe("wrong-type"));
});
