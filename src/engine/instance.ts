/** The WASM module's exports as TypeScript sees them. One instance is one emulated machine with its own memory. */
export interface WasmExports {
  readonly memory: WebAssembly.Memory;
  heapAllocate(bytes: number): number;
  heapFree(block: number, bytes: number): void;

  // Formats (assembly/format/)
  formatDescribe(index: number): number;

  // Physical memory (assembly/memory/physical.ts)
  arenaFreeStack(order: number): number;
  arenaFreeDepth(order: number): number;
  arenaPagesLive(): number;
  physicalAllocatePage(order: number): bigint;
  physicalArenaBase(): bigint;
  physicalCheckLoad(first: bigint, last: bigint): number;
  physicalDeclareRam(first: bigint, last: bigint): number;
  physicalFreePage(address: bigint): number;
  physicalLastStatus(): number;
  physicalLoadFrame(address: bigint): number;
  physicalReadPointer(address: bigint): number;
  physicalSetArenaBase(base: bigint): number;
  physicalWritePointer(address: bigint): number;

  // Tables (assembly/table/)
  tableCreate(
    format: number,
    levels: number,
    inputBits: number,
    outputBits: number,
    pageSizes: bigint,
    flags: number,
    root: bigint,
  ): number;
  tableCreateStatus(): number;
  tableRelease(table: number): void;
  tableLeaves(table: number, ranges: number, capacity: number): number;
  mapOne(table: number, request: number, permissions: number): number;
  mapBatch(table: number, batch: number): number;
  unmapOne(table: number, request: number, flags: number): number;
  unmapBatch(table: number, batch: number): number;
  walkBatch(table: number, batch: number): number;
  lookupBatch(table: number, batch: number): number;

  // IOVA spaces (assembly/iova/space.ts)
  spaceCreate(granuleShift: number, first: bigint, last: bigint): number;
  spaceRelease(space: number): void;
  spaceAllocate(space: number, request: number): number;
  spaceAllocateAt(space: number, iova: bigint, length: bigint): number;
  spaceAllocateBatch(space: number, batch: number): number;
  spaceReserve(space: number, first: bigint, last: bigint): number;
  spaceFree(space: number, iova: bigint): number;
  spaceFreeBatch(space: number, batch: number): number;
  spaceFreeInSpan(space: number): bigint;
  spaceLiveLength(space: number, iova: bigint): bigint;
  spaceLongestHole(space: number): bigint;
  spaceLongestHoleInSpan(space: number): bigint;

  // Linux's IOVA domains (assembly/iova/linux/domain.ts)
  linuxIovaAdopt(domain: number, pfn: number, pages: number): number;
  linuxIovaAdvance(domain: number, now: number): void;
  linuxIovaAllocate(domain: number, pages: number, limit: number, cpu: number, flush: number): number;
  linuxIovaAllocateBatch(domain: number, batch: number, device: number, cpu: number): number;
  linuxIovaAllocateFor(domain: number, device: number, pages: number, cpu: number): number;
  linuxIovaAttach(domain: number, limit: number, below4GFirst: number): number;
  linuxIovaCreate(
    cpus: number,
    granuleShift: number,
    startPfn: number,
    leastAlignment: number,
    mostAlignment: number,
    flush: number,
    hz: number,
  ): number;
  linuxIovaFireFlushTimer(domain: number, cpu: number, now: number): number;
  linuxIovaFree(domain: number, pfn: number, pages: number, cpu: number): number;
  linuxIovaFreeBatch(domain: number, batch: number, cpu: number): number;
  linuxIovaQueue(domain: number, pfn: number, pages: number, cpu: number, now: number): number;
  linuxIovaRelease(domain: number): void;
  linuxIovaReserve(domain: number, first: number, last: number): number;
  linuxIovaRestore(domain: number): number;
  linuxIovaSave(domain: number): number;

  // Replay (assembly/replay/replay.ts)
  replayCreate(setup: number): number;
  replayDomains(replay: number): number;
  replayIova(replay: number, slot: number): bigint;
  replayResult(replay: number): number;
  replayRun(
    replay: number,
    operations: number,
    total: number,
    pieces: number,
    placements: number,
    iovas: number,
  ): number;
  replaySpan(replay: number): bigint;
  replaySummarize(replay: number): void;
  replayTable(replay: number, domain: number): number;

  // Remapping units (assembly/unit/, assembly/table/walk.ts)
  configurationFind(cache: number, tag: bigint): number;
  configurationKeep(cache: number, tag: bigint, owner: bigint): number;
  configurationLookUp(cache: number, tag: bigint, counters: number): number;
  walkLog(buffer: number, capacity: number): number;
  regimeCreate(
    table: number,
    upper: number,
    last: bigint,
    tag: bigint,
    owner: bigint,
    flags: number,
    accessClear: number,
    accessSet: number,
  ): number;
  tableForget(table: number): void;
  regimeRelease(regime: number): void;
  unitCreate(iotlbEntries: number, caches: number): number;
  unitInvalidate(unit: number, mask: bigint, owner: bigint, first: bigint, last: bigint): number;
  unitLastGrants(): number;
  unitRehearse(regime: number, iova: bigint, access: number): bigint;
  unitRelease(unit: number): void;
  unitSetRegime(unit: number, source: number, pasid: number, regime: number): number;
  unitTranslate(unit: number, batch: number): number;

  // Caches and translation through them (assembly/cache/, assembly/access/)
  cacheCreate(sets: number, ways: number, replacement: number, seed: bigint, holds: bigint): number;
  cacheInvalidate(cache: number, mask: bigint, owner: bigint, first: bigint, last: bigint): number;
  cacheIsLive(cache: number, index: number): number;
  cacheRelease(cache: number): void;
  cacheReset(cache: number, seed: bigint): void;
  cacheUse(cache: number, uses: number, n: number): void;
  simulatorClearCounters(simulator: number): void;
  simulatorRun(simulator: number, batch: number): number;
  streamFill(stream: number, batch: number): void;
  trafficRun(
    traffic: number,
    operations: number,
    total: number,
    pieces: number,
    placements: number,
    iovas: number,
  ): number;

  // Trace tokens (assembly/trace/tokenize.ts)
  traceOpen(): number;
  traceClose(handle: number): void;
  traceGrow(handle: number, length: number): number;
  traceName(handle: number, table: number, id: number): number;
  traceNameLength(handle: number, table: number, id: number): number;
  traceSkipLine(handle: number, length: number): number;
  traceTokenize(handle: number, length: number, last: number): number;
}
