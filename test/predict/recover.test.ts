import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { predict } from "../../src/predict/predict.js";
import { Random } from "../support/random.js";
import { SlowLinuxIova } from "../support/slow-linux-iova.js";
import { TraceText } from "../trace/support.js";
import { fast, machineOf, readCalls, slow } from "./support.js";

const DEVICE = "0000:01:00.0";
const PAGE = 4096;
const LAST_PFN_BELOW_4G = 0xfffff;

/**
 * A machine with two CPUs in the order in which things really happen: each CPU has a task that maps and an interrupt
 * that unmaps. The trace is printed as Linux prints it: an allocation's `map` comes after it, and an interrupt, or the
 * other CPU, may come in between.
 */
class Kernel {
  readonly text = new TraceText();
  readonly #iova = new SlowLinuxIova({ cpus: 2 });
  readonly #random: Random;
  #live: { pfn: number; pages: number }[] = [];
  interrupted = 0;

  constructor(seed: number) {
    this.#random = new Random(seed);
    this.#iova.reserve(0xfee00, 0xfeeff);
  }

  run(steps: number, interruptions: number): void {
    for (let step = 0; step < steps; step++) {
      const cpu = this.#random.below(2);
      if (this.#live.length > 0 && this.#random.chance(0.45)) this.#interrupt(cpu);
      else this.#map(cpu, interruptions);
    }
  }

  #map(cpu: number, interruptions: number): void {
    const pages = this.#random.pick([1, 1, 1, 1, 2, 3, 8, 33]);
    const pfn = this.#iova.allocate(pages, LAST_PFN_BELOW_4G, cpu, false);
    if (this.#live.length > 0 && this.#random.chance(interruptions)) {
      this.interrupted++;
      this.#interrupt(this.#random.chance(0.8) ? cpu : 1 - cpu);
    }
    const where = { task: `fio-${100 + cpu}`, cpu };
    this.text.map(where, pfn * PAGE, 0x10000000, pages);
    this.text.dmaMap(where, DEVICE, pfn * PAGE, pages * PAGE, 0x10000000);
    this.#live.push({ pfn, pages });
  }

  #interrupt(cpu: number): void {
    const where = { task: `fio-${100 + cpu}`, cpu, flags: "d.h1." };
    for (let count = 1 + this.#random.below(4); count > 0 && this.#live.length > 0; count--) {
      const [{ pfn, pages }] = this.#live.splice(this.#random.below(this.#live.length), 1);
      this.text.unmap(where, pfn * PAGE, pages);
      this.#iova.free(pfn, pages, cpu);
      this.text.dmaUnmap(where, DEVICE, pfn * PAGE, pages * PAGE);
    }
  }
}

describe("recovering the order of calls", () => {
  it("predicts every IOVA of a trace whose interrupts came between allocations and their map events", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1 << 20 }), fc.constantFrom(slow, fast), (seed, factory) => {
        const kernel = new Kernel(seed);
        kernel.run(600, 0.04);
        const trace = readCalls(kernel.text.text());
        const machine = machineOf(trace, { factory });
        const { allocations, blindExact, recovered } = predict(trace, { machine, recoverOrder: true });
        expect(allocations).toBe(trace.allocations.length);
        expect(blindExact).toBeLessThanOrEqual(allocations);
        expect(recovered).toMatchObject({ exact: allocations, unexplained: 0 });
        expect(recovered?.moves).toBeLessThanOrEqual(2 * kernel.interrupted);
      }),
      { numRuns: 20 },
    );
  });

  it("moves nothing where the order of the trace is the true one", () => {
    const kernel = new Kernel(1);
    kernel.run(2000, 0);
    const trace = readCalls(kernel.text.text());
    const prediction = predict(trace, { machine: machineOf(trace), recoverOrder: true });
    expect(prediction).toMatchObject({ blindExact: prediction.allocations, misses: [] });
    expect(prediction.recovered).toEqual({ exact: prediction.allocations, moves: 0, unexplained: 0 });
  });

  it("moves a call within its window only: what no order explains stays wrong", () => {
    const text = new TraceText();
    const where = { task: "fio-100" };
    // The second allocation is recorded two pages lower than any order of these calls gives.
    for (const pfn of [0xfffff, 0xffffc, 0xffffb]) {
      text.map(where, pfn * PAGE, 0x10000000).dmaMap(where, DEVICE, pfn * PAGE, PAGE, 0x10000000);
    }
    const trace = readCalls(text.text());
    const prediction = predict(trace, { machine: machineOf(trace), recoverOrder: true });
    expect(prediction).toMatchObject({ allocations: 3, blindExact: 2 });
    expect(prediction.recovered).toEqual({ exact: 1, moves: 0, unexplained: 1 });
    expect(prediction.misses.map(({ allocation, predicted }) => [allocation.event.line, predicted])).toEqual([
      [3, 0xffffe],
    ]);
  });
});
