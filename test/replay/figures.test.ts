import { describe, expect, it } from "vitest";
import { findStrategy } from "../../src/strategies/strategies.js";
import { encode, KIB, MIB, map, newReplay, unmap } from "./support.js";

const PAGE = 4n * KIB;
const TOP = 1n << 48n;

describe("the figures of a replay, worked out by hand", () => {
  it("two mappings come and go", async () => {
    const replay = await newReplay({ strategy: findStrategy("no-align") });
    replay.run(
      encode([
        map(0, [{ physical: 0x1000n, length: PAGE }]),
        map(1, [{ physical: 0x8000n, length: 2n * PAGE }]),
        unmap(0, 0n, PAGE),
        unmap(1, 0n, 2n * PAGE),
      ]),
    );
    expect(replay.finish()).toMatchObject({
      operations: 4,
      mappings: 2,
      failed: 0,
      // 1, 3, 2 and 0 leaves after the four operations.
      leavesMean: 1.5,
      leavesPeak: 3,
      leavesUsed: 3,
      leavesFewest: 3,
      leavesAttainable: 3,
      tidiness: 1,
      // One table a level; an unmap of single pages covers none of them.
      tableBytesPeak: 4 * 4096,
      // Three pointers and three leaves set, three leaves cleared.
      entriesWritten: 9,
      entriesWrittenPerMapping: 4.5,
      spanPeak: 3 * 4096,
      liveBytesPeak: 3 * 4096,
      fragmentationMean: 0,
      leaves: [
        { size: 2 ** 30, mean: 0, peak: 0, atEnd: 0 },
        { size: 2 ** 21, mean: 0, peak: 0, atEnd: 0 },
        { size: 2 ** 12, mean: 1.5, peak: 3, atEnd: 0 },
      ],
    });
  });

  it("a mean over batches is the mean over all operations", async () => {
    const replay = await newReplay({ strategy: findStrategy("no-align") });
    for (let slot = 0; slot < 10; slot++) replay.run(encode([map(slot, [{ physical: 0n, length: PAGE }])]));
    expect(replay.finish()).toMatchObject({ leavesMean: 5.5, leavesPeak: 10 });
  });

  it("two equal holes are a fragmentation of one half", async () => {
    const replay = await newReplay({ strategy: findStrategy("no-align") });
    replay.run(encode([0, 1, 2, 3, 4].map((slot) => map(slot, [{ physical: 0n, length: PAGE }]))));
    replay.run(encode([unmap(1, 0n, PAGE), unmap(3, 0n, PAGE)]));
    expect(replay.finish()).toMatchObject({ fragmentationMean: 0.5, fragmentationPeak: 0.5, spanPeak: 5 * 4096 });
  });

  it("samples fragmentation at every sixteenth operation on a space", async () => {
    const replay = await newReplay({ strategy: findStrategy("no-align") });
    const slots = Array.from({ length: 14 }, (_, slot) => slot);
    replay.run(encode(slots.map((slot) => map(slot, [{ physical: 0n, length: PAGE }]))));
    replay.run(encode([unmap(1, 0n, PAGE), unmap(3, 0n, PAGE)]));
    // What comes after the sixteenth is not sampled any more.
    replay.run(encode([unmap(5, 0n, PAGE), unmap(7, 0n, PAGE)]));
    expect(replay.finish().fragmentationMean).toBe(0.5);
  });

  it("a large leaf is one entry, and tidiness counts what better placement would save", async () => {
    const block = { physical: 0x4020_0000n, length: 2n * MIB };
    const aligned = await newReplay({ strategy: findStrategy("size-aligned") });
    aligned.run(encode([map(0, [block])]));
    expect(aligned.finish()).toMatchObject({ leavesUsed: 1, tidiness: 1, tableBytesPeak: 3 * 4096 });
    const askew = await newReplay({ strategy: findStrategy("size-aligned") });
    askew.run(encode([map(0, [{ ...block, physical: block.physical + PAGE }])]));
    // Attainable: the range holds no aligned block, so 512 pages are the best there is.
    expect(askew.finish()).toMatchObject({
      leavesUsed: 512,
      leavesFewest: 1,
      leavesAttainable: 512,
      tidiness: 1 / 512,
      attainableTidiness: 1 / 512,
    });
  });

  it("every domain has a table and an IOVA space of its own", async () => {
    const replay = await newReplay({ strategy: findStrategy("no-align") });
    replay.run(
      encode([
        map(0, [{ physical: 0x1000n, length: PAGE }], 0n, 0),
        map(1, [{ physical: 0x2000n, length: PAGE }], 0n, 5),
      ]),
    );
    expect([replay.iova(0), replay.iova(1)]).toEqual([TOP - PAGE, TOP - PAGE]);
    expect(replay.table(1)).toBeNull();
    expect(replay.table(5)?.root).not.toBe(replay.table(0)?.root);
    // The widest span of one space, not of all together.
    expect(replay.finish()).toMatchObject({ spanPeak: 4096, leavesPeak: 2, tableBytesPeak: 8 * 4096 });
  });
});
