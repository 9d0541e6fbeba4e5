/** Memory regions: one list of equal pages, which the HCA indexes with the offset in the region. */
import { alignDown, trailingZeros } from "../bits.js";
import { hex } from "../engine/addresses.js";
import { IommuError } from "../engine/errors.js";
import { addressBits, type Hint, prefer } from "./hint.js";
import { defineImporter, type HintRequest, type Importer, type LeafRun, type Tables } from "./importer.js";
import { dmaBlocks, findBestPageSize, PAGE_SIZE, regionPages, umemOf, usefulModulus } from "./rdma.js";
import { TableMemory } from "./table-memory.js";

/** How an HCA writes its page lists. */
export interface RegionFormat {
  readonly name: string;
  readonly title: string;
  /** Page sizes as a bitmap for a region at this I/O virtual address. */
  pageSizes(virt: bigint): bigint;
  readonly bigEndian: boolean;
  /** 8-byte words of an entry; the address is in the last. */
  readonly entryWords: 1 | 2;
  /** Bits beside the address. */
  readonly flags: bigint;
  /** The words before the address. */
  readonly prefix: bigint;
  /** Most bytes of a region, where there is such a limit. */
  readonly maxBytes?: bigint;
  /** Bytes that the HCA keeps for a list of so many bytes. */
  deviceBytes(listBytes: number): number;
}

export function regionImporter(format: RegionFormat): Importer {
  const { name, title } = format;
  const widest = format.pageSizes(0n);
  return defineImporter({
    name,
    title,
    pageSizes: widest,
    addressBits: 64,
    rules: { granule: PAGE_SIZE, edge: 1n, vaBits: 64 },
    leaves(va, segments) {
      const umem = umemOf(segments);
      const refuse = (code: "invalid" | "misaligned", at: bigint | undefined, why: string): never => {
        const what = `${name}: map a region of ${hex(umem.length)} bytes at I/O virtual address ${hex(va)}`;
        throw new IommuError(code, what, at, why);
      };
      if (format.maxBytes !== undefined && umem.length > format.maxBytes) {
        refuse("invalid", undefined, `a region has at most ${hex(format.maxBytes)} bytes`);
      }
      const pageSize = findBestPageSize(umem, format.pageSizes(va), va);
      if (pageSize === 0n) {
        refuse("misaligned", segments[0].address, "no page size of the HCA fits these DMA addresses");
      }
      return regionPages(va, segments, pageSize);
    },
    build: (leaves, region) => pageList(format, leaves, region),
    hint: (buffer) => regionHint(format, widest, buffer),
  });
}

function pageList(
  format: RegionFormat,
  leaves: readonly LeafRun[],
  { va: start, length }: { readonly va: bigint; readonly length: bigint },
): Tables {
  const memory = new TableMemory({ bigEndian: format.bigEndian });
  const entryBytes = BigInt(format.entryWords * 8);
  const pageSize = leaves[0].size;
  const pages = leaves.reduce((sum, { count }) => sum + count, 0);
  const bytes = pages * Number(entryBytes);
  const list = memory.allocate(bytes, 64);
  let slot = list;
  for (const { address, count } of leaves) {
    for (let page = address; page < address + pageSize * BigInt(count); page += pageSize) {
      if (format.entryWords === 2) memory.write(slot, format.prefix);
      memory.write(slot + entryBytes - 8n, page | format.flags);
      slot += entryBytes;
    }
  }
  return {
    memory,
    leafWords: pages,
    deviceBytes: format.deviceBytes(bytes),
    translate(va) {
      if (va < start || va >= start + length) return { fault: "outside the memory region", slots: [] };
      const entry = list + ((va - alignDown(start, pageSize)) / pageSize) * entryBytes;
      const slots = format.entryWords === 2 ? [entry, entry + 8n] : [entry];
      const page = alignDown(memory.read(entry + entryBytes - 8n), pageSize);
      return { address: page + (va % pageSize), pageSize, slots };
    },
  };
}

function regionHint(format: RegionFormat, widest: bigint, { va, length }: HintRequest): Hint {
  const hint = { pageSizes: widest, addressLimit: addressBits(64) };
  if (va === undefined)
    throw new IommuError("invalid", `${format.name}: hint`, undefined, "a region has a virtual address");
  const sizes = format.pageSizes(va);
  const modulus = usefulModulus(sizes, va, length);
  if (modulus === undefined) {
    const reason =
      widest === PAGE_SIZE
        ? `its pages are of ${PAGE_SIZE} bytes`
        : `no page above ${PAGE_SIZE} bytes is of use to ${hex(length)} bytes at ${hex(va)}`;
    return { ...hint, indifferent: { reason } };
  }
  const pages = dmaBlocks(va, length, modulus);
  const reason = `a page of 2^${trailingZeros(modulus)} bytes needs DMA address and virtual address to agree in its low bits; ${pages} of them hold the region`;
  return {
    ...hint,
    congruentTo: prefer({ address: va, modulus }, reason),
    singleSegment: prefer(true as const, "a break inside the region must be on a page boundary of the virtual address"),
  };
}
