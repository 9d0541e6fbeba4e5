/**
 * What the network card and its driver do in Fast & Safe (SOSP'24), as far as the IOMMU sees it. One IOVA space for the
 * device, whose channels, one a core, all fill their rings when it comes up; some of them receive. Rx descriptors of 64
 * pages, mapped page by page and unmapped together once they are used up; for some pages an ACK, which is mapped, sent and
 * unmapped on its own, by the next poll of the core that sent it; rings of descriptors and completions, mapped once.
 *
 * Not here: the driver's cache of mapped pages, which the paper does not name, and delays, as there is no clock.
 */
import type { CachesGeometry } from "../../access/simulator.js";
import { CASCADE_LAKE } from "../../machines/presets.js";

/** Where IOVAs come from: pages of 4 KiB by number, as `alloc_iova_fast` and `free_iova_fast` of Linux. */
export interface PageAllocator {
  /** The first of `pages` pages, the last at or below `limitPfn`; 0 when there is no place. */
  allocate(pages: number, limitPfn: number, cpu: number, flush: boolean): number;
  free(pfn: number, pages: number, cpu: number): void;
}

export interface Parameter {
  readonly value: number;
  readonly source: string;
}

export const CACHES: CachesGeometry = CASCADE_LAKE.caches;
const { secondStage: structures = {} } = CACHES;

const PAPER = "paper: ";
const MLX5 = "ConnectX-5's format of queue entries (mlx5)";

/** The same for every case. */
export const PARAMETERS = {
  cores: { value: 5, source: `${PAPER}5 cores receive` },
  channels: {
    value: 32,
    source: `${PAPER}4 sockets of 8 cores; mlx5 makes a channel a core, and the paper's setup script asks for that`,
  },
  descriptorPages: { value: 64, source: `${PAPER}an Rx descriptor has 64 pages` },
  descriptorsPerChannel: {
    value: 8,
    source: `${PAPER}working set = 2 * cores * MTU * ring, with an MTU of 4 KiB and a ring of 256`,
  },
  packetBytes: { value: 4096, source: `${PAPER}MTU of 4 KiB, one page a packet` },
  receiveDescriptorBytes: { value: 1024, source: `${MLX5}: 64 data segments of 16 bytes` },
  sendDescriptorBytes: { value: 64, source: `${MLX5}: one basic block` },
  completionBytes: { value: 64, source: MLX5 },
  ackBytes: { value: 66, source: "Ethernet, IPv4 and TCP headers with the timestamp option" },
  receiveRingPages: { value: 2, source: "descriptorsPerChannel * receiveDescriptorBytes" },
  otherRingPages: { value: 16, source: "assumed: 1024 entries of 64 bytes a ring of sends or completions" },
  iotlbEntries: { value: CACHES.iotlb[0].ways, source: CASCADE_LAKE.sources.caches.iotlb },
  l1Entries: { value: structures[4]?.ways ?? 0, source: CASCADE_LAKE.sources.caches.level4 },
  l2Entries: { value: structures[3]?.ways ?? 0, source: CASCADE_LAKE.sources.caches.level3 },
  l3Entries: { value: structures[2]?.ways ?? 0, source: CASCADE_LAKE.sources.caches.level2 },
  limitPfn: { value: 0xf_ffff, source: "Linux: PCI devices are given IOVAs below 4 GiB first" },
} as const satisfies Readonly<Record<string, Parameter>>;

/** What no source says and no number expresses. */
export const ASSUMPTIONS = [
  "channels that come up together take IOVAs in turn, page by page",
  "a core polls after every page it receives: that poll finds the ACKs sent before completed, and unmaps them",
  "pages arrive for flows at random, each as likely as any other",
  "nothing is received while a descriptor's 64 pages are unmapped",
] as const;

/** How the driver maps and invalidates. */
export interface Protection {
  readonly name: string;
  /** One range of IOVAs a descriptor, mapped at once; otherwise one a page. */
  readonly contiguous: boolean;
  /** Unmaps leave the paging-structure caches alone (invalidation hint), as no table page is freed. */
  readonly iotlbOnly: boolean;
}

export const STRICT: Protection = { name: "strict", contiguous: false, iotlbOnly: false };
export const FAST_AND_SAFE: Protection = { name: "contiguous, IOTLB-only", contiguous: true, iotlbOnly: true };
