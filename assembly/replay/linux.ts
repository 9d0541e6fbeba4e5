/**
 * Linux's IOVA allocator (assembly/iova/linux/) as a replay uses it: a domain with one PCI device, at the CPU and the time
 * of the operation.
 */
import {
  AT_ONCE,
  advance,
  allocateFor,
  giveBack,
  linuxIovaAttach,
  linuxIovaCreate,
  linuxIovaOnline,
  NO_MEMORY,
  reserve,
} from "../iova/linux/domain";
import {
  LINUX_COUNTERS,
  LINUX_COUNT_IOTLB_FLUSHES,
  LINUX_STATE,
  OPERATION_CPU,
  OPERATION_TIME,
  REPLAY_FIRST,
  REPLAY_FLUSH,
  REPLAY_LAST,
  REPLAY_LEAST_ALIGNMENT,
  REPLAY_MOST_ALIGNMENT,
  REPLAY_RESERVED_FIRST,
  REPLAY_RESERVED_LAST,
  STATUS_MEMORY_EXHAUSTED,
  STATUS_OK,
  STATUS_SPACE_EXHAUSTED,
} from "../layout";

/** Jiffies a second, as distributions build their kernels. */
const HZ: u32 = 250;
/** No kernel has more CPUs (NR_CPUS of x86), whatever a line says. */
const MOST_CPUS: u32 = 8192;

/** A domain's record: u32 the allocator, u32 its device. */
const DEVICE: usize = 4;

// @ts-ignore: decorator
@inline
function cpuOf(operation: usize): u32 {
  return min<u32>(load<u32>(operation, OPERATION_CPU), MOST_CPUS - 1);
}

// @ts-ignore: decorator
@inline
function timeOf(operation: usize): u64 {
  return <u64>load<f64>(operation, OPERATION_TIME);
}

/** Fills in the record of a new domain under this replay's setup (REPLAY_*); false when memory is exhausted. */
export function linuxOpen(setup: usize, record: usize): bool {
  const linux = linuxIovaCreate(
    1,
    12,
    <f64>(load<u64>(setup, REPLAY_FIRST) >> 12),
    load<u32>(setup, REPLAY_LEAST_ALIGNMENT),
    load<u32>(setup, REPLAY_MOST_ALIGNMENT),
    load<u32>(setup, REPLAY_FLUSH),
    HZ,
  );
  if (!linux) return false;
  const first = load<u64>(setup, REPLAY_RESERVED_FIRST);
  const last = load<u64>(setup, REPLAY_RESERVED_LAST);
  if (first <= last && reserve(linux, first >> 12, last >> 12) != STATUS_OK) return false;
  const device = linuxIovaAttach(linux, <f64>(load<u64>(setup, REPLAY_LAST) >> 12), 1);
  store<u32>(record, <u32>linux);
  store<u32>(record, device, DEVICE);
  return device != 0;
}

/** Brings the allocator to the operation's CPU and time; false when memory is exhausted. */
// @ts-ignore: decorator
@inline
function enter(linux: usize, operation: usize): bool {
  // How many CPUs there are is not in a trace: as many as have shown themselves.
  if (!linuxIovaOnline(linux, cpuOf(operation) + 1)) return false;
  advance(linux, timeOf(operation));
  return true;
}

/** First page of the range that `linuxChoose` allocated. */
export let linuxChosen: u64 = 0;

/** Allocates `length` bytes for the domain's device; returns a status. */
export function linuxChoose(record: usize, operation: usize, length: u64): i32 {
  const linux = <usize>load<u32>(record);
  if (!enter(linux, operation)) return STATUS_MEMORY_EXHAUSTED;
  linuxChosen = allocateFor(linux, load<u32>(record, DEVICE), length >> 12, cpuOf(operation));
  if (linuxChosen == NO_MEMORY) return STATUS_MEMORY_EXHAUSTED;
  return linuxChosen ? STATUS_OK : STATUS_SPACE_EXHAUSTED;
}

/** Gives a range back, through the flush queue where `queued`; returns a status. */
export function linuxGiveBack(record: usize, operation: usize, iova: u64, length: u64, queued: bool): i32 {
  const linux = <usize>load<u32>(record);
  if (!enter(linux, operation)) return STATUS_MEMORY_EXHAUSTED;
  return giveBack(linux, iova >> 12, length >> 12, cpuOf(operation), queued ? timeOf(operation) : AT_ONCE);
}

/** Flushes of the IOTLB so far. */
export function linuxFlushes(record: usize): u32 {
  const state = <usize>load<u32>(<usize>load<u32>(record), LINUX_STATE);
  return <u32>load<u64>(state, LINUX_COUNTERS + LINUX_COUNT_IOTLB_FLUSHES);
}
