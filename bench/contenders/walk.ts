/** Batches of walks: presence only (iova_to_phys), or every check of the hardware walk with a status word each. */
import { ACCESS_READ } from "../../assembly/layout.js";
import type { Engine } from "../../src/engine/engine.js";
import { dmaAddress, physicalAddress } from "../../src/engine/addresses.js";
import { Checksum } from "../checksum.js";
import {
  ARENA_BASE,
  arenaPagesFor,
  PAGE_BYTES,
  WINDOW_IOVA,
  WINDOW_PHYSICAL,
  type WalkInput,
  walkIovas,
} from "../inputs.js";
import { BigIntTable } from "../peers/table-bigint.js";
import { WordTable } from "../peers/table-words.js";
import type { Workload } from "../workload.js";

/** The results of all chunks, in the order in which bench/peers/main.c adds them up. */
function sumUp(input: WalkInput, checked: boolean, results: (chunk: number) => [BigUint64Array, Uint32Array]): number {
  const sum = new Checksum();
  for (let chunk = 0; chunk < input.walks / input.chunk; chunk++) {
    const [physical, status] = results(chunk);
    const words = new Uint32Array(physical.buffer, physical.byteOffset, physical.length * 2);
    for (let i = 0; i < input.chunk; i++) {
      sum.u32(words[i * 2]).u32(words[i * 2 + 1]);
      if (checked) sum.u32(status[i]);
    }
  }
  return sum.value;
}

/** Our own: batches of the TypeScript API, over a table of a format with 4 KiB pages. */
export function walkWasm(engine: Engine, input: WalkInput, checked: boolean, format = "vtdss"): Workload {
  const table = engine.createTable(format, { levels: 4, pageSizes: BigInt(PAGE_BYTES) });
  table.map(
    dmaAddress(BigInt(WINDOW_IOVA)),
    physicalAddress(BigInt(WINDOW_PHYSICAL)),
    BigInt(input.pages) * BigInt(PAGE_BYTES),
    { read: true, write: true },
  );
  const iovas = walkIovas(input);
  const chunks = input.walks / input.chunk;
  const batches = Array.from({ length: chunks }, () => table.createWalkBatch(input.chunk));
  batches.forEach((batch, chunk) => {
    const at = batch.iova;
    for (let i = 0; i < input.chunk; i++) at[i] = BigInt(iovas[chunk * input.chunk + i]);
  });
  let cursor = 0;
  const call = (): void => {
    if (checked) table.walkBatch(batches[cursor], input.chunk, { read: true });
    else table.iovaToPhysBatch(batches[cursor], input.chunk);
    cursor = (cursor + 1) % chunks;
  };
  return {
    operationsPerCall: input.chunk,
    call,
    check: () => {
      for (let chunk = 0; chunk < chunks; chunk++) call();
      return sumUp(input, checked, (chunk) => [batches[chunk].physical, batches[chunk].status]);
    },
  };
}

export function walkBigInt(input: WalkInput, checked: boolean): Workload {
  const table = new BigIntTable(arenaPagesFor(input.pages), BigInt(ARENA_BASE));
  table.map(BigInt(WINDOW_IOVA), BigInt(WINDOW_PHYSICAL), BigInt(input.pages) * BigInt(PAGE_BYTES), 3n);
  const iovas = BigUint64Array.from(walkIovas(input), BigInt);
  const physical = new BigUint64Array(input.walks);
  const status = new Uint32Array(input.walks);
  let from = 0;
  const call = (): void => {
    if (checked) table.walkBatch(iovas, physical, status, from, input.chunk, BigInt(ACCESS_READ));
    else table.lookupBatch(iovas, physical, from, input.chunk);
    from = (from + input.chunk) % input.walks;
  };
  return plainWalk(input, checked, call, physical, status);
}

export function walkWords(input: WalkInput, checked: boolean): Workload {
  const table = new WordTable(arenaPagesFor(input.pages), ARENA_BASE);
  table.map(WINDOW_IOVA, WINDOW_PHYSICAL, input.pages * PAGE_BYTES, 3);
  const iovas = new Uint32Array(BigUint64Array.from(walkIovas(input), BigInt).buffer);
  const physical = new BigUint64Array(input.walks);
  const words = new Uint32Array(physical.buffer);
  const status = new Uint32Array(input.walks);
  let from = 0;
  const call = (): void => {
    if (checked) table.walkBatch(iovas, words, status, from, input.chunk, ACCESS_READ);
    else table.lookupBatch(iovas, words, from, input.chunk);
    from = (from + input.chunk) % input.walks;
  };
  return plainWalk(input, checked, call, physical, status);
}

function plainWalk(
  input: WalkInput,
  checked: boolean,
  call: () => void,
  physical: BigUint64Array,
  status: Uint32Array,
): Workload {
  return {
    operationsPerCall: input.chunk,
    call,
    check: () => {
      for (let done = 0; done < input.walks; done += input.chunk) call();
      return sumUp(input, checked, (chunk) => {
        const from = chunk * input.chunk;
        return [physical.subarray(from, from + input.chunk), status.subarray(from, from + input.chunk)];
      });
    },
  };
}
