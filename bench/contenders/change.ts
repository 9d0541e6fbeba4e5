/**
 * A batch of maps and a batch of unmaps of the same ranges. One cannot be repeated without the other, so every call does
 * both and a clock around each tells them apart.
 */
import type { Engine } from "../../src/engine/engine.js";
import { dmaAddress } from "../../src/engine/addresses.js";
import { Checksum } from "../checksum.js";
import {
  ARENA_BASE,
  arenaPagesFor,
  type ChangeInput,
  changeOffsets,
  PAGE_BYTES,
  WINDOW_IOVA,
  WINDOW_PHYSICAL,
} from "../inputs.js";
import { BigIntTable } from "../peers/table-bigint.js";
import { WordTable } from "../peers/table-words.js";
import { nanoseconds, type Workload } from "../workload.js";

export type Change = "map" | "unmap";

/** What one contender can do; the failed requests of a batch are counted. */
interface Changer {
  map(): number;
  unmap(): number;
  /** Adds the physical address of an IOVA to the sum, all ones when there is none. */
  addLookup(sum: Checksum, iova: number): void;
  leaves(): number;
  tablePages(): number;
  /** Adds the bytes changed and the status word of every request of the last batch. */
  addResults(sum: Checksum): void;
}

function changeWorkload(input: ChangeInput, change: Change, changer: Changer): Workload {
  let timed = 0;
  const call = (): void => {
    const start = nanoseconds();
    let failed = changer.map();
    const mapped = nanoseconds();
    failed += changer.unmap();
    const unmapped = nanoseconds();
    if (failed > 0) throw new Error(`${failed} changes failed`);
    timed += change === "map" ? mapped - start : unmapped - mapped;
  };
  return {
    operationsPerCall: input.count * input.length,
    call,
    timed: () => timed,
    check: () => {
      // Twice, so that pages that were freed once are used again.
      let failed = changer.map() + changer.unmap() + changer.map();
      if (change === "unmap") failed += changer.unmap();
      const sum = new Checksum();
      for (let i = 0; i < input.slots * input.length; i++) changer.addLookup(sum, WINDOW_IOVA + i * PAGE_BYTES);
      sum.number(changer.leaves()).number(changer.tablePages());
      changer.addResults(sum);
      if (change === "map") failed += changer.unmap();
      if (failed > 0) throw new Error(`${failed} changes failed`);
      return sum.value;
    },
  };
}

/** Our own: batches of the TypeScript API. */
export function changeWasm(engine: Engine, input: ChangeInput, change: Change): Workload {
  const table = engine.createTable("vtdss", { levels: 4, pageSizes: BigInt(PAGE_BYTES) });
  const batch = table.createChangeBatch(input.count);
  const { iova, physical, length } = batch;
  changeOffsets(input).forEach((offset, i) => {
    iova[i] = BigInt(WINDOW_IOVA + offset);
    physical[i] = BigInt(WINDOW_PHYSICAL + offset);
    length[i] = BigInt(input.length * PAGE_BYTES);
  });
  return changeWorkload(input, change, {
    map: () => table.mapBatch(batch, input.count, { read: true, write: true }),
    unmap: () => table.unmapBatch(batch, input.count),
    addLookup: (sum, at) => {
      sum.u64(table.iovaToPhys(dmaAddress(BigInt(at))) ?? 0xffff_ffff_ffff_ffffn);
    },
    leaves: () => table.counters.leaves.get(BigInt(PAGE_BYTES)) ?? 0,
    tablePages: () => table.counters.tablePages,
    addResults: (sum) => {
      for (let i = 0; i < input.count; i++) sum.u64(batch.length[i]).u32(batch.status[i]);
    },
  });
}

export function changeBigInt(input: ChangeInput, change: Change): Workload {
  const table = new BigIntTable(arenaPagesFor(input.slots * input.length), BigInt(ARENA_BASE));
  const offsets = BigUint64Array.from(changeOffsets(input), BigInt);
  const iova = offsets.map((offset) => BigInt(WINDOW_IOVA) + offset);
  const physical = offsets.map((offset) => BigInt(WINDOW_PHYSICAL) + offset);
  const length = new BigUint64Array(input.count).fill(BigInt(input.length * PAGE_BYTES));
  const status = new Uint32Array(input.count);
  return changeWorkload(input, change, {
    map: () => {
      let failed = 0;
      for (let i = 0; i < input.count; i++) {
        status[i] = table.map(iova[i], physical[i], length[i], 3n);
        if (status[i] !== 0) failed++;
      }
      return failed;
    },
    unmap: () => {
      let failed = 0;
      for (let i = 0; i < input.count; i++) {
        const code = table.unmap(iova[i], length[i]);
        if (code !== 0) failed++;
        length[i] = code === 0 ? table.removedBytes : 0n;
        status[i] = code | (table.freedPages << 8);
      }
      return failed;
    },
    addLookup: (sum, at) => {
      sum.u64(table.lookup(BigInt(at)));
    },
    leaves: () => table.leaves,
    tablePages: () => table.tablePages,
    addResults: (sum) => {
      for (let i = 0; i < input.count; i++) sum.u64(length[i]).u32(status[i]);
    },
  });
}

export function changeWords(input: ChangeInput, change: Change): Workload {
  const table = new WordTable(arenaPagesFor(input.slots * input.length), ARENA_BASE);
  const offsets = changeOffsets(input);
  const iova = offsets.map((offset) => WINDOW_IOVA + offset);
  const physical = offsets.map((offset) => WINDOW_PHYSICAL + offset);
  const length = new Float64Array(input.count).fill(input.length * PAGE_BYTES);
  const status = new Uint32Array(input.count);
  const oneIova = new Uint32Array(2);
  const onePhysical = new Uint32Array(2);
  return changeWorkload(input, change, {
    map: () => {
      let failed = 0;
      for (let i = 0; i < input.count; i++) {
        status[i] = table.map(iova[i], physical[i], length[i], 3);
        if (status[i] !== 0) failed++;
      }
      return failed;
    },
    unmap: () => {
      let failed = 0;
      for (let i = 0; i < input.count; i++) {
        const code = table.unmap(iova[i], length[i]);
        if (code !== 0) failed++;
        length[i] = code === 0 ? table.removedPages * PAGE_BYTES : 0;
        status[i] = code | (table.freedPages << 8);
      }
      return failed;
    },
    addLookup: (sum, at) => {
      oneIova.set([at % 2 ** 32, Math.floor(at / 2 ** 32)]);
      table.lookupBatch(oneIova, onePhysical, 0, 1);
      sum.u32(onePhysical[0]).u32(onePhysical[1]);
    },
    leaves: () => table.leaves,
    tablePages: () => table.tablePages,
    addResults: (sum) => {
      for (let i = 0; i < input.count; i++) sum.number(length[i]).u32(status[i]);
    },
  });
}
