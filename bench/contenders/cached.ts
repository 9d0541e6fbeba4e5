/** Reads of one device through an IOTLB and paging-structure caches. */
import { AccessBatch } from "../../src/access/batch.js";
import { walkReads } from "../../src/access/counters.js";
import { type DeviceTags, TranslationSimulator } from "../../src/access/simulator.js";
import type { CacheGeometry } from "../../src/cache/geometry.js";
import { physicalAddress, privateAddress } from "../../src/engine/addresses.js";
import type { Engine } from "../../src/engine/engine.js";
import { Checksum } from "../checksum.js";
import {
  type CachedInput,
  DOMAIN,
  PAGE_BYTES,
  STRUCTURE_WAYS,
  WINDOW_IOVA,
  WINDOW_PHYSICAL,
  walkIovas,
} from "../inputs.js";
import type { Workload } from "../workload.js";

const ACCESS_BYTES = 64;

export function cachedWasm(engine: Engine, input: CachedInput): Workload {
  const { pages, walks, chunk, sets, ways } = input;
  const table = engine.createTable("vtdss", { levels: 4, pageSizes: BigInt(PAGE_BYTES) });
  const window = privateAddress(BigInt(WINDOW_IOVA));
  const permissions = { read: true, write: true };
  table.map(window, physicalAddress(BigInt(WINDOW_PHYSICAL)), BigInt(pages * PAGE_BYTES), permissions);
  const structure: CacheGeometry = { sets: 1, ways: STRUCTURE_WAYS, replacement: "lru" };
  const simulator = new TranslationSimulator(engine, {
    iotlb: [{ sets, ways, replacement: "lru" }],
    secondStage: { 2: structure, 3: structure, 4: structure },
  });
  const of = { tag: DOMAIN, owner: DOMAIN };
  const tags: DeviceTags = { iotlb: of, firstStage: of, secondStage: of, nested: of, context: of, pasid: of };
  simulator.addDevice({ secondStage: table, tags });
  const iovas = walkIovas(input);
  const batches = Array.from({ length: walks / chunk }, () => new AccessBatch(engine, chunk));
  batches.forEach((batch, index) => {
    for (let i = 0; i < chunk; i++) {
      const iova = BigInt(iovas[index * chunk + i]);
      batch.set(i, { iova, bytes: ACCESS_BYTES, write: false, device: 0 });
    }
  });
  let cursor = 0;
  const call = (): void => {
    simulator.run(batches[cursor], chunk);
    cursor = (cursor + 1) % batches.length;
  };
  return {
    operationsPerCall: chunk,
    call,
    check: () => {
      const sum = new Checksum();
      for (const batch of batches) {
        call();
        for (const physical of batch.physical) sum.u64(physical);
      }
      const { counters } = simulator;
      return sum.number(counters.iotlbHits).number(walkReads(counters)).value;
    },
  };
}
