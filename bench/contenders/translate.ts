/** Requests of many devices through a VT-d unit, and walks of one table that maps the same physical pages. */
import { physicalAddress, privateAddress } from "../../src/engine/addresses.js";
import type { Engine } from "../../src/engine/engine.js";
import { VtdUnit, type VtdUnitOptions } from "../../src/vtd/unit.js";
import { Checksum } from "../checksum.js";
import { PAGE_BYTES, type TranslateInput, translateRequests, WINDOW_IOVA, WINDOW_PHYSICAL } from "../inputs.js";
import type { Workload } from "../workload.js";

/** Registers and bits of VT-d sections 11.4.4 and 11.4.5. */
const GCMD = 0x18;
const RTADDR = 0x20;
const GCMD_TE = 0x8000_0000;
const GCMD_SRTP = 0x4000_0000;
const TTM_SCALABLE = 1n << 10n;
/** Sections 9.1, 9.4, 9.5 and 9.6: present; PASID table entry of a 4-level second stage. */
const PRESENT = 1n;
const SECOND_STAGE = (2n << 2n) | (2n << 6n);
const CONTEXT_BYTES = 32;

const READ_WRITE = { read: true, write: true };

interface Batch {
  readonly physical: BigUint64Array;
}

/** Calls chunk after chunk, and checks the physical addresses: the status word of an IOTLB hit is not that of a walk. */
function workload(input: TranslateInput, batches: readonly Batch[], translate: (chunk: number) => void): Workload {
  let cursor = 0;
  return {
    operationsPerCall: input.chunk,
    call: () => {
      translate(cursor);
      cursor = (cursor + 1) % batches.length;
    },
    check: () => {
      const sum = new Checksum();
      batches.forEach((batch, chunk) => {
        translate(chunk);
        for (const physical of batch.physical) sum.u64(physical);
      });
      return sum.value;
    },
  };
}

/** Every device in a domain of its own with a second-stage table of its own, in scalable mode. */
export function translateWasm(engine: Engine, input: TranslateInput, options: VtdUnitOptions = {}): Workload {
  const { devices, pages, chunk, requests } = input;
  const { memory } = engine;
  const root = memory.allocatePage();
  const contexts = memory.allocatePage();
  memory.write64(root, contexts | PRESENT);
  const bytes = BigInt(pages * PAGE_BYTES);
  for (let device = 0; device < devices; device++) {
    const table = engine.createTable("vtdss", { levels: 4, pageSizes: BigInt(PAGE_BYTES) });
    const physical = BigInt(WINDOW_PHYSICAL) + BigInt(device) * bytes;
    table.map(privateAddress(BigInt(WINDOW_IOVA)), physicalAddress(physical), bytes, READ_WRITE);
    const directory = memory.allocatePage();
    const entries = memory.allocatePage();
    memory.write64(physicalAddress(contexts + BigInt(device * CONTEXT_BYTES)), directory | PRESENT);
    memory.write64(directory, entries | PRESENT);
    memory.write64(entries, table.root | SECOND_STAGE | PRESENT);
    memory.write64(physicalAddress(entries + 8n), BigInt(device + 1));
  }
  const unit = new VtdUnit(engine, options);
  unit.write64(RTADDR, root | TTM_SCALABLE);
  unit.write32(GCMD, GCMD_SRTP);
  unit.write32(GCMD, GCMD_TE);
  const { device, offset } = translateRequests(input);
  const batches = Array.from({ length: requests / chunk }, () => unit.createBatch(chunk));
  batches.forEach((batch, index) => {
    for (let i = 0; i < chunk; i++) {
      batch.source[i] = device[index * chunk + i];
      batch.iova[i] = BigInt(WINDOW_IOVA + offset[index * chunk + i]);
    }
  });
  return workload(input, batches, (index) => unit.translateBatch(batches[index], chunk));
}

/** The same requests as walks of a single table that maps what all devices map. */
export function translateAsWalks(engine: Engine, input: TranslateInput): Workload {
  const { devices, pages, chunk, requests } = input;
  const table = engine.createTable("vtdss", { levels: 4, pageSizes: BigInt(PAGE_BYTES) });
  const bytes = pages * PAGE_BYTES;
  const window = physicalAddress(BigInt(WINDOW_PHYSICAL));
  table.map(privateAddress(BigInt(WINDOW_IOVA)), window, BigInt(devices * bytes), READ_WRITE);
  const { device, offset } = translateRequests(input);
  const batches = Array.from({ length: requests / chunk }, () => table.createWalkBatch(chunk));
  batches.forEach((batch, index) => {
    for (let i = 0; i < chunk; i++) {
      const at = index * chunk + i;
      batch.iova[i] = BigInt(WINDOW_IOVA + device[at] * bytes + offset[at]);
    }
  });
  return workload(input, batches, (index) => table.walkBatch(batches[index], chunk));
}
