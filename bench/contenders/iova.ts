/** IOVA allocation in a steady state: random live ranges are freed, as many of random sizes allocated. */
import type { Engine } from "../../src/engine/engine.js";
import { Checksum } from "../checksum.js";
import { type IovaInput, iovaSequence, PAGE_BYTES, PAGE_SHIFT } from "../inputs.js";
import { BigIntSpace } from "../peers/iova-bigint.js";
import { NumberSpace } from "../peers/iova-number.js";
import type { Workload } from "../workload.js";

const GRANULES = 2 ** (48 - PAGE_SHIFT);

/** What a contender does with one batch of the sequence. */
interface Allocator {
  /** Frees the ranges of requests [from, from + batch) and allocates their successors. */
  batch(from: number): void;
  /** The address of a live range, in bytes. */
  address(victim: number): bigint;
  holes(): number;
  spanBytes(): bigint;
}

function iovaWorkload(input: IovaInput, victim: Uint32Array, allocator: Allocator): Workload {
  let cursor = 0;
  const call = (): void => {
    allocator.batch(cursor * input.batch);
    cursor = (cursor + 1) % input.batches;
  };
  return {
    operationsPerCall: input.batch,
    call,
    check: () => {
      const sum = new Checksum();
      for (let k = 0; k < input.batches; k++) {
        call();
        for (let i = k * input.batch; i < (k + 1) * input.batch; i++) sum.u64(allocator.address(victim[i]));
      }
      return sum.u32(allocator.holes()).u64(allocator.spanBytes()).value;
    },
  };
}

/** Our own: batches of the TypeScript API. */
export function iovaWasm(engine: Engine, input: IovaInput): Workload {
  const space = engine.createIovaSpace();
  const { initial, victim, pages } = iovaSequence(input);
  const live = new BigUint64Array(input.live);
  const first = space.createBatch(input.live);
  const lengths = first.length;
  for (let i = 0; i < input.live; i++) lengths[i] = BigInt(initial[i] * PAGE_BYTES);
  if (space.allocateBatch(first, input.live) > 0) throw new Error("the IOVA space is full");
  live.set(first.iova);
  first.release();

  const frees = space.createBatch(input.batch);
  const allocations = space.createBatch(input.batch);
  const bytes = BigUint64Array.from(pages, (count) => BigInt(count * PAGE_BYTES));
  return iovaWorkload(input, victim, {
    batch: (from) => {
      const freed = frees.iova;
      for (let i = 0; i < input.batch; i++) freed[i] = live[victim[from + i]];
      allocations.length.set(bytes.subarray(from, from + input.batch));
      const failed = space.freeBatch(frees, input.batch) + space.allocateBatch(allocations, input.batch);
      if (failed > 0) throw new Error(`${failed} IOVA operations failed`);
      const allocated = allocations.iova;
      for (let i = 0; i < input.batch; i++) live[victim[from + i]] = allocated[i];
    },
    address: (i) => live[i],
    holes: () => space.report().holes,
    spanBytes: () => space.report().span,
  });
}

/** Linux's allocator, for a PCI device that reaches as far: other addresses, the same requests. */
export function iovaLinux(engine: Engine, input: IovaInput): Workload {
  const domain = engine.createLinuxIovaDomain({ cpus: 1 });
  const device = domain.attach({ limitPfn: GRANULES - 1 });
  const { initial, victim, pages } = iovaSequence(input);
  const length = BigUint64Array.from(initial, (count) => BigInt(count * PAGE_BYTES));
  const first = domain.createBatch(input.live);
  first.length.set(length);
  if (domain.allocateBatch(first, input.live, device, 0) > 0) throw new Error("the IOVA domain is full");
  const live = first.iova.slice();
  first.release();

  const frees = domain.createBatch(input.batch);
  const allocations = domain.createBatch(input.batch);
  const bytes = BigUint64Array.from(pages, (count) => BigInt(count * PAGE_BYTES));
  return iovaWorkload(input, victim, {
    batch: (from) => {
      const freed = frees.iova;
      const lengths = frees.length;
      for (let i = 0; i < input.batch; i++) {
        freed[i] = live[victim[from + i]];
        lengths[i] = length[victim[from + i]];
      }
      allocations.length.set(bytes.subarray(from, from + input.batch));
      const failed =
        domain.freeBatch(frees, input.batch, 0) + domain.allocateBatch(allocations, input.batch, device, 0);
      if (failed > 0) throw new Error(`${failed} IOVA operations failed`);
      const allocated = allocations.iova;
      for (let i = 0; i < input.batch; i++) {
        live[victim[from + i]] = allocated[i];
        length[victim[from + i]] = bytes[from + i];
      }
    },
    address: (i) => live[i],
    holes: () => 0,
    spanBytes: () => 0n,
  });
}

export function iovaBigInt(input: IovaInput): Workload {
  const space = new BigIntSpace(1n, BigInt(GRANULES));
  const sequence = iovaSequence(input);
  const { victim } = sequence;
  const pages = BigUint64Array.from(sequence.pages, BigInt);
  const live = BigUint64Array.from(sequence.initial, (length) => space.allocate(BigInt(length)));
  return iovaWorkload(input, victim, {
    batch: (from) => {
      for (let i = from; i < from + input.batch; i++) {
        if (space.free(live[victim[i]]) === 0n) throw new Error("a free failed");
      }
      for (let i = from; i < from + input.batch; i++) live[victim[i]] = space.allocate(pages[i]);
    },
    address: (i) => live[i] << BigInt(PAGE_SHIFT),
    holes: () => space.holes,
    spanBytes: () => space.span << BigInt(PAGE_SHIFT),
  });
}

export function iovaNumber(input: IovaInput): Workload {
  const space = new NumberSpace(1, GRANULES);
  const { initial, victim, pages } = iovaSequence(input);
  const live = Float64Array.from(initial, (length) => space.allocate(length));
  return iovaWorkload(input, victim, {
    batch: (from) => {
      for (let i = from; i < from + input.batch; i++) {
        if (space.free(live[victim[i]]) === 0) throw new Error("a free failed");
      }
      for (let i = from; i < from + input.batch; i++) live[victim[i]] = space.allocate(pages[i]);
    },
    address: (i) => BigInt(live[i] * PAGE_BYTES),
    holes: () => space.holes,
    spanBytes: () => BigInt(space.span * PAGE_BYTES),
  });
}
