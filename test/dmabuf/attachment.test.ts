/** The core of dma-buf, over an exporter that writes down what it is asked. */
import { beforeEach, describe, expect, test } from "vitest";
import { type DmaRange, DmaDevice } from "../../src/dma/index.js";
import {
  type Attachment,
  DmaBuf,
  DmaBufError,
  type Exporter,
  type Mapped,
  Reservation,
} from "../../src/dmabuf/index.js";
import { dmaAddress } from "../../src/engine/addresses.js";
import { newEngine } from "../support/engine.js";
import { CONTEXT, makeMachine } from "../dma/support.js";
import { codeOf, MIB, REVOCABLE } from "./support.js";

const { domain } = makeMachine(await newEngine());
const device = new DmaDevice(domain, { name: "nic" });
const segments: DmaRange[] = [{ kind: "dma", address: dmaAddress(0x1000n), length: MIB, device, busAddress: false }];

let log: string[];
let refuses: string | null;
let buffer: DmaBuf;

beforeEach(() => {
  log = [];
  refuses = null;
  const ask = (what: string): void => {
    if (refuses === what) throw new DmaBufError("EBUSY", what, "told to");
    log.push(what);
  };
  const exporter: Exporter = {
    name: "exporter",
    offers: [{ type: "scatterlist" }],
    attach: () => ask("attach"),
    detach: () => ask("detach"),
    pin: () => ask("pin"),
    unpin: () => ask("unpin"),
    map: () => {
      if (refuses === "nothing") return null;
      ask("map");
      return { segments, unmap: () => ask("unmap") };
    },
    release: () => ask("release"),
  };
  buffer = new DmaBuf("buffer", MIB, exporter);
});

const locked = <T>(work: () => T): T => buffer.reservation.with(work);
const map = (attachment: Attachment): Mapped => attachment.map(CONTEXT, "bidirectional");
const unmap = (attachment: Attachment, mapped: Mapped): void => attachment.unmap(CONTEXT, mapped);

test("a static importer's mapping is pinned and waits for the kernel; a dynamic one's is not and does not", () => {
  const pinned = buffer.attach(device);
  locked(() => {
    for (const usage of ["kernel", "write", "bookkeep"] as const) {
      buffer.reservation.add({ usage, complete: () => log.push(usage) });
    }
  });
  const mapped = pinned.mapUnlocked(CONTEXT, "bidirectional");
  expect(log).toEqual(["attach", "pin", "map", "kernel"]);
  expect([pinned.pins, pinned.mapped, pinned.isDynamic]).toEqual([1, [mapped], false]);
  pinned.unmapUnlocked(CONTEXT, mapped);
  expect(log.slice(4)).toEqual(["unmap", "unpin"]);
  const dynamic = buffer.attach(device, { importerOps: {} });
  log.length = 0;
  locked(() => unmap(dynamic, map(dynamic)));
  expect(log).toEqual(["map", "unmap"]);
  expect([dynamic.isDynamic, dynamic.isRevocable]).toEqual([true, false]);
  expect(buffer.reservation.pending).toBe(2);
});

test("the importer sees DMA addresses of its device", () => {
  const attachment = buffer.attach(device, { importerOps: REVOCABLE });
  expect(locked(() => map(attachment))).toEqual({ type: "scatterlist", segments });
  expect([attachment.isRevocable, attachment.peer2peer, attachment.match]).toEqual([true, true, null]);
});

test("dma_buf_invalidate_mappings() tells those who can be told, and the mapping can be taken back there", () => {
  const told: string[] = [];
  const importerOps = {
    invalidateMappings: (of: Attachment) => {
      told.push(of.party);
      for (const mapped of of.mapped) unmap(of, mapped);
    },
  };
  const attachment = buffer.attach(device, { importerOps });
  const deaf = buffer.attach(device, { importerOps: {} });
  buffer.attach(device);
  locked(() => [map(attachment), map(attachment), map(deaf)]);
  expect(codeOf(() => buffer.invalidateMappings())).toBe("reservation");
  locked(() => buffer.invalidateMappings());
  expect(told).toEqual(["nic"]);
  expect([attachment.mapped.length, deaf.mapped.length]).toEqual([0, 1]);
});

describe("refusals of the kernel, after which nothing has changed", () => {
  test.each<[string, string, "static" | "dynamic", (a: Attachment) => unknown]>([
    ["attach", "EBUSY", "static", () => buffer.attach(device)],
    ["pin", "EBUSY", "static", (a) => map(a)],
    ["pin", "EBUSY", "dynamic", (a) => a.pin(CONTEXT)],
    ["map", "EBUSY", "static", (a) => map(a)],
    ["map", "EBUSY", "dynamic", (a) => map(a)],
    ["nothing", "ENOMEM", "static", (a) => map(a)],
    ["nothing", "ENOMEM", "dynamic", (a) => map(a)],
  ])("the exporter refuses: %s, %s, a %s importer", (what, code, kind, work) => {
    const attachment = buffer.attach(device, kind === "static" ? {} : { importerOps: {} });
    refuses = what;
    expect(locked(() => codeOf(() => work(attachment)))).toBe(code);
    expect([attachment.pins, attachment.mapped, buffer.attachments]).toEqual([0, [], [attachment]]);
    const asked = log.filter((entry) => entry.endsWith("pin"));
    expect(asked).toEqual(asked.length > 0 ? ["pin", "unpin"] : []);
  });

  test.each<[string, () => unknown]>([
    ["no bytes", () => new DmaBuf("x", 0n, buffer.exporter)],
    ["pins only", () => new DmaBuf("x", 1n, { name: "x", offers: [], map: () => null, pin: () => {} })],
    ["unpins only", () => new DmaBuf("x", 1n, { name: "x", offers: [], map: () => null, unpin: () => {} })],
  ])("dma_buf_export(): %s", (_what, work) => expect(codeOf(work)).toBe("EINVAL"));
});

describe("what no driver may do, after which nothing has changed", () => {
  const dynamic = () => buffer.attach(device, { importerOps: {} });
  test.each<[string, string, () => void]>([
    ["map without the reservation", "reservation", () => map(buffer.attach(device))],
    [
      "unmap without it",
      "reservation",
      () => {
        const a = dynamic();
        const mapped = locked(() => map(a));
        unmap(a, mapped);
      },
    ],
    ["pin without it", "reservation", () => dynamic().pin(CONTEXT)],
    ["lock twice", "reservation", () => locked(() => buffer.attach(device).mapUnlocked(CONTEXT, "bidirectional"))],
    ["a fence without it", "reservation", () => buffer.reservation.add({ usage: "read", complete: () => {} })],
    [
      "unmap twice",
      "not-mapped",
      () =>
        locked(() => {
          const a = dynamic();
          const mapped = map(a);
          unmap(a, mapped);
          unmap(a, mapped);
        }),
    ],
    ["unmap another's", "not-mapped", () => locked(() => unmap(dynamic(), map(dynamic())))],
    [
      "detach with a mapping",
      "still-mapped",
      () => {
        const a = dynamic();
        locked(() => map(a));
        a.detach();
      },
    ],
    [
      "detach twice",
      "detached",
      () => {
        const a = dynamic();
        a.detach();
        a.detach();
      },
    ],
    [
      "map when detached",
      "detached",
      () => {
        const a = dynamic();
        a.detach();
        locked(() => map(a));
      },
    ],
    ["pin a static importer", "not-dynamic", () => locked(() => buffer.attach(device).pin(CONTEXT))],
    ["unpin a static importer", "not-dynamic", () => locked(() => buffer.attach(device).unpin())],
    ["unpin what is not pinned", "not-pinned", () => locked(() => dynamic().unpin())],
    [
      "release with an importer",
      "still-attached",
      () => {
        buffer.attach(device);
        buffer.release();
      },
    ],
    [
      "release twice",
      "detached",
      () => {
        buffer.release();
        buffer.release();
      },
    ],
    [
      "attach to what is released",
      "detached",
      () => {
        buffer.release();
        buffer.attach(device);
      },
    ],
  ])("%s: %s", (_what, code, work) => {
    expect(codeOf(work)).toBe(code);
    expect(buffer.reservation.held).toBe(false);
  });
});

test("detaching unpins what the importer left pinned", () => {
  const attachment = buffer.attach(device, { importerOps: {} });
  locked(() => [attachment.pin(CONTEXT), attachment.pin(CONTEXT)]);
  locked(() => attachment.unpin());
  attachment.detach();
  buffer.release();
  expect(log).toEqual(["attach", "pin", "pin", "unpin", "unpin", "detach", "release"]);
});

test("who waits for a usage waits for those before it, once", () => {
  const done: string[] = [];
  const reservation = new Reservation("x");
  reservation.with(() => {
    for (const usage of ["bookkeep", "read", "write", "kernel"] as const) {
      reservation.add({ usage, complete: () => done.push(usage) });
    }
  });
  reservation.wait("write");
  expect(done).toEqual(["write", "kernel"]);
  reservation.wait("bookkeep");
  reservation.wait("bookkeep");
  expect(done).toEqual(["write", "kernel", "bookkeep", "read"]);
});
