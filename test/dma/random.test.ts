/** Random calls of every kind against the slow model: what is live is mapped, nothing else is, and nothing leaks. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  allocCoherent,
  BuddyPages,
  type CoherentBuffer,
  DmaDevice,
  type DmaDirection,
  DmaError,
  DmaMisuseError,
  destroy,
  dmaAttributes,
  free,
  freeCoherent,
  IovaState,
  link,
  type MappedScatterlist,
  mapPhys,
  mapSg,
  type P2pMapType,
  type ScatterlistEntry,
  tryAlloc,
  unlink,
  unmapPhys,
  unmapSg,
} from "../../src/dma/index.js";
import type { DmaAddress } from "../../src/engine/addresses.js";
import { DIRECTIONS, DmaModel, type Footprint } from "../support/dma-model.js";
import { newEngine } from "../support/engine.js";
import { addDomain, FORMATS, type Machine, makeMachine, physical, stateOf } from "./support.js";

const engine = await newEngine();

const ATTRIBUTES = [[], [], [], ["MMIO"], ["REQUIRE_COHERENT"], ["SKIP_CPU_SYNC"]] as const;
const PEERS: readonly (P2pMapType | undefined)[] = [
  undefined,
  undefined,
  undefined,
  undefined,
  "bus-addr",
  "thru-host-bridge",
  "not-supported",
];
/** No page table of these formats can name it. */
const BEYOND = 1n << 60n;

interface Step {
  readonly kind: "phys" | "sg" | "coherent" | "try-alloc" | "link" | "undo" | "misuse";
  /** Dice for all that the step chooses. */
  readonly dice: readonly number[];
}

const STEPS = fc.array(
  fc.record<Step>({
    kind: fc.constantFrom(
      "phys",
      "phys",
      "sg",
      "sg",
      "coherent",
      "try-alloc",
      "link",
      "link",
      "undo",
      "undo",
      "misuse",
    ),
    dice: fc.array(fc.nat(1023), { minLength: 16, maxLength: 16 }),
  }),
  { minLength: 20, maxLength: 60 },
);

interface Live {
  readonly device: DmaDevice;
  readonly footprint: Footprint;
  /** Takes it back; `by` another device, or with another size, when it is to be refused. */
  readonly undo: (by: DmaDevice, more: bigint) => void;
}

interface LiveState {
  readonly device: DmaDevice;
  readonly state: IovaState;
  readonly links: { readonly offset: bigint; readonly size: bigint; readonly footprint: Footprint }[];
  readonly footprint: Footprint;
}

class Run {
  readonly machine: Machine;
  readonly model: DmaModel;
  readonly pages: BuddyPages;
  readonly devices: readonly DmaDevice[];
  readonly stranger: DmaDevice;
  readonly live: Live[] = [];
  readonly states: LiveState[] = [];
  now = 0;
  errors = 0;
  #dice: number[] = [];

  constructor(
    format: string,
    private readonly flush: "strict" | "lazy",
  ) {
    const { granule } = engine.format(format);
    this.pages = new BuddyPages(physical(1n << 33n), 64n * granule, granule);
    this.machine = makeMachine(engine, {
      format,
      host: { pages: this.pages, swiotlb: { bytes: 1n << 20n } },
      domain: { flush },
      device: { dmaMask: (1n << 48n) - 1n, segmentBoundaryMask: 16n * granule - 1n, maxSegmentSize: 8n * granule },
    });
    const { domain, host, device } = this.machine;
    this.model = new DmaModel(granule);
    this.devices = [
      device,
      new DmaDevice(domain, { name: "dock", untrusted: true, minAlignMask: granule - 1n }),
      new DmaDevice(domain, { name: "soc", coherent: false, pci: false, dmaMask: 64n * granule - 1n }),
    ];
    this.stranger = addDomain(host, engine.createTable(format), { device: { name: "eth0" } }).device;
  }

  get context(): { cpu: number; now: number } {
    return { cpu: 0, now: this.now };
  }

  step({ kind, dice }: Step): void {
    this.#dice = [...dice];
    this.now += 300_000;
    // What is due runs first, so that a refused call is seen to change nothing else.
    this.machine.iova.advance(this.now);
    if (kind === "phys") this.phys();
    else if (kind === "sg") this.sg();
    else if (kind === "coherent") this.coherent();
    else if (kind === "try-alloc") this.tryAlloc();
    else if (kind === "link") this.link();
    else if (kind === "undo") this.undo();
    else this.misuse();
    this.check();
  }

  /** The outcome of a call: its result, or the code of its error, which left all as it was. */
  attempt<T>(call: () => T): { done: T } | { code: string } {
    const before = stateOf(this.machine);
    try {
      return { done: call() };
    } catch (error) {
      if (!(error instanceof DmaError || error instanceof DmaMisuseError)) throw error;
      expect(stateOf(this.machine)).toEqual(before);
      this.errors++;
      return { code: error.code };
    }
  }

  phys(): void {
    const { device, direction, attributes } = this.call();
    const [at, size] = this.memory();
    const result = this.attempt(() => mapPhys(device, this.context, physical(at), size, direction, attributes.set));
    const bounced = this.model.isBounced(device, at, size);
    const refused =
      (!device.coherent && attributes.coherent) ||
      (bounced && (attributes.coherent || attributes.mmio)) ||
      (!bounced && at >= BEYOND);
    if ("code" in result) {
      // Otherwise only the small IOVA space of "soc" and the pool can be full.
      expect(refused || bounced || device.name === "soc").toBe(true);
      expect(result.code).toBe("DMA_MAPPING_ERROR");
      return;
    }
    expect(refused).toBe(false);
    const address: DmaAddress = result.done;
    expect(address % this.model.granule).toBe(at % this.model.granule);
    const footprint = this.model.footprint();
    this.model.putSingle(footprint, device, address, at, size);
    this.keep(device, footprint, (by, more) => {
      unmapPhys(by, this.context, address, size + more, direction, attributes.set);
    });
  }

  sg(): void {
    const { device, direction } = this.call();
    const entries = Array.from({ length: 1 + this.roll(4) }, (): ScatterlistEntry => {
      const [at, length] = this.memory();
      const p2p = device.untrusted ? undefined : PEERS[this.roll(PEERS.length)];
      return { physical: physical(at), length, ...(p2p && { p2p }) };
    });
    const result = this.attempt(() => mapSg(device, this.context, entries, direction));
    const remote = entries.some(({ p2p }) => p2p === "not-supported");
    const beyond = entries.some(
      ({ physical: at, length, p2p }) =>
        at >= BEYOND && p2p !== "bus-addr" && !this.model.isBounced(device, at, length),
    );
    if ("code" in result) {
      if (device.untrusted) expect(result.code).toBe("EIO");
      else if (remote) expect(result.code).toBe("EREMOTEIO");
      else if (result.code === "ENOMEM") expect(device.name).toBe("soc");
      else expect([result.code, beyond]).toEqual(["EINVAL", true]);
      return;
    }
    expect([remote, beyond]).toEqual([false, false]);
    const mapped: MappedScatterlist = result.done;
    const footprint = this.model.footprint();
    if (device.untrusted) {
      for (const [index, { physical: at, length }] of entries.entries()) {
        this.model.putSingle(footprint, device, mapped.segments[index].address, at, length);
      }
    } else {
      const first = mapped.segments.find(({ busAddress }) => !busAddress);
      if (first) this.model.putList(footprint, device, this.model.down(first.address), entries);
      this.checkSegments(device, mapped, entries);
    }
    this.keep(device, footprint, (by) => unmapSg(by, this.context, mapped, direction));
  }

  /** The segments hold the bytes of the entries in order, and none is longer or crosses more than it may. */
  checkSegments(device: DmaDevice, mapped: MappedScatterlist, entries: readonly ScatterlistEntry[]): void {
    const quarter = this.model.granule / 4n;
    const quarters = (from: bigint, bytes: bigint): bigint[] =>
      Array.from({ length: Number(bytes / quarter) }, (_, i) => from + BigInt(i) * quarter);
    const seen = mapped.segments.flatMap(({ address, length, busAddress }) =>
      quarters(address, length).map((at) => (busAddress ? at : this.machine.table.iovaToPhys(at as DmaAddress))),
    );
    expect(seen).toEqual(entries.flatMap(({ physical: at, length }) => quarters(at, length)));
    const longestEntry = entries.reduce((most, { length }) => (length > most ? length : most), 0n);
    for (const { address, length, busAddress } of mapped.segments) {
      if (busAddress || longestEntry > device.maxSegmentSize) continue;
      expect(length <= device.maxSegmentSize).toBe(true);
      const boundary = device.segmentBoundaryMask + 1n;
      expect(address / boundary).toBe((address + length - 1n) / boundary);
    }
  }

  coherent(): void {
    const { device, attributes } = this.call();
    const size = this.memory()[1];
    const sleep = this.roll(2) === 0;
    const result = this.attempt(() => allocCoherent(device, this.context, size, attributes.set, sleep));
    if ("code" in result) {
      // Memory for these is scarce.
      expect(result.code).toBe("ENOMEM");
      return;
    }
    const buffer: CoherentBuffer = result.done;
    const footprint = this.model.footprint();
    let at: bigint = buffer.address;
    const end = this.model.up(at + size);
    for (const { physical: block, order } of buffer.blocks) {
      const left = end - at;
      const bytes = this.model.granule << BigInt(order);
      this.model.put(footprint, at, block, bytes < left ? bytes : left, false);
      at += bytes;
    }
    footprint.ranges.set(buffer.address, end - buffer.address);
    this.keep(device, footprint, (by, more) => {
      freeCoherent(by, this.context, size + more, buffer.address, attributes.set);
    });
  }

  tryAlloc(): void {
    const { device } = this.call();
    const [at, size] = this.memory();
    const state = new IovaState();
    if (!tryAlloc(device, this.context, state, physical(at), size)) {
      expect(device.name).toBe("soc");
      return;
    }
    const footprint = this.model.footprint();
    const base = this.model.down(state.address);
    footprint.ranges.set(base, this.model.up(state.address + size) - base);
    this.model.live.add(footprint);
    this.states.push({ device, state, links: [], footprint });
  }

  link(): void {
    const target = this.states[this.roll(this.states.length || 1)];
    if (!target) return;
    const { device, state, links } = target;
    const { direction, attributes } = this.call();
    const { granule } = this.model;
    const quarter = granule / 4n;
    const [anywhere, bytes] = this.memory();
    // Mostly as far into a granule as the state, and behind the last link; sometimes over it.
    const proper = this.roll(4) !== 0;
    const last = links.at(-1);
    const again = last !== undefined && this.roll(4) === 0;
    const next = last ? last.offset + (again ? 0n : last.size) : 0n;
    const offset = proper ? next : BigInt(this.roll(12)) * quarter;
    const at = proper ? this.model.down(anywhere) + ((state.address + offset) % granule) : anywhere;
    const size = proper && offset + bytes > state.size && offset < state.size ? state.size - offset : bytes;
    const { usesSwiotlb } = state;
    const result = this.attempt(() =>
      link(device, this.context, state, physical(at), offset, size, direction, attributes.set),
    );
    const bounced = this.model.isBounced(device, at, size);
    const address = state.address + offset;
    const taken = this.model.granules();
    let occupied = false;
    for (let page = this.model.down(address); page < address + size; page += granule) occupied ||= taken.has(page);
    const predicted = ((): string | null => {
      if (offset + size > state.size) return "outside-state";
      if (at % granule !== 0n && offset > 0n) return "EIO";
      if (attributes.coherent && (usesSwiotlb || !device.coherent)) return "EOPNOTSUPP";
      if (bounced && (attributes.coherent || attributes.mmio)) return "EPERM";
      if (address % granule !== at % granule) return "EINVAL";
      if (at >= BEYOND && (!bounced || this.model.down(at + size) > this.model.up(at))) return "ERANGE";
      if (occupied) return this.machine.domain.driver === "generic_pt" ? "EADDRINUSE" : "EEXIST";
      return null;
    })();
    if ("code" in result) {
      if (result.code === "ENOMEM") expect(bounced).toBe(true);
      // Where two rules refuse parts of one link, the first part in order decides.
      else if (predicted === "ERANGE" && occupied) expect(["ERANGE", "EADDRINUSE", "EEXIST"]).toContain(result.code);
      else expect(result.code).toBe(predicted);
      return;
    }
    expect(predicted).toBe(null);
    const footprint = this.model.footprint();
    this.model.putLink(footprint, device, address, at, size);
    this.model.live.add(footprint);
    links.push({ offset, size, footprint });
    expect(state.usesSwiotlb).toBe(usesSwiotlb || footprint.slots > 0n);
  }

  undo(): void {
    const index = this.roll(this.live.length + this.states.length || 1);
    if (index < this.live.length) {
      const [{ device, footprint, undo }] = this.live.splice(index, 1);
      undo(device, 0n);
      this.model.live.delete(footprint);
      return;
    }
    const state = this.states[index - this.live.length];
    if (state) this.undoState(state);
  }

  /** Destroys what is linked from the start on without a gap; unlinks all else first. */
  undoState(target: LiveState): void {
    const { device, state, links, footprint } = target;
    const direction: DmaDirection = "to-device";
    const onlyUnlink = links.length > 0 && this.roll(3) === 0;
    const keepFirst = links.length > 0 && links[0].offset === 0n && !onlyUnlink;
    while (links.length > (keepFirst ? 1 : 0)) {
      const gone = links.pop();
      if (!gone) break;
      unlink(device, this.context, state, gone.offset, gone.size, direction);
      this.model.live.delete(gone.footprint);
    }
    if (onlyUnlink) return;
    const [first] = links;
    if (first) {
      destroy(device, this.context, state, first.size, direction);
      this.model.live.delete(first.footprint);
    } else if (this.roll(2) === 0) free(device, this.context, state);
    else destroy(device, this.context, state, 0n, direction);
    this.model.live.delete(footprint);
    this.states.splice(this.states.indexOf(target), 1);
  }

  /** A call that the API forbids is refused and changes nothing. */
  misuse(): void {
    const target = this.live[this.roll(this.live.length || 1)];
    const other = this.states[this.roll(this.states.length || 1)];
    const wrong = this.devices.find((device) => device !== (target ?? other)?.device) ?? this.stranger;
    const by = this.roll(2) === 0 ? wrong : this.stranger;
    if (target) expect(this.attempt(() => target.undo(by, 0n))).toEqual({ code: "foreign-device" });
    if (!other) return;
    const { state, device, links } = other;
    const { granule } = this.model;
    expect(this.attempt(() => tryAlloc(device, this.context, state, physical(0n), granule))).toEqual({
      code: "state-in-use",
    });
    expect(this.attempt(() => free(this.stranger, this.context, state))).toEqual({ code: "foreign-device" });
    if (links.length === 0) return;
    expect(this.attempt(() => free(device, this.context, state))).toEqual({ code: "still-linked" });
  }

  keep(device: DmaDevice, footprint: Footprint, undo: Live["undo"]): void {
    this.model.live.add(footprint);
    this.live.push({ device, footprint, undo });
  }

  /** The table maps exactly the granules of the model; the allocator and the pool hold exactly what is live. */
  check(): void {
    const { table, iova, host } = this.machine;
    const { granule } = this.model;
    const expected = this.model.granules();
    for (const [at, behind] of expected) {
      const found = table.iovaToPhys(at as DmaAddress);
      if (behind !== "pool") expect(found).toBe(behind);
      else expect(found !== null && found >= host.swiotlb.base && found < host.swiotlb.base + (1n << 20n)).toBe(true);
    }
    let mapped = 0n;
    for (const [size, count] of table.counters.leaves) mapped += size * BigInt(count);
    expect(mapped).toBe(BigInt(expected.size) * granule);
    const ranges = [...iova.inUse].map(([pfn, length]) => [BigInt(pfn) * granule, BigInt(length) * granule] as const);
    expect(new Map(ranges)).toEqual(this.model.ranges());
    expect(host.swiotlb.usedSlots).toBe(this.model.slots());
  }

  finish(): void {
    while (this.live.length + this.states.length > 0) {
      this.#dice = [this.live.length === 0 ? 0 : this.live.length - 1, 1, 1, 1];
      this.undo();
    }
    this.check();
    expect(this.pages.used).toBe(0n);
    if (this.flush === "lazy") this.machine.iova.advance(this.now + 1_000_000_000);
    expect(this.machine.iova.live.size).toBe(0);
    const unmaps = this.devices.map(({ counters }) => counters.unmaps <= counters.maps);
    expect(unmaps).toEqual([true, true, true]);
    this.machine.table.release();
    this.stranger.domain.table.release();
  }

  roll(sides: number): number {
    return (this.#dice.shift() ?? 0) % sides;
  }

  call(): {
    device: DmaDevice;
    direction: DmaDirection;
    attributes: { set: ReturnType<typeof dmaAttributes>; mmio: boolean; coherent: boolean };
  } {
    const names: readonly string[] = ATTRIBUTES[this.roll(ATTRIBUTES.length)];
    const set = dmaAttributes(...(names as readonly ["MMIO"]));
    return {
      device: this.devices[this.roll(this.devices.length)],
      direction: DIRECTIONS[this.roll(DIRECTIONS.length)],
      attributes: { set, mmio: names.includes("MMIO"), coherent: names.includes("REQUIRE_COHERENT") },
    };
  }

  /** Memory that begins and ends on quarters of a granule, sometimes with room for a large leaf. */
  memory(): readonly [at: bigint, size: bigint] {
    const { granule } = this.model;
    const quarter = granule / 4n;
    const dice = this.roll(1024);
    const large = granule === 4096n && dice % 64 === 37 ? 1n << 21n : 0n;
    const at = BigInt(dice >> 4) * granule + BigInt(this.roll(2) * this.roll(4)) * quarter;
    const base = dice % 31 === 1 ? BEYOND : 1n << 32n;
    return [
      base + (large > 0n ? 0n : at),
      large + BigInt(1 + this.roll(24)) * (this.roll(2) === 0 ? quarter : granule),
    ];
  }
}

describe.each(FORMATS)("%s", (format) => {
  test.each(["strict", "lazy"] as const)("%s", (flush) => {
    let errors = 0;
    fc.assert(
      fc.property(STEPS, (steps) => {
        const run = new Run(format, flush);
        for (const step of steps) run.step(step);
        run.finish();
        errors += run.errors;
        expect(engine.memory.pagesInUse).toBe(0);
      }),
      { numRuns: 10, seed: 20_261 },
    );
    expect(errors).toBeGreaterThan(0);
  });
});
