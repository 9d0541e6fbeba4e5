/** Importers that map physical memory by their own hint, into a domain of their own. */
import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { DmaDevice, DmaHost, mapMemory, type MemoryRange, type OwnedRange, PfnAgreement } from "../../src/dma/index.js";
import { type HintedMapping, ImporterDomain, mapImport, planImport } from "../../src/dmabuf/index.js";
import { DefaultDomain } from "../../src/domain/default-domain.js";
import { IommuDomain } from "../../src/domain/domain.js";
import { IommuGroup } from "../../src/domain/group.js";
import { VtdDriver } from "../../src/domain/vtd-driver.js";
import { physicalAddress, privateAddress } from "../../src/engine/addresses.js";
import { addressBits, type Hint, must, prefer } from "../../src/importers/hint.js";
import { findImporter } from "../../src/importers/importers.js";
import { mlx5 } from "../../src/importers/mlx5.js";
import { xe } from "../../src/importers/xe.js";
import { newEngine } from "../support/engine.js";
import { refused } from "../support/errors.js";
import { codeOf, MIB, PAGE } from "./support.js";

const NIC = "0000:01:00.0";
const SIZES = PAGE | (2n * MIB);
const range = (address: bigint, length: bigint): MemoryRange => ({
  kind: "memory",
  address: physicalAddress(address),
  length,
});

let driver: VtdDriver;
let group: IommuGroup;
let domain: IommuDomain;
let own: ImporterDomain;

beforeEach(async () => {
  driver = new VtdDriver(await newEngine());
  group = new IommuGroup(0, driver, null);
  group.addDevice(NIC, 0x100);
  domain = new IommuDomain(driver, "own", 1);
  group.attach(domain);
  own = new ImporterDomain(domain);
});

const map = (memory: readonly MemoryRange[], hint: Partial<Hint> = {}): HintedMapping =>
  own.map(memory, { pageSizes: SIZES, ...hint }, [NIC]);

/** What the device reaches page by page, and that it may. */
function reached({ segments }: HintedMapping): bigint[] {
  return segments.flatMap((segment) => {
    const programmed = group.devices[0].program(segment);
    return Array.from({ length: Number((segment.length + PAGE - 1n) / PAGE) }, (_, page) => {
      const report = programmed.access(BigInt(page) * PAGE);
      return report.touches === "own" ? report.access.physical : -1n;
    });
  });
}

describe("what a hint asks for", () => {
  const buffer = [range(0x1_0020_1000n, 4n * MIB)];
  const congruent = (address: bigint, modulus: bigint) => ({ address, modulus });

  test.each<[string, Partial<Hint>, (mapping: HintedMapping) => boolean, string[]]>([
    ["nothing: as the IOMMU would like it", {}, ({ address }) => address % (2n * MIB) === 0x1000n, []],
    ["alignment", { align: prefer(8n * MIB, "") }, ({ address }) => address % (8n * MIB) === 0n, []],
    [
      "congruence",
      { congruentTo: prefer(congruent(0x7f00_0012_3000n, 64n * MIB), "") },
      ({ address }) => address % (64n * MIB) === 0x12_3000n,
      [],
    ],
    [
      "both, one of which must be",
      { align: prefer(8n * MIB, ""), congruentTo: must(congruent(0x3000n, 2n * MIB), "") },
      ({ address }) => address % (2n * MIB) === 0x3000n,
      ["align"],
    ],
    [
      "a congruence that no page has",
      { congruentTo: prefer(congruent(0x7f00_0000_0800n, 2n * MIB), "") },
      ({ address }) => address % (2n * MIB) === 0x1000n,
      ["congruentTo"],
    ],
    ["a limit", { addressLimit: addressBits(32) }, ({ address }) => address + 4n * MIB <= 1n << 32n, []],
    [
      "a limit below which no room is",
      { addressLimit: prefer(2n * MIB, "") },
      ({ address }) => address > 1n << 40n,
      ["addressLimit"],
    ],
    [
      "as congruent as there is room for",
      { addressLimit: must(16n * MIB - 1n, ""), congruentTo: prefer(congruent(14n * MIB, 64n * MIB), "") },
      ({ address }) => address === 6n * MIB,
      ["congruentTo"],
    ],
    [
      "segments of a length",
      { maxSegment: must(3n * MIB, ""), singleSegment: prefer(true as const, "") },
      ({ segments }) => segments.map(({ length }) => length).join() === [3n * MIB, MIB].join(),
      ["singleSegment"],
    ],
    [
      "segments that cross no boundary",
      { boundary: must(2n * MIB - 1n, ""), align: prefer(2n * MIB, "") },
      ({ segments }) => segments.length === 2 && segments.every(({ address }) => address % (2n * MIB) === 0n),
      [],
    ],
  ])("%s", (_what, hint, holds, unmet) => {
    const mapping = map(buffer, hint);
    expect(holds(mapping)).toBe(true);
    expect(mapping.unmet).toEqual(unmet);
    expect(reached(mapping)).toEqual(Array.from({ length: 1024 }, (_, page) => 0x1_0020_1000n + BigInt(page) * PAGE));
    own.unmap(mapping);
    expect(domain.mappings).toEqual([]);
  });

  test.each<[string, "invalid" | "space-exhausted" | "misaligned", readonly MemoryRange[], Partial<Hint>]>([
    ["no memory", "invalid", [], {}],
    ["an empty range", "invalid", [range(0x1000n, 0n)], {}],
    ["a break inside a page", "misaligned", [range(0x1000n, 0x800n), range(0x3000n, 0x1000n)], {}],
    ["a range that begins inside one", "misaligned", [range(0x1000n, 0x1000n), range(0x3800n, 0x800n)], {}],
    ["a congruence that no page has", "invalid", buffer, { congruentTo: must(congruent(0x800n, 2n * MIB), "") }],
    [
      "two that are at odds",
      "invalid",
      buffer,
      { align: must(8n * MIB, ""), congruentTo: must(congruent(0x3000n, 2n * MIB), "") },
    ],
    ["no room below the limit", "space-exhausted", buffer, { addressLimit: must(2n * MIB, "") }],
    [
      "none that is congruent",
      "space-exhausted",
      buffer,
      { addressLimit: must(16n * MIB - 1n, ""), congruentTo: must(congruent(14n * MIB, 64n * MIB), "") },
    ],
  ])("refuses %s, and changes nothing: %s", (_what, code, memory, hint) => {
    const { entriesWritten } = domain.table.counters;
    refused(code, () => map(memory, hint));
    expect([domain.mappings, domain.table.counters.entriesWritten]).toEqual([[], entriesWritten]);
    expect(map(buffer).address + 4n * MIB).toBeGreaterThan((1n << 48n) - 4n * MIB);
  });

  test("DMA addresses are no memory to map", () => {
    const nic = new DmaDevice(new DefaultDomain(driver, new DmaHost(), "default", 2).dma, { name: NIC });
    const mapped = mapMemory(nic, { cpu: 0, now: 0 }, range(0x10_0000n, MIB), "bidirectional");
    expect(codeOf(() => own.map([mapped as OwnedRange as MemoryRange], { pageSizes: SIZES }, [NIC]))).toBe(
      "wrong-kind",
    );
    expect(domain.mappings).toEqual([]);
  });

  test("memory that begins inside a page keeps its offset, and is congruent all the same", () => {
    const memory = [range(0x1_0020_1800n, 4n * MIB - 0x800n)];
    const { address } = map(memory);
    expect(address % (2n * MIB)).toBe(0x1800n);
    const va = 0x7f00_0000_5800n;
    const mapping = map(memory, { congruentTo: prefer(congruent(va, 8n * MIB), "") });
    expect([mapping.address % (8n * MIB), mapping.unmet]).toEqual([0x5800n, []]);
    expect(group.devices[0].program(mapping.segments[0]).access(8n)).toMatchObject({
      touches: "own",
      access: { physical: 0x1_0020_1808n },
    });
  });

  test("a range that the table refuses undoes those before it", () => {
    refused("output-range", () => map([range(0x1000n, PAGE), range(1n << 52n, PAGE)]));
    expect([domain.mappings, [...domain.table.counters.leaves.values()]]).toEqual([[], [0, 0, 0]]);
    map(buffer);
  });

  test("what is not mapped is not unmapped", () => {
    const mapping = map(buffer);
    own.unmap(mapping);
    refused("not-allocated", () => own.unmap(mapping));
    map(buffer);
    own.release();
    expect(domain.mappings).toEqual([]);
  });
});

test("of any memory the device reaches every byte, and the importer's entries are those that its hint promised", () => {
  const pieces = fc.array(fc.record({ gap: fc.nat(40), pages: fc.integer({ min: 1, max: 700 }) }), {
    minLength: 1,
    maxLength: 4,
  });
  const importers = [mlx5(), xe()];
  fc.assert(
    fc.property(fc.nat(1), pieces, fc.nat(600), (which, parts, vaPage) => {
      const importer = importers[which];
      const va = 0x1000_0000_0000n + BigInt(vaPage) * PAGE;
      let at = 0x1_0000_0000n;
      const memory = parts.map(({ gap, pages }) => {
        at += BigInt(gap) * PAGE;
        const piece = range(at, BigInt(pages) * PAGE);
        at += piece.length;
        return piece;
      });
      const length = memory.reduce((sum, piece) => sum + piece.length, 0n);
      const hint = importer.hint({ va, length });
      const mapping = own.map(memory, hint, [NIC]);
      expect(mapping.unmet).toEqual([]);
      expect(reached(mapping)).toEqual(
        memory.flatMap(({ address, length: bytes }) =>
          Array.from({ length: Number(bytes / PAGE) }, (_, page) => address + BigInt(page) * PAGE),
        ),
      );
      const { total } = planImport({ importer, party: { name: NIC }, ranges: mapping.segments, va });
      const segments = [{ address: va as never, length, memory: "system" as const }];
      expect(total).toBe(importer.plan({ va, segments }).total);
      own.unmap(mapping);
    }),
    { numRuns: 60 },
  );
});

describe("an importer takes what is meant for it", () => {
  test.each<
    [
      string,
      string,
      (ranges: Record<"dma" | "others" | "own" | "frames" | "memory", OwnedRange>) => unknown,
      string | null,
    ]
  >([
    ["its DMA address", "mlx5", ({ dma }) => dma, null],
    ["a DMA address of another device", "mlx5", ({ others }) => others, "foreign-device"],
    ["an address of a domain that it shares", "mlx5", ({ own: shared }) => shared, null],
    ["frames that it has not agreed on", "mlx5", ({ frames }) => frames, "not-a-party"],
    ["physical memory", "mlx5", ({ memory }) => memory, "wrong-kind"],
    ["frames that it has agreed on", "kvm", ({ frames }) => frames, null],
    ["a DMA address", "kvm", ({ dma }) => dma, "wrong-kind"],
    ["an address of a domain of others", "kvm", ({ own: shared }) => shared, "not-a-party"],
    ["physical memory", "host1x", ({ memory }) => memory, null],
    ["a DMA address", "host1x", ({ dma }) => dma, "wrong-kind"],
  ])("%s given to %s", (_what, name, which, code) => {
    const host = new DmaHost();
    const device = new DmaDevice(new DefaultDomain(driver, host, "default", 2).dma, { name: NIC });
    const other = new DmaDevice(new DefaultDomain(driver, host, "of another", 3).dma, { name: "0000:02:00.0" });
    const memory = range(0x4000_0000n, 2n * PAGE);
    const [shared] = map([memory]).segments;
    const ranges = {
      memory,
      own: shared,
      dma: mapMemory(device, { cpu: 0, now: 0 }, memory, "bidirectional"),
      others: mapMemory(other, { cpu: 0, now: 0 }, memory, "bidirectional"),
      frames: {
        kind: "private" as const,
        address: privateAddress(0x4000_0000n),
        length: 2n * PAGE,
        agreement: new PfnAgreement("frames", ["kvm"]),
      },
    };
    const importer = findImporter(name);
    const given = which(ranges) as OwnedRange;
    const party = importer.name === "kvm" ? { name: "kvm" } : { name: NIC, device };
    const asked = { importer, party, ranges: [given], va: 0x1000_0000n };
    expect(codeOf(() => planImport(asked))).toBe(code);
    if (code !== null) return;
    const tables = mapImport(asked);
    expect(tables.translate(0x1000_1008n)).toMatchObject({ address: given.address + 0x1008n });
  });

  test("a device that is not of the domain, and no device at all", () => {
    const [shared] = map([range(0x4000_0000n, PAGE)]).segments;
    const asked = { importer: findImporter("mlx5"), ranges: [shared], va: 0n };
    expect(codeOf(() => planImport({ ...asked, party: { name: "0000:02:00.0" } }))).toBe("not-a-party");
    const device = new DmaDevice(new DefaultDomain(driver, new DmaHost(), "default", 2).dma, { name: NIC });
    const dma = mapMemory(device, { cpu: 0, now: 0 }, range(0x4000_0000n, PAGE), "bidirectional");
    expect(codeOf(() => planImport({ ...asked, ranges: [dma], party: { name: NIC } }))).toBe("wrong-kind");
  });
});
