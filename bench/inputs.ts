/** The inputs of every case, generated from a seed exactly as bench/peers/main.c does. */
import { Random } from "../src/random.js";

export const PAGE_SHIFT = 12;
export const PAGE_BYTES = 4096;
/** Where the mapped window begins. */
export const WINDOW_IOVA = 2 ** 40;
export const WINDOW_PHYSICAL = 2 ** 32;
/** Where page tables lie in physical memory. */
export const ARENA_BASE = 2 ** 38;
export const LONGEST_RANGE = 64;

/** A table of 4 KiB leaves over one contiguous window, and random IOVAs in it. */
export interface WalkInput {
  readonly pages: number;
  readonly walks: number;
  /** Walks of one batch. */
  readonly chunk: number;
  readonly seed: number;
}

/** The same, through an IOTLB of this geometry, true LRU. */
export interface CachedInput extends WalkInput {
  readonly sets: number;
  readonly ways: number;
}

/** Ways of every paging-structure cache, fully associative, and whose translations they are. */
export const STRUCTURE_WAYS = 32;
export const DOMAIN = 1n;

export function walkIovas({ pages, walks, seed }: WalkInput): Float64Array {
  const random = new Random(seed);
  const iovas = new Float64Array(walks);
  for (let i = 0; i < walks; i++) {
    const page = random.below(pages);
    iovas[i] = WINDOW_IOVA + page * PAGE_BYTES + random.below(PAGE_BYTES);
  }
  return iovas;
}

/** Pages of tables for one contiguous range of 4 KiB leaves, generously. */
export function arenaPagesFor(pages: number): number {
  return Math.floor(pages / 512) + Math.floor(pages / (512 * 512)) + 16;
}

/** Devices with a table of 4 KiB leaves each, all over the same window, and random requests of theirs. */
export interface TranslateInput {
  readonly devices: number;
  /** Pages that each device maps. */
  readonly pages: number;
  readonly requests: number;
  /** Requests of one batch. */
  readonly chunk: number;
  readonly seed: number;
}

export interface TranslateRequests {
  /** Whose request it is, from 0. */
  readonly device: Uint32Array;
  /** Where in the device's window, in bytes. */
  readonly offset: Float64Array;
}

export function translateRequests({ devices, pages, requests, seed }: TranslateInput): TranslateRequests {
  const random = new Random(seed);
  const device = new Uint32Array(requests);
  const offset = new Float64Array(requests);
  for (let i = 0; i < requests; i++) {
    device[i] = random.below(devices);
    offset[i] = random.below(pages) * PAGE_BYTES + random.below(PAGE_BYTES);
  }
  return { device, offset };
}

/** A batch of ranges to map and to unmap. */
export interface ChangeInput {
  readonly count: number;
  /** Pages of each range. */
  readonly length: number;
  /** How many places there are; every range takes another. */
  readonly slots: number;
  readonly seed: number;
}

/** Offset of every range in the window, in bytes: the beginning of a random permutation of the places. */
export function changeOffsets({ count, length, slots, seed }: ChangeInput): Float64Array {
  const random = new Random(seed);
  const places = Uint32Array.from({ length: slots }, (_, i) => i);
  const offsets = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    const other = i + random.below(slots - i);
    const place = places[other];
    places[other] = places[i];
    offsets[i] = place * length * PAGE_BYTES;
  }
  return offsets;
}

/** Live ranges of 1..64 pages; batches that free random ones and allocate as many of random sizes. */
export interface IovaInput {
  readonly live: number;
  readonly batch: number;
  readonly batches: number;
  readonly seed: number;
}

export interface IovaSequence {
  /** Pages of the ranges that are allocated first. */
  readonly initial: Uint32Array;
  /** Which live range each request frees; different ones within a batch. */
  readonly victim: Uint32Array;
  /** Pages of the range that takes its place. */
  readonly pages: Uint32Array;
}

export function iovaSequence({ live, batch, batches, seed }: IovaInput): IovaSequence {
  const random = new Random(seed);
  const initial = Uint32Array.from({ length: live }, () => 1 + random.below(LONGEST_RANGE));
  const victim = new Uint32Array(batch * batches);
  const pages = new Uint32Array(batch * batches);
  const taken = new Uint32Array(live);
  for (let i = 0; i < victim.length; i++) {
    const current = Math.floor(i / batch) + 1;
    let chosen: number;
    do chosen = random.below(live);
    while (taken[chosen] === current);
    taken[chosen] = current;
    victim[i] = chosen;
    pages[i] = 1 + random.below(LONGEST_RANGE);
  }
  return { initial, victim, pages };
}
