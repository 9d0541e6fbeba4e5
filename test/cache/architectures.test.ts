/** What each command drops, of caches that hold one entry of everybody. */
import { describe, expect, it, test } from "vitest";
import type { CacheName, DeviceTags, Selection, TagAndOwner } from "../../src/access/simulator.js";
import { SetAssociativeCache } from "../../src/cache/cache.js";
import {
  type SmmuRequester,
  smmuv3ConfigurationSelection,
  smmuv3Tags,
  smmuv3TlbSelection,
} from "../../src/cache/smmuv3.js";
import {
  type VtdRequester,
  vtdContextSelection,
  vtdIotlbSelection,
  vtdPasidIotlbSelection,
  vtdPasidSelection,
  vtdTags,
} from "../../src/cache/vtd.js";
import type { TlbInvalidation } from "../../src/smmuv3/invalidation.js";
import { newEngine } from "../support/engine.js";

const engine = await newEngine();
const CACHES: readonly CacheName[] = ["iotlb", "firstStage", "secondStage", "nested", "context", "pasid"];
const ADDRESSES = [0x1000n, 0x2000n, 0x3000n];

/**
 * Fills every cache with the translations of three pages (configuration: with one entry) of every requester, invalidates, and
 * returns what is gone as "cache requester" or "cache requester address".
 */
function dropped(requesters: Readonly<Record<string, DeviceTags>>, selection: Selection): string[] {
  const gone: string[] = [];
  for (const cache of CACHES) {
    const entries = Object.entries(requesters).flatMap(([name, tags]) => {
      const { tag, owner }: TagAndOwner = tags[cache];
      const addresses = cache === "context" || cache === "pasid" ? [0n] : ADDRESSES;
      return addresses.map((address) => ({ name, address, shift: 12, tag, owner, value: 0n }));
    });
    const lists = entries.map((entry) => {
      // One by one: requesters may share an entry.
      const alone = new SetAssociativeCache(engine, { sets: 1, ways: 1, replacement: "lru" });
      alone.use([entry]);
      for (const predicate of selection[cache] ?? []) alone.invalidate(predicate);
      const what = entry.address === 0n ? "" : ` 0x${entry.address.toString(16)}`;
      const left = alone.size;
      alone.release();
      return left === 0 ? [`${cache} ${entry.name}${what}`] : [];
    });
    gone.push(...lists.flat());
  }
  return gone;
}

/** Of every cache named, all pages of the requesters. */
function all(caches: readonly CacheName[], requesters: readonly string[]): string[] {
  return CACHES.filter((cache) => caches.includes(cache)).flatMap((cache) =>
    requesters.flatMap((name) =>
      cache === "context" || cache === "pasid"
        ? [`${cache} ${name}`]
        : ADDRESSES.map((address) => `${cache} ${name} 0x${address.toString(16)}`),
    ),
  );
}

describe("VT-d", () => {
  const requester = (of: Partial<VtdRequester>): DeviceTags =>
    vtdTags({ sid: 0x10, domain: 1, pasid: null, firstStage: false, ...of });
  const REQUESTERS = {
    second: requester({}),
    otherDomain: requester({ sid: 0x11, domain: 2, legacy: true }),
    first: requester({ sid: 0x18, pasid: 5, firstStage: true }),
    otherPasid: requester({ sid: 0x18, pasid: 6, firstStage: true }),
    secondWithPasid: requester({ sid: 0x20, pasid: 5 }),
  };
  const NAMES = Object.keys(REQUESTERS);
  const OF_DOMAIN = ["second", "first", "otherPasid", "secondWithPasid"];
  const TRANSLATIONS = ["iotlb", "firstStage", "secondStage", "nested"] as const;
  const page = { domain: 1, address: 0x2000n, addressMask: 0, leafOnly: false };

  test.each<[string, Selection, string[]]>([
    ["everything", vtdIotlbSelection({ ...page, granularity: "global" }), all(TRANSLATIONS, NAMES)],
    ["a domain", vtdIotlbSelection({ ...page, granularity: "domain" }), all(TRANSLATIONS, OF_DOMAIN)],
    [
      "a page: second-stage entries of it, and all first-stage ones of the domain",
      vtdIotlbSelection({ ...page, granularity: "page" }),
      [
        "iotlb second 0x2000",
        ...all(["iotlb"], ["first", "otherPasid"]),
        "iotlb secondWithPasid 0x2000",
        ...all(["firstStage"], OF_DOMAIN),
        ...OF_DOMAIN.map((name) => `secondStage ${name} 0x2000`),
        ...OF_DOMAIN.map((name) => `nested ${name} 0x2000`),
      ],
    ],
    [
      "two pages, with the hint that no table changed",
      vtdIotlbSelection({ ...page, granularity: "page", addressMask: 1, leafOnly: true, domain: 2 }),
      [
        "iotlb otherDomain 0x2000",
        "iotlb otherDomain 0x3000",
        ...all(["firstStage"], ["otherDomain"]),
        "nested otherDomain 0x2000",
        "nested otherDomain 0x3000",
      ],
    ],
    [
      "a PASID: its first-stage structures, no second-stage ones",
      vtdPasidIotlbSelection({ ...page, pasid: 5, granularity: "pasid" }),
      all(["iotlb", "firstStage"], ["first", "secondWithPasid"]),
    ],
    [
      "a page of a PASID: first-stage translations only",
      vtdPasidIotlbSelection({ ...page, pasid: 5, granularity: "page" }),
      ["iotlb first 0x2000", "firstStage first 0x2000", "firstStage secondWithPasid 0x2000"],
    ],
    [
      "the same with the hint",
      vtdPasidIotlbSelection({ ...page, pasid: 5, granularity: "page", leafOnly: true }),
      ["iotlb first 0x2000"],
    ],
    [
      "all contexts",
      vtdContextSelection({ granularity: "global", domain: 0, sid: 0, functionMask: 0 }),
      all(["context"], NAMES),
    ],
    [
      "the contexts of a domain, and those that have none",
      vtdContextSelection({ granularity: "domain", domain: 9, sid: 0, functionMask: 0 }),
      all(["context"], OF_DOMAIN),
    ],
    [
      "a legacy device's context",
      vtdContextSelection({ granularity: "device", domain: 2, sid: 0x11, functionMask: 0 }),
      all(["context"], ["otherDomain"]),
    ],
    [
      "contexts of functions 0 to 7 of a device",
      vtdContextSelection({ granularity: "device", domain: 2, sid: 0x15, functionMask: 3 }),
      all(["context"], ["second", "otherDomain"]),
    ],
    ["all PASID entries", vtdPasidSelection({ granularity: "global", domain: 0, pasid: 0 }), all(["pasid"], NAMES)],
    [
      "PASID entries of a domain",
      vtdPasidSelection({ granularity: "domain", domain: 1, pasid: 0 }),
      all(["pasid"], OF_DOMAIN),
    ],
    [
      "a PASID of a domain",
      vtdPasidSelection({ granularity: "pasid", domain: 1, pasid: 6 }),
      all(["pasid"], ["otherPasid"]),
    ],
  ])("%s", (_, selection, expected) => {
    expect(dropped(REQUESTERS, selection)).toEqual(expected);
  });

  it("tells requests with PASID from those without, even where RID_PASID is the same", () => {
    const without = requester({ ridPasid: 5, firstStage: true });
    const withPasid = requester({ pasid: 5, firstStage: true });
    expect(without.iotlb.tag).not.toBe(withPasid.iotlb.tag);
    expect(without.iotlb.owner).toBe(withPasid.iotlb.owner);
    expect(without.firstStage).toEqual(withPasid.firstStage);
  });
});

describe("SMMUv3", () => {
  const requester = (of: Partial<SmmuRequester>): DeviceTags =>
    smmuv3Tags({ sid: 4, ssid: null, streamWorld: "NS-EL1", vmid: 7, asid: 1, firstStage: true, ...of });
  const REQUESTERS = {
    asid1: requester({}),
    asid2: requester({ sid: 5, ssid: 3, asid: 2 }),
    global: requester({ sid: 5, asid: null }),
    stage2: requester({ sid: 8, asid: null, firstStage: false }),
    otherVmid: requester({ sid: 9, vmid: 8 }),
    el2: requester({ sid: 10, streamWorld: "NS-EL2", vmid: null }),
  };
  const BY_VA = ["asid1", "asid2", "global"];
  const command: TlbInvalidation = {
    stages: "stage-1",
    streamWorlds: ["NS-EL1"],
    vmid: { vmid: 7, ignoredBits: 0 },
    asid: null,
    global: false,
    range: null,
    leafOnly: false,
  };
  const range = { first: 0x2000n, last: 0x2fffn, granule: null, level: null };
  const tlbi = (of: Partial<TlbInvalidation>): Selection => smmuv3TlbSelection({ ...command, ...of });
  /** Second-stage entries carry no ASID: everybody of a VMID has the same ones. */
  const OF_VMID = ["asid1", "asid2", "global", "stage2"];

  test.each<[string, Selection, string[]]>([
    ["NH_ALL", tlbi({}), all(["iotlb", "firstStage"], BY_VA)],
    ["NH_ASID: no global ones", tlbi({ asid: 1 }), all(["iotlb", "firstStage"], ["asid1"])],
    [
      "NH_VA: the ASID's and global ones",
      tlbi({ asid: 1, global: true, range }),
      ["asid1", "global"]
        .map((name) => `iotlb ${name} 0x2000`)
        .concat(["asid1", "global"].map((name) => `firstStage ${name} 0x2000`)),
    ],
    [
      "NH_VAA, leaf only: walk caches stay",
      tlbi({ range, leafOnly: true }),
      BY_VA.map((name) => `iotlb ${name} 0x2000`),
    ],
    [
      "S2_IPA: what combines stages stays",
      tlbi({ stages: "stage-2", range }),
      [
        "iotlb stage2 0x2000",
        ...OF_VMID.map((name) => `secondStage ${name} 0x2000`),
        ...OF_VMID.map((name) => `nested ${name} 0x2000`),
      ],
    ],
    [
      "S12_VMALL with a VMID wildcard",
      tlbi({ stages: "both", vmid: { vmid: 6, ignoredBits: 1 } }),
      [...all(["iotlb"], OF_VMID), ...all(["firstStage"], BY_VA), ...all(["secondStage", "nested"], OF_VMID)],
    ],
    ["EL2_ALL", tlbi({ streamWorlds: ["NS-EL2", "NS-EL2-E2H"], vmid: null }), all(["iotlb", "firstStage"], ["el2"])],
    ["CFGI_ALL", smmuv3ConfigurationSelection({ scope: "all" }), all(["context", "pasid"], Object.keys(REQUESTERS))],
    [
      "CFGI_STE: with its CDs",
      smmuv3ConfigurationSelection({ scope: "ste", sid: 5, leafOnly: true }),
      all(["context", "pasid"], ["asid2", "global"]),
    ],
    [
      "CFGI_STE_RANGE",
      smmuv3ConfigurationSelection({ scope: "ste-range", firstSid: 5, lastSid: 9 }),
      all(["context", "pasid"], ["asid2", "global", "stage2", "otherVmid"]),
    ],
    [
      "CFGI_CD",
      smmuv3ConfigurationSelection({ scope: "cd", sid: 5, ssid: 3, leafOnly: true }),
      all(["pasid"], ["asid2"]),
    ],
    ["CFGI_CD_ALL", smmuv3ConfigurationSelection({ scope: "cd-all", sid: 5 }), all(["pasid"], ["asid2", "global"])],
  ])("%s", (_, selection, expected) => {
    expect(dropped(REQUESTERS, selection)).toEqual(expected);
  });
});
