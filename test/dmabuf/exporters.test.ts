/** The exporters: where their memory is, how they map it, and what they refuse. */
import { beforeEach, describe, expect, test } from "vitest";
import { DmaDevice, DmaHost, type DmaRange } from "../../src/dma/index.js";
import {
  type AttachOptions,
  type Attachment,
  type DmaBuf,
  MmioBuffer,
  type MmioOptions,
  systemHeap,
  VramBuffer,
  type VramOptions,
} from "../../src/dmabuf/index.js";
import { DefaultDomain } from "../../src/domain/default-domain.js";
import { VtdDriver } from "../../src/domain/vtd-driver.js";
import { physicalAddress } from "../../src/engine/addresses.js";
import { newEngine } from "../support/engine.js";
import { CONTEXT, type Machine, makeMachine } from "../dma/support.js";
import { codeOf, FAR, GPU, MIB, NEAR, newMemory, newVram, PAGE, REVOCABLE } from "./support.js";

const engine = await newEngine();
let machine: Machine;
let device: DmaDevice;

beforeEach(() => {
  machine = makeMachine(engine);
  device = new DmaDevice(machine.domain, { name: "nic", maxSegmentSize: 1n << 31n });
});

const map = (attachment: Attachment): readonly DmaRange[] => attachment.mapUnlocked(CONTEXT, "bidirectional").segments;

/** Where the device gets to, byte by byte of the first of each page. */
function reached(segments: readonly DmaRange[]): bigint[] {
  return segments.flatMap(({ address, length }) =>
    Array.from({ length: Number(length / PAGE) }, (_, page) => {
      const iova = machine.table.iovaToPhys((address + BigInt(page) * PAGE) as DmaRange["address"]);
      return iova ?? -1n;
    }),
  );
}

const pagesOf = (first: bigint, bytes: bigint): bigint[] =>
  Array.from({ length: Number(bytes / PAGE) }, (_, page) => first + BigInt(page) * PAGE);

const unmapAll = (attachment: Attachment): void => {
  for (const mapped of attachment.mapped) attachment.unmapUnlocked(CONTEXT, mapped);
};

describe("system heap", () => {
  test("blocks of 1 MiB, 64 KiB and 4 KiB, the largest first, one behind the other for the device", () => {
    const memory = newMemory();
    const buffer = systemHeap(memory, MIB + 2n * 65536n + 2n * PAGE + 1n);
    expect(buffer.size).toBe(MIB + 2n * 65536n + 3n * PAGE);
    const pal = buffer.attachMatching("importer", [{ type: "physical-address-list" }]);
    const blocks = buffer.reservation.with(() => pal.mapPhysical(CONTEXT).segments);
    expect(blocks.map(({ length }) => length)).toEqual([MIB, 65536n, 65536n, PAGE, PAGE, PAGE]);
    const segments = map(buffer.attach(device));
    expect(segments.map(({ length }) => length)).toEqual([buffer.size]);
    expect(reached(segments)).toEqual(blocks.flatMap(({ address, length }) => pagesOf(address, length)));
  });

  test("a device of small segments gets an entry a block", () => {
    const narrow = new DmaDevice(machine.domain, { name: "narrow", maxSegmentSize: 65536n });
    const buffer = systemHeap(newMemory(), 3n * 65536n);
    expect(map(buffer.attach(narrow)).map(({ length }) => length)).toEqual([65536n, 65536n, 65536n]);
  });

  test("what the DMA API refuses is passed on, and the memory is given back", () => {
    const memory = newMemory();
    const free = memory.freePages;
    const buffer = systemHeap(memory, MIB);
    const attachment = buffer.attach(new DmaDevice(machine.domain, { name: "none", dmaMask: null }));
    expect(codeOf(() => map(attachment))).toBe("EINVAL");
    attachment.detach();
    buffer.release();
    expect(memory.freePages).toBe(free);
    expect(codeOf(() => systemHeap(memory, 0n))).toBe("EINVAL");
  });
});

describe("VRAM", () => {
  let memory: ReturnType<typeof newMemory>;
  const vram = (more: Partial<VramOptions> = {}): VramBuffer =>
    new VramBuffer(3n * MIB, { node: GPU, vram: newVram(), system: memory, ...more });
  const attach = (buffer: VramBuffer, node = FAR, importerOps: AttachOptions["importerOps"] = REVOCABLE): Attachment =>
    buffer.dmaBuf.attach(device, { node, ...(importerOps ? { importerOps } : {}) });
  const move = (buffer: VramBuffer, to: "vram" | "system"): void =>
    buffer.dmaBuf.reservation.with(() => buffer.move(to));

  beforeEach(() => {
    memory = newMemory();
  });

  test("behind the carve-out, each block mapped by itself as MMIO", () => {
    const buffer = vram();
    const segments = map(attach(buffer));
    expect(buffer.blocks.map(({ length }) => length)).toEqual([2n * MIB, MIB]);
    expect(buffer.blocks[0].address).toBeGreaterThanOrEqual((1n << 40n) + (1n << 30n) / 64n);
    expect(segments.map(({ length }) => length)).toEqual([2n * MIB, MIB]);
    expect(reached(segments)).toEqual(buffer.blocks.flatMap(({ address, length }) => pagesOf(address, length)));
    expect(device.counters.mmioBytes).toBe(3n * MIB);
    expect(buffer.placement).toBe("vram");
  });

  test.each<[string, Partial<VramOptions>, AttachOptions, "vram" | "system" | "EOPNOTSUPP"]>([
    ["through the host bridge", {}, { node: FAR, importerOps: REVOCABLE }, "vram"],
    ["behind the same switch", { host: "none" }, { node: NEAR, importerOps: REVOCABLE }, "vram"],
    ["out of reach: host memory", { host: "none" }, { node: FAR, importerOps: REVOCABLE }, "system"],
    ["a device that is nowhere: host memory", {}, { importerOps: REVOCABLE }, "system"],
    ["no peer to peer: host memory", {}, { node: NEAR, importerOps: {} }, "system"],
    ["a static importer: host memory", {}, { node: NEAR }, "system"],
    ["out of reach and no host memory", { host: "none", system: undefined as never }, { node: FAR }, "EOPNOTSUPP"],
    ["static and no host memory", { system: undefined as never }, { node: NEAR }, "EOPNOTSUPP"],
    ["within reach and no host memory", { system: undefined as never }, { node: NEAR, importerOps: REVOCABLE }, "vram"],
  ])("%s", (_what, more, options, expected) => {
    const buffer = vram(more);
    const attached = (): Attachment => buffer.dmaBuf.attach(device, options);
    if (expected === "EOPNOTSUPP") {
      expect(codeOf(attached)).toBe(expected);
      expect(buffer.dmaBuf.attachments).toEqual([]);
      return;
    }
    const segments = map(attached());
    expect(buffer.placement).toBe(expected);
    expect(reached(segments)).toEqual(buffer.blocks.flatMap(({ address, length }) => pagesOf(address, length)));
  });

  test("a move tells the importers, and the old memory is free when their work is over", () => {
    const buffer = vram();
    const told: Attachment[] = [];
    const attachment = attach(buffer, FAR, { allowPeer2peer: true, invalidateMappings: (of) => told.push(of) });
    const free = memory.freePages;
    move(buffer, "vram");
    expect(told).toEqual([]);
    move(buffer, "system");
    expect([told, buffer.placement, memory.freePages]).toEqual([[attachment], "system", free - 3 * 256]);
    move(buffer, "vram");
    expect(memory.freePages).toBe(free - 3 * 256);
    buffer.dmaBuf.reservation.wait("bookkeep");
    expect(memory.freePages).toBe(free);
  });

  test.each<[string, string, (buffer: VramBuffer) => void]>([
    [
      "pinned by a dynamic importer",
      "EBUSY",
      (buffer) => {
        const attachment = attach(buffer);
        buffer.dmaBuf.reservation.with(() => attachment.pin(CONTEXT));
        move(buffer, "system");
      },
    ],
    [
      "mapped for a static importer",
      "EBUSY",
      (buffer) => {
        map(buffer.dmaBuf.attach(device));
        move(buffer, "vram");
      },
    ],
    [
      "pinned in VRAM, and somebody out of reach wants it",
      "EBUSY",
      (buffer) => {
        const attachment = attach(buffer);
        buffer.dmaBuf.reservation.with(() => attachment.pin(CONTEXT));
        map(attach(buffer, NEAR, {}));
      },
    ],
    [
      "pinned in VRAM, and a static importer wants it",
      "EBUSY",
      (buffer) => {
        const attachment = attach(buffer);
        buffer.dmaBuf.reservation.with(() => attachment.pin(CONTEXT));
        map(buffer.dmaBuf.attach(device));
      },
    ],
    ["without the reservation", "reservation", (buffer) => buffer.move("system")],
  ])("does not move: %s: %s", (_what, code, work) => {
    const buffer = vram();
    expect(codeOf(() => work(buffer))).toBe(code);
    expect(buffer.dmaBuf.reservation.held).toBe(false);
  });

  test("stays where it is when an importer fails to unmap, and the memory to go to is free again", () => {
    const buffer = vram();
    const { blocks } = buffer;
    const free = memory.freePages;
    const fails = (): never => {
      throw new RangeError("the importer's own");
    };
    attach(buffer, FAR, { invalidateMappings: fails });
    expect(() => move(buffer, "system")).toThrow(RangeError);
    expect([buffer.placement, buffer.blocks, memory.freePages]).toEqual(["vram", blocks, free]);
  });

  test("without host memory it has no place to go", () => {
    const buffer = new VramBuffer(MIB, { node: GPU, vram: newVram() });
    expect(codeOf(() => move(buffer, "system"))).toBe("EINVAL");
  });

  test("the third block has no IOVA: those before are unmapped again", () => {
    const narrow = new DmaDevice(machine.domain, { name: "narrow", dmaMask: 4n * MIB - 1n });
    const buffer = new VramBuffer(7n * MIB, { node: GPU, vram: newVram() });
    const attachment = buffer.dmaBuf.attach(narrow, { node: NEAR, importerOps: REVOCABLE });
    expect(codeOf(() => map(attachment))).toBe("DMA_MAPPING_ERROR");
    expect([machine.iova.inUse.size, machine.domain.live.size, attachment.mapped]).toEqual([0, 0, []]);
  });
});

describe("MMIO", () => {
  const range = (address: bigint, length: bigint) =>
    ({ kind: "memory", address: physicalAddress(address), length }) as const;
  const ONE = [range(0x90_0000_0000n, 2n * MIB)];
  const TWO = [...ONE, range(0x90_1000_0000n, MIB)];
  const mmio = (more: Partial<MmioOptions> = {}): MmioBuffer => new MmioBuffer({ node: GPU, ranges: ONE, ...more });
  const attach = (buffer: MmioBuffer, options: AttachOptions = { node: FAR, importerOps: REVOCABLE }): Attachment =>
    buffer.dmaBuf.attach(device, options);

  test("through the host bridge: one run of IOVA", () => {
    const buffer = mmio({ ranges: TWO, offsets: "running" });
    const segments = map(attach(buffer));
    expect(segments.map(({ length, busAddress }) => [length, busAddress])).toEqual([[3n * MIB, false]]);
    expect(reached(segments)).toEqual(TWO.flatMap(({ address, length }) => pagesOf(address, length)));
  });

  test("7.2 links every range at the same place, and so cannot map a second", () => {
    const attachment = attach(mmio({ ranges: TWO }));
    expect(codeOf(() => map(attachment))).toBe("EADDRINUSE");
    expect(attachment.mapped).toEqual([]);
  });

  test("nor over Linux's own allocator, which is told a part of the range and frees it whole", async () => {
    const driver = new VtdDriver(await newEngine());
    const domain = new DefaultDomain(driver, new DmaHost(), "default", 1);
    const { dma } = domain;
    device = new DmaDevice(dma, { name: "nic" });
    const attachment = attach(mmio({ ranges: TWO }));
    for (let again = 0; again < 3; again++) {
      expect(codeOf(() => map(attachment))).toBe("EADDRINUSE");
      expect([dma.states.size, domain.mappings]).toEqual([0, []]);
    }
    const [{ address }] = map(attach(mmio({ ranges: TWO, offsets: "running" })));
    expect(address).toBe(0xffc0_0000n);
  });

  test("a matched importer need not say twice where it is and that it takes peers' addresses", () => {
    const { dmaBuf } = mmio();
    const want = { type: "scatterlist", device, acceptsPeer: true, node: NEAR } as const;
    const attachment = dmaBuf.attachMatching("nic", [want], { importerOps: { invalidateMappings: () => {} } });
    expect(map(attachment).map(({ address, busAddress }) => [address, busAddress])).toEqual([[0x90_0000_0000n, true]]);
  });

  test("behind one switch: addresses on the bus, no IOVA", () => {
    const attachment = attach(mmio({ ranges: TWO, busOffset: 0x1000_0000n }), { node: NEAR, importerOps: REVOCABLE });
    expect(map(attachment).map(({ address, length, busAddress }) => [address, length, busAddress])).toEqual([
      [0x90_1000_0000n, 2n * MIB, true],
      [0x90_2000_0000n, MIB, true],
    ]);
    expect(machine.iova.inUse.size).toBe(0);
    unmapAll(attachment);
  });

  test.each<[string, Partial<MmioOptions>, (buffer: MmioBuffer) => unknown, string]>([
    ["a static importer attaches", {}, (b) => attach(b, { node: FAR }), "EOPNOTSUPP"],
    [
      "an importer without peer to peer",
      {},
      (b) => attach(b, { node: FAR, importerOps: { invalidateMappings: () => {} } }),
      "EOPNOTSUPP",
    ],
    [
      "an importer that cannot be told",
      {},
      (b) => attach(b, { node: FAR, importerOps: { allowPeer2peer: true } }),
      "EOPNOTSUPP",
    ],
    ["attach when revoked", {}, (b) => [b.revoke(), attach(b)], "ENODEV"],
    [
      "a revoked buffer and an importer without peer to peer",
      {},
      (b) => [b.revoke(), attach(b, { node: FAR })],
      "EOPNOTSUPP",
    ],
    [
      "map when revoked",
      {},
      (b) => {
        const attachment = attach(b);
        b.revoke();
        map(attachment);
      },
      "ENODEV",
    ],
    [
      "list when revoked",
      {},
      (b) => {
        const attachment = b.dmaBuf.attachMatching("iommufd", [{ type: "physical-address-list" }], {
          importerOps: REVOCABLE,
        });
        b.revoke();
        b.dmaBuf.reservation.with(() => attachment.mapPhysical(CONTEXT));
      },
      "ENODEV",
    ],
    ["map out of reach", { host: "none" }, (b) => map(attach(b)), "EINVAL"],
    ["map for a device that is nowhere", {}, (b) => map(attach(b, { importerOps: REVOCABLE })), "EINVAL"],
    ["no ranges", { ranges: [] }, () => {}, "EINVAL"],
    ["an empty range", { ranges: [...ONE, range(0x91_0000_0000n, 0n)] }, () => {}, "EINVAL"],
  ])("%s", (_what, more, work, code) => {
    expect(codeOf(() => work(mmio(more)))).toBe(code);
    expect([machine.iova.inUse.size, machine.domain.live.size]).toEqual([0, 0]);
  });

  test("pinning is for exporters that move: there is nothing to refuse", () => {
    const buffer = mmio();
    const attachment = attach(buffer);
    buffer.revoke();
    buffer.dmaBuf.reservation.with(() => attachment.pin(CONTEXT));
    expect(attachment.pins).toBe(1);
  });

  test("revocation waits for the importers' work, names those that go on, and ends", () => {
    const buffer = mmio();
    const done: string[] = [];
    const obeys = attach(buffer, {
      node: FAR,
      importerOps: {
        allowPeer2peer: true,
        invalidateMappings: (of) => {
          const complete = (): void => {
            done.push("work ended");
            for (const mapped of of.mapped) of.unmap(CONTEXT, mapped);
          };
          of.buffer.reservation.add({ usage: "bookkeep", complete });
        },
      },
    });
    const ignores = attach(buffer);
    const late = [map(obeys), map(ignores)][1];
    expect(buffer.revoke()).toEqual([ignores]);
    expect([done, obeys.mapped, buffer.revoked]).toEqual([["work ended"], [], true]);
    // The mapping is still there, and so is the way to the device.
    expect(reached(late)).toEqual(pagesOf(0x90_0000_0000n, 2n * MIB));
    unmapAll(ignores);
    expect(reached(late).every((page) => page === -1n)).toBe(true);
    buffer.restore();
    expect(map(obeys)).toHaveLength(1);
  });
});

test("every exporter's memory is given back when nobody is attached any more", () => {
  const memory = newMemory();
  const vram = newVram();
  const buffer = new VramBuffer(MIB, { node: GPU, vram, system: memory });
  const free = memory.freePages;
  const all: DmaBuf[] = [systemHeap(memory, MIB), buffer.dmaBuf];
  for (const dmaBuf of all) {
    const attachment = dmaBuf.attach(device);
    map(attachment);
    unmapAll(attachment);
    attachment.detach();
    dmaBuf.release();
  }
  expect(memory.freePages).toBe(free);
  // All that the carve-out leaves can be had again.
  expect(vram.allocate(2 ** 18 - 2 ** 12).runs.pages).toBe(2 ** 18 - 2 ** 12);
});
