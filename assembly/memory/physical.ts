/**
 * Emulated physical memory: 52-bit addresses over linear memory.
 *
 * Three kinds of backing, looked up in this order:
 *  1. the arena, one window of physical addresses from which page tables are allocated. A page of it is reached by one
 *     subtraction and one comparison, which is all that a walk costs on the hot path;
 *  2. frames loaded from outside (vectors, dumps, what a device wrote), anywhere, through a hash directory;
 *  3. declared RAM that nobody wrote yet, which reads as zero.
 * Anything else is a bus error.
 */
import {
  STATUS_ARENA_CONFLICT,
  STATUS_BUS_ERROR,
  STATUS_INVALID,
  STATUS_MEMORY_EXHAUSTED,
  STATUS_MISALIGNED,
  STATUS_OK,
} from "../layout";
import { hashErase, hashFind, hashHas, hashInit, hashInsert, hashReserve, hashSetValue, hashValue } from "./hash";
import { arenaBytes, arenaExtend, arenaStart, heapAllocate, heapDouble, heapFree } from "./heap";

const PAGE_SHIFT: u64 = 12;
export const PAGE_BYTES: usize = 4096;
/** Physical addresses are 52 bits wide: the widest that any of the formats can express. */
const PHYSICAL_BITS: u64 = 52;
/** wasm32 can hold no more table pages than this, so the arena's window of physical addresses is as long. */
const ARENA_WINDOW: u64 = 1 << 32;
/** The arena begins on a boundary of the largest table page, so that table pages are aligned by their offset. */
const ARENA_ALIGNMENT: u64 = 1 << 16;

/** Physical address of the arena's first byte. */
export let arenaBase: u64 = 1 << 38;

/** Pages of the arena handed out at least once. */
let arenaPagesUsed: u32 = 0;
/** Stack of free table pages: bits 23:0 page of the arena, bits 31:24 level of the table it was. Always large enough. */
let freeStack: usize = 0;
let freeStackCapacity: u32 = 0;
let freeStackDepth: u32 = 0;

/**
 * Table pages of more than 4 KiB are groups of 2^order pages, aligned to their size (order 2: 16 KiB, 4: 64 KiB). Of each
 * order: u32 its own free stack, entries that fit there, entries there, and groups handed out at least once.
 */
const GROUP_STACK: usize = 0;
const GROUP_CAPACITY: usize = 4;
const GROUP_DEPTH: usize = 8;
const GROUP_MADE: usize = 12;
const groups = memory.data(5 * 16, 16);

/** Offsets of the pages that `physicalAllocatePage` handed out, and their order. Made when the first one is. */
const callerPages = memory.data(12, 16);

/** What unwritten RAM reads as. Never written to. */
const zeroPage = memory.data(4096, 16);

/** Frames by their number; the value is the frame's linear address. Made when the first frame is. */
const frames = memory.data(12, 16);

/** Declared RAM: { u64 first byte, u64 last byte }, in the order of declaration. */
let ramRanges: usize = 0;
let ramCapacity: u32 = 0;
let ramCount: u32 = 0;

/** Chooses where the arena lies in physical memory. Only before its first page is taken. */
export function physicalSetArenaBase(base: u64): i32 {
  if (arenaPagesUsed) return STATUS_INVALID;
  if (base & (ARENA_ALIGNMENT - 1) || base > (<u64>1 << PHYSICAL_BITS) - ARENA_WINDOW) return STATUS_INVALID;
  arenaBase = base;
  return STATUS_OK;
}

export function physicalArenaBase(): u64 {
  return arenaBase;
}

// ---- Arena -----------------------------------------------------------------------------------------------------

// @ts-ignore: decorator
@inline
function groupsOf(order: u32): usize {
  return groups + (<usize>order << 4);
}

/** 4 KiB pages in use. */
export function arenaPagesLive(): u32 {
  let free = freeStackDepth;
  for (let order: u32 = 1; order <= 4; order++) free += load<u32>(groupsOf(order), GROUP_DEPTH) << order;
  return arenaPagesUsed - free;
}

/**
 * Makes sure that `pages` table pages of 2^order times 4 KiB can be taken without linear memory changing. May move the
 * arena: take pointers afterwards.
 */
export function arenaReserve(pages: u32, order: u32): bool {
  if (order) return reserveGroups(pages, order);
  if (pages <= freeStackDepth) return true;
  return growArena(<u64>(arenaPagesUsed + pages - freeStackDepth) << PAGE_SHIFT);
}

function reserveGroups(wanted: u32, order: u32): bool {
  const group = groupsOf(order);
  const depth = load<u32>(group, GROUP_DEPTH);
  if (wanted <= depth) return true;
  const missing = wanted - depth;
  // Every group must fit on the free stack.
  while (load<u32>(group, GROUP_CAPACITY) < load<u32>(group, GROUP_MADE) + missing) {
    const capacity = load<u32>(group, GROUP_CAPACITY);
    const block = capacity ? heapDouble(<usize>load<u32>(group, GROUP_STACK), <usize>capacity << 2) : heapAllocate(1024);
    if (!block) return false;
    store<u32>(group, <u32>block, GROUP_STACK);
    store<u32>(group, capacity ? capacity << 1 : 256, GROUP_CAPACITY);
  }
  const aligned = (arenaPagesUsed + ((<u32>1) << order) - 1) >> order;
  return growArena(<u64>(aligned + missing) << (PAGE_SHIFT + <u64>order));
}

/** Makes the arena at least `need` bytes long. */
function growArena(need: u64): bool {
  if (need <= arenaBytes) return true;
  if (need > ARENA_WINDOW) return false;
  // Growing by an eighth keeps the number of steps logarithmic; when that fails, what is needed may still fit.
  const grown = min<u64>(max<u64>(need, <u64>arenaBytes + (arenaBytes >> 3) + 0x10000), ARENA_WINDOW);
  const target = (grown + 0xffff) & ~(<u64>0xffff);
  while (<u64>freeStackCapacity << PAGE_SHIFT < target) {
    const block = freeStackCapacity ? heapDouble(freeStack, <usize>freeStackCapacity << 2) : heapAllocate(4096);
    if (!block) return false;
    freeStack = block;
    freeStackCapacity = freeStackCapacity ? freeStackCapacity << 1 : 1024;
  }
  if (arenaExtend(<usize>(target - arenaBytes))) return true;
  return arenaExtend(<usize>(((need + 0xfff) & ~(<u64>0xfff)) - arenaBytes));
}

/** Takes a zeroed table page that `arenaReserve` promised; returns its offset in the arena. */
// @ts-ignore: decorator
@inline
export function arenaTake(order: u32): usize {
  if (order) return takeGroup(order);
  if (freeStackDepth) return <usize>(load<u32>(freeStack + (<usize>--freeStackDepth << 2)) & 0xffffff) << 12;
  const page = arenaPagesUsed;
  arenaPagesUsed = page + 1;
  return <usize>page << 12;
}

function takeGroup(order: u32): usize {
  const group = groupsOf(order);
  const depth = load<u32>(group, GROUP_DEPTH);
  if (depth) {
    store<u32>(group, depth - 1, GROUP_DEPTH);
    return <usize>(load<u32>(<usize>load<u32>(group, GROUP_STACK) + (<usize>(depth - 1) << 2)) & 0xffffff) << 12;
  }
  // What the alignment leaves out serves as single pages.
  for (; arenaPagesUsed & (((<u32>1) << order) - 1); arenaPagesUsed++) arenaGive(<usize>arenaPagesUsed << 12, 0, 0);
  const page = arenaPagesUsed;
  arenaPagesUsed = page + ((<u32>1) << order);
  store<u32>(group, load<u32>(group, GROUP_MADE) + 1, GROUP_MADE);
  return <usize>page << 12;
}

function giveGroup(offset: usize, level: u32, order: u32): void {
  const group = groupsOf(order);
  const depth = load<u32>(group, GROUP_DEPTH);
  // More than were ever taken: single pages that software used as one. They are left alone.
  if (depth == load<u32>(group, GROUP_CAPACITY)) return;
  store<u32>(<usize>load<u32>(group, GROUP_STACK) + (<usize>depth << 2), <u32>(offset >> 12) | (level << 24));
  store<u32>(group, depth + 1, GROUP_DEPTH);
}

/** Gives back a table page of the arena. It must be all zero: that is what makes taking one free of charge. */
// @ts-ignore: decorator
@inline
export function arenaGive(offset: usize, level: u32, order: u32): void {
  if (order) {
    giveGroup(offset, level, order);
    return;
  }
  store<u32>(freeStack + (<usize>freeStackDepth << 2), <u32>(offset >> 12) | (level << 24));
  freeStackDepth++;
}

/** Linear address of the free stack of an order, whose newest entries are the pages that the last unmap freed. */
export function arenaFreeStack(order: u32): usize {
  return order ? <usize>load<u32>(groupsOf(order), GROUP_STACK) : freeStack;
}

export function arenaFreeDepth(order: u32): u32 {
  return order ? load<u32>(groupsOf(order), GROUP_DEPTH) : freeStackDepth;
}

/**
 * Takes one zeroed page of the arena (2^order times 4 KiB, order 0 to 4, aligned to its size) for a structure of the
 * caller (a root table, a queue); its address, or all ones.
 */
export function physicalAllocatePage(order: u32): u64 {
  if (!load<u32>(callerPages) && !hashInit(callerPages)) return u64.MAX_VALUE;
  if (order > 4 || !hashReserve(callerPages, 1) || !arenaReserve(1, order)) return u64.MAX_VALUE;
  const offset = <u64>arenaTake(order);
  hashInsert(callerPages, hashFind(callerPages, offset), offset, <u64>order);
  return arenaBase + offset;
}

/** Gives back a page of `physicalAllocatePage`. */
export function physicalFreePage(address: u64): i32 {
  const offset = address - arenaBase;
  const slot = load<u32>(callerPages) ? hashFind(callerPages, offset) : 0;
  if (!slot || !hashHas(slot)) return STATUS_INVALID;
  arenaReturn(address, <u32>hashValue(slot));
  return STATUS_OK;
}

/**
 * Clears and gives back a page of this order, whoever took it; an address that is no page of the arena, or that
 * `physicalAllocatePage` gave as a page of another order, is left alone.
 */
export function arenaReturn(address: u64, order: u32): void {
  const offset = address - arenaBase;
  const bytes = PAGE_BYTES << <usize>order;
  const used = <u64>arenaPagesUsed << PAGE_SHIFT;
  if (offset & <u64>(bytes - 1) || offset >= used || offset + <u64>bytes > used) return;
  if (load<u32>(callerPages)) {
    const slot = hashFind(callerPages, offset);
    if (hashHas(slot)) {
      if (hashValue(slot) != <u64>order) return;
      hashErase(callerPages, slot);
    }
  }
  memory.fill(arenaStart + <usize>offset, 0, bytes);
  arenaGive(<usize>offset, 0, order);
}

// ---- Frames ----------------------------------------------------------------------------------------

function findFrame(frame: u64): usize {
  if (!load<u32>(frames)) return 0;
  const slot = hashFind(frames, frame);
  return hashHas(slot) ? <usize>hashValue(slot) : 0;
}

/** Linear address of the frame that holds `address`, made (zeroed) if there is none; 0 when memory is exhausted. */
function makeFrame(address: u64): usize {
  const frame = address >> PAGE_SHIFT;
  const found = findFrame(frame);
  if (found) return found;
  if (!load<u32>(frames) && !hashInit(frames)) return 0;
  if (!hashReserve(frames, 1)) return 0;
  const block = heapAllocate(PAGE_BYTES);
  if (block) hashInsert(frames, hashFind(frames, frame), frame, <u64>block);
  return block;
}

// ---- RAM ----------------------------------------------------------------------------------------------------------

/** Declares [first, last] as RAM: it reads as zero until written. Whole pages only, as backing is by the page. */
export function physicalDeclareRam(first: u64, last: u64): i32 {
  if (first > last || last >> PHYSICAL_BITS) return STATUS_INVALID;
  if (first & 0xfff || ~last & 0xfff) return STATUS_MISALIGNED;
  if (ramCount == ramCapacity) {
    const block = ramCapacity ? heapDouble(ramRanges, <usize>ramCapacity << 4) : heapAllocate(256);
    if (!block) return STATUS_MEMORY_EXHAUSTED;
    ramRanges = block;
    ramCapacity = ramCapacity ? ramCapacity << 1 : 16;
  }
  store<u64>(ramRanges + (<usize>ramCount << 4), first);
  store<u64>(ramRanges + (<usize>ramCount << 4), last, 8);
  ramCount++;
  return STATUS_OK;
}

function isRam(address: u64): bool {
  for (let i: u32 = 0; i < ramCount; i++) {
    const range = ramRanges + (<usize>i << 4);
    if (address >= load<u64>(range) && address <= load<u64>(range, 8)) return true;
  }
  return false;
}

// ---- Access -------------------------------------------------------------------------------------------------------

/** Linear address to read the byte at `address` from, valid to the end of its 4 KiB page; 0 is a bus error. */
function physicalSlowPointer(address: u64): usize {
  const frame = findFrame(address >> PAGE_SHIFT);
  const inPage = <usize>address & 0xfff;
  if (frame) return frame + inPage;
  if (isRam(address)) return zeroPage + inPage;
  return 0;
}

/** The same, the arena first. What every walk uses. */
// @ts-ignore: decorator
@inline
export function physicalPointer(address: u64): usize {
  const offset = address - arenaBase;
  return offset < <u64>arenaBytes ? arenaStart + <usize>offset : physicalSlowPointer(address);
}

/** The same for the other side of the border. */
export function physicalReadPointer(address: u64): usize {
  return physicalPointer(address);
}

/** Linear address of a byte that is really stored (arena or frame), to read and write; 0 otherwise. Moves nothing. */
// @ts-ignore: decorator
@inline
export function physicalStored(address: u64): usize {
  const offset = address - arenaBase;
  return offset < <u64>arenaBytes ? arenaStart + <usize>offset : storedFrame(address);
}

function storedFrame(address: u64): usize {
  const frame = findFrame(address >> PAGE_SHIFT);
  return frame ? frame + (<usize>address & 0xfff) : 0;
}

/**
 * Linear address of `bytes` bytes (a power of two, at a multiple of it) that are stored in one piece, to read and write;
 * 0 otherwise. Moves nothing.
 */
export function physicalStoredRun(address: u64, bytes: usize): usize {
  const offset = address - arenaBase;
  if (offset < <u64>arenaBytes) return offset + <u64>bytes <= <u64>arenaBytes ? arenaStart + <usize>offset : 0;
  const first = storedFrame(address);
  for (let at = PAGE_BYTES; first && at < bytes; at += PAGE_BYTES) {
    if (storedFrame(address + <u64>at) != first + at) return 0;
  }
  return first;
}

/**
 * Makes sure that `physicalStoredRun` finds these bytes: RAM becomes frames, frames move together. False when not all of
 * it is memory outside the arena, or memory is exhausted.
 */
export function physicalStoreRun(address: u64, bytes: usize): bool {
  if (bytes <= PAGE_BYTES) return physicalWritePointer(address) != 0;
  if (physicalStoredRun(address, bytes)) return true;
  if (address - arenaBase < ARENA_WINDOW || address + <u64>bytes - 1 - arenaBase < ARENA_WINDOW) return false;
  for (let at: usize = 0; at < bytes; at += PAGE_BYTES) if (!physicalWritePointer(address + <u64>at)) return false;
  const block = heapAllocate(bytes);
  if (!block) return false;
  for (let at: usize = 0; at < bytes; at += PAGE_BYTES) {
    const slot = hashFind(frames, (address + <u64>at) >> PAGE_SHIFT);
    const frame = <usize>hashValue(slot);
    memory.copy(block + at, frame, PAGE_BYTES);
    hashSetValue(slot, <u64>(block + at));
    heapFree(frame, PAGE_BYTES);
  }
  return true;
}

/**
 * Linear address to write the byte at `address` to; makes the frame when the address is RAM. Returns 0 with the reason
 * (a bus error, or exhausted memory) in `physicalLastStatus`.
 */
export function physicalWritePointer(address: u64): usize {
  const offset = address - arenaBase;
  if (offset < <u64>arenaBytes) return arenaStart + <usize>offset;
  const inPage = <usize>address & 0xfff;
  const frame = findFrame(address >> PAGE_SHIFT);
  if (frame) return frame + inPage;
  if (!isRam(address)) {
    lastStatus = STATUS_BUS_ERROR;
    return 0;
  }
  const made = physicalLoadFrame(address);
  return made ? made + inPage : 0;
}

/**
 * Makes the 4 KiB frame at `address` exist, as a loader of vectors and dumps needs it; its content is what it was, or
 * zero. Returns its linear address, or 0 with the reason in `physicalLastStatus`.
 */
export function physicalLoadFrame(address: u64): usize {
  const offset = address - arenaBase;
  if (offset < <u64>arenaBytes) return arenaStart + (<usize>offset & ~(<usize>0xfff));
  if (address >> PHYSICAL_BITS) {
    lastStatus = STATUS_BUS_ERROR;
    return 0;
  }
  if (offset < ARENA_WINDOW) {
    lastStatus = STATUS_ARENA_CONFLICT;
    return 0;
  }
  const frame = makeFrame(address);
  if (!frame) lastStatus = STATUS_MEMORY_EXHAUSTED;
  return frame;
}

/** Whether all of [first, last] may be loaded: within 52 bits, and not where the arena grows into. A status. */
export function physicalCheckLoad(first: u64, last: u64): i32 {
  if (last < first || last >> PHYSICAL_BITS) return STATUS_BUS_ERROR;
  const clear = last < arenaBase + <u64>arenaBytes || first >= arenaBase + ARENA_WINDOW;
  return clear ? STATUS_OK : STATUS_ARENA_CONFLICT;
}

let lastStatus: i32 = STATUS_OK;

export function physicalLastStatus(): i32 {
  return lastStatus;
}
