/** The trace's events once more, one by one: who printed each, where and when. The operations of the reader are lines. */
import {
  DETAIL_CPU_SHIFT,
  DETAIL_LEVEL,
  LEVEL_TASK,
  LEVEL_UNKNOWN,
  TOKEN_BYTES,
  TOKEN_CONTEXT,
  TOKEN_DETAIL,
  TOKEN_DEVICE,
  TOKEN_DMA_UNMAPPING,
  TOKEN_KIND,
  TOKEN_LINE,
  TOKEN_TASK,
  TOKEN_TIME,
  TOKEN_UNMAP,
} from "../../assembly/layout.js";
import { Tokenizer, type TraceInstance } from "../trace/tokenizer.js";

/** One event, in the order of the trace. */
export interface TraceEvent {
  /** Its place among the events that the tokenizer understands, from 0. */
  readonly index: number;
  readonly line: number;
  /** TOKEN_MAP … TOKEN_DMA_UNMAPPING. */
  readonly kind: number;
  readonly cpu: number;
  /** LEVEL_*. */
  readonly level: number;
  /** TASK-PID, whatever the CPU and the level. */
  readonly task: number;
  /** CPU, task and level. */
  readonly context: number;
  /** Device of a dma event, by number; −1 for others. */
  readonly device: number;
  /** Nanoseconds. */
  readonly time: number;
}

/** Takes the text in chunks cut anywhere; `events` is complete after `end`. */
export class EventLog {
  readonly #tokenizer: Tokenizer;
  readonly events: TraceEvent[] = [];
  /** Index into `events` by line. */
  readonly #byLine = new Map<number, number>();
  #names: readonly string[] = [];
  #tasks: readonly string[] = [];
  #cpus = 0;

  /** @throws TraceError when linear memory is exhausted. */
  constructor(instance: TraceInstance) {
    this.#tokenizer = new Tokenizer(instance);
  }

  /** @throws TraceError when linear memory is exhausted. */
  push(chunk: Uint8Array): void {
    this.#tokenizer.push(chunk, this.#sink);
  }

  /** Reads what is left and gives the linear memory back. */
  end(): void {
    this.#tokenizer.end(this.#sink);
    const { deviceCount, taskCount } = this.#tokenizer;
    this.#names = Array.from({ length: deviceCount }, (_, device) => this.#tokenizer.deviceName(device));
    this.#tasks = Array.from({ length: taskCount }, (_, task) => this.#tokenizer.taskName(task));
    this.#tokenizer.close();
  }

  /** CPUs that printed something, at least. */
  get cpus(): number {
    return this.#cpus;
  }

  /** Devices of dma events, as they print them, by their number. */
  get devices(): readonly string[] {
    return this.#names;
  }

  taskName(task: number): string {
    return this.#tasks[task];
  }

  /** The event of a line that the reader made an operation of. */
  at(line: number): TraceEvent {
    return this.events[this.#byLine.get(line) as number];
  }

  readonly #sink = (words: Int32Array, numbers: Float64Array, begin: number, count: number): void => {
    for (let at = begin; at < begin + count * TOKEN_BYTES; at += TOKEN_BYTES) {
      const kind = words[(at + TOKEN_KIND) >>> 2];
      if (kind > TOKEN_DMA_UNMAPPING) continue;
      const detail = words[(at + TOKEN_DETAIL) >>> 2];
      const line = numbers[(at + TOKEN_LINE) >>> 3];
      const cpu = detail >>> DETAIL_CPU_SHIFT;
      this.#cpus = Math.max(this.#cpus, cpu + 1);
      this.#byLine.set(line, this.events.length);
      this.events.push({
        index: this.events.length,
        line,
        kind,
        cpu,
        level: detail & DETAIL_LEVEL,
        task: words[(at + TOKEN_TASK) >>> 2],
        context: words[(at + TOKEN_CONTEXT) >>> 2],
        device: kind > TOKEN_UNMAP ? words[(at + TOKEN_DEVICE) >>> 2] : -1,
        time: numbers[(at + TOKEN_TIME) >>> 3],
      });
    }
  };
}

/** Of every event the events between which its context was busy with it: the one before and the one behind, by index. */
export interface Neighbours {
  /** −1 when there is none. */
  readonly before: Int32Array;
  /** The number of events when there is none. */
  readonly behind: Int32Array;
}

/**
 * A task goes on where it was, on whatever CPU. An interrupt runs to its end before its CPU goes on with what it
 * interrupted, so its neighbours are the events of that CPU at the same or a lower level, whoever printed them.
 */
export function neighbours(events: readonly TraceEvent[]): Neighbours {
  const before = new Int32Array(events.length).fill(-1);
  const behind = new Int32Array(events.length).fill(events.length);
  sweep(events, before);
  sweep(events.toReversed(), behind);
  return { before, behind };
}

/** For every event the last one already seen that bounds it. */
function sweep(events: readonly TraceEvent[], bounds: Int32Array): void {
  const ofTask: number[] = [];
  const ofContext: number[] = [];
  /** By CPU, the last event at each level. */
  const ofCpu: number[][] = [];
  for (const { index, cpu, level, task, context } of events) {
    if (level === LEVEL_UNKNOWN) {
      bounds[index] = ofContext[context] ?? bounds[index];
      ofContext[context] = index;
      continue;
    }
    ofCpu[cpu] ??= [];
    const levels = ofCpu[cpu];
    if (level === LEVEL_TASK) {
      bounds[index] = ofTask[task] ?? bounds[index];
      ofTask[task] = index;
    } else if (levels[level] !== undefined) {
      bounds[index] = levels[level];
    }
    // What is seen at a level bounds that level and those above it.
    for (let above = level; above < LEVEL_UNKNOWN; above++) levels[above] = index;
  }
}
