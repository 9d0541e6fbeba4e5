import fc from "fast-check";
import { expect } from "vitest";
import { dmaAddress, hex } from "../../src/engine/addresses.js";
import type { Importer, MapRequest, MemoryKind, Plan, Segment } from "../../src/importers/importer.js";
import { sizeName } from "../../src/report/units.js";

const UNITS: Readonly<Record<string, bigint>> = { "": 1n, K: 1n << 10n, M: 1n << 20n, G: 1n << 30n, T: 1n << 40n };

/** A sum of numbers with units: "2M+4K", "0x1000", "1G-4K". */
export function bytes(text: string): bigint {
  return [...text.matchAll(/([+-]?)(0x[\da-f]+|\d+)([KMGT]?)/g)].reduce(
    (sum, [, sign, number, unit]) => sum + (sign === "-" ? -1n : 1n) * BigInt(number) * UNITS[unit],
    0n,
  );
}

/** Segments as "64K@1M 4K@2M:vram". */
export function segments(text: string): Required<Segment>[] {
  return text.split(" ").map((part) => {
    const [length, place] = part.split("@");
    const [address, memory = "system"] = place.split(":");
    return { address: dmaAddress(bytes(address)), length: bytes(length), memory: memory as MemoryKind };
  });
}

export function request(va: string, text: string): MapRequest {
  return { va: bytes(va), segments: segments(text) };
}

/** Entries by size, as "3x4K 1x2M". */
export function entriesText({ entries }: Pick<Plan, "entries">): string {
  return [...entries].map(([size, count]) => `${count}x${sizeName(Number(size))}`).join(" ");
}

/** Virtual address, address and segment of every piece of this size, in order. */
export function pagesOf({ va = 0n, segments: given }: MapRequest<bigint>, size = 4096n) {
  const pages: { va: bigint; address: bigint; segment: number }[] = [];
  let at = va;
  given.forEach(({ address, length }, segment) => {
    for (let offset = 0n; offset < length; offset += size) {
      pages.push({ va: at + offset, address: address + offset, segment });
    }
    at += length;
  });
  return pages;
}

/**
 * Builds the tables and holds them against the segments: every page leads where its segment is, what is beside the buffer
 * faults, no word is written that no walk reads, and the entries counted are the ones that walks find.
 * @param unread words that hardware skips, for each leaf word that it reads
 */
export function checkTables<A extends bigint>(importer: Importer<A>, wanted: MapRequest<A>, unread = 0): void {
  const mapping = importer.map(wanted);
  const read = new Set<bigint>();
  const leafSlots = new Set<bigint>();
  const found = new Map<string, bigint>();
  for (const { va, address } of pagesOf(wanted)) {
    for (const offset of [0n, 4095n]) {
      const translation = mapping.translate(va + offset);
      if ("fault" in translation) throw new Error(`${hex(va + offset)}: ${translation.fault}`);
      if (translation.address !== address + offset) {
        throw new Error(`${hex(va + offset)} leads to ${hex(translation.address)}, not ${hex(address + offset)}`);
      }
      for (const slot of translation.slots) read.add(slot);
      leafSlots.add(translation.slots.at(-1) as bigint);
      const { pageSize } = translation;
      found.set(`${va & -pageSize}`, pageSize);
    }
  }
  const start = wanted.va ?? 0n;
  const end = wanted.segments.reduce((at, { length }) => at + length, start);
  for (const va of [start - 1n, start - 4096n, end, end + 4096n * 600n]) {
    expect(mapping.translate(va)).toHaveProperty("fault");
  }
  const bySize = new Map<bigint, number>();
  for (const size of found.values()) bySize.set(size, (bySize.get(size) ?? 0) + 1);
  expect(new Map([...mapping.entries].sort())).toEqual(new Map([...bySize].sort()));
  expect(mapping.total).toBe(found.size);
  expect(mapping.tidiness).toBeLessThanOrEqual(1);
  const words = [...mapping.memory.words()].filter(({ address }) => !read.has(address));
  expect(words.length).toBeLessThanOrEqual(leafSlots.size * unread);
  expect(mapping.leafWords).toBe(leafSlots.size + words.length);
  expect(mapping.tableBytes).toBeGreaterThanOrEqual([...mapping.memory.words()].length * mapping.memory.wordBytes);
}

/** Segments in multiples of a page whose addresses often agree with the virtual address in many bits. */
export function arbitraryRequest(options: {
  readonly maxPages: number;
  readonly memory?: MemoryKind;
  readonly page?: bigint;
}): fc.Arbitrary<MapRequest<ReturnType<typeof dmaAddress>> & { readonly va: bigint }> {
  const { maxPages, memory = "system", page = 4096n } = options;
  const boundary = fc.constantFrom(1n, 16n, 32n, 512n);
  const pages = fc
    .record({ unit: boundary, count: fc.integer({ min: 1, max: 6 }), more: fc.integer({ min: -1, max: 1 }) })
    .map(({ unit, count, more }) => {
      const length = unit * BigInt(count) + BigInt(more);
      return length < 1n ? 1n : length > BigInt(maxPages) ? BigInt(maxPages) : length;
    });
  const segment = fc.record({
    length: pages,
    /** Bits in which address and virtual address agree. */
    agreement: fc.constantFrom(0n, 4n, 9n, 10n),
    high: fc.bigInt({ min: 1n, max: 200n }),
    low: fc.bigInt({ min: 0n, max: 2047n }),
    touches: fc.boolean(),
  });
  const start = fc.record({
    block: fc.bigInt({ min: 1n, max: 3n }),
    page: fc.constantFrom(0n, 0n, 1n, 16n, 48n, 511n),
  });
  return fc
    .record({ parts: fc.array(segment, { minLength: 1, maxLength: 4 }), start })
    .map(({ parts, start: { block, page: first } }) => {
      const va = (block * 512n + first) * page;
      let at = va;
      let previousEnd = 0n;
      const made = parts.map(({ length, agreement, high, low, touches }, index) => {
        const disagreement = (low << agreement) % 2048n;
        const free = (high * 2048n + (((at / page) % 2048n) ^ disagreement)) * page;
        const address = dmaAddress(touches && index > 0 ? previousEnd : free);
        const segmentBytes = length * page;
        previousEnd = address + segmentBytes;
        at += segmentBytes;
        return { address, length: segmentBytes, memory };
      });
      return { va, segments: made };
    });
}
