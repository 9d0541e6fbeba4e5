/** What a workload is, and how it runs. */
import { IommuError } from "../engine/errors.js";
import { Random } from "../random.js";
import { agedMemory, findMemoryState } from "./ageing.js";
import type { BuddyAllocator } from "../linux/buddy.js";
import { type WorkloadBatch, type WorkloadStatistics, WorkloadWriter } from "./writer.js";

/** What a workload draws from and writes to. */
export interface Machine {
  readonly memory: BuddyAllocator;
  readonly random: Random;
  readonly writer: WorkloadWriter;
}

/** A named synthetic workload: sizes, lifetimes and physical layouts of the mappings of one or more devices. */
export interface Workload {
  readonly name: string;
  /** One line for people. */
  readonly summary: string;
  /** Names of its domains; operations name them by index. */
  readonly domains: readonly string[];
  /** Operations unless asked otherwise. */
  readonly operations: number;
  /** Sets the workload up; every call of the result is a step of it. */
  readonly start: (machine: Machine) => () => void;
}

export interface WorkloadOptions {
  /** A whole number below 2^32. Default 1. */
  readonly seed?: number;
  /** Name of a degree of fragmentation (ageing.ts). Default `aged`. */
  readonly memory?: string;
  /** Physical memory in bytes, 64 MiB to 64 GiB, a multiple of 4 MiB. Default 16 GiB. */
  readonly memoryBytes?: number;
  /** Operations to deliver. Default: the workload's own. */
  readonly operations?: number;
}

const DEFAULT_MEMORY_BYTES = 2 ** 34;
const LARGEST_BLOCK_BYTES = 2 ** 22;

/** The options with their defaults. Throws `invalid`, naming what is out of range. */
export function workloadOptions(workload: Workload, options: WorkloadOptions): Required<WorkloadOptions> {
  const { seed = 1, memory = "aged", memoryBytes = DEFAULT_MEMORY_BYTES, operations = workload.operations } = options;
  const refuse = (what: string, rule: string): never => {
    throw new IommuError("invalid", `run workload ${workload.name} with ${what}`, undefined, rule);
  };
  findMemoryState(memory);
  if (seed !== seed >>> 0) refuse(`seed ${seed}`, "seeds are whole numbers below 2^32");
  if (!Number.isSafeInteger(operations) || operations < 1) refuse(`${operations} operations`, "it needs one or more");
  if (memoryBytes % LARGEST_BLOCK_BYTES !== 0 || memoryBytes < 2 ** 26 || memoryBytes > 2 ** 36) {
    refuse(`${memoryBytes} bytes of memory`, "a multiple of 4 MiB from 64 MiB to 64 GiB");
  }
  return { seed, memory, memoryBytes, operations };
}

/**
 * Delivers a workload's operations in batches, of `batchSize` where it is given: the same for the same options, and those
 * of fewer operations begin those of more. Throws `invalid`, and `memory-exhausted` when its buffers do not fit into the
 * memory.
 */
export function runWorkload(
  workload: Workload,
  options: WorkloadOptions,
  onBatch: (batch: WorkloadBatch) => void,
  batchSize?: number,
): WorkloadStatistics {
  const { seed, memory, memoryBytes, operations } = workloadOptions(workload, options);
  // Apart from each other, so that the workload itself is the same in every state of memory.
  const ageing = new Random(Math.imul(seed, 0x9e3779b1));
  const random = new Random(Math.imul(seed, 0x9e3779b1) + 0x85ebca6b);
  const writer = new WorkloadWriter(onBatch, operations, batchSize);
  const step = workload.start({
    memory: agedMemory(memoryBytes / 4096, findMemoryState(memory), ageing),
    random,
    writer,
  });
  while (!writer.done) step();
  return writer.finish();
}
