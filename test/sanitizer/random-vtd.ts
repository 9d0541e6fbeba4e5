/** A VT-d unit under a random driver: first stages with PASIDs, second stages, and nested ones, in several domains. */
import type { VtdUnitOptions } from "../../src/vtd/unit.js";
import { newEngine } from "../support/engine.js";
import { iovaOf, physicalOf, READ_WRITE } from "../support/tables.js";
import { Driver, iotlb, PGTT, pasidIotlb } from "../vtd/machine.js";
import {
  type Change,
  DeviceTlbs,
  type Order,
  PAGE,
  type RandomMachine,
  SlowStage,
  type Source,
} from "./random-model.js";

/** IH of an IOTLB invalidation, sections 6.5.2.3 and 6.5.2.4. */
const HINT = 1n << 6n;
/** Device-TLB invalidation, with and without PASID, of everything: sections 6.5.2.5 and 6.5.2.6. */
const DEVICE_TLB = 0x3n;
const PASID_DEVICE_TLB = 0x8n;
const ALL_ADDRESSES = 0x7fff_ffff_ffff_f000n;
const S = 1n;
const PASID_S = 1n << 11n;
const WAIT = 0x5n;
/** Where first-stage tables may be: second stages map that memory to itself. */
const TABLES = 16n << 20n;

/** The smallest naturally aligned block around a change. */
function block({ first, count }: Change): { readonly address: bigint; readonly addressMask: number } {
  let addressMask = 0;
  while (first >> addressMask !== (first + count - 1) >> addressMask) addressMask++;
  return { address: BigInt((first >> addressMask) << addressMask) * PAGE, addressMask };
}

const hinted = (order: Order, hint: boolean): Order => [order[0], order[1] | (hint ? HINT : 0n)];

export async function openVtd(options: VtdUnitOptions): Promise<RandomMachine> {
  const engine = await newEngine();
  const deviceTlbs = new DeviceTlbs();
  const driver = new Driver(engine, "scalable", {
    ...options,
    onDeviceTlbInvalidation: ({ sid, pasid }) => deviceTlbs.drop(sid, pasid),
  });
  driver.start();

  const global = [iotlb("global") as Order];
  const ofDomains = (domains: readonly number[]) => domains.map((domain) => iotlb("domain", { domain }) as Order);
  const second = (domain: number): SlowStage =>
    new SlowStage(engine.createTable("vtdss"), false, (change, leafOnly) => [
      [hinted(iotlb("page", { domain, ...block(change) }) as Order, leafOnly && !change.freed)],
      ofDomains([domain]),
      global,
    ]);
  const first = (nested: boolean, owners: readonly (readonly [domain: number, pasid: number])[]): SlowStage =>
    new SlowStage(engine.createTable("x86_64"), nested, (change, leafOnly) => [
      owners.map(([domain, pasid]) => {
        const order = pasidIotlb("page", { domain, pasid, ...block(change) }) as Order;
        return hinted(order, leafOnly && !change.freed);
      }),
      owners.map(([domain, pasid]) => pasidIotlb("pasid", { domain, pasid }) as Order),
      ofDomains([...new Set(owners.map(([domain]) => domain))]),
      global,
    ]);

  const [plain, other, parent] = [second(0x11), second(0x15), second(0x13)];
  const low = physicalOf((driver.contextAt(0x100) / TABLES) * TABLES);
  parent.table.map(iovaOf(low), low, TABLES, READ_WRITE);
  const shared = first(false, [
    [0x12, 3],
    [0x14, 4],
  ]);
  const own = first(false, [
    [0x12, 4],
    [0x12, 0],
  ]);
  const guest = first(true, [
    [0x13, 5],
    [0x13, 0],
  ]);
  const otherGuest = first(true, [[0x13, 6]]);

  const sources: Source[] = [];
  const attach = (sid: number, pasid: number | undefined, domain: number, stages: readonly SlowStage[]): void => {
    const [inner, outer] = stages;
    const isFirst = inner.table.format.name === "x86_64";
    driver.setPasid(sid, pasid ?? 0, {
      type: outer ? PGTT.nested : isFirst ? PGTT.first : PGTT.second,
      domain,
      ...(isFirst ? { firstTable: inner.table.root } : { secondTable: inner.table.root }),
      ...(outer && { secondTable: outer.table.root }),
    });
    driver.setScalableContext(sid);
    sources.push({ sid, stages, ...(pasid === undefined ? {} : { pasid }) });
  };
  attach(0x100, undefined, 0x11, [plain]);
  attach(0x100, 3, 0x12, [shared]);
  attach(0x100, 4, 0x12, [own]);
  attach(0x100, 5, 0x13, [guest, parent]);
  attach(0x100, 6, 0x13, [otherGuest, parent]);
  attach(0x200, undefined, 0x12, [own]);
  attach(0x200, 3, 0x12, [shared]);
  attach(0x200, 4, 0x14, [shared]);
  attach(0x200, 7, 0x11, [plain]);
  attach(0x300, undefined, 0x13, [guest, parent]);
  attach(0x300, 5, 0x13, [guest, parent]);
  attach(0x300, 8, 0x15, [other]);

  const { unit } = driver;
  if (!unit.sanitizer) throw new Error("a unit without a sanitizer");
  return {
    engine,
    sanitizer: unit.sanitizer,
    stages: [plain, other, parent, shared, own, guest, otherGuest],
    sources,
    deviceTlbs,
    everything: global,
    give: (orders) => driver.submit(...orders),
    wait: () => driver.submit([WAIT, 0n]),
    dropAts: ({ sid, pasid }) =>
      pasid === undefined
        ? [DEVICE_TLB | (BigInt(sid) << 32n), ALL_ADDRESSES | S]
        : [PASID_DEVICE_TLB | (BigInt(sid) << 16n) | (BigInt(pasid) << 32n), ALL_ADDRESSES | PASID_S],
    createBatch: (capacity) => unit.createBatch(capacity),
    translateBatch: (batch, count) => unit.translateBatch(batch, count, "each", true),
    translate: (request) => unit.translate(request),
    requestTranslation: (request) => unit.requestTranslation(request),
  };
}
