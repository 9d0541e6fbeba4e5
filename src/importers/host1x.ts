/**
 * NVIDIA Tegra's host1x and its clients behind the Tegra SMMU: one domain that co-operating drivers share, whose IOVAs are
 * private to them. Linux drivers/iommu/tegra-smmu.c, drivers/gpu/host1x.
 */
import { type PhysicalAddress, hex } from "../engine/addresses.js";
import { IommuError } from "../engine/errors.js";
import { indifferentHint } from "./gpu-hint.js";
import { defineImporter, type Importer, type LeafRun, type Tables } from "./importer.js";
import { TableMemory } from "./table-memory.js";
import { type Decode, type TableLevel, TableTree } from "./table-tree.js";

/** SMMU_PDE_READABLE and its like; a page's have the same places. */
const READABLE = 1n << 31n;
const WRITABLE = 1n << 30n;
const NONSECURE = 1n << 29n;
/** SMMU_PDE_NEXT: the entry points to a page table. */
const NEXT = 1n << 28n;

const PAGE_SHIFT = 12;
const PAGE = 1n << BigInt(PAGE_SHIFT);
const DIRECTORY: TableLevel = { shift: 22, indexBits: 10, entryBytes: 4 };
const PAGE_TABLE: TableLevel = { shift: PAGE_SHIFT, indexBits: 10, entryBytes: 4 };

export interface Host1xOptions {
  /** Width of a physical address: 32 on Tegra30, 34 from Tegra124 on. */
  readonly addressBits?: 32 | 34;
}

/** Maps physical memory at a private IOVA of the shared domain; that IOVA is the virtual address here. */
export function host1x({ addressBits = 34 }: Host1xOptions = {}): Importer<PhysicalAddress> {
  const name = "host1x";
  const frameMask = (1n << BigInt(addressBits - PAGE_SHIFT)) - 1n;
  return defineImporter<PhysicalAddress>({
    name,
    title: "Tegra host1x, shared domain of the Tegra SMMU",
    addresses: "physical",
    pageSizes: PAGE,
    addressBits,
    rules: { granule: PAGE, vaBits: 32 },
    leaves(va, segments) {
      let at = va;
      return segments.map(({ address, length, memory }, index) => {
        if (memory === "vram") {
          const what = `${name}: map segment ${index} at ${hex(address)}`;
          throw new IommuError("invalid", what, address, "Tegra has no VRAM");
        }
        const leaf = { va: at, address, size: PAGE, count: Number(length / PAGE), memory };
        at += length;
        return leaf;
      });
    },
    build: (leaves) => buildTables(leaves, frameMask),
    hint: () => indifferentHint(PAGE, 32, "the Tegra SMMU has pages of 4 KiB only"),
  });
}

function buildTables(leaves: readonly LeafRun[], frameMask: bigint): Tables {
  const memory = new TableMemory({ wordBytes: 4 });
  const flags = READABLE | WRITABLE | NONSECURE;
  const tree = new TableTree(memory, [DIRECTORY, PAGE_TABLE], (slot, table) =>
    memory.write(slot, (table >> BigInt(PAGE_SHIFT)) | flags | NEXT),
  );
  let leafWords = 0;
  for (const { va, address, count } of leaves) {
    for (let offset = 0n; offset < PAGE * BigInt(count); offset += PAGE) {
      memory.write(tree.slot(va + offset, 1), ((address + offset) >> BigInt(PAGE_SHIFT)) | flags);
      leafWords++;
    }
  }
  const decode: Decode = (slot, level, slots) => {
    slots.push(slot);
    const entry = memory.read(slot);
    if ((entry & (READABLE | WRITABLE)) === 0n) return { fault: "the entry permits neither reads nor writes" };
    const address = (entry & frameMask) << BigInt(PAGE_SHIFT);
    return level === DIRECTORY ? { table: address, level: PAGE_TABLE } : { page: address, pageShift: PAGE_SHIFT };
  };
  return { memory, leafWords, deviceBytes: 0, translate: (va) => tree.walk(va, decode) };
}
