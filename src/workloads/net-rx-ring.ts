/**
 * Receive rings of one NIC, one a core, as in the set-up of Fast & Safe (SOSP'24, section 2): 5 cores with a flow each, MTU
 * 4 KiB, 256 buffers a ring of which twice as many are mapped (the working set is 2 x cores x MTU x ring), descriptors of
 * 64 pages that are mapped one by one and unmapped together when the descriptor completes, and acknowledgements, the only
 * transmissions, each mapped, sent and unmapped on its own, in the same domain. The paper does not give their number: one
 * for every 8 pages received is assumed, as are their 512-byte buffers in slabs of 32 KiB, and the 1024 received pages that
 * wait for their reader.
 */
import type { BufferMemory } from "./buffer.js";
import { contiguousPages, singlePages } from "./host-memory.js";
import { PageRuns } from "./page-runs.js";
import type { Machine, Workload } from "./workload.js";
import type { Mapping } from "./writer.js";

const CORES = 5;
const DESCRIPTOR_PAGES = 64;
const RING_DESCRIPTORS = (2 * 256) / DESCRIPTOR_PAGES;
const PAGES_PER_ACKNOWLEDGEMENT = 8;
const SLAB_ORDER = 3;
const WAITING_PAGES = 1024;

interface Received {
  readonly mapping: Mapping;
  readonly page: BufferMemory;
}

function start({ memory, random, writer }: Machine): () => void {
  const slabs = Array.from({ length: CORES }, () => contiguousPages(memory, SLAB_ORDER));
  /** The ring's own descriptors: 16 bytes each, one page. */
  for (let core = 0; core < CORES; core++) writer.map(0, singlePages(memory, 1).runs);
  const waiting: BufferMemory[] = [];

  const post = (): Received[] =>
    Array.from({ length: DESCRIPTOR_PAGES }, () => {
      const page = singlePages(memory, 1);
      return { mapping: writer.map(0, page.runs), page };
    });
  const acknowledge = (core: number): void => {
    const buffer = new PageRuns();
    buffer.append(slabs[core].runs.start(0) + random.below(2 ** SLAB_ORDER), 1);
    writer.unmap(writer.map(0, buffer));
  };
  const rings = Array.from({ length: CORES }, (_, core) => {
    writer.cpu = core;
    return Array.from({ length: RING_DESCRIPTORS }, post);
  });

  return () => {
    const core = random.below(CORES);
    writer.cpu = core;
    const completed = rings[core].shift() as Received[];
    for (const { mapping, page } of completed) {
      writer.unmap(mapping);
      waiting.push(page);
    }
    rings[core].push(post());
    for (let sent = 0; sent < DESCRIPTOR_PAGES / PAGES_PER_ACKNOWLEDGEMENT; sent++) acknowledge(core);
    for (const page of waiting.splice(0, waiting.length - WAITING_PAGES)) page.release();
  };
}

export const netRxRing: Workload = {
  name: "net-rx-ring",
  summary: "receive rings of 5 cores, pages mapped one by one and unmapped 64 at a time, and acknowledgements",
  domains: ["nic"],
  operations: 20_000,
  start,
};
