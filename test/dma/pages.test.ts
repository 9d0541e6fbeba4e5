import { expect, test } from "vitest";
import { BuddyPages, DmaMisuseError } from "../../src/dma/index.js";
import { physical } from "./support.js";

const BASE = 0x40_0000n;

test("the lowest block that fits is split; freed halves join again", () => {
  const pages = new BuddyPages(physical(BASE), 8n * 4096n, 4096n);
  expect(pages.allocate(0)).toBe(BASE);
  expect(pages.allocate(1)).toBe(BASE + 0x2000n);
  expect(pages.allocate(0)).toBe(BASE + 0x1000n);
  expect(pages.allocate(2)).toBe(BASE + 0x4000n);
  expect(pages.allocate(0)).toBe(null);
  expect(pages.used).toBe(0x8000n);
  pages.free(physical(BASE), 0);
  pages.free(physical(BASE + 0x2000n), 1);
  expect(pages.allocate(2)).toBe(null);
  pages.free(physical(BASE + 0x1000n), 0);
  pages.free(physical(BASE + 0x4000n), 2);
  expect(pages.allocate(3)).toBe(BASE);
});

test("blocks are aligned to their size, whatever the range", () => {
  const pages = new BuddyPages(physical(0x3000n), 6n * 4096n, 4096n);
  expect([pages.allocate(2), pages.allocate(2)]).toEqual([0x4000n, null]);
  expect([pages.allocate(0), pages.allocate(0), pages.allocate(0)]).toEqual([0x3000n, 0x8000n, null]);
});

test("what is not in use is not freed", () => {
  const pages = new BuddyPages(physical(BASE), 4n * 4096n, 4096n);
  pages.allocate(1);
  for (const [at, order] of [
    [BASE, 0],
    [BASE + 0x1000n, 0],
    [BASE + 0x2000n, 1],
  ] as const) {
    expect(() => pages.free(physical(at), order)).toThrow(DmaMisuseError);
  }
  expect(pages.used).toBe(0x2000n);
  expect(() => new BuddyPages(physical(BASE + 1n), 4096n, 4096n)).toThrow(DmaMisuseError);
});
