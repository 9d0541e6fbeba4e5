/**
 * Linear memory has two tenants: the heap (this file), whose blocks never move, and above it the arena of emulated
 * page-table pages (physical.ts), which is addressed relative to `arenaStart` and moves up when the heap must grow.
 * So both grow on demand although WebAssembly can only extend a memory at its end.
 */

const WASM_PAGE: usize = 65536;
/** Smallest block; also the alignment of every block, so that 128-bit accesses are aligned. */
const MIN_BLOCK: usize = 16;

/** First byte behind the heap's used part. */
let heapTop: usize = (__heap_base + 15) & ~(<usize>15);
/** First byte of the arena; a multiple of 4096. */
export let arenaStart: usize = (__heap_base + 0xffff) & ~(<usize>0xffff);
/** Bytes of the arena that are backed by linear memory, a multiple of 4096. */
export let arenaBytes: usize = 0;

/** Heads of the free lists, one per power of two; a free block's first word links to the next. */
const freeLists = memory.data(32 * sizeof<usize>());

// @ts-ignore: decorator
@inline function freeList(order: usize): usize {
  return freeLists + order * sizeof<usize>();
}

// @ts-ignore: decorator
@inline function blockOrder(bytes: usize): usize {
  return bytes <= MIN_BLOCK ? 4 : <usize>32 - <usize>clz<u32>(<u32>bytes - 1);
}

/** Extends linear memory so that it holds `end` bytes; false when wasm32's 4 GiB are used up. */
function ensureMemory(end: u64): bool {
  const have = <u64>memory.size() * WASM_PAGE;
  if (end <= have) return true;
  // Grow in steps of an eighth, so that many small requests cost few calls, but never past the limit.
  const want = max<u64>(end, have + (have >> 3));
  const pages = <i32>((want - have + WASM_PAGE - 1) / WASM_PAGE);
  if (memory.grow(pages) >= 0) return true;
  return memory.grow(<i32>((end - have + WASM_PAGE - 1) / WASM_PAGE)) >= 0;
}

/**
 * Takes a zeroed block of at least `bytes` bytes, aligned to 16. Returns 0 when linear memory is exhausted.
 * May move the arena: pointers into the arena are stale afterwards, offsets are not.
 */
export function heapAllocate(bytes: usize): usize {
  if (bytes > 0x7fffffff) return 0;
  const order = blockOrder(bytes);
  const size = <usize>1 << order;
  const list = freeList(order);
  const recycled = load<usize>(list);
  if (recycled) {
    store<usize>(list, load<usize>(recycled));
    memory.fill(recycled, 0, size);
    return recycled;
  }
  const block = heapTop;
  const end = <u64>block + size;
  if (end > arenaStart) {
    const shortBy = end - arenaStart;
    const step = (max<u64>(shortBy, min<u64>(heapTop, 16 << 20)) + WASM_PAGE - 1) & ~(<u64>WASM_PAGE - 1);
    if (!ensureMemory(<u64>arenaStart + arenaBytes + step)) return 0;
    memory.copy(arenaStart + <usize>step, arenaStart, arenaBytes);
    memory.fill(arenaStart, 0, <usize>min<u64>(step, arenaBytes));
    arenaStart += <usize>step;
  }
  heapTop = <usize>end;
  return block;
}

/** Gives a block back; `bytes` is what it was taken with. */
export function heapFree(block: usize, bytes: usize): void {
  if (!block) return;
  const list = freeList(blockOrder(bytes));
  store<usize>(block, load<usize>(list));
  store<usize>(list, block);
}

/** Doubles a block's size, keeping its content. Returns 0, the old block untouched, when memory is exhausted. */
export function heapDouble(block: usize, bytes: usize): usize {
  const grown = heapAllocate(bytes << 1);
  if (!grown) return 0;
  memory.copy(grown, block, bytes);
  heapFree(block, bytes);
  return grown;
}

/** Extends the arena by `bytes` (a multiple of 4096) of zeroes; false when linear memory is exhausted. */
export function arenaExtend(bytes: usize): bool {
  if (!ensureMemory(<u64>arenaStart + arenaBytes + bytes)) return false;
  arenaBytes += bytes;
  return true;
}
