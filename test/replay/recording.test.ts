/** What a recording says of the way, against a replay that is looked at after every operation. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RECORDED_BATCH, Recorder } from "../../src/replay/recording.js";
import { findStrategy } from "../../src/strategies/strategies.js";
import { encode, MIB, map, newReplay, type Operation, unmap } from "./support.js";

const PAGE = 4096n;

interface Buffer {
  readonly slot: number;
  readonly domain: number;
  readonly physical: bigint;
  readonly pages: number;
}

/** Maps and unmaps of one-piece buffers: a slot that is live is unmapped, one that is not is mapped. */
const streams: fc.Arbitrary<Operation[]> = fc
  .array(
    fc.record({
      slot: fc.nat(15),
      domain: fc.nat(2),
      physical: fc.nat(1 << 20).map((page) => BigInt(page) * PAGE),
      pages: fc.oneof(fc.integer({ min: 1, max: 8 }), fc.constantFrom(512, 513, 1024)),
    }),
    { minLength: 1, maxLength: 120 },
  )
  .map((buffers) => {
    const live = new Map<number, Buffer>();
    return buffers.map((buffer) => {
      const { slot, domain, physical, pages } = buffer;
      const old = live.get(slot);
      if (old) {
        live.delete(slot);
        return unmap(slot, 0n, BigInt(old.pages) * PAGE, old.domain);
      }
      live.set(slot, buffer);
      return map(slot, [{ physical, length: BigInt(pages) * PAGE }], 0n, domain);
    });
  });

function batchesOf(operations: readonly Operation[]): Operation[][] {
  const batches: Operation[][] = [];
  for (let at = 0; at < operations.length; at += RECORDED_BATCH)
    batches.push(operations.slice(at, at + RECORDED_BATCH));
  return batches;
}

describe.each(["size-aligned", "pa-congruent", "identity", "linux"])("a recording of %s", (name) => {
  const strategy = findStrategy(name);

  it("has the span, the mapped bytes and the leaves that there were", async () => {
    await fc.assert(
      fc.asyncProperty(streams, async (operations) => {
        const replay = await newReplay({ strategy });
        const recorder = new Recorder([replay]);
        const plain = await newReplay({ strategy });
        let moment = 0;
        let most = 0;
        let expected: unknown[] = [0, []];
        const spans: number[] = [];
        for (const batch of batchesOf(operations)) {
          replay.run(encode(batch));
          recorder.ran(batch.length);
          let span = 0;
          for (const operation of batch) {
            plain.run(encode([operation]));
            const widest = Math.max(
              ...plain.spaces().map(({ leaves }) => {
                const all = [...leaves];
                const last = all[all.length - 1];
                return Number(last.iova + last.length - all[0].iova);
              }),
              0,
            );
            if (widest > Math.max(span, ...spans)) span = widest;
            if (operation === batch[batch.length - 1]) span = Math.max(span, widest);
          }
          spans.push(span);
          moment += batch.length;
          const spaces = plain.spaces();
          const mapped = spaces
            .flatMap(({ leaves }) => [...leaves])
            .reduce((sum, { length }) => sum + Number(length), 0);
          expect(name === "identity" ? plain.occupied().now.live >= mapped : plain.occupied().now.live === mapped).toBe(
            true,
          );
          if (plain.occupied().now.live > most) {
            most = plain.occupied().now.live;
            expected = [moment, spaces.map(({ domain, leaves }) => [domain, [...leaves]])];
          }
        }
        const [recording] = recorder.finish();
        expect([recording.moment, recording.spaces.map(({ domain, leaves }) => [domain, [...leaves]])]).toEqual(
          expected,
        );
        expect(recording.samples.map(({ span }) => span)).toEqual(spans);
        expect(Math.max(...spans)).toBe(replay.finish().spanPeak);
      }),
      { numRuns: 25 },
    );
  });
});

describe("samples", () => {
  it("become half as many, and keep what was most, when there are too many", async () => {
    const replay = await newReplay({ strategy: findStrategy("no-align") });
    const recorder = new Recorder([replay]);
    const pieces = [{ physical: 0n, length: MIB }];
    for (let batch = 0; batch < 700; batch++) {
      // One buffer more in batch 300 only.
      if (batch === 300) replay.run(encode([map(1, pieces)]));
      if (batch === 301) replay.run(encode([unmap(1, 0n, MIB)]));
      replay.run(encode([map(0, pieces)]));
      recorder.ran(1);
      replay.run(encode([unmap(0, 0n, MIB)]));
    }
    const [{ samples, moment }] = recorder.finish();
    expect(samples.length).toBe(175);
    expect(samples.map(({ operations }) => operations)).toEqual(Array.from({ length: 175 }, (_, i) => 4 * (i + 1)));
    expect(samples.filter(({ live }) => live === 2 * Number(MIB))).toEqual([
      expect.objectContaining({ operations: 304, span: 2 * Number(MIB) }),
    ]);
    expect(moment).toBe(1);
  });

  it("of the same operations are taken at the same moment under every strategy", async () => {
    const replays = [
      await newReplay({ strategy: findStrategy("as-recorded") }),
      await newReplay({ strategy: findStrategy("no-align") }),
    ];
    const recorder = new Recorder(replays);
    // The second map's recorded range is taken.
    const pieces = [{ physical: 0n, length: MIB }];
    for (const operation of [map(0, pieces), map(1, pieces), unmap(1, 0n, MIB)]) {
      for (const replay of replays) replay.run(encode([operation]));
      recorder.ran(1);
    }
    const [recorded, placed] = recorder.finish();
    expect([recorded.moment, placed.moment]).toEqual([2, 2]);
    expect(recorded.spaces.map(({ leaves }) => leaves.count)).toEqual([1]);
    expect(placed.samples.map(({ live }) => live)).toEqual([1, 2, 1].map((n) => n * Number(MIB)));
  });
});
