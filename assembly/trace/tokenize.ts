/**
 * Trace text to tokens, one call per chunk of text. The text forms are those of tracefs `trace` and `trace_pipe` (with
 * and without irq-info and record-tgid), `trace-cmd report` and `perf script`:
 *
 *     TASK-PID [( TGID)] [CPU] [flags] timestamp: [system:]event: payload
 *
 * TASK may hold almost any byte, so a line's header is recognised by the whole structure from `[CPU]` on. Payloads are
 * those of the kernel's include/trace/events/iommu.h and dma.h.
 */
import { heapAllocate, heapFree } from "../memory/heap";
import {
  DETAIL_CPU_SHIFT,
  DETAIL_CUT,
  EVENT_COUNT,
  EVENT_DMA_ALLOC,
  EVENT_DMA_ALLOC_PAGES,
  EVENT_DMA_ALLOC_SGT,
  EVENT_DMA_FREE,
  EVENT_DMA_FREE_SGT,
  EVENT_DMA_MAP_SG,
  EVENT_DMA_UNMAP_SG,
  EVENT_MAP,
  EVENT_UNMAP,
  LEVEL_HARDIRQ,
  LEVEL_NMI,
  LEVEL_SOFTIRQ,
  LEVEL_TASK,
  LEVEL_UNKNOWN,
  NAMES_EVENTS,
  NAMES_TASKS,
  REASON_BAD_NUMBER,
  REASON_CUT_AT_END,
  REASON_END_MISMATCH,
  REASON_HEADER_CUT,
  REASON_LIST_MISMATCH,
  REASON_MISSING_FIELD,
  REASON_NO_HEADER,
  REASON_NOT_PAGE_ALIGNED,
  REASON_OVERFLOW,
  REASON_TOO_LONG,
  REASON_ZERO_SIZE,
  TOKEN_BYTES,
  TOKEN_CONTEXT,
  TOKEN_DETAIL,
  TOKEN_DEVICE,
  TOKEN_DMA_MAP,
  TOKEN_DMA_UNMAPPED,
  TOKEN_DMA_UNMAPPING,
  TOKEN_ENTRIES,
  TOKEN_EVENT,
  TOKEN_KIND,
  TOKEN_LINE,
  TOKEN_LOST,
  TOKEN_MALFORMED,
  TOKEN_MAP,
  TOKEN_PAGE,
  TOKEN_PAGES,
  TOKEN_PHYSICAL,
  TOKEN_TASK,
  TOKEN_TIME,
  TOKEN_UNMAP,
} from "../layout";
import {
  Names,
  createNames,
  findName,
  freeNames,
  internName,
  nameLength,
  nameText,
  nameValue,
  repeatsLast,
  setNameValue,
} from "./names";
import {
  behindLastLineFeed,
  cursor,
  findBracket,
  findLineFeed,
  isDigit,
  isGap,
  isLineEnd,
  matches,
  parseDecimal,
  parseHex,
  parseHex16,
  parseSixDigits,
  parsed,
  pattern,
  skipName,
  skipSpaces,
  skipWord,
} from "./scan";

/** Tokens of one call; the call ends early when they are used up. */
const TOKEN_CAPACITY: usize = 512;
/** Text of one call. Small enough that text and tokens stay in the second-level cache. */
const FIRST_CAPACITY: u32 = 1 << 16;
/** The longest line; a scatterlist of the 128 entries the kernel prints takes about 6 KiB. */
const LONGEST_LINE: u32 = 1 << 20;
/** Bytes behind the text that a scan may read. */
const SLACK: u32 = 64;
/** Distinct event names that are counted by name. */
const MOST_EVENTS: u32 = 4096;

/** The first sixteen words are the TOKENIZER_* of layout.ts. */
@unmanaged
class Tokenizer {
  input: usize;
  tokens: usize;
  consumed: u32;
  capacity: u32;
  line: f64;
  remarks: f64;
  other: f64;
  eventCount: u32;
  taskCount: u32;
  contextCount: u32;
  deviceCount: u32;
  eventLines: usize;
  exhausted: u32;
  /** 1 while the rest of a line that was too long is passed over. */
  skipping: u32;
  events: Names;
  tasks: Names;
  /** The text before the timestamp as it stands, which the lines of one context repeat; the value is the context. */
  prefixes: Names;
  /** Pairs (task, CPU and level). */
  contexts: Names;
  devices: Names;
  scratch: usize;
  /** Of the last event: length of its prefix, its context, and what the context consists of. */
  prefixLength: u32;
  context: u32;
  task: u32;
  cpu: u32;
  level: u32;
}

const MAP = pattern("map: ");
const UNMAP = pattern("unmap: ");
const IOMMU_IOVA = pattern("IOMMU: iova=0x");
const TO = pattern(" - 0x");
const PADDR = pattern(" paddr=0x");
const SIZE = pattern(" size=");
const UNMAPPED_SIZE = pattern(" unmapped_size=");
const DIR = pattern(" dir=");
const DMA_ADDR = pattern(" dma_addr=");
const PHYS_ADDR = pattern(" phys_addr=");
const DMA_ADDRS = pattern(" dma_addrs={");
const SIZES = pattern(" sizes={");
const PHYS_ADDRS = pattern(" phys_addrs={");
const ENTRIES = pattern(" ents=");
const TRUNCATED = pattern(" [TRUNCATED]");
const ELLIPSIS = pattern("...");
const HEADER_ENTRIES = pattern("# entries-in-buf");
const CPU_COLON = pattern("CPU:");
const CPU_SPACE = pattern("CPU ");
const CPUS = pattern("cpus=");
const VERSION = pattern("version = ");
const STACK_FRAME = pattern("=> ");
const LOST = pattern("[LOST ");
const DROPPED = pattern("EVENTS DROPPED");

/** In the order of EVENT_*. */
const EVENT_NAMES: StaticArray<string> = [
  "map",
  "unmap",
  "dma_map_phys",
  "dma_map_page",
  "dma_map_resource",
  "dma_alloc",
  "dma_alloc_pages",
  "dma_alloc_sgt",
  "dma_map_sg",
  "dma_unmap_phys",
  "dma_unmap_page",
  "dma_unmap_resource",
  "dma_free",
  "dma_free_pages",
  "dma_free_sgt",
  "dma_unmap_sg",
];

/** A new tokenizer; 0 when linear memory is exhausted. */
export function traceOpen(): usize {
  const handle = heapAllocate(offsetof<Tokenizer>());
  if (!handle) return 0;
  const tokenizer = changetype<Tokenizer>(handle);
  tokenizer.events = createNames();
  tokenizer.tasks = createNames();
  tokenizer.prefixes = createNames();
  tokenizer.contexts = createNames();
  tokenizer.devices = createNames();
  tokenizer.input = heapAllocate(<usize>(FIRST_CAPACITY + SLACK));
  tokenizer.capacity = FIRST_CAPACITY;
  tokenizer.tokens = heapAllocate(TOKEN_CAPACITY * TOKEN_BYTES);
  tokenizer.eventLines = heapAllocate(<usize>MOST_EVENTS * 8);
  tokenizer.scratch = heapAllocate(64);
  if (
    !changetype<usize>(tokenizer.events) ||
    !changetype<usize>(tokenizer.tasks) ||
    !changetype<usize>(tokenizer.prefixes) ||
    !changetype<usize>(tokenizer.contexts) ||
    !changetype<usize>(tokenizer.devices) ||
    !tokenizer.input ||
    !tokenizer.tokens ||
    !tokenizer.eventLines ||
    !tokenizer.scratch
  ) {
    traceClose(handle);
    return 0;
  }
  for (let event = 0; event < EVENT_COUNT; event++) {
    const name = unchecked(EVENT_NAMES[event]);
    for (let index = 0; index < name.length; index++) {
      store<u8>(tokenizer.scratch + <usize>index, <u8>name.charCodeAt(index));
    }
    internName(tokenizer.events, tokenizer.scratch, <u32>name.length);
  }
  publishCounts(tokenizer);
  return handle;
}

export function traceClose(handle: usize): void {
  if (!handle) return;
  const tokenizer = changetype<Tokenizer>(handle);
  freeNames(tokenizer.events);
  freeNames(tokenizer.tasks);
  freeNames(tokenizer.prefixes);
  freeNames(tokenizer.contexts);
  freeNames(tokenizer.devices);
  heapFree(tokenizer.input, <usize>(tokenizer.capacity + SLACK));
  heapFree(tokenizer.tokens, TOKEN_CAPACITY * TOKEN_BYTES);
  heapFree(tokenizer.eventLines, <usize>MOST_EVENTS * 8);
  heapFree(tokenizer.scratch, 64);
  heapFree(handle, offsetof<Tokenizer>());
}

/** Doubles the input buffer, keeping its first `length` bytes; false when the longest line has been reached. */
export function traceGrow(handle: usize, length: u32): bool {
  const tokenizer = changetype<Tokenizer>(handle);
  if (tokenizer.capacity >= LONGEST_LINE) return false;
  const capacity = tokenizer.capacity << 1;
  const input = heapAllocate(<usize>(capacity + SLACK));
  if (!input) {
    tokenizer.exhausted = 1;
    return false;
  }
  memory.copy(input, tokenizer.input, length);
  heapFree(tokenizer.input, <usize>(tokenizer.capacity + SLACK));
  tokenizer.input = input;
  tokenizer.capacity = capacity;
  return true;
}

/** Address of the name `id` of a NAMES_* table; its length in bytes is `traceNameLength`. */
export function traceName(handle: usize, table: u32, id: u32): usize {
  return nameText(namesTable(handle, table), id);
}

export function traceNameLength(handle: usize, table: u32, id: u32): u32 {
  return nameLength(namesTable(handle, table), id);
}

function namesTable(handle: usize, table: u32): Names {
  const tokenizer = changetype<Tokenizer>(handle);
  if (table == NAMES_EVENTS) return tokenizer.events;
  return table == NAMES_TASKS ? tokenizer.tasks : tokenizer.devices;
}

function publishCounts(tokenizer: Tokenizer): void {
  tokenizer.eventCount = tokenizer.events.count;
  tokenizer.taskCount = tokenizer.tasks.count;
  tokenizer.contextCount = tokenizer.contexts.count;
  tokenizer.deviceCount = tokenizer.devices.count;
  tokenizer.exhausted |=
    tokenizer.events.exhausted |
    tokenizer.tasks.exhausted |
    tokenizer.prefixes.exhausted |
    tokenizer.contexts.exhausted |
    tokenizer.devices.exhausted;
}

/**
 * Turns the complete lines among the first `length` bytes of the input buffer into tokens and returns their number;
 * TOKENIZER_CONSUMED says how far it came. With `last` a line without a line feed is complete too.
 */
export function traceTokenize(handle: usize, length: u32, last: bool): u32 {
  const tokenizer = changetype<Tokenizer>(handle);
  const begin = tokenizer.input;
  const end = begin + <usize>length;
  const tokensBegin = tokenizer.tokens;
  const tokensEnd = tokensBegin + TOKEN_CAPACITY * TOKEN_BYTES;
  const terminated = behindLastLineFeed(begin, end);
  // Every line of the loop has a line feed, so that no scan has to look for the end of the text.
  store<u8>(end, 0x0a);
  const complete = last ? end : terminated;
  let at = begin;
  let token = tokensBegin;
  while (at < complete && token < tokensEnd) {
    lineScanned = at;
    if (tokenizer.skipping) {
      tokenizer.skipping = 0;
    } else {
      tokenizer.line += 1;
      if (tokenizeLine(tokenizer, at, end, token, at >= terminated)) token += TOKEN_BYTES;
    }
    at = findLineFeed(lineScanned, end) + 1;
  }
  tokenizer.consumed = <u32>(min(at, end) - begin);
  publishCounts(tokenizer);
  return <u32>((token - tokensBegin) / TOKEN_BYTES);
}

/** Gives up the line that fills the whole input buffer: it is malformed, and its rest will be passed over. One token. */
export function traceSkipLine(handle: usize, length: u32): u32 {
  const tokenizer = changetype<Tokenizer>(handle);
  tokenizer.consumed = length;
  if (tokenizer.skipping) return 0;
  tokenizer.skipping = 1;
  tokenizer.line += 1;
  malformed(tokenizer, tokenizer.tokens, tokenizer.input, tokenizer.input + <usize>length, REASON_TOO_LONG);
  return 1;
}

function malformed(tokenizer: Tokenizer, token: usize, begin: usize, end: usize, reason: u32): i32 {
  store<u32>(token, TOKEN_MALFORMED, TOKEN_KIND);
  store<f64>(token, tokenizer.line, TOKEN_LINE);
  store<f64>(token, <f64>(begin - tokenizer.input), TOKEN_PAGE);
  store<f64>(token, <f64>(end - begin), TOKEN_PAGES);
  store<u32>(token, reason, TOKEN_DETAIL);
  return TOKEN_MALFORMED;
}

// What is known of the line that is being read.
/** How far it has been read: no line feed is before this address. */
let lineScanned: usize = 0;
let headerCpu: u32 = 0;
let headerLevel: u32 = 0;
/** Where the timestamp begins. */
let headerStamp: usize = 0;
let headerTime: f64 = 0;
let headerEvent: i32 = 0;
let headerPayload: usize = 0;

const HEADER_EVENT: u32 = 0;
const HEADER_OTHER: u32 = 1;
const HEADER_NONE: u32 = 2;
const HEADER_CUT: u32 = 3;

/** Reads `[CPU] [flags]` at a `[`, up to the timestamp. */
// @ts-ignore: decorator
@inline function readContext(bracket: usize): u32 {
  let at = bracket + 1;
  let cpu: u32 = 0;
  while (isDigit(load<u8>(at))) cpu = cpu * 10 + <u32>load<u8>(at++) - 0x30;
  const digits = at - bracket - 1;
  if (!digits || digits > 6 || load<u8>(at) != 0x5d) return HEADER_NONE;
  at = skipSpaces(at + 1);
  let level: u32 = LEVEL_UNKNOWN;
  if (!isDigit(load<u8>(at))) {
    // irqs-off, need-resched, hardirq/softirq, preempt-depth, migrate-disable
    const flags = at;
    at = skipWord(at);
    if (at - flags > 2) {
      const interrupt = load<u8>(flags, 2);
      if (interrupt == 0x2e) level = LEVEL_TASK;
      else if (interrupt == 0x73) level = LEVEL_SOFTIRQ;
      else if ((interrupt | 0x20) == 0x68) level = LEVEL_HARDIRQ;
      else if ((interrupt | 0x20) == 0x7a) level = LEVEL_NMI;
    }
    at = skipSpaces(at);
    if (!isDigit(load<u8>(at))) return HEADER_CUT;
  }
  headerCpu = cpu;
  headerLevel = level;
  headerStamp = at;
  return HEADER_EVENT;
}

/** Reads `timestamp: [system:]event:`. */
// @ts-ignore: decorator
@inline function readStamp(tokenizer: Tokenizer, at: usize): u32 {
  let time: u64 = 0;
  while (isDigit(load<u8>(at))) time = time * 10 + <u64>load<u8>(at++) - 0x30;
  if (load<u8>(at) == 0x2e) {
    at++;
    const microseconds = parseSixDigits(at);
    if (microseconds >= 0 && load<u8>(at, 6) == 0x3a) {
      at += 6;
      time = (time * 1000000 + <u64>microseconds) * 1000;
    } else {
      const fraction = at;
      while (isDigit(load<u8>(at))) time = time * 10 + <u64>load<u8>(at++) - 0x30;
      const places = at - fraction;
      if (!places || places > 9) return HEADER_CUT;
      for (let place = places; place < 9; place++) time *= 10;
    }
  }
  if (load<u8>(at) != 0x3a) return HEADER_CUT;
  headerTime = <f64>time;
  return readEvent(tokenizer, skipSpaces(at + 1));
}

// @ts-ignore: decorator
@inline function readEvent(tokenizer: Tokenizer, at: usize): u32 {
  if (matches(at, MAP, 5)) {
    headerEvent = EVENT_MAP;
    headerPayload = skipSpaces(at + 4);
    return HEADER_EVENT;
  }
  if (matches(at, UNMAP, 7)) {
    headerEvent = EVENT_UNMAP;
    headerPayload = skipSpaces(at + 6);
    return HEADER_EVENT;
  }
  const length = <usize>repeatsLast(tokenizer.events, at);
  if (length && load<u16>(at + length) == 0x203a) {
    headerEvent = <i32>tokenizer.events.last;
    headerPayload = skipSpaces(at + length + 1);
    return HEADER_EVENT;
  }
  return readNewEvent(tokenizer, at);
}

/** An event that the last line did not have, or has a system before it. */
function readNewEvent(tokenizer: Tokenizer, at: usize): u32 {
  let name = at;
  for (;;) {
    at = skipName(at);
    const behind = <u32>load<u8>(at);
    if (isLineEnd(behind)) return HEADER_CUT;
    if (behind != 0x3a || at == name) return behind == 0x20 ? HEADER_OTHER : HEADER_NONE;
    if (isGap(load<u8>(at + 1))) break;
    name = ++at;
  }
  const length = <u32>(at - name);
  if (tokenizer.events.count >= MOST_EVENTS && length > 16) return HEADER_OTHER;
  headerEvent = <i32>internName(tokenizer.events, name, length);
  headerPayload = skipSpaces(at + 1);
  return HEADER_EVENT;
}

/** The header of a line whose text before the timestamp is that of an earlier event, and so means the same. */
// @ts-ignore: decorator
@inline function readKnownHeader(tokenizer: Tokenizer, begin: usize, end: usize): u32 {
  let length = repeatsLast(tokenizer.prefixes, begin);
  if (!length) {
    // The columns of one trace usually have one width.
    length = tokenizer.prefixLength;
    if (begin + length >= end || !findName(tokenizer.prefixes, begin, length)) return HEADER_NONE;
    enterContext(tokenizer);
  }
  const stamp = begin + <usize>length;
  return isDigit(load<u8>(stamp)) ? readStamp(tokenizer, stamp) : HEADER_NONE;
}

/** Any header: the first `[` that the rest of a header follows. */
function readHeader(tokenizer: Tokenizer, begin: usize, end: usize): u32 {
  let found = HEADER_NONE;
  for (let bracket = findBracket(begin, end); bracket < end; bracket = findBracket(bracket + 1, end)) {
    let header = readContext(bracket);
    if (header == HEADER_EVENT) header = readStamp(tokenizer, headerStamp);
    if (header == HEADER_EVENT) {
      rememberPrefix(tokenizer, begin, bracket);
      return header;
    }
    if (header == HEADER_OTHER) return header;
    found = max(found, header);
  }
  return found;
}

function rememberPrefix(tokenizer: Tokenizer, begin: usize, bracket: usize): void {
  const task = internTask(tokenizer, begin, bracket);
  store<u32>(tokenizer.scratch, task);
  store<u32>(tokenizer.scratch, (headerCpu << 3) | headerLevel, 4);
  const context = internName(tokenizer.contexts, tokenizer.scratch, 8);
  tokenizer.prefixLength = <u32>(headerStamp - begin);
  setNameValue(tokenizer.prefixes, internName(tokenizer.prefixes, begin, tokenizer.prefixLength), context);
  enterContext(tokenizer);
}

/** Makes the context of the prefix that was found last the current one. */
function enterContext(tokenizer: Tokenizer): void {
  const context = nameValue(tokenizer.prefixes, tokenizer.prefixes.last);
  const parts = nameText(tokenizer.contexts, context);
  tokenizer.context = context;
  tokenizer.task = load<u32>(parts);
  tokenizer.cpu = load<u32>(parts, 4) >> 3;
  tokenizer.level = load<u32>(parts, 4) & 7;
}

function tokenizeLine(tokenizer: Tokenizer, begin: usize, end: usize, token: usize, unterminated: bool): i32 {
  if (load<u8>(begin) == 0x23) return tokenizeComment(tokenizer, begin, token);
  let found = readKnownHeader(tokenizer, begin, end);
  if (found > HEADER_OTHER) {
    end = findLineFeed(begin, end);
    lineScanned = end;
    found = readHeader(tokenizer, begin, end);
    if (found > HEADER_OTHER) return tokenizeRemark(tokenizer, begin, end, token, found == HEADER_CUT);
  }
  if (found == HEADER_OTHER) {
    tokenizer.other += 1;
    return 0;
  }
  const event = headerEvent;
  if (event >= EVENT_COUNT) {
    tokenizer.other += 1;
    if (<u32>event < MOST_EVENTS) countEvent(tokenizer, event);
    return 0;
  }
  let kind: i32;
  let reason: u32;
  if (event == EVENT_MAP) {
    kind = TOKEN_MAP;
    reason = readMap(headerPayload, token);
  } else if (event == EVENT_UNMAP) {
    kind = TOKEN_UNMAP;
    reason = readUnmap(headerPayload, token, unterminated);
  } else {
    kind = event >= EVENT_DMA_FREE ? TOKEN_DMA_UNMAPPING : event > EVENT_DMA_MAP_SG ? TOKEN_DMA_UNMAPPED : TOKEN_DMA_MAP;
    store<u32>(token, 0, TOKEN_DETAIL);
    reason = readDma(tokenizer, headerPayload, event, token);
    // A number that ends where the file ends may have had more digits.
    if (!reason && unterminated && load<u8>(lineScanned) == 0x0a && load<u8>(lineScanned - 1) != 0x7d) {
      reason = REASON_CUT_AT_END;
    }
  }
  if (reason) return malformed(tokenizer, token, begin, findLineFeed(begin, end), reason);
  countEvent(tokenizer, event);
  store<u32>(token, kind, TOKEN_KIND);
  store<u32>(token, event, TOKEN_EVENT);
  store<f64>(token, tokenizer.line, TOKEN_LINE);
  store<f64>(token, headerTime, TOKEN_TIME);
  store<u32>(token, tokenizer.context, TOKEN_CONTEXT);
  store<u32>(token, tokenizer.task, TOKEN_TASK);
  const cut = kind <= TOKEN_UNMAP ? 0 : load<u32>(token, TOKEN_DETAIL);
  store<u32>(token, (tokenizer.cpu << DETAIL_CPU_SHIFT) | cut | tokenizer.level, TOKEN_DETAIL);
  // A dma event that failed, or of no bytes, names nothing.
  return kind == TOKEN_DMA_UNMAPPING || kind == TOKEN_UNMAP || load<f64>(token, TOKEN_PAGES) > 0 ? kind : 0;
}

// @ts-ignore: decorator
@inline function countEvent(tokenizer: Tokenizer, event: i32): void {
  const count = tokenizer.eventLines + ((<usize>event) << 3);
  store<f64>(count, load<f64>(count) + 1);
}

/** The task of a line's prefix: spaces and the `( TGID)` column do not belong to it. */
function internTask(tokenizer: Tokenizer, begin: usize, end: usize): u32 {
  while (begin < end && load<u8>(begin) == 0x20) begin++;
  while (end > begin && load<u8>(end - 1) == 0x20) end--;
  if (end > begin && load<u8>(end - 1) == 0x29) {
    let open = end - 1;
    while (open > begin) {
      const byte = <u32>load<u8>(open - 1);
      if (!isDigit(byte) && byte != 0x20 && byte != 0x2d) break;
      open--;
    }
    if (open > begin && load<u8>(open - 1) == 0x28) {
      end = open - 1;
      while (end > begin && load<u8>(end - 1) == 0x20) end--;
    }
  }
  return internName(tokenizer.tasks, begin, <u32>(end - begin));
}

function tokenizeComment(tokenizer: Tokenizer, begin: usize, token: usize): i32 {
  tokenizer.remarks += 1;
  if (!matches(begin, HEADER_ENTRIES, 16)) return 0;
  let at = begin;
  while (!isLineEnd(load<u8>(at)) && load<u8>(at) != 0x3a) at++;
  if (parseDecimal(skipSpaces(at + 1))) return 0;
  const inBuffer = parsed;
  if (load<u8>(cursor) != 0x2f || parseDecimal(cursor + 1)) return 0;
  store<u32>(token, TOKEN_ENTRIES, TOKEN_KIND);
  store<f64>(token, tokenizer.line, TOKEN_LINE);
  store<f64>(token, <f64>inBuffer, TOKEN_PAGE);
  store<f64>(token, <f64>parsed, TOKEN_PAGES);
  return TOKEN_ENTRIES;
}

/** A line without an event: known preambles and remarks of the tools, else malformed. */
function tokenizeRemark(tokenizer: Tokenizer, begin: usize, end: usize, token: usize, cut: bool): i32 {
  const at = skipSpaces(begin);
  if (at >= end || isLineEnd(load<u8>(at))) return 0;
  if (matches(at, CPU_COLON, 4)) {
    // "CPU:1 [LOST 123 EVENTS]" of trace_pipe, "CPU:1 [123 EVENTS DROPPED]" of trace-cmd, either without the number
    const bracket = findBracket(at, end);
    const lost = matches(bracket, LOST, 6);
    const count = parseDecimal(bracket + (lost ? 6 : 1)) ? 0 : parsed;
    if (bracket < end && (lost || matches(skipSpaces(count ? cursor : bracket + 1), DROPPED, 14))) {
      tokenizer.remarks += 1;
      store<u32>(token, TOKEN_LOST, TOKEN_KIND);
      store<f64>(token, tokenizer.line, TOKEN_LINE);
      store<f64>(token, <f64>count, TOKEN_PAGES);
      return TOKEN_LOST;
    }
  }
  if (
    !cut &&
    (load<u8>(begin) == 0x09 ||
      matches(at, CPUS, 5) ||
      matches(at, CPU_SPACE, 4) ||
      matches(at, VERSION, 10) ||
      matches(at, STACK_FRAME, 3))
  ) {
    tokenizer.remarks += 1;
    return 0;
  }
  return malformed(tokenizer, token, begin, end, cut ? REASON_HEADER_CUT : REASON_NO_HEADER);
}

/** `IOMMU: iova=0x%016llx - 0x%016llx`: leaves the two numbers in rangeStart, rangeEnd and `cursor` behind them. */
let rangeStart: u64 = 0;
let rangeEnd: u64 = 0;

// @ts-ignore: decorator
@inline function readRange(at: usize): u32 {
  if (!matches(at, IOMMU_IOVA, 14)) return REASON_MISSING_FIELD;
  if (parseHex16(at + 14) && matches(at + 30, TO, 5)) {
    rangeStart = parsed;
    if (parseHex16(at + 35) && load<u8>(at + 51) == 0x20) {
      rangeEnd = parsed;
      rangeCursor = at + 51;
      return 0;
    }
  }
  return readOddRange(at);
}

let rangeCursor: usize = 0;

/** The same where the numbers do not have sixteen digits. */
function readOddRange(at: usize): u32 {
  let reason = parseHex(at + 14);
  if (reason) return reason;
  rangeStart = parsed;
  if (!matches(cursor, TO, 5)) return isGap(load<u8>(cursor)) ? REASON_MISSING_FIELD : REASON_BAD_NUMBER;
  reason = parseHex(cursor + 5);
  if (reason) return reason;
  rangeEnd = parsed;
  rangeCursor = cursor;
  if (isLineEnd(load<u8>(cursor))) return REASON_MISSING_FIELD;
  return load<u8>(cursor) == 0x20 ? 0 : REASON_BAD_NUMBER;
}

// @ts-ignore: decorator
@inline function checkRange(size: u64): u32 {
  if (!size) return REASON_ZERO_SIZE;
  if (rangeStart + size < rangeStart) return REASON_OVERFLOW;
  if (rangeStart + size != rangeEnd) return REASON_END_MISMATCH;
  return (rangeStart | size) & 0xfff ? REASON_NOT_PAGE_ALIGNED : 0;
}

// @ts-ignore: decorator
@inline function readMap(at: usize, token: usize): u32 {
  let reason = readRange(at);
  if (reason) return reason;
  at = rangeCursor;
  if (!matches(at, PADDR, 9)) return REASON_MISSING_FIELD;
  if (parseHex16(at + 9)) {
    at += 25;
  } else {
    reason = parseHex(at + 9);
    if (reason) return reason;
    at = cursor;
  }
  const physical = parsed;
  if (!matches(at, SIZE, 6)) return isGap(load<u8>(at)) ? REASON_MISSING_FIELD : REASON_BAD_NUMBER;
  reason = parseDecimal(at + 6);
  if (reason) return reason;
  if (!isGap(load<u8>(cursor))) return REASON_BAD_NUMBER;
  const size = parsed;
  reason = checkRange(size);
  if (reason) return reason;
  if (physical & 0xfff) return REASON_NOT_PAGE_ALIGNED;
  if (physical + size < physical) return REASON_OVERFLOW;
  lineScanned = cursor;
  store<f64>(token, <f64>(<i64>(rangeStart >> 12)), TOKEN_PAGE);
  store<f64>(token, <f64>(<i64>(size >> 12)), TOKEN_PAGES);
  store<f64>(token, <f64>(<i64>(physical >> 12)), TOKEN_PHYSICAL);
  return 0;
}

// @ts-ignore: decorator
@inline function readUnmap(at: usize, token: usize, unterminated: bool): u32 {
  let reason = readRange(at);
  if (reason) return reason;
  if (!matches(rangeCursor, SIZE, 6)) return REASON_MISSING_FIELD;
  reason = parseDecimal(rangeCursor + 6);
  if (reason) return reason;
  const size = parsed;
  if (!matches(cursor, UNMAPPED_SIZE, 15)) return isGap(load<u8>(cursor)) ? REASON_MISSING_FIELD : REASON_BAD_NUMBER;
  reason = parseDecimal(cursor + 15);
  if (reason) return reason;
  if (!isGap(load<u8>(cursor))) return REASON_BAD_NUMBER;
  const unmapped = parsed;
  reason = checkRange(size);
  if (reason) return reason;
  if (unterminated && unmapped != size) return REASON_CUT_AT_END;
  if (unmapped & 0xfff) return REASON_NOT_PAGE_ALIGNED;
  if (rangeStart + unmapped < rangeStart) return REASON_OVERFLOW;
  lineScanned = cursor;
  store<f64>(token, <f64>(<i64>(rangeStart >> 12)), TOKEN_PAGE);
  store<f64>(token, <f64>(<i64>(unmapped >> 12)), TOKEN_PAGES);
  store<f64>(token, -1, TOKEN_PHYSICAL);
  return 0;
}

/** The page range that a dma event's bytes touch; nothing for a mapping error, which is all ones. */
function storeRange(token: usize, address: u64, size: u64): u32 {
  if (address == u64.MAX_VALUE || !size) {
    store<f64>(token, 0, TOKEN_PAGES);
    return 0;
  }
  if (address + size - 1 < address || address + size - 1 > u64.MAX_VALUE - 4096) return REASON_OVERFLOW;
  const first = address >> 12;
  store<f64>(token, <f64>(<i64>first), TOKEN_PAGE);
  store<f64>(token, <f64>(<i64>(((address + size - 1) >> 12) - first + 1)), TOKEN_PAGES);
  return 0;
}

/** Reads the number of the field `name`; `cursor` is behind it. */
// @ts-ignore: decorator
@inline function readField(at: usize, name: usize, length: i32, hexadecimal: bool): u32 {
  if (!matches(at, name, length)) return isGap(load<u8>(at)) ? REASON_MISSING_FIELD : REASON_BAD_NUMBER;
  const reason = hexadecimal ? parseHex(at + <usize>length) : parseDecimal(at + <usize>length);
  if (reason) return reason;
  lineScanned = cursor;
  return isGap(load<u8>(cursor)) ? 0 : REASON_BAD_NUMBER;
}

/** Payload of a dma event; leaves `cursor` behind the last thing it understood. */
function readDma(tokenizer: Tokenizer, at: usize, event: i32, token: usize): u32 {
  store<f64>(token, -1, TOKEN_PHYSICAL);
  const repeated = <usize>repeatsLast(tokenizer.devices, at);
  if (repeated && matches(at + repeated, DIR, 5)) {
    at += repeated;
  } else {
    const device = at;
    at = skipWord(at);
    if (at == device || !matches(at, DIR, 5)) return REASON_MISSING_FIELD;
    internName(tokenizer.devices, device, <u32>(at - device));
  }
  store<u32>(token, tokenizer.devices.last, TOKEN_DEVICE);
  at = skipWord(at + 5);
  if (event == EVENT_DMA_MAP_SG) return readScatterlist(at, token);
  if (event == EVENT_DMA_UNMAP_SG) {
    store<f64>(token, 0, TOKEN_PAGE);
    store<f64>(token, 0, TOKEN_PAGES);
    return readPhysicalList(at, token);
  }
  let reason = readField(at, DMA_ADDR, 10, true);
  if (reason) return reason;
  const address = parsed;
  reason = readField(cursor, SIZE, 6, false);
  if (reason) return reason;
  reason = storeRange(token, address, parsed);
  if (reason) return reason;
  if (event == EVENT_DMA_ALLOC_SGT || event == EVENT_DMA_FREE_SGT) return readPhysicalList(cursor, token);
  if (event == EVENT_DMA_ALLOC || event == EVENT_DMA_ALLOC_PAGES || event >= EVENT_DMA_FREE) return 0;
  if (event > EVENT_DMA_MAP_SG) return 0;
  reason = readField(cursor, PHYS_ADDR, 11, true);
  if (reason) return reason;
  store<f64>(token, <f64>(<i64>(parsed >> 12)), TOKEN_PHYSICAL);
  return 0;
}

// What readList found.
let listCount: u32 = 0;
let listFirst: u64 = 0;
let listLast: u64 = 0;
let listCut: bool = false;

/** Reads `0x…,0x…}`, up to `lineScanned`; the kernel ends a list that did not fit with `...`. */
function readList(at: usize): u32 {
  listCount = 0;
  listCut = false;
  if (load<u8>(at) == 0x7d) {
    lineScanned = at + 1;
    return 0;
  }
  let byte: u32;
  do {
    if (matches(at, ELLIPSIS, 3)) {
      listCut = true;
      at += 3;
    } else {
      const reason = parseHex(at);
      if (reason) return reason;
      at = cursor;
      if (!listCount++) listFirst = parsed;
      listLast = parsed;
    }
    byte = load<u8>(at++);
  } while (byte == 0x2c);
  if (byte != 0x7d) return REASON_BAD_NUMBER;
  lineScanned = at;
  return 0;
}

function readPhysicalList(at: usize, token: usize): u32 {
  if (!matches(at, PHYS_ADDRS, 13)) return REASON_MISSING_FIELD;
  const reason = readList(at + 13);
  if (!reason && listCount) store<f64>(token, <f64>(<i64>(listFirst >> 12)), TOKEN_PHYSICAL);
  return reason;
}

/** A scatterlist is one allocation: from its first DMA address to the end of its last entry. */
function readScatterlist(at: usize, token: usize): u32 {
  let cut = false;
  while (!matches(at, DMA_ADDRS, 12)) {
    if (isLineEnd(load<u8>(at))) return REASON_MISSING_FIELD;
    if (matches(at, ENTRIES, 6)) {
      // printed/all: the kernel prints at most 128
      if (parseDecimal(at + 6)) return REASON_BAD_NUMBER;
      const printed = parsed;
      if (load<u8>(cursor) != 0x2f || parseDecimal(cursor + 1)) return REASON_BAD_NUMBER;
      if (printed < parsed) cut = true;
    } else if (matches(at, TRUNCATED, 12)) cut = true;
    at = skipWord(at + 1);
  }
  let reason = readList(at + 12);
  if (reason) return reason;
  const first = listFirst;
  const last = listLast;
  const count = listCount;
  if (listCut) cut = true;
  if (!matches(lineScanned, SIZES, 8)) return REASON_MISSING_FIELD;
  reason = readList(lineScanned + 8);
  if (reason) return reason;
  if (listCut) cut = true;
  else if (!cut && listCount != count) return REASON_LIST_MISMATCH;
  const size = listLast;
  reason = readPhysicalList(lineScanned, token);
  if (reason) return reason;
  if (cut) store<u32>(token, DETAIL_CUT, TOKEN_DETAIL);
  if (!count) return storeRange(token, 0, 0);
  if (last + size < last) return REASON_OVERFLOW;
  if (last < first) {
    // Entries that bypass the IOMMU (peer-to-peer) are no part of the range: only the first page is sure.
    store<u32>(token, DETAIL_CUT, TOKEN_DETAIL);
    return storeRange(token, first, 1);
  }
  return storeRange(token, first, last - first + size);
}
