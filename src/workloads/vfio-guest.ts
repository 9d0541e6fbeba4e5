/**
 * Virtual machines with a device assigned by VFIO, a domain each. A machine's memory is mapped when it starts, in the
 * sections that a PC has (conventional memory, the BIOS area, the rest), the BARs of its device when the guest enables them;
 * then virtio-mem plugs and unplugs blocks of 2 MiB, its default on x86-64 with huge pages. Memory is that of a process
 * with transparent huge pages, aligned to 2 MiB as QEMU aligns it. Sizes, 3 machines at a time, 1 step in 256 that restarts
 * one, and up to 128 MiB plugged are assumed.
 */
import type { BufferMemory } from "./buffer.js";
import { bar } from "./device-memory.js";
import { pick, type Weighted } from "./distributions.js";
import { userMemory } from "./host-memory.js";
import { Live } from "./live.js";
import { PROCESS_END, VirtualAddresses } from "./virtual-addresses.js";
import type { Machine, Workload } from "./workload.js";
import type { Mapping } from "./writer.js";

const GUESTS = 3;
const GUEST_PAGES: Weighted<number> = [
  [2, 2 ** 16],
  [2, 2 ** 17],
  [1, 2 ** 18],
];
/** Guest-physical pages [from, to); null: the end of memory. The hole is VGA's, at A0000h. */
const SECTIONS: readonly (readonly [from: number, to: number | null])[] = [
  [0, 0xa0],
  [0xc0, 0x100],
  [0x100, null],
];
/** BARs of an assigned device, in pages: 16 KiB of registers and 256 MiB of memory, in this order from the window's top. */
const BAR_PAGES = [4, 2 ** 16];
/** 64-bit PCI windows, one a device, above the addresses of RAM. */
const WINDOW_PAGES = 2 ** 17;
const WINDOWS = 2 ** 28;
const RESTART = 256;
const BLOCK_PAGES = 512;
const MOST_BLOCKS = 64;

interface Block {
  readonly mapping: Mapping;
  readonly memory: BufferMemory;
}

function start({ memory, random, writer }: Machine): () => void {
  const addresses = new VirtualAddresses(PROCESS_END);

  const boot = (domain: number): (() => void) => {
    const mappings: Mapping[] = [];
    const pages = pick(random, GUEST_PAGES);
    const first = addresses.take(pages, BLOCK_PAGES);
    const ram = userMemory(memory, first, pages);
    for (const [from, to] of SECTIONS) {
      mappings.push(writer.map(domain, ram.runs.slice(from, (to ?? pages) - from), first + from));
    }
    let top = WINDOWS + (domain + 1) * WINDOW_PAGES;
    for (const barPages of BAR_PAGES) {
      top = (Math.floor(top / barPages) - 1) * barPages;
      mappings.push(writer.map(domain, bar(top, barPages), addresses.take(barPages, Math.min(barPages, BLOCK_PAGES))));
    }
    return () => {
      for (const mapping of mappings) writer.unmap(mapping);
      ram.release();
    };
  };
  const unplug = (block: Block): void => {
    writer.unmap(block.mapping);
    block.memory.release();
  };

  const guests = Array.from({ length: GUESTS }, (_, domain) => ({
    domain,
    shutDown: boot(domain),
    blocks: new Live<Block>(random),
  }));
  return () => {
    const guest = guests[random.below(GUESTS)];
    const { domain, blocks } = guest;
    if (random.below(RESTART) === 0) {
      while (blocks.count > 0) unplug(blocks.takeAny());
      guest.shutDown();
      guest.shutDown = boot(domain);
    } else if (random.below(MOST_BLOCKS) < blocks.count) {
      unplug(blocks.takeAny());
    } else {
      const first = addresses.take(BLOCK_PAGES, BLOCK_PAGES);
      const block = userMemory(memory, first, BLOCK_PAGES);
      blocks.add({ mapping: writer.map(domain, block.runs, first), memory: block });
    }
  };
}

export const vfioGuest: Workload = {
  name: "vfio-guest",
  summary: "virtual machines of 256 MiB to 1 GiB with an assigned device each, and virtio-mem",
  domains: Array.from({ length: GUESTS }, (_, guest) => `guest${guest}`),
  operations: 2000,
  start,
};
