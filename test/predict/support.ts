/** What the prediction tests share. */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { CallReader, type TraceCalls } from "../../src/predict/calls.js";
import type { LinuxIovaFactory } from "../../src/predict/linux-iova.js";
import type { Machine } from "../../src/predict/spaces.js";
import { newEngine } from "../support/engine.js";
import { SlowLinuxIova } from "../support/slow-linux-iova.js";
import { newInstance } from "../trace/support.js";

const engine = await newEngine();

export const slow: LinuxIovaFactory = (options) => new SlowLinuxIova(options);
export const fast: LinuxIovaFactory = (options) => engine.createLinuxIovaDomain(options);

/** Reads text in one piece, or in pieces of `chunk` bytes. */
export function readCalls(text: string | Uint8Array, chunk = Number.POSITIVE_INFINITY): TraceCalls {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  const reader = new CallReader(newInstance);
  for (let at = 0; at < bytes.length; at += chunk) reader.push(bytes.subarray(at, at + chunk));
  return reader.end();
}

export function readFixture(path: string): TraceCalls {
  return readCalls(gunzipSync(readFileSync(path)));
}

/** A strict x86 machine that nothing is known of. */
export function machineOf(trace: TraceCalls, changes: Partial<Machine> = {}): Machine {
  return {
    factory: slow,
    cpus: trace.cpus,
    groups: [],
    ioMemory: null,
    reserved: [],
    masks: new Map(),
    flush: "strict",
    ...changes,
  };
}
