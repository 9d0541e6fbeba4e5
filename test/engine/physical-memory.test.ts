/** Emulated physical memory: what backs an address, and what becomes of one that nothing backs. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { newEngine } from "../support/engine.js";
import { refused } from "../support/errors.js";
import { coverage } from "../support/slow-format.js";
import { iovaOf, physicalOf, READ_WRITE } from "../support/tables.js";

const WINDOW = 1n << 32n;
const LIMIT = 1n << 52n;

describe("the arena", () => {
  test.each([0n, 0x1_0000n, 1n << 38n, LIMIT - WINDOW])("begins where one says: 0x%x", async (arenaBase) => {
    const { memory } = await newEngine({ arenaBase: physicalOf(arenaBase) });
    expect(memory.arenaBase).toBe(arenaBase);
    const page = memory.allocatePage();
    expect(page).toBe(arenaBase);
    expect(memory.allocatePage()).toBe(arenaBase + 4096n);
    memory.write64(page, 0x1234n);
    expect(memory.read64(page)).toBe(0x1234n);
  });

  test("by default at 2^38", async () => {
    expect((await newEngine()).memory.arenaBase).toBe(1n << 38n);
  });

  test.each([0x800n, 0x1000n, LIMIT - WINDOW + 4096n, LIMIT, (1n << 64n) - 4096n, (1n << 64n) - WINDOW])(
    "cannot begin at 0x%x",
    async (arenaBase) => {
      await expect(newEngine({ arenaBase: physicalOf(arenaBase) })).rejects.toMatchObject({
        code: "invalid",
        at: arenaBase,
      });
    },
  );

  test("is where every table of the engine comes from", async () => {
    const engine = await newEngine({ arenaBase: physicalOf(0x1_0000_0000n) });
    const table = engine.createTable("vtdss");
    expect(table.root).toBe(0x1_0000_0000n);
    table.map(iovaOf(0n), physicalOf(0n), 4096n, READ_WRITE);
    expect(engine.memory.read64(table.root)).toBe(0x1_0000_1003n);
    expect(engine.memory.pagesInUse).toBe(4);
  });

  test("hands out zeroed pages, whatever a page held before", async () => {
    const { memory } = await newEngine();
    const page = memory.allocatePage();
    expect(memory.read(page, 4096)).toEqual(new Uint8Array(4096));
    memory.load(page, new Uint8Array(4096).fill(0xee));
    memory.freePage(page);
    expect(memory.pagesInUse).toBe(0);
    expect(memory.allocatePage()).toBe(page);
    expect(memory.read(page, 4096)).toEqual(new Uint8Array(4096));
  });

  test("takes back only what it gave, once", async () => {
    const engine = await newEngine();
    const { memory } = engine;
    const page = memory.allocatePage();
    const table = engine.createTable("vtdss");
    for (const address of [page + 8n, page + 0x10_0000n, 0n, table.root]) {
      expect(refused("invalid", () => memory.freePage(physicalOf(address))).at).toBe(address);
    }
    memory.freePage(page);
    refused("invalid", () => memory.freePage(page));
    expect(memory.pagesInUse).toBe(1);
    const again = [memory.allocatePage(), memory.allocatePage()];
    expect(new Set(again).size).toBe(2);
  });

  test("a page that became the root of a table goes with the table", async () => {
    const engine = await newEngine();
    const root = engine.memory.allocatePage();
    const table = engine.createTable("x86_64", { root });
    table.map(iovaOf(0n), physicalOf(0n), 4096n, READ_WRITE);
    table.release();
    expect(engine.memory.pagesInUse).toBe(0);
    refused("invalid", () => engine.memory.freePage(root));
  });

  test("moves when the heap grows, and no table notices", async () => {
    const engine = await newEngine();
    const table = engine.createTable("vtdss");
    table.map(iovaOf(0n), physicalOf(0x5000n), 3n * coverage(2), READ_WRITE);
    const page = engine.memory.allocatePage();
    engine.memory.write64(page, 0xabcdn);
    const space = engine.createIovaSpace();
    const blocks = [];
    const before = engine.exports.memory.buffer.byteLength;
    for (let n = 0; n < 24; n++) {
      const block = engine.linear.allocate(1 << 20);
      expect(engine.linear.u64(block, 1 << 17).some((word) => word !== 0n)).toBe(false);
      engine.linear.u8(block, 1 << 20).fill(0xff);
      blocks.push(block);
      table.map(iovaOf(coverage(3) + BigInt(n) * coverage(2)), physicalOf(0x1000n), 4096n, READ_WRITE);
      space.allocate({ length: 4096n });
    }
    expect(engine.exports.memory.buffer.byteLength).toBeGreaterThan(before + (24 << 20) - 1);
    expect(engine.memory.read64(page)).toBe(0xabcdn);
    expect(table.iovaToPhys(iovaOf(3n * coverage(2) - 1n))).toBe(0x5000n + 3n * coverage(2) - 1n);
    expect(table.iovaToPhys(iovaOf(coverage(3) + 23n * coverage(2)))).toBe(0x1000n);
    expect(table.counters.tablePages).toBe(1 + 1 + 2 + 4 - 1 + 24);
    expect(space.report().ranges).toBe(24);
    for (const block of blocks) engine.linear.free(block, 1 << 20);
    const recycled = engine.linear.allocate(1 << 20);
    expect(blocks).toContain(recycled);
    expect(engine.linear.u64(recycled, 1 << 17).some((word) => word !== 0n)).toBe(false);
  });

  test("says so when linear memory cannot hold what is asked", async () => {
    const { linear } = await newEngine();
    refused("memory-exhausted", () => linear.allocate(0xffff_ffff));
    expect(linear.allocate(64)).toBeGreaterThan(0);
  });
});

describe("frames from outside", () => {
  test("lie anywhere below 2^52, at both ends too", async () => {
    const { memory } = await newEngine();
    for (const address of [0n, 0x1_0000n, (1n << 38n) - 4096n, (1n << 38n) + WINDOW, LIMIT - 4096n]) {
      memory.load(physicalOf(address + 16n), Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
      expect(memory.read64(physicalOf(address + 16n))).toBe(0x0807_0605_0403_0201n);
      expect(memory.read64(physicalOf(address + 8n))).toBe(0n);
      memory.write64(physicalOf(address + 4088n), 7n);
      expect(memory.read(physicalOf(address + 4088n), 8)).toEqual(Uint8Array.of(7, 0, 0, 0, 0, 0, 0, 0));
    }
  });

  test("are not where the arena grows", async () => {
    const { memory } = await newEngine();
    for (const address of [memory.arenaBase, memory.arenaBase + WINDOW - 1n]) {
      const error = refused("arena-conflict", () => memory.load(physicalOf(address), Uint8Array.of(1)));
      expect(error.at).toBe(address);
    }
  });

  test("are not beyond 2^52", async () => {
    const { memory } = await newEngine();
    refused("bus-error", () => memory.load(physicalOf(LIMIT), Uint8Array.of(1)));
    expect(refused("bus-error", () => memory.load(physicalOf(LIMIT - 4n), new Uint8Array(8))).at).toBe(LIMIT);
    refused("bus-error", () => memory.read(physicalOf(LIMIT - 4n), 4));
  });

  test("loading and reading cross pages, and agree with an array of bytes", async () => {
    const { memory } = await newEngine();
    const base = 0x9_0000_0000n;
    const model = new Uint8Array(5 * 4096);
    memory.load(physicalOf(base), model);
    fc.assert(
      fc.property(fc.nat(5 * 4096), fc.uint8Array({ maxLength: 9000, size: "max" }), (offset, bytes) => {
        const fitting = bytes.subarray(0, model.length - offset);
        memory.load(physicalOf(base + BigInt(offset)), fitting);
        model.set(fitting, offset);
        expect(Buffer.from(memory.read(physicalOf(base), model.length)).equals(model)).toBe(true);
        expect(Buffer.from(memory.read(physicalOf(base + BigInt(offset)), fitting.length)).equals(fitting)).toBe(true);
      }),
      { numRuns: 25 },
    );
  });

  test("thousands of them, scattered", async () => {
    const { memory } = await newEngine();
    const address = (i: bigint): bigint => ((i * 0x9e37_79b9n * 4096n) & (LIMIT - 1n)) | (1n << 51n);
    for (let i = 0n; i < 3000n; i++) {
      const bytes = new Uint8Array(8);
      new DataView(bytes.buffer).setBigUint64(0, i, true);
      memory.load(physicalOf(address(i)), bytes);
    }
    for (let i = 0n; i < 3000n; i++) expect(memory.read64(physicalOf(address(i)))).toBe(i);
    expect(memory.pagesInUse).toBe(0);
  });
});

describe("declared RAM", () => {
  test("reads as zero until written, and only within its bounds", async () => {
    const { memory } = await newEngine();
    memory.declareRam(physicalOf(0x10_0000n), physicalOf(0x20_0000n));
    expect(memory.read64(physicalOf(0x10_0000n))).toBe(0n);
    expect(memory.read(physicalOf(0x1f_ff00n), 256)).toEqual(new Uint8Array(256));
    memory.write64(physicalOf(0x1f_fff8n), 5n);
    memory.write64(physicalOf(0x15_0008n), 6n);
    expect(memory.read64(physicalOf(0x1f_fff8n))).toBe(5n);
    expect(memory.read64(physicalOf(0x15_0008n))).toBe(6n);
    expect(memory.read64(physicalOf(0x15_0000n))).toBe(0n);
    expect(memory.read64(physicalOf(0x15_1008n))).toBe(0n);
    for (const address of [0xf_fff8n, 0x20_0000n]) {
      refused("bus-error", () => memory.read64(physicalOf(address)));
      refused("bus-error", () => memory.write64(physicalOf(address), 1n));
    }
    expect(refused("bus-error", () => memory.read(physicalOf(0x1f_fff0n), 32)).at).toBe(0x20_0000n);
  });

  test("many ranges; ranges that touch and overlap", async () => {
    const { memory } = await newEngine();
    for (let i = 0n; i < 40n; i++) memory.declareRam(physicalOf(i * 0x4000n), physicalOf(i * 0x4000n + 0x2000n));
    memory.declareRam(physicalOf(0x1000n), physicalOf(0x5000n));
    expect(memory.read64(physicalOf(39n * 0x4000n + 0x1ff8n))).toBe(0n);
    expect(memory.read64(physicalOf(0x3ff8n))).toBe(0n);
    refused("bus-error", () => memory.read64(physicalOf(39n * 0x4000n + 0x2000n)));
  });

  test.each([
    ["empty", 0x1000n, 0x1000n, "invalid"],
    ["upside down", 0x2000n, 0x1000n, "invalid"],
    ["empty at 0", 0n, 0n, "invalid"],
    ["beyond 2^52", 0n, LIMIT + 4096n, "invalid"],
    ["begins within a page", 0x800n, 0x2000n, "misaligned"],
    ["ends within a page", 0x1000n, 0x2800n, "misaligned"],
  ] as const)("%s is refused", async (_name, start, end, code) => {
    const { memory } = await newEngine();
    refused(code, () => memory.declareRam(physicalOf(start), physicalOf(end)));
    refused("bus-error", () => memory.read64(physicalOf(0x1000n)));
  });

  test("up to 2^52; where the arena grows a write is refused, never lost", async () => {
    const { memory } = await newEngine();
    memory.declareRam(physicalOf(0n), physicalOf(LIMIT));
    memory.write64(physicalOf(LIMIT - 8n), 1n);
    expect(memory.read64(physicalOf(LIMIT - 8n))).toBe(1n);
    refused("arena-conflict", () => memory.write64(physicalOf(memory.arenaBase + WINDOW - 8n), 1n));
    // The reason of one refusal is not that of the next.
    refused("bus-error", () => memory.write64(physicalOf(4n), 1n));
  });
});

describe("what nobody backs", () => {
  test.each([0n, 0x1000n, (1n << 38n) + 0x1000_0000n, LIMIT - 8n, LIMIT, (1n << 64n) - 8n])(
    "0x%x is a bus error, never zero",
    async (address) => {
      const { memory } = await newEngine();
      expect(refused("bus-error", () => memory.read64(physicalOf(address))).at).toBe(address);
      expect(refused("bus-error", () => memory.write64(physicalOf(address), 0n)).at).toBe(address);
      expect(refused("bus-error", () => memory.read(physicalOf(address), 1)).at).toBe(address);
    },
  );

  test("a word off its boundary is a bus error", async () => {
    const { memory } = await newEngine();
    memory.load(physicalOf(0n), new Uint8Array(64));
    refused("bus-error", () => memory.read64(physicalOf(4n)));
    refused("bus-error", () => memory.write64(physicalOf(1n), 0n));
  });
});

test("two engines share nothing", async () => {
  const [one, two] = [await newEngine(), await newEngine()];
  one.memory.load(physicalOf(0x1000n), Uint8Array.of(1));
  refused("bus-error", () => two.memory.read(physicalOf(0x1000n), 1));
  one.memory.declareRam(physicalOf(0x10_0000n), physicalOf(0x11_0000n));
  refused("bus-error", () => two.memory.read64(physicalOf(0x10_0000n)));
  const table = one.createTable("vtdss");
  const other = two.createTable("vtdss");
  expect(other.root).toBe(table.root);
  table.map(iovaOf(0n), physicalOf(0n), 4096n, READ_WRITE);
  expect(other.iovaToPhys(iovaOf(0n))).toBeNull();
  expect(two.memory.pagesInUse).toBe(1);
  const space = one.createIovaSpace();
  const twin = two.createIovaSpace();
  space.allocate({ length: 4096n });
  expect(twin.report().ranges).toBe(0);
});
