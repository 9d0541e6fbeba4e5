/** Tables too large for a processor's caches are walked in another order; the answers must be the same. */
import { describe, expect, test } from "vitest";
import { dmaAddress, physicalAddress } from "../../src/engine/addresses.js";
import { decodeWalkStatus } from "../../src/engine/page-table.js";
import { newEngine } from "../support/engine.js";
import { Random } from "../support/random.js";

const engine = await newEngine();

describe.each(engine.formats)("$name, a table of more than 4 MiB", ({ name, granule, levelShift }) => {
  const table = engine.createTable(name);
  const LARGE = 1n << BigInt(levelShift(2));
  const RUN = 32n * LARGE;
  // Three of them take more than 4 MiB of last-level tables.
  const FAR = (512n * 4096n * LARGE) / granule;
  const within = (span: bigint): bigint => random.u64() % span;
  // Pages askew, so that nothing larger fits; then large leaves; then nothing.
  table.map(dmaAddress(4n * FAR), physicalAddress(LARGE + granule), 3n * FAR, { read: true, write: true });
  table.map(dmaAddress(8n * FAR), physicalAddress(8n * FAR), RUN, { read: true, write: true });
  table.map(dmaAddress(9n * FAR), physicalAddress(LARGE + LARGE / 2n + granule), RUN, { read: true });

  const random = new Random(3);
  const place = (): bigint => {
    const kind = random.below(20);
    if (kind === 0) return 8n * FAR + within(RUN);
    if (kind === 1) return 9n * FAR + within(RUN);
    if (kind === 2) return 10n * FAR + within(RUN);
    if (kind === 3) return 1n << 60n;
    return 4n * FAR + within(3n * FAR);
  };

  test("is large", () => {
    expect(table.counters.tableBytes).toBeGreaterThan(1024 * 4096);
  });

  test.each([1, 3, 4, 63, 64, 65, 127, 128, 200, 1000])("%i requests at once answer as one by one", (count) => {
    const batch = table.createWalkBatch(1000);
    const iovas = Array.from({ length: count }, place);
    // Longer runs of ordinary pages, too: the row of walks that wait is then filled and emptied several times.
    if (count >= 128) for (let i = 20; i < count - 10; i++) iovas[i] = 4n * FAR + within(FAR);
    if (count === 1000) iovas[500] = 10n * FAR;
    iovas.forEach((iova, i) => {
      batch.iova[i] = iova;
    });
    for (const access of [{}, { write: true }]) {
      const before = table.counters.entriesRead;
      table.walkBatch(batch, count, access);
      const read = table.counters.entriesRead - before;
      let singly = 0;
      iovas.forEach((iova, i) => {
        const single = table.walk(dmaAddress(iova), access);
        const { check, stage, level, entriesRead, pageSize } = decodeWalkStatus(batch.status[i]);
        const got = single.ok
          ? { ok: check === null, physical: batch.physical[i], pageSize, level, entriesRead }
          : {
              ok: check === null,
              check,
              stage,
              level,
              entryAddress: batch.physical[i],
              entry: single.entry,
              entriesRead,
            };
        expect(got).toEqual(single);
        singly += single.entriesRead;
      });
      expect(read).toBe(singly);
    }
    table.iovaToPhysBatch(batch, count);
    iovas.forEach((iova, i) => {
      expect(batch.physical[i]).toBe(table.iovaToPhys(dmaAddress(iova)) ?? 0xffff_ffff_ffff_ffffn);
    });
    batch.release();
  });
});
