import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { AccessBatch } from "../../src/access/batch.js";
import { AccessStream, type RingStream, type StreamDescription } from "../../src/access/streams.js";
import { newEngine } from "../support/engine.js";
import { refused } from "../support/errors.js";
import { slowStream } from "../support/slow-streams.js";

const engine = await newEngine();
const CAPACITY = 512;
const batch = new AccessBatch(engine, CAPACITY);

const RING: RingStream = {
  kind: "ring",
  base: 0x10_0000n,
  bytes: 256,
  write: true,
  entries: 5,
  bufferBytes: 2048,
  packetBytes: 1500,
  descriptors: 0x4000n,
  descriptorBytes: 16,
  completions: 0x8000n,
  completionBytes: 64,
};

const base = fc.bigInt({ min: 0n, max: 1n << 40n }).map((page) => page << 12n);
const bytes = fc.integer({ min: 0, max: 12 }).map((log) => 2 ** log);
const some = (max: number): fc.Arbitrary<number> => fc.integer({ min: 1, max });
const common = { base, bytes, write: fc.boolean(), device: fc.integer({ min: 0, max: 0xffff }) };

const ARBITRARY: Readonly<Record<StreamDescription["kind"], fc.Arbitrary<StreamDescription>>> = {
  sequential: fc
    .record({ ...common, places: some(300) })
    .map(({ places, ...rest }) => ({ kind: "sequential", ...rest, length: BigInt(places * rest.bytes) })),
  random: fc
    .record({ ...common, places: some(2 ** 31), seed: fc.nat() })
    .map(({ places, ...rest }) => ({ kind: "random", ...rest, length: BigInt(places) * BigInt(rest.bytes) })),
  interleaved: fc.record({ ...common, share: some(50), queues: some(9), burst: some(7) }).map(({ share, ...rest }) => ({
    kind: "interleaved",
    ...rest,
    length: BigInt(share * rest.queues * rest.bytes),
  })),
  ring: fc
    .record({ ...common, entries: some(9), parts: some(6), missing: fc.nat(), cut: some(3), logs: fc.nat(12) })
    .map(({ parts, missing, cut, logs, ...rest }) => ({
      ...RING,
      ...rest,
      bufferBytes: parts * cut * rest.bytes,
      packetBytes: parts * rest.bytes - (missing % rest.bytes),
      descriptorBytes: 2 ** logs,
      completionBytes: 2 ** (12 - logs),
    })),
  tiled: fc
    .record({ ...common, tiles: some(5), high: some(5), inRow: some(4), tileRows: some(6) })
    .map(({ tiles, high, inRow, ...rest }) => ({
      kind: "tiled",
      ...rest,
      tileBytes: inRow * rest.bytes,
      pitch: tiles * inRow * rest.bytes,
      rows: high * rest.tileRows,
    })),
};

test.each(Object.keys(ARBITRARY) as StreamDescription["kind"][])("%s: as the nested loops", (kind) => {
  fc.assert(
    fc.property(
      ARBITRARY[kind],
      fc.array(fc.integer({ min: 0, max: 200 }), { maxLength: 4 }),
      (description, counts) => {
        const stream = new AccessStream(engine, description);
        const slow = slowStream(description);
        for (const count of counts) {
          stream.fill(batch, count);
          const expected = Array.from({ length: count }, () => slow.next().value);
          expect(expected.map((_, i) => batch.get(i))).toEqual(expected);
        }
        stream.restart();
        stream.fill(batch, 1);
        expect(batch.get(0)).toEqual(slowStream(description).next().value);
        stream.release();
      },
    ),
    { numRuns: 60 },
  );
});

it("reaches every place of a random window about as often as any other", () => {
  const stream = new AccessStream(engine, { kind: "random", base: 0n, bytes: 64, length: 1024n, seed: 1 });
  const seen = new Array<number>(16).fill(0);
  for (let round = 0; round < 32; round++) {
    stream.fill(batch, CAPACITY);
    for (const iova of batch.iova) seen[Number(iova) / 64]++;
  }
  // 16,384 accesses, 1024 a place: the deviation is 31.
  for (const count of seen) expect(Math.abs(count - 1024)).toBeLessThan(160);
});

describe("refuses", () => {
  const sequential: StreamDescription = { kind: "sequential", base: 0n, bytes: 64, length: 4096n };
  test.each<[string, object]>([
    ["bytes 48", { ...sequential, bytes: 48 }],
    ["bytes 8192", { ...sequential, bytes: 8192, length: 8192n }],
    ["base 0x20", { ...sequential, base: 0x20n }],
    ["base 0x10000000000000000", { ...sequential, base: 1n << 64n }],
    ["length 0", { ...sequential, length: 0n }],
    ["length 100", { ...sequential, length: 100n }],
    ["device 65536", { ...sequential, device: 65536 }],
    ['kind "zigzag"', { ...sequential, kind: "zigzag" }],
    ["2^32 places", { ...sequential, kind: "random", seed: 1, length: 1n << 38n }],
    ["queues 0", { ...sequential, kind: "interleaved", queues: 0, burst: 1 }],
    ["length 4096", { ...sequential, kind: "interleaved", queues: 3, burst: 1 }],
    ["packetBytes 4096", { ...RING, packetBytes: 4096 }],
    ["bufferBytes 1000", { ...RING, bufferBytes: 1000 }],
    ["descriptors 0x4008", { ...RING, descriptors: 0x4008n }],
    ["pitch 100", { ...sequential, kind: "tiled", pitch: 100, rows: 4, tileBytes: 64, tileRows: 4 }],
    ["rows 5", { ...sequential, kind: "tiled", pitch: 128, rows: 5, tileBytes: 64, tileRows: 4 }],
  ])("%s", (part, description) => {
    const error = refused("invalid", () => new AccessStream(engine, description as StreamDescription));
    expect(error.message).toContain(part);
  });
});
