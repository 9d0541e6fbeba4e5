/** A second stage behind a first one that is changed: invalidations that leave part of what is cached of it, each named. */
import { describe, expect, test } from "vitest";
import type { Mistake } from "../../src/sanitizer/index.js";
import type { TranslationOptions } from "../../src/unit/translation.js";
import { iovaOf } from "../support/tables.js";
import { iotlb, pasidIotlb } from "../vtd/machine.js";
import { FIRST_PAGE, type Order, PAGE, type RandomMachine, SMALL_PAGES, type SlowStage } from "./random-model.js";
import { openSmmu } from "./random-smmuv3.js";
import { openVtd } from "./random-vtd.js";

const CACHE = { sets: 1, ways: 64, replacement: "lru" } as const;
const STRUCTURES = { 2: CACHE, 3: CACHE, 4: CACHE };
const CACHES: TranslationOptions = {
  caches: { iotlb: [CACHE], firstStage: STRUCTURES, secondStage: STRUCTURES, nested: CACHE },
};
const TARGET_PAGE = 0x20_0000;

interface Case {
  readonly name: string;
  readonly orders: readonly Order[];
  /** Null: nothing is stale. */
  readonly mistake: Mistake | null;
}

interface Nested {
  readonly open: (options: { sanitizer: object } & TranslationOptions) => Promise<RandomMachine>;
  readonly sid: number;
  readonly pasid: number;
  /** What the invalidations of the guest's own unmaps are. */
  readonly ofGuest: Order;
  readonly cases: readonly Case[];
}

const GUEST_PAGE = BigInt(FIRST_PAGE) * PAGE;
const page = (domain: number, at: number): Order =>
  iotlb("page", { domain, address: BigInt(FIRST_PAGE + at) * PAGE }) as Order;
const VMID = 7n << 32n;
const byIpa = (vmid: bigint): Order => [0x2an | vmid, GUEST_PAGE];
const BY_VA_ALL: Order = [0x10n | VMID, 0n];

const UNITS: readonly (readonly [string, Nested])[] = [
  [
    "VT-d",
    {
      open: openVtd,
      sid: 0x100,
      pasid: 6,
      ofGuest: pasidIotlb("page", { domain: 0x13, pasid: 6, address: GUEST_PAGE }) as Order,
      cases: [
        { name: "none", orders: [], mistake: "forgotten" },
        { name: "of that page", orders: [page(0x13, 0)], mistake: null },
        { name: "of the page behind", orders: [page(0x13, 1)], mistake: "forgotten" },
        {
          name: "of first-stage translations",
          orders: [pasidIotlb("pasid", { domain: 0x13, pasid: 6 }) as Order],
          mistake: "wrong-stage",
        },
        { name: "of another domain", orders: [page(0x12, 0)], mistake: "wrong-domain" },
      ],
    },
  ],
  [
    "SMMUv3",
    {
      open: openSmmu,
      sid: 3,
      pasid: 1,
      ofGuest: [0x12n | VMID | (2n << 48n), GUEST_PAGE],
      cases: [
        { name: "none", orders: [], mistake: "forgotten" },
        { name: "by IPA and of all by VA", orders: [byIpa(VMID), BY_VA_ALL], mistake: null },
        { name: "by IPA only", orders: [byIpa(VMID)], mistake: "wrong-stage" },
        { name: "by VA only", orders: [BY_VA_ALL], mistake: "wrong-stage" },
        { name: "of another VMID", orders: [[0x28n | (8n << 32n), 0n]], mistake: "wrong-vmid" },
      ],
    },
  ],
];

describe.each(UNITS)("%s", (_, { open, sid, pasid, ofGuest, cases }) => {
  test.each(cases)("an unmapped page of the second stage, invalidations: $name", async ({ orders, mistake }) => {
    const machine = await open({ ...CACHES, sanitizer: {} });
    const source = machine.sources.find((one) => one.sid === sid && one.pasid === pasid);
    const [guest, parent] = (source?.stages ?? []) as [SlowStage, SlowStage];
    guest.map(FIRST_PAGE, SMALL_PAGES, FIRST_PAGE, true);
    parent.map(FIRST_PAGE, SMALL_PAGES, TARGET_PAGE, true);
    const access = () => machine.translate({ sid, pasid, iova: iovaOf(GUEST_PAGE) });
    expect(access()).toMatchObject({ ok: true, physical: BigInt(TARGET_PAGE) * PAGE });
    // Another unmap before, invalidated as it must be.
    guest.unmap(FIRST_PAGE, 1);
    machine.give([ofGuest]);
    machine.wait();
    guest.map(FIRST_PAGE, 1, FIRST_PAGE, true);
    expect(access()).toMatchObject({ ok: true });

    parent.unmap(FIRST_PAGE, 1);
    machine.give(orders);
    machine.wait();
    expect(access()).toMatchObject({ ok: mistake !== null });
    const expected = { mistake, now: null, change: { kind: "unmapped", freedTables: false } };
    const taken = machine.sanitizer.take();
    expect(taken).toMatchObject(mistake === null ? [] : [expected]);
    for (const { change, operation } of taken) expect(change?.operation).toBeGreaterThan(operation - 3);
  });
});
