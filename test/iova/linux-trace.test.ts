/** Linux's allocator against Linux: the IOVAs of a recorded strict trace, in its order, none of them corrected. */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { newEngine } from "../support/engine.js";
import { read } from "../trace/support.js";

const shared = fileURLToPath(new URL("../../../shared/traces/", import.meta.url));
const TRACE = "vtd-7.2-net-virtio-strict";
const PAGE = 4096;
const LAST48 = 2 ** 36 - 1;

/** First and last page of the host bridge's windows, which the kernel reserves. */
function bridgeWindows(iomem: string): (readonly [number, number])[] {
  const lines = iomem.matchAll(/^([0-9a-f]+)-([0-9a-f]+) : PCI Bus 0000:00$/gm);
  return Array.from(lines, ([, first, last]) => {
    return [Number.parseInt(first, 16) / PAGE, (Number.parseInt(last, 16) + 1) / PAGE - 1] as const;
  });
}

test.runIf(existsSync(`${shared}${TRACE}.trace.gz`))(`${TRACE}: every IOVA`, async () => {
  const engine = await newEngine();
  const domain = engine.createLinuxIovaDomain({ cpus: 2 });
  const windows = bridgeWindows(readFileSync(`${shared}${TRACE}.iomem.txt`, "utf8"));
  expect(windows.length).toBeGreaterThan(0);
  for (const [first, last] of windows) domain.reserve(first, last);
  domain.reserve(0xfee00, 0xfeeff);
  const device = domain.attach({ limitPfn: LAST48 });
  const { operations, domains } = read(gunzipSync(readFileSync(`${shared}${TRACE}.trace.gz`)));
  expect(domains).toHaveLength(1);
  const slots = new Map<number, { pfn: number; pages: number; left: number }>();
  let same = 0;
  let allocations = 0;
  for (const operation of operations) {
    const pages = Number(operation.length) / PAGE;
    domain.advance(operation.time);
    if (operation.kind === "map") {
      const pfn = domain.allocateFor(device, pages, operation.cpu);
      slots.set(operation.slot, { pfn, pages, left: pages });
      allocations++;
      if (pfn * PAGE === Number(operation.iova)) same++;
    } else {
      const slot = slots.get(operation.slot);
      if (!slot) throw new Error(`line ${operation.line}: nothing is mapped`);
      slot.left -= pages;
      if (slot.left === 0) domain.free(slot.pfn, slot.pages, operation.cpu);
    }
  }
  expect(allocations).toBeGreaterThan(12_000);
  expect(same).toBe(allocations);
  expect(domain.counters().depotPops).toBeGreaterThan(0);
});
