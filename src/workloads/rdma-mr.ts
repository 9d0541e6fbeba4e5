/**
 * RDMA memory regions of one HCA: registered, used for long, deregistered at any age as a registration cache does. The
 * region of 100 MiB at a virtual address one page into a huge page is Gunthorpe's example (linux-rdma, 2024-11-05: 200K of
 * mapping information on the device, 16 bytes with a properly aligned IOVA). The other sizes, their weights, the share of
 * regions that begin one page in, and the 2 GiB registered at a time are assumed.
 */
import { type LengthRange, lengthIn, pick, type Weighted } from "./distributions.js";
import { userMemory } from "./host-memory.js";
import { Live } from "./live.js";
import { mmapAlignment, PROCESS_END, VirtualAddresses } from "./virtual-addresses.js";
import type { Machine, Workload } from "./workload.js";
import type { Mapping } from "./writer.js";

const LENGTHS: Weighted<LengthRange | "example"> = [
  [9, { low: 4, high: 8 }],
  [7, { low: 8, high: 12 }],
  [3, { low: 12, high: 15 }],
  [1, "example"],
];
const EXAMPLE_PAGES = 25_600;
/** Regions that begin one page into their mapping: 1 of this many. */
const ONE_PAGE_IN = 4;
const REGISTERED_PAGES = 2 ** 19;

interface Region {
  readonly mapping: Mapping;
  readonly release: () => void;
}

function start({ memory, random, writer }: Machine): () => void {
  const addresses = new VirtualAddresses(PROCESS_END);
  const regions = new Live<Region>(random);
  let registered = 0;
  return () => {
    const length = pick(random, LENGTHS);
    const pages = length === "example" ? EXAMPLE_PAGES : lengthIn(random, length);
    const offset = length === "example" || random.below(ONE_PAGE_IN) === 0 ? 1 : 0;
    while (registered + pages > REGISTERED_PAGES) {
      const { mapping, release } = regions.takeAny();
      writer.unmap(mapping);
      release();
      registered -= mapping.pages;
    }
    const page = addresses.take(pages + offset, mmapAlignment(pages + offset));
    const buffer = userMemory(memory, page, pages + offset);
    const mapping = writer.map(0, buffer.runs.slice(offset, pages), page + offset);
    regions.add({ mapping, release: () => buffer.release() });
    registered += pages;
  };
}

export const rdmaMr: Workload = {
  name: "rdma-mr",
  summary: "memory regions of 64 KiB to 128 MiB in process memory with huge pages, 2 GiB at a time",
  domains: ["hca"],
  operations: 2000,
  start,
};
