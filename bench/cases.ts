/** Every case of the bench. To add one, add an entry to the list of `benchCases`. */
import { type Engine, instantiateEngine } from "../src/engine/engine.js";
import { cachedWasm } from "./contenders/cached.js";
import { type Change, changeBigInt, changeWasm, changeWords } from "./contenders/change.js";
import { iovaBigInt, iovaLinux, iovaNumber, iovaWasm } from "./contenders/iova.js";
import { type TraceInput, traceInput, traceRead, traceReplay, traceSplit } from "./contenders/trace.js";
import { translateAsWalks, translateWasm } from "./contenders/translate.js";
import { walkBigInt, walkWasm, walkWords } from "./contenders/walk.js";
import type { VtdUnitOptions } from "../src/vtd/unit.js";
import type { BenchCase, Rival } from "./harness.js";
import type { CachedInput, ChangeInput, IovaInput, TranslateInput, WalkInput } from "./inputs.js";

const C = "C";
const C_IN_STEP = "C, 4 in step";
const BIGINT = "JS BigInt";
const TYPED = "JS typed arrays";
/** A unit's caches of the size that every translation of `sanitized-caches` finds room in. */
const STRUCTURE = { sets: 1, ways: 64, replacement: "lru" } as const;
const CACHES: VtdUnitOptions = {
  caches: {
    iotlb: [{ sets: 256, ways: 8, replacement: "lru" }],
    secondStage: { 2: STRUCTURE, 3: STRUCTURE, 4: STRUCTURE },
  },
};
/** How many times as fast as plain JavaScript with BigInt every case with a target must be. */
const BIGINT_TARGET = 5;
/** Plain JavaScript is slow and its ratio far from any limit: it need not run in every round. */
const EVERY = 10;

function walkCase(
  engine: () => Promise<Engine>,
  name: string,
  what: string,
  checked: boolean,
  target: number | undefined,
  input: WalkInput,
): BenchCase {
  const { pages, walks, chunk, seed } = input;
  const variant = checked ? "walk" : "lookup";
  return {
    name,
    title: `${checked ? "walk with permission and reserved-bit checks" : "batch walk"}, ${what}`,
    native: `walk ${pages} ${walks} ${chunk} ${seed}`,
    sameResults: true,
    subject: async () => walkWasm(await engine(), input, checked),
    rivals: [
      { label: C, variant, ...(target === undefined ? {} : { target }) },
      { label: C_IN_STEP, variant: `${variant}-in-step` },
      { label: BIGINT, target: BIGINT_TARGET, every: EVERY, make: () => walkBigInt(input, checked) },
      { label: TYPED, every: EVERY, make: () => walkWords(input, checked) },
    ],
  };
}

/** Walks of the VMSAv8-64 format with 4 KiB granule against VT-d's: a format must not cost speed. */
function walkFormatCase(engine: () => Promise<Engine>, name: string, what: string, input: WalkInput): BenchCase {
  return {
    name,
    title: `walk of vmsav8-4k with permission and reserved-bit checks, ${what}`,
    sameResults: true,
    subject: async () => walkWasm(await engine(), input, true, "vmsav8-4k"),
    rivals: [{ label: "vtdss", target: 0.9, make: async () => walkWasm(await engine(), input, true) }],
  };
}

function changeCase(
  engine: () => Promise<Engine>,
  name: string,
  title: string,
  change: Change,
  target: number | undefined,
  input: ChangeInput,
): BenchCase {
  const { count, length, slots, seed } = input;
  const c: Rival = { label: C, variant: change, ...(target === undefined ? {} : { target }) };
  return {
    name,
    title,
    native: `change ${count} ${length} ${slots} ${seed}`,
    sameResults: true,
    subject: async () => changeWasm(await engine(), input, change),
    rivals: [
      c,
      { label: BIGINT, target: BIGINT_TARGET, every: EVERY, make: () => changeBigInt(input, change) },
      { label: TYPED, every: EVERY, make: () => changeWords(input, change) },
    ],
  };
}

function translateCase(engine: () => Promise<Engine>, name: string, input: TranslateInput): BenchCase {
  return {
    name,
    title: `translate, ${input.devices} mixed devices of ${input.pages.toLocaleString("en")} pages each`,
    sameResults: true,
    subject: async () => translateWasm(await engine(), input),
    rivals: [{ label: "walks of one table", target: 0.6, make: async () => translateAsWalks(await engine(), input) }],
  };
}

/** The same requests with and without the sanitizer: it may cost 30 %. */
function sanitizedCase(
  engine: () => Promise<Engine>,
  name: string,
  what: string,
  input: TranslateInput,
  options: VtdUnitOptions,
): BenchCase {
  return {
    name,
    title: `translate with the DMA sanitizer, ${input.devices} mixed devices of ${input.pages} pages each, ${what}`,
    sameResults: true,
    subject: async () => translateWasm(await engine(), input, { ...options, sanitizer: {} }),
    rivals: [{ label: "without it", target: 1 / 1.3, make: async () => translateWasm(await engine(), input, options) }],
  };
}

function cachedCase(engine: () => Promise<Engine>, name: string, what: string, input: CachedInput): BenchCase {
  const { pages, walks, chunk, seed, sets, ways } = input;
  return {
    name,
    title: `translate through an IOTLB of ${sets} x ${ways} and paging-structure caches, ${what}`,
    native: `cached ${pages} ${walks} ${chunk} ${seed}`,
    sameResults: true,
    subject: async () => cachedWasm(await engine(), input),
    rivals: [{ label: C, variant: `${sets}x${ways}`, target: 0.8 }],
  };
}

function iovaCase(
  engine: () => Promise<Engine>,
  name: string,
  target: number | undefined,
  input: IovaInput,
): BenchCase {
  const { live, batch, batches, seed } = input;
  return {
    name,
    title: `IOVA allocate and free, 1..64 pages, ${live.toLocaleString("en")} live ranges`,
    native: `iova ${live} ${batch} ${batches} ${seed}`,
    sameResults: true,
    subject: async () => iovaWasm(await engine(), input),
    rivals: [
      { label: C, variant: "steady", ...(target === undefined ? {} : { target }) },
      {
        label: BIGINT,
        every: EVERY,
        make: () => iovaBigInt(input),
        ...(target === undefined ? {} : { target: BIGINT_TARGET }),
      },
      { label: TYPED, every: EVERY, make: () => iovaNumber(input) },
    ],
  };
}

/** The same requests under Linux's rules, in WASM as well: what the rules cost, not the language. */
function iovaLinuxCase(
  engine: () => Promise<Engine>,
  name: string,
  target: number | undefined,
  input: IovaInput,
): BenchCase {
  return {
    name,
    title: `IOVA allocate and free against Linux's rules, 1..64 pages, ${input.live.toLocaleString("en")} live ranges`,
    sameResults: false,
    subject: async () => iovaWasm(await engine(), input),
    rivals: [
      {
        label: "Linux's rules",
        every: EVERY,
        make: async () => iovaLinux(await engine(), input),
        ...(target === undefined ? {} : { target }),
      },
    ],
  };
}

/** A real trace with several pieces a mapping, from the project's root, where npm runs the bench. */
const TRACE = "test/fixtures/traces/smmuv3-nvme.trace.gz";

function traceCases(module: WebAssembly.Module, input: TraceInput): BenchCase[] {
  // Under Linux's rules an allocator keeps account of what is mapped beside the one that chooses.
  const strategies: readonly (readonly [name: string, target: number])[] = [
    ["as-recorded", 4],
    ["size-aligned", 4],
    ["pa-congruent", 4],
    ["identity", 4],
    ["linux", 2.5],
    ["linux-lazy", 2.5],
  ];
  return [
    {
      name: "trace-read",
      title: "reading trace text into operations, per line",
      sameResults: false,
      subject: () => traceRead(module, input),
      rivals: [{ label: "splitting it into lines", target: 1 / 3, make: () => traceSplit(input) }],
    },
    ...strategies.map(([strategy, target]) => ({
      name: `replay-${strategy}`,
      title: `replaying what was read under ${strategy}, per line`,
      sameResults: false,
      subject: () => traceReplay(module, input, strategy),
      rivals: [{ label: "reading it", target, make: () => traceRead(module, input) }],
    })),
  ];
}

/** The cases in the order in which they run; every one gets an engine (a WASM instance) of its own. */
export function benchCases(module: WebAssembly.Module): BenchCase[] {
  const engine = (): Promise<Engine> => instantiateEngine(module);
  const hot: WalkInput = { pages: 512, walks: 4096, chunk: 4096, seed: 1 };
  const gibibyte: WalkInput = { pages: 1 << 18, walks: 1 << 18, chunk: 1 << 14, seed: 2 };
  const large: WalkInput = { pages: 1 << 24, walks: 1 << 20, chunk: 1 << 14, seed: 3 };
  const mixed = { devices: 64, requests: 1 << 16, chunk: 1 << 16 };
  const cached = { walks: 1 << 16, chunk: 1 << 14 };
  const associative = { sets: 1, ways: 64 };
  const sets = { sets: 64, ways: 8 };
  const range: ChangeInput = { count: 1, length: 1 << 14, slots: 1, seed: 4 };
  const pages: ChangeInput = { count: 1024, length: 1, slots: 1 << 14, seed: 5 };
  return [
    walkCase(engine, "walk-hot", "hot tables (2 MiB of 4 KiB leaves)", false, 0.9, hot),
    walkCase(engine, "walk-1g", "random over 1 GiB of 4 KiB leaves", false, undefined, gibibyte),
    walkCase(engine, "walk-64g", "random over 64 GiB of 4 KiB leaves", false, 1.1, large),
    walkCase(engine, "walk-hot-checked", "hot tables (2 MiB of 4 KiB leaves)", true, 0.9, hot),
    walkCase(engine, "walk-1g-checked", "random over 1 GiB of 4 KiB leaves", true, 0.9, gibibyte),
    walkCase(engine, "walk-64g-checked", "random over 64 GiB of 4 KiB leaves", true, 0.9, large),
    walkFormatCase(engine, "walk-hot-vmsav8", "hot tables (2 MiB of 4 KiB leaves)", hot),
    walkFormatCase(engine, "walk-1g-vmsav8", "random over 1 GiB of 4 KiB leaves", gibibyte),
    translateCase(engine, "translate-64m", { ...mixed, pages: 256, seed: 8 }),
    translateCase(engine, "translate-256m", { ...mixed, pages: 1024, seed: 9 }),
    translateCase(engine, "translate-4g", { ...mixed, pages: 1 << 14, seed: 10 }),
    sanitizedCase(engine, "sanitized-64m", "hardly a hit", { ...mixed, pages: 256, seed: 8 }, {}),
    sanitizedCase(engine, "sanitized-hits", "hits", { ...mixed, pages: 16, seed: 8 }, { iotlbEntries: 1 << 14 }),
    sanitizedCase(engine, "sanitized-caches", "set-associative", { ...mixed, pages: 16, seed: 8 }, CACHES),
    cachedCase(engine, "cached-hits", "128 KiB", { ...cached, ...associative, pages: 32, seed: 11 }),
    cachedCase(engine, "cached-1m", "random over 1 MiB", { ...cached, ...associative, pages: 256, seed: 12 }),
    cachedCase(engine, "cached-64m", "random over 64 MiB", { ...cached, ...associative, pages: 1 << 14, seed: 13 }),
    cachedCase(engine, "cached-sets-1m", "random over 1 MiB", { ...cached, ...sets, pages: 256, seed: 14 }),
    cachedCase(engine, "cached-sets-64m", "random over 64 MiB", { ...cached, ...sets, pages: 1 << 14, seed: 15 }),
    changeCase(engine, "map-leaf", "map 64 MiB by 4 KiB, per leaf", "map", 1.3, range),
    changeCase(engine, "unmap-leaf", "unmap 64 MiB by 4 KiB, per leaf", "unmap", 1.3, range),
    changeCase(engine, "map-one", "map single 4 KiB pages, per page", "map", undefined, pages),
    changeCase(engine, "unmap-one", "unmap single 4 KiB pages, per page", "unmap", undefined, pages),
    iovaCase(engine, "iova-1000", undefined, { live: 1000, batch: 50, batches: 400, seed: 6 }),
    iovaCase(engine, "iova-100000", 0.9, { live: 100_000, batch: 500, batches: 1200, seed: 7 }),
    iovaLinuxCase(engine, "linux-iova-1000", undefined, { live: 1000, batch: 10, batches: 400, seed: 6 }),
    iovaLinuxCase(engine, "linux-iova-100000", undefined, { live: 100_000, batch: 10, batches: 400, seed: 7 }),
    ...traceCases(module, traceInput(TRACE)),
  ];
}
