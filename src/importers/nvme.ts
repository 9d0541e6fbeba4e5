/**
 * NVMe commands' data pointers: PRP entries and lists, SGL descriptors; memory pages of 4 KiB (CC.MPS = 0).
 * NVM Express Base Specification 2.0, 4.1.1 and 4.1.2; Linux drivers/nvme/host/pci.c, include/linux/nvme.h.
 */
import { alignDown, alignUp } from "../bits.js";
import { IommuError } from "../engine/errors.js";
import { addressBits, must, prefer } from "./hint.js";
import { defineImporter, type Importer, type LeafRun, type Segment, segmentName, type Tables } from "./importer.js";
import { TableMemory } from "./table-memory.js";

const PAGE = 4096n;
const ENTRY = 8n;
/** Entries of a PRP list page; the last points to the next page if more remain. */
const LIST_ENTRIES = 512;
/** A transfer whose list fits takes it from Linux's small pool; otherwise all its lists are pages. */
const SMALL_LIST_BYTES = 256;
/** SQE bytes 39:24, DPTR. */
const DATA_POINTER_BYTES = 16;

/** SGL descriptor types, byte 15 (figure "SGL Descriptor Type"), and the descriptors of a page. */
const DATA_BLOCK = 0x00n;
const SEGMENT = 0x20n;
const LAST_SEGMENT = 0x30n;
const TYPE_SHIFT = 56n;
const DESCRIPTOR = 16n;
const PAGE_DESCRIPTORS = 256;
/** Most bytes of a descriptor. */
const DESCRIPTOR_BYTES = 0xffff_ffffn;

export interface NvmeOptions {
  readonly mode?: "prp" | "sgl";
}

/** Linux takes SGLs from this average segment on (sgl_threshold). */
const SGL_THRESHOLD = 32n * 1024n;

/** Whether Linux describes a transfer with an SGL, given that controller and queue support them (nvme_pci_use_sgls). */
export function nvmeUsesSgl(segments: readonly Segment<bigint>[], threshold = SGL_THRESHOLD): boolean {
  if (threshold === 0n || segments.length === 0) return false;
  const length = segments.reduce((sum, segment) => sum + segment.length, 0n);
  const count = BigInt(segments.length);
  return (length + count - 1n) / count >= threshold;
}

/** One transfer. There is no virtual address: `translate` takes the offset in the transfer. */
export function nvme({ mode = "prp" }: NvmeOptions = {}): Importer {
  return mode === "prp" ? prp() : sgl();
}

function prp(): Importer {
  return defineImporter({
    name: "nvme",
    title: "NVMe transfer, PRP",
    pageSizes: PAGE,
    addressBits: 64,
    rules: { granule: PAGE, edge: 4n },
    leaves: (_, segments) => {
      let at = 0n;
      return segments.map(({ address, length, memory }) => {
        const page = alignDown(address, PAGE);
        const count = Number((alignUp(address + length, PAGE) - page) / PAGE);
        const leaf = { va: at - (address - page), address: page, size: PAGE, count, memory };
        at += length;
        return leaf;
      });
    },
    build: (leaves, { length }) => prpList(leaves, length),
    hint: () => ({
      pageSizes: PAGE,
      indifferent: { reason: "a PRP entry is a page of 4 KiB, wherever it is" },
      singleSegment: prefer(
        true as const,
        "a break must be on a page boundary (virt_boundary_mask); one segment has none",
      ),
      addressLimit: addressBits(64),
    }),
  });
}

function prpList(leaves: readonly LeafRun[], length: bigint): Tables {
  const memory = new TableMemory();
  const pointer = memory.allocate(DATA_POINTER_BYTES, DATA_POINTER_BYTES);
  const pages = leaves.flatMap(({ address, count }) =>
    Array.from({ length: count }, (_, index) => address + BigInt(index) * PAGE),
  );
  // The first run begins before the transfer by the offset in its page.
  const offset = -leaves[0].va;
  memory.write(pointer, pages[0] + offset);
  if (pages.length === 2) memory.write(pointer + ENTRY, pages[1]);
  const listBytes = (pages.length - 1) * Number(ENTRY) <= SMALL_LIST_BYTES ? SMALL_LIST_BYTES : Number(PAGE);
  let slot = pointer + ENTRY;
  let room = 0;
  for (let index = 1; pages.length > 2 && index < pages.length; index++) {
    const left = pages.length - index;
    if (room === 0 || (room === 1 && left > 1)) {
      const list = memory.allocate(listBytes, listBytes);
      memory.write(slot, list);
      slot = list;
      room = LIST_ENTRIES;
    }
    memory.write(slot, pages[index]);
    slot += ENTRY;
    room--;
  }
  return {
    memory,
    leafWords: pages.length,
    deviceBytes: 0,
    translate(at) {
      if (at < 0n || at >= length) return { fault: "beyond the transfer", slots: [] };
      const first = memory.read(pointer);
      const place = (first % PAGE) + at;
      const count = ((first % PAGE) + length + PAGE - 1n) / PAGE;
      const index = place / PAGE;
      const slots = [pointer];
      let page = alignDown(first, PAGE);
      if (index > 0n) {
        slots.push(pointer + ENTRY);
        page = memory.read(pointer + ENTRY);
        if (count > 2n) page = prpOfList(memory, page, index - 1n, count - 1n, slots);
      }
      return { address: page + (place % PAGE), pageSize: PAGE, slots };
    },
  };
}

/** The entry at an index of a chain of lists. */
function prpOfList(memory: TableMemory, list: bigint, index: bigint, count: bigint, slots: bigint[]): bigint {
  const last = BigInt(LIST_ENTRIES - 1);
  let [at, left, page] = [index, count, list];
  while (left > last + 1n && at >= last) {
    slots.push(page + last * ENTRY);
    page = memory.read(page + last * ENTRY);
    at -= last;
    left -= last;
  }
  slots.push(page + at * ENTRY);
  return memory.read(page + at * ENTRY);
}

function sgl(): Importer {
  const name = "nvme-sgl";
  return defineImporter({
    name,
    title: "NVMe transfer, SGL",
    pageSizes: 0n,
    addressBits: 64,
    rules: { granule: 1n },
    leaves: (_, segments) => {
      let at = 0n;
      return segments.map((segment, index) => {
        const { address, length, memory } = segment;
        if (length > DESCRIPTOR_BYTES) {
          throw new IommuError(
            "invalid",
            segmentName(name, index, segment),
            address,
            "a descriptor's length has 32 bits",
          );
        }
        const leaf = { va: at, address, size: length, count: 1, memory };
        at += length;
        return leaf;
      });
    },
    ideal: (length) => Number((length + DESCRIPTOR_BYTES - 1n) / DESCRIPTOR_BYTES),
    build: sglSegments,
    hint: () => ({
      pageSizes: 0n,
      indifferent: { reason: "an SGL descriptor begins at any byte and is as long as its segment" },
      singleSegment: prefer(true as const, "a descriptor a segment"),
      maxSegment: must(DESCRIPTOR_BYTES, "a descriptor's length has 32 bits"),
      addressLimit: addressBits(64),
    }),
  });
}

function sglSegments(leaves: readonly LeafRun[]): Tables {
  const memory = new TableMemory();
  const pointer = memory.allocate(DATA_POINTER_BYTES, DATA_POINTER_BYTES);
  const write = (slot: bigint, address: bigint, length: bigint, type: bigint): void => {
    memory.write(slot, address);
    memory.write(slot + 8n, length | (type << TYPE_SHIFT));
  };
  const listBytes = leaves.length * Number(DESCRIPTOR) <= SMALL_LIST_BYTES ? SMALL_LIST_BYTES : Number(PAGE);
  let next = pointer;
  for (let index = 0; index < leaves.length; ) {
    const left = leaves.length - index;
    if (leaves.length === 1) {
      write(next, leaves[index].address, leaves[index++].size, DATA_BLOCK);
      continue;
    }
    const isLast = left <= PAGE_DESCRIPTORS;
    const descriptors = isLast ? left : PAGE_DESCRIPTORS;
    const list = memory.allocate(listBytes, listBytes);
    write(next, list, BigInt(descriptors) * DESCRIPTOR, isLast ? LAST_SEGMENT : SEGMENT);
    next = list;
    for (let slot = isLast ? 0 : 1; slot < descriptors; slot++, next += DESCRIPTOR) {
      const { address, size } = leaves[index++];
      write(next, address, size, DATA_BLOCK);
    }
  }
  return {
    memory,
    leafWords: leaves.length * 2,
    deviceBytes: 0,
    translate(at) {
      const slots: bigint[] = [];
      let [slot, left, offset] = [pointer, 1n, at];
      while (left > 0n && offset >= 0n) {
        slots.push(slot, slot + 8n);
        const address = memory.read(slot);
        const word = memory.read(slot + 8n);
        const length = BigInt.asUintN(32, word);
        if (word >> TYPE_SHIFT !== DATA_BLOCK) {
          slot = address;
          left = length / DESCRIPTOR;
        } else if (offset < length) {
          return { address: address + offset, pageSize: length, slots };
        } else {
          offset -= length;
          slot += DESCRIPTOR;
          left--;
        }
      }
      return { fault: "beyond the transfer", slots };
    },
  };
}
