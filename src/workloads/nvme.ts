/**
 * Requests to one NVMe controller, mapped for as long as each is under way: direct I/O from the buffers of a process,
 * which it uses again and again, and reads into the page cache. No request is longer than 128 KiB, what Linux's driver
 * holds requests to behind an IOMMU (dma_opt_mapping_size). Queues are of 1024 entries of 64 and 16 bytes (NVMe base
 * specification 4.1, 4.2; the driver's default depth). The mix of lengths, 4 queues with 32 requests each under way, half of
 * them direct, and the 256 MiB of page cache are assumed.
 */
import type { BufferMemory } from "./buffer.js";
import { type LengthRange, lengthIn, pick, type Weighted } from "./distributions.js";
import { pageCacheFolios, singlePages, userMemory } from "./host-memory.js";
import { Live } from "./live.js";
import { PROCESS_END, VirtualAddresses } from "./virtual-addresses.js";
import type { Machine, Workload } from "./workload.js";
import type { Mapping } from "./writer.js";

const QUEUES = 4;
const DEPTH = 32;
const LONGEST_PAGES = 32;
const LENGTHS: Weighted<LengthRange | number> = [
  [5, 1],
  [2, { low: 1, high: 5 }],
  [3, LONGEST_PAGES],
];
/** Submission and completion queue, in pages. */
const QUEUE_PAGES = [(1024 * 64) / 4096, (1024 * 16) / 4096];
const PAGE_CACHE_PAGES = 2 ** 16;

interface Request {
  readonly mapping: Mapping;
  /** Index of the process's buffer that it uses. */
  readonly direct: number | null;
}

function start({ memory, random, writer }: Machine): () => void {
  for (let queue = 0; queue < QUEUES; queue++) {
    for (const pages of QUEUE_PAGES) writer.map(0, singlePages(memory, pages).runs);
  }
  const requests = QUEUES * DEPTH;
  const addresses = new VirtualAddresses(PROCESS_END);
  const poolPages = requests * LONGEST_PAGES;
  const poolPage = addresses.take(poolPages, 512);
  const pool = userMemory(memory, poolPage, poolPages).runs;
  const idle = Array.from({ length: requests }, (_, index) => index);

  const underWay = new Live<Request>(random);
  const pageCache: BufferMemory[] = [];
  let cachedPages = 0;
  return () => {
    if (underWay.count === requests) {
      const { mapping, direct } = underWay.takeAny();
      writer.unmap(mapping);
      if (direct !== null) idle.push(direct);
    }
    const length = pick(random, LENGTHS);
    const pages = typeof length === "number" ? length : lengthIn(random, length);
    if (random.below(2) === 0) {
      const direct = idle.pop() as number;
      const offset = direct * LONGEST_PAGES;
      const mapping = writer.map(0, pool.slice(offset, pages), poolPage + offset);
      underWay.add({ mapping, direct });
      return;
    }
    const folios = pageCacheFolios(memory, pages);
    pageCache.push(folios);
    cachedPages += pages;
    // The oldest are long complete: the cache holds far more than is under way.
    while (cachedPages > PAGE_CACHE_PAGES) {
      const oldest = pageCache.shift() as BufferMemory;
      cachedPages -= oldest.runs.pages;
      oldest.release();
    }
    underWay.add({ mapping: writer.map(0, folios.runs), direct: null });
  };
}

export const nvme: Workload = {
  name: "nvme",
  summary: "requests of 4 KiB to 128 KiB, 128 under way, direct I/O and page cache",
  domains: ["nvme"],
  operations: 20_000,
  start,
};
