/**
 * First half of the assembly: which `map` lines are one allocation, and which device owns it and its unmaps.
 *
 * Every map and unmap waits in a queue in the order of the trace until it is decided; the head leaves as soon as it is.
 * - A dma event names the undecided pieces at its DMA address: they are one allocation of its device.
 * - Pieces that nothing names (the two-step API, vfio, MSI pages) form runs at consecutive IOVAs in one context, and
 *   neighbouring allocations run together; the range of a later unmap that nothing names cuts its allocation out.
 * - dma_unmap_phys and its kind name the unmap before them in their context, dma_unmap_sg and dma_free* the one after.
 * - What is not decided when the queue has become longer than a small multiple of what is live is decided as it stands.
 *
 * Linux 7.2, drivers/iommu/dma-iommu.c and kernel/dma/mapping.c, give the order of the events.
 */
import {
  DETAIL_CPU_SHIFT,
  DETAIL_CUT,
  DETAIL_LEVEL,
  LEVEL_TASK,
  LEVEL_UNKNOWN,
  TOKEN_CONTEXT,
  TOKEN_DETAIL,
  TOKEN_DEVICE,
  TOKEN_DMA_MAP,
  TOKEN_DMA_UNMAPPED,
  TOKEN_DMA_UNMAPPING,
  TOKEN_KIND,
  TOKEN_LINE,
  TOKEN_MAP,
  TOKEN_PAGE,
  TOKEN_PAGES,
  TOKEN_PHYSICAL,
  TOKEN_TASK,
  TOKEN_TIME,
  TOKEN_UNMAP,
} from "../../assembly/layout.js";
import type { BatchWriter } from "./batch.js";
import { grownFloat64, grownInt32 } from "./growable.js";
import type { Placement } from "./placement.js";

// Fields of a token as elements of the views, and their values. A module's own constants are compiled into the code;
// imported ones are loaded and checked at every use, which here was a tenth of the time.
const KIND = TOKEN_KIND >>> 2;
const CONTEXT = TOKEN_CONTEXT >>> 2;
const TASK = TOKEN_TASK >>> 2;
const DEVICE = TOKEN_DEVICE >>> 2;
const DETAIL = TOKEN_DETAIL >>> 2;
const LINE = TOKEN_LINE >>> 3;
const PAGE = TOKEN_PAGE >>> 3;
const PAGES = TOKEN_PAGES >>> 3;
const PHYSICAL = TOKEN_PHYSICAL >>> 3;
const TIME = TOKEN_TIME >>> 3;
const MAP = TOKEN_MAP;
const UNMAP = TOKEN_UNMAP;
const DMA_MAP = TOKEN_DMA_MAP;
const DMA_UNMAPPED = TOKEN_DMA_UNMAPPED;
const DMA_UNMAPPING = TOKEN_DMA_UNMAPPING;
const LEVEL = DETAIL_LEVEL;
const CUT = DETAIL_CUT;
const CPU_SHIFT = DETAIL_CPU_SHIFT;
const TASK_LEVEL = LEVEL_TASK;
const UNKNOWN_LEVEL = LEVEL_UNKNOWN;

// States of a queue entry.
/** A piece that is not decided. */
const OPEN = 0;
/** The first piece of a decided allocation. */
const HEAD = 1;
/** A later piece of a decided allocation. */
const TAIL = 2;
/** An unmap whose dma event may still come. */
const PENDING = 3;
/** An unmap that is decided. */
const DECIDED = 4;

const NONE = -1;
/** The queue may always be this long, and as long as this many times what is live. */
const SHORT_QUEUE = 16384;
const LIVE_MULTIPLE = 4;
/** Unmaps that may wait for their dma event at a time; the oldest then goes unnamed. */
const MOST_PENDING = 16;
/** A pending unmap this many entries back has waited long enough. */
const OLD_PENDING = 1024;
/** Entries between two looks at the head of the queue. */
const DRAIN_INTERVAL = 256;
/** Larger IOMMU granules than 4 KiB: a dma event's first page need not be its piece's. In pages. */
const GRANULES = [1, 4, 16];

export class Assembler {
  readonly #placement: Placement;
  readonly #writer: BatchWriter;

  // The queue: entry `sequence` is at `sequence & mask` of every array, for head ≤ sequence < tail.
  #mask = 0x3ff;
  #head = 0;
  #tail = 0;
  #untilDrain = DRAIN_INTERVAL;
  #state = new Uint8Array(0x400);
  #page = new Float64Array(0x400);
  #pages = new Float64Array(0x400);
  #physical = new Float64Array(0x400);
  #line = new Float64Array(0x400);
  #time = new Float64Array(0x400);
  #cpu = new Int32Array(0x400);
  #context = new Int32Array(0x400);
  #task = new Int32Array(0x400);
  #device = new Int32Array(0x400);
  /** Sequence of the piece behind this one in its run or allocation. */
  #next = new Float64Array(0x400);
  /** HEAD: pieces of the allocation, and its pages. PENDING: in place of the pieces the token's detail. */
  #pieceCount = new Int32Array(0x400);
  #totalPages = new Float64Array(0x400);
  /** Sequence of the next open piece of the same bucket. */
  #chain = new Float64Array(0x400);

  /** Open pieces by their first page: sequence of the newest of each bucket. */
  #buckets = new Float64Array(0x400).fill(NONE);
  #bucketMask = 0x3ff;
  #open = 0;

  // Per context, of which there is room for so many.
  #contexts = 64;
  /** Sequence of the last piece, while the next may continue its run. */
  #lastPiece = new Float64Array(64).fill(NONE);
  /** Device of a dma_unmap_sg or dma_free* whose unmap is to come, and its range (0 pages: not known). */
  #announced = new Int32Array(64).fill(NONE);
  #announcedPage = new Float64Array(64);
  #announcedPages = new Float64Array(64);

  /** Sequences of the pending unmaps, oldest first. */
  readonly #pending = new Float64Array(MOST_PENDING);
  #pendingCount = 0;

  /** When and where the token that is taken happened. */
  #tokenTime = 0;
  #tokenCpu = 0;

  /** Runs that had to be decided before an unmap cut them. */
  forcedDecisions = 0;
  /** The longest that the queue became. */
  maxPending = 0;
  /** dma events that name no map or unmap: devices that the IOMMU does not translate, or lost events. */
  unmatchedDmaEvents = 0;
  /** Unmaps that unmapped nothing. */
  emptyUnmaps = 0;

  constructor(placement: Placement, writer: BatchWriter) {
    this.#placement = placement;
    this.#writer = writer;
  }

  /** Takes one token, at byte `at` of the linear memory that the views show. */
  token(words: Int32Array, numbers: Float64Array, at: number): void {
    const word = at >>> 2;
    const number = at >>> 3;
    const kind = words[word + KIND];
    const context = words[word + CONTEXT];
    const task = words[word + TASK];
    const detail = words[word + DETAIL];
    const page = numbers[number + PAGE];
    const pages = numbers[number + PAGES];
    // Without a flags column an interrupt's events share the context of what it interrupted.
    const level = detail & LEVEL;
    const exact = level !== UNKNOWN_LEVEL;
    if (context >= this.#contexts) this.#growContexts(context + 1);
    if (this.#pendingCount > 0) this.#settleFinished(context, detail >>> CPU_SHIFT, level, kind);
    if (kind === MAP || kind === UNMAP) {
      this.#tokenTime = numbers[number + TIME];
      this.#tokenCpu = detail >>> CPU_SHIFT;
    }
    if (kind === MAP) {
      const physical = numbers[number + PHYSICAL];
      this.#map(context, task, page, pages, physical, numbers[number + LINE]);
      return;
    }
    if (exact) this.#lastPiece[context] = NONE;
    if (kind === UNMAP) {
      this.#unmap(context, task, page, pages, detail, numbers[number + LINE]);
      return;
    }
    const device = words[word + DEVICE];
    if (kind === DMA_MAP) {
      const physical = numbers[number + PHYSICAL];
      this.#nameMap(context, task, page, pages, physical, device, (detail & CUT) !== 0);
    } else if (kind === DMA_UNMAPPED) {
      this.#nameUnmap(context, task, page, pages, device);
    } else if (kind === DMA_UNMAPPING) {
      this.#announced[context] = device;
      this.#announcedPage[context] = page;
      this.#announcedPages[context] = pages;
    }
  }

  /** Decides what is left as it stands and empties the queue. */
  finish(): void {
    while (this.#pendingCount > 0) this.#settle(0);
    this.#drain();
    while (this.#head < this.#tail) {
      this.#decideHead();
      this.#drain();
    }
  }

  #map(context: number, task: number, page: number, pages: number, physical: number, line: number): void {
    const sequence = this.#enqueue(OPEN, context, task, page, pages, line);
    this.#physical[sequence & this.#mask] = physical;
    const last = this.#lastPiece[context];
    if (last >= this.#head) {
      const before = last & this.#mask;
      if (this.#state[before] === OPEN && this.#page[before] + this.#pages[before] === page) {
        this.#next[before] = sequence;
      }
    }
    this.#lastPiece[context] = sequence;
    if (this.#open > this.#bucketMask) this.#growBuckets();
    this.#open++;
    const bucket = bucketOf(page, this.#bucketMask);
    this.#chain[sequence & this.#mask] = this.#buckets[bucket];
    this.#buckets[bucket] = sequence;
  }

  #unmap(context: number, task: number, page: number, pages: number, detail: number, line: number): void {
    const announced = this.#announced[context];
    const isAnnounced =
      announced >= 0 &&
      (this.#announcedPages[context] === 0 ||
        overlaps(page, pages, this.#announcedPage[context], this.#announcedPages[context]));
    if (isAnnounced) this.#announced[context] = NONE;
    if (pages === 0) {
      this.emptyUnmaps++;
      return;
    }
    const settled = isAnnounced && (detail & LEVEL) !== UNKNOWN_LEVEL;
    const sequence = this.#enqueue(settled ? DECIDED : PENDING, context, task, page, pages, line);
    const at = sequence & this.#mask;
    if (isAnnounced) this.#device[at] = announced;
    this.#pieceCount[at] = detail;
    if (settled) return;
    if (this.#pendingCount === MOST_PENDING) this.#settle(0);
    this.#pending[this.#pendingCount++] = sequence;
  }

  /** A dma event after the maps of its allocation. */
  #nameMap(
    context: number,
    task: number,
    page: number,
    pages: number,
    physical: number,
    device: number,
    cut: boolean,
  ): void {
    for (const granule of GRANULES) {
      const first = granule === 1 ? page : Math.floor(page / granule) * granule;
      if (granule > 1 && first === page) continue;
      const sequence = this.#findNamed(context, task, first, physical < 0 ? NONE : physical - (page - first));
      if (sequence < 0) continue;
      this.#decide(sequence, cut ? Number.POSITIVE_INFINITY : page + pages, device, true);
      return;
    }
    this.unmatchedDmaEvents++;
  }

  /**
   * The open piece at `page` that a dma event of this context most likely means. Printing and mapping are in one context
   * but for a task that migrated between the two; another task's piece must agree in its physical address.
   */
  #findNamed(context: number, task: number, page: number, physical: number): number {
    const mask = this.#mask;
    let best = NONE;
    let bestScore = -1;
    let sequence = this.#buckets[bucketOf(page, this.#bucketMask)];
    while (sequence >= 0) {
      const at = sequence & mask;
      if (this.#page[at] === page) {
        const samePhysical = physical >= 0 && this.#physical[at] === physical;
        let score = samePhysical ? 1 : 0;
        if (this.#context[at] === context) score += 4;
        else if (this.#task[at] === task) score += 2;
        else if (!samePhysical) score = -1;
        if (score > bestScore) {
          best = sequence;
          bestScore = score;
        }
      }
      sequence = this.#chain[at];
    }
    return best;
  }

  /** A dma event after its unmap: the newest pending one of its context that holds its range. */
  #nameUnmap(context: number, task: number, page: number, pages: number, device: number): void {
    let best = NONE;
    let bestScore = -1;
    for (let index = this.#pendingCount - 1; index >= 0; index--) {
      const at = this.#pending[index] & this.#mask;
      const unmapped = this.#page[at];
      if (unmapped > page || unmapped + this.#pages[at] < page + pages) continue;
      const score = this.#context[at] === context ? 2 : this.#task[at] === task ? 1 : 0;
      if (score > bestScore) {
        best = index;
        bestScore = score;
      }
    }
    if (best < 0) {
      this.unmatchedDmaEvents++;
      return;
    }
    const at = this.#pending[best] & this.#mask;
    // This unmap was an interrupt's, so the announcement is for one that is still to come.
    if (this.#device[at] >= 0 && this.#announced[context] < 0 && this.#device[at] !== device) {
      this.#announced[context] = this.#device[at];
      this.#announcedPages[context] = 0;
    }
    this.#device[at] = device;
    this.#state[at] = DECIDED;
    this.#removePending(best);
  }

  /**
   * Settles the pending unmaps whose dma event will not come any more: their context has gone on to something else, or
   * they are an interrupt's and its CPU is back at the same or a lower level in another context, or they are old.
   */
  #settleFinished(context: number, cpu: number, level: number, kind: number): void {
    for (let index = 0; index < this.#pendingCount; ) {
      const sequence = this.#pending[index];
      const at = sequence & this.#mask;
      const detail = this.#pieceCount[at];
      const pendingLevel = detail & LEVEL;
      let finished = this.#tail - sequence > OLD_PENDING;
      if (pendingLevel !== UNKNOWN_LEVEL) {
        if (this.#context[at] === context) finished ||= kind !== DMA_UNMAPPED;
        else if (pendingLevel > TASK_LEVEL && level <= pendingLevel) finished ||= detail >>> CPU_SHIFT === cpu;
      }
      if (finished) this.#settle(index);
      else index++;
    }
  }

  /** Decides a pending unmap without its dma event. */
  #settle(index: number): void {
    const sequence = this.#pending[index];
    this.#removePending(index);
    const at = sequence & this.#mask;
    this.#state[at] = DECIDED;
    if (this.#device[at] >= 0) return;
    // Each must find its own piece, so an older unmap of the same pages goes first.
    for (let other = 0; other < this.#pendingCount; ) {
      const olderAt = this.#pending[other] & this.#mask;
      const same = overlaps(this.#page[at], this.#pages[at], this.#page[olderAt], this.#pages[olderAt]);
      if (same && this.#pending[other] < sequence) {
        this.#settle(other);
        other = 0;
      } else {
        other++;
      }
    }
    this.#cut(sequence);
  }

  #removePending(index: number): void {
    this.#pendingCount--;
    for (let at = index; at < this.#pendingCount; at++) this.#pending[at] = this.#pending[at + 1];
  }

  /** Cuts the range of an unmap that nothing names out of the runs: each run's part is an allocation. */
  #cut(unmap: number): void {
    let page = this.#page[unmap & this.#mask];
    const end = page + this.#pages[unmap & this.#mask];
    while (page < end) {
      const first = this.#findCut(page, end, unmap);
      if (first < 0) return;
      page = this.#decide(first, end, NONE, true);
    }
  }

  /** The open piece at `page` older than `unmap`, best the one whose run has a boundary at `end`, else the oldest. */
  #findCut(page: number, end: number, unmap: number): number {
    const mask = this.#mask;
    let oldest = NONE;
    let fitting = NONE;
    let sequence = this.#buckets[bucketOf(page, this.#bucketMask)];
    while (sequence >= 0) {
      const at = sequence & mask;
      if (this.#page[at] === page && sequence < unmap) {
        // Only when there is a choice is it worth looking how far the runs go.
        if (oldest >= 0 && fitting < 0 && this.#reaches(oldest, end)) fitting = oldest;
        if (oldest >= 0 && this.#reaches(sequence, end)) fitting = sequence;
        oldest = sequence;
      }
      sequence = this.#chain[at];
    }
    return fitting >= 0 ? fitting : oldest;
  }

  #reaches(sequence: number, end: number): boolean {
    for (;;) {
      const at = sequence & this.#mask;
      const stop = this.#page[at] + this.#pages[at];
      if (stop >= end) return stop === end;
      sequence = this.#follower(sequence, stop, true);
      if (sequence < 0) return false;
    }
  }

  /** The open piece that continues an allocation at page `stop`. */
  #follower(sequence: number, stop: number, search: boolean): number {
    const at = sequence & this.#mask;
    const next = this.#next[at];
    if (next >= 0 && this.#state[next & this.#mask] === OPEN) return next;
    if (!search) return NONE;
    // An interrupt's mapping in the same context, or a migration, has separated the pieces.
    let found = this.#buckets[bucketOf(stop, this.#bucketMask)];
    let best = NONE;
    while (found >= 0) {
      const other = found & this.#mask;
      if (this.#page[other] === stop && found > sequence && this.#task[other] === this.#task[at]) {
        if (this.#context[other] === this.#context[at]) return found;
        best = found;
      }
      found = this.#chain[other];
    }
    return best;
  }

  /**
   * Makes the open pieces from `first` up to page `end` one allocation; returns the page where it really ends. `search`
   * looks for pieces beyond the run.
   */
  #decide(first: number, end: number, device: number, search: boolean): number {
    const head = first & this.#mask;
    let sequence = first;
    let count = 0;
    let stop: number;
    for (;;) {
      const at = sequence & this.#mask;
      this.#remove(sequence);
      this.#state[at] = TAIL;
      count++;
      stop = this.#page[at] + this.#pages[at];
      const next = stop < end ? this.#follower(sequence, stop, search) : NONE;
      this.#next[at] = next;
      if (next < 0) break;
      sequence = next;
    }
    this.#state[head] = HEAD;
    this.#device[head] = device;
    this.#pieceCount[head] = count;
    this.#totalPages[head] = stop - this.#page[head];
    return stop;
  }

  /** Takes an open piece out of its bucket. */
  #remove(sequence: number): void {
    const mask = this.#mask;
    const bucket = bucketOf(this.#page[sequence & mask], this.#bucketMask);
    this.#open--;
    let found = this.#buckets[bucket];
    if (found === sequence) {
      this.#buckets[bucket] = this.#chain[sequence & mask];
      return;
    }
    for (;;) {
      const next = this.#chain[found & mask];
      if (next === sequence) {
        this.#chain[found & mask] = this.#chain[sequence & mask];
        return;
      }
      found = next;
    }
  }

  #enqueue(state: number, context: number, task: number, page: number, pages: number, line: number): number {
    if (--this.#untilDrain === 0) {
      this.#untilDrain = DRAIN_INTERVAL;
      this.#drain();
      let limit = this.#limit();
      while (this.#tail - this.#head > limit) {
        if (this.#decideHead()) this.forcedDecisions++;
        this.#drain();
        limit = this.#limit();
      }
      if (this.#tail - this.#head + DRAIN_INTERVAL > this.#mask) this.#growQueue();
    }
    const sequence = this.#tail++;
    const at = sequence & this.#mask;
    this.#state[at] = state;
    this.#context[at] = context;
    this.#task[at] = task;
    this.#page[at] = page;
    this.#pages[at] = pages;
    this.#line[at] = line;
    this.#time[at] = this.#tokenTime;
    this.#cpu[at] = this.#tokenCpu;
    this.#device[at] = NONE;
    this.#next[at] = NONE;
    if (this.#tail - this.#head > this.maxPending) this.maxPending = this.#tail - this.#head;
    return sequence;
  }

  #limit(): number {
    return Math.max(SHORT_QUEUE, LIVE_MULTIPLE * (this.#open + this.#placement.livePieces));
  }

  /** Decides the undecided entry at the head; true when it was a run. */
  #decideHead(): boolean {
    const at = this.#head & this.#mask;
    for (let index = 0; index < this.#pendingCount; index++) {
      const sequence = this.#pending[index];
      const pendingAt = sequence & this.#mask;
      // An unmap that still waits may be the one that cuts the run.
      const cuts =
        sequence === this.#head ||
        overlaps(this.#page[at], this.#pages[at], this.#page[pendingAt], this.#pages[pendingAt]);
      if (!cuts) continue;
      this.#settle(index);
      if (this.#state[at] !== OPEN) return false;
      index = -1;
    }
    this.#decide(this.#head, Number.POSITIVE_INFINITY, NONE, false);
    return true;
  }

  /** Lets out what is decided at the head of the queue. */
  #drain(): void {
    const mask = this.#mask;
    const placement = this.#placement;
    const writer = this.#writer;
    for (; this.#head < this.#tail; this.#head++) {
      const at = this.#head & mask;
      const state = this.#state[at];
      if (state === TAIL) continue;
      writer.time = this.#time[at];
      writer.cpu = this.#cpu[at];
      if (state === HEAD) {
        placement.map(this.#device[at], this.#page[at], this.#totalPages[at], this.#pieceCount[at], this.#line[at]);
        let piece = this.#head;
        do {
          const pieceAt = piece & mask;
          writer.piece(this.#physical[pieceAt], this.#pages[pieceAt]);
          piece = this.#next[pieceAt];
        } while (piece >= 0);
      } else if (state === DECIDED) {
        placement.unmap(this.#device[at], this.#page[at], this.#pages[at], this.#line[at]);
      } else {
        return;
      }
    }
  }

  #growQueue(): void {
    const capacity = (this.#mask + 1) * 2;
    const moved = <T extends Float64Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>>(
      from: T,
      to: T,
    ): T => {
      for (let sequence = this.#head; sequence < this.#tail; sequence++) {
        to[sequence & (capacity - 1)] = from[sequence & this.#mask];
      }
      return to;
    };
    this.#state = moved(this.#state, new Uint8Array(capacity));
    this.#page = moved(this.#page, new Float64Array(capacity));
    this.#pages = moved(this.#pages, new Float64Array(capacity));
    this.#physical = moved(this.#physical, new Float64Array(capacity));
    this.#line = moved(this.#line, new Float64Array(capacity));
    this.#time = moved(this.#time, new Float64Array(capacity));
    this.#cpu = moved(this.#cpu, new Int32Array(capacity));
    this.#context = moved(this.#context, new Int32Array(capacity));
    this.#task = moved(this.#task, new Int32Array(capacity));
    this.#device = moved(this.#device, new Int32Array(capacity));
    this.#next = moved(this.#next, new Float64Array(capacity));
    this.#pieceCount = moved(this.#pieceCount, new Int32Array(capacity));
    this.#totalPages = moved(this.#totalPages, new Float64Array(capacity));
    this.#chain = moved(this.#chain, new Float64Array(capacity));
    this.#mask = capacity - 1;
  }

  #growBuckets(): void {
    const mask = this.#bucketMask * 4 + 3;
    const buckets = new Float64Array(mask + 1).fill(NONE);
    for (let sequence = this.#head; sequence < this.#tail - 1; sequence++) {
      const at = sequence & this.#mask;
      if (this.#state[at] !== OPEN) continue;
      const bucket = bucketOf(this.#page[at], mask);
      this.#chain[at] = buckets[bucket];
      buckets[bucket] = sequence;
    }
    this.#buckets = buckets;
    this.#bucketMask = mask;
  }

  #growContexts(count: number): void {
    const capacity = Math.max(count, this.#contexts * 2);
    this.#contexts = capacity;
    const lastPiece = new Float64Array(capacity).fill(NONE);
    lastPiece.set(this.#lastPiece);
    this.#lastPiece = lastPiece;
    this.#announced = grownInt32(this.#announced, capacity, NONE);
    this.#announcedPage = grownFloat64(this.#announcedPage, capacity);
    this.#announcedPages = grownFloat64(this.#announcedPages, capacity);
  }
}

/** Pages near each other fall into buckets near each other. */
function bucketOf(page: number, mask: number): number {
  return (page ^ (page / 65536)) & mask;
}

function overlaps(page: number, pages: number, otherPage: number, otherPages: number): boolean {
  return page < otherPage + otherPages && otherPage < page + pages;
}
