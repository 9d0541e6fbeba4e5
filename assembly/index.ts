/** The exports of the WASM module, nothing else. */
export { heapAllocate, heapFree } from "./memory/heap";
export { formatDescribe } from "./format/describe";
export {
  arenaFreeStack,
  arenaFreeDepth,
  arenaPagesLive,
  physicalAllocatePage,
  physicalArenaBase,
  physicalCheckLoad,
  physicalDeclareRam,
  physicalFreePage,
  physicalLastStatus,
  physicalLoadFrame,
  physicalReadPointer,
  physicalSetArenaBase,
  physicalWritePointer,
} from "./memory/physical";
export { tableLeaves } from "./table/leaves";
export { mapBatch, mapOne } from "./table/map";
export { tableRelease } from "./table/release";
export { tableCreate, tableCreateStatus, tableForget } from "./table/table";
export { unmapBatch, unmapOne } from "./table/unmap";
export { lookupBatch, walkBatch, walkLog } from "./table/walk";
export { unitTranslate } from "./unit/translate";
export { regimeCreate, regimeRelease } from "./unit/regime";
export { unitLastGrants } from "./unit/request";
export { unitRehearse } from "./unit/stale";
export { unitCreate, unitInvalidate, unitRelease, unitSetRegime } from "./unit/unit";
export { simulatorClearCounters, simulatorRun } from "./access/simulate";
export { streamFill } from "./access/stream";
export { trafficRun } from "./access/traffic";
export { configurationFind, configurationKeep, configurationLookUp } from "./cache/configuration";
export { cacheCreate, cacheInvalidate, cacheIsLive, cacheRelease, cacheReset, cacheUse } from "./cache/set-associative";
export {
  traceClose,
  traceGrow,
  traceName,
  traceNameLength,
  traceOpen,
  traceSkipLine,
  traceTokenize,
} from "./trace/tokenize";
export {
  spaceAllocate,
  spaceAllocateAt,
  spaceAllocateBatch,
  spaceCreate,
  spaceFree,
  spaceFreeBatch,
  spaceFreeInSpan,
  spaceLiveLength,
  spaceLongestHole,
  spaceLongestHoleInSpan,
  spaceRelease,
  spaceReserve,
} from "./iova/space";
export { linuxIovaAllocateBatch, linuxIovaFreeBatch } from "./iova/linux/batch";
export {
  linuxIovaAdopt,
  linuxIovaAdvance,
  linuxIovaAllocate,
  linuxIovaAllocateFor,
  linuxIovaAttach,
  linuxIovaCreate,
  linuxIovaFireFlushTimer,
  linuxIovaFree,
  linuxIovaQueue,
  linuxIovaRelease,
  linuxIovaReserve,
  linuxIovaRestore,
  linuxIovaSave,
} from "./iova/linux/domain";
export {
  replayCreate,
  replayDomains,
  replayIova,
  replayResult,
  replayRun,
  replaySpan,
  replaySummarize,
  replayTable,
} from "./replay/replay";
