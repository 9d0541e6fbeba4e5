/** A machine of the user's own, as JSON: the fields of `Machine`, sizes of page as bytes. */
import { readFile } from "node:fs/promises";
import type { CachesGeometry, IotlbGeometry, StructureCaches } from "../access/simulator.js";
import { type CacheGeometry, geometryFault, type Replacement } from "../cache/geometry.js";
import { IommuError, UnknownNameError } from "../engine/errors.js";
import type { Machine, MachineFigures } from "./machine.js";
import { findPreset, PRESETS } from "./presets.js";

const FIGURES: readonly (keyof MachineFigures)[] = [
  "memoryReadNs",
  "walksInFlight",
  "iotlbHitNs",
  "linkGbps",
  "headerBytes",
  "dmaReadNs",
  "dmaMemoryNs",
  "dmaReadsInFlight",
  "lastLevelCacheBytes",
];
/** These divide. */
const POSITIVE: readonly (keyof MachineFigures)[] = ["walksInFlight", "linkGbps", "dmaReadsInFlight"];

/** A JSON object of a machine's description. Every accessor throws `invalid`, naming the file and the field. */
class Description {
  readonly #fields: Readonly<Record<string, unknown>>;

  constructor(
    value: unknown,
    private readonly file: string,
    private readonly path: string,
    names: readonly string[],
  ) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw this.fault("", "is not an object");
    this.#fields = value as Readonly<Record<string, unknown>>;
    for (const name of Object.keys(value)) if (!names.includes(name)) throw this.fault(name, "is not known");
  }

  fault(name: string, why: string): IommuError {
    const where = [this.path, name].filter((part) => part !== "").join(".");
    return new IommuError("invalid", `read the machine of ${this.file}`, undefined, `${where || "it"} ${why}`);
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#fields, name);
  }

  text(name: string): string {
    const value = this.#fields[name];
    if (typeof value !== "string" || value === "") throw this.fault(name, "is not a text");
    return value;
  }

  number(name: string): number {
    const value = this.#fields[name];
    if (typeof value !== "number" || !Number.isFinite(value) || value < 0) {
      throw this.fault(name, "is not a number from 0");
    }
    return value;
  }

  whole(name: string): number {
    const value = this.number(name);
    if (!Number.isInteger(value)) throw this.fault(name, "is not a whole number");
    return value;
  }

  list(name: string): readonly unknown[] {
    const value = this.#fields[name];
    if (!Array.isArray(value)) throw this.fault(name, "is not a list");
    return value;
  }

  object(name: string, names: readonly string[]): Description {
    return new Description(this.#fields[name], this.file, this.#at(name), names);
  }

  objects(name: string, names: readonly string[]): Description[] {
    return this.list(name).map(
      (value, index) => new Description(value, this.file, `${this.#at(name)}[${index}]`, names),
    );
  }

  #at(name: string): string {
    return this.path === "" ? name : `${this.path}.${name}`;
  }
}

const CACHE = ["sets", "ways", "replacement", "seed"];

function cacheOf(cache: Description): CacheGeometry {
  const geometry: CacheGeometry = {
    sets: cache.has("sets") ? cache.whole("sets") : 1,
    ways: cache.whole("ways"),
    replacement: (cache.has("replacement") ? cache.text("replacement") : "lru") as Replacement,
    ...(cache.has("seed") ? { seed: cache.whole("seed") } : {}),
  };
  const fault = geometryFault(geometry);
  if (fault !== null) throw cache.fault("", `cannot be: ${fault}`);
  return geometry;
}

function iotlbOf(iotlb: Description): IotlbGeometry {
  if (!iotlb.has("pageSizes")) return cacheOf(iotlb);
  const sizes = iotlb.list("pageSizes").map((size) => {
    if (typeof size !== "number" || size < 4096 || !Number.isInteger(Math.log2(size))) {
      throw iotlb.fault("pageSizes", `has ${String(size)}, which is no size of page`);
    }
    return BigInt(size);
  });
  return { ...cacheOf(iotlb), pageSizes: sizes.reduce((bits, size) => bits | size, 0n) };
}

const LEVELS = ["2", "3", "4", "5"] as const;

function structuresOf(caches: Description, name: string): StructureCaches {
  const levels = caches.object(name, LEVELS);
  return Object.fromEntries(
    LEVELS.filter((level) => levels.has(level)).map((level) => [level, cacheOf(levels.object(level, CACHE))]),
  );
}

function cachesOf(caches: Description): CachesGeometry {
  return {
    iotlb: caches.objects("iotlb", [...CACHE, "pageSizes"]).map(iotlbOf),
    ...(caches.has("firstStage") ? { firstStage: structuresOf(caches, "firstStage") } : {}),
    ...(caches.has("secondStage") ? { secondStage: structuresOf(caches, "secondStage") } : {}),
  };
}

/** Throws `invalid`, naming `file` and the field. */
export function parseMachine(text: string, file: string): Machine {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new IommuError("invalid", `read the machine of ${file}`, undefined, (cause as SyntaxError).message);
  }
  const names = ["name", "title", "format", "levels", "stage", "caches", "figures", "sources"];
  const machine = new Description(json, file, "", names);
  const stage = machine.has("stage") ? machine.text("stage") : "second";
  if (stage !== "first" && stage !== "second") throw machine.fault("stage", 'is neither "first" nor "second"');
  const figures = machine.object("figures", FIGURES);
  for (const name of POSITIVE) if (figures.number(name) === 0) throw figures.fault(name, "is 0");
  const name = machine.text("name");
  return {
    name,
    title: machine.has("title") ? machine.text("title") : name,
    format: machine.has("format") ? machine.text("format") : "vtdss",
    levels: machine.has("levels") ? machine.whole("levels") : 4,
    stage,
    caches: cachesOf(machine.object("caches", ["iotlb", "firstStage", "secondStage"])),
    figures: Object.fromEntries(FIGURES.map((figure) => [figure, figures.number(figure)])) as unknown as MachineFigures,
  };
}

/** The preset with this name, or else the machine of this file. Throws `invalid`. */
export async function loadMachine(nameOrFile: string): Promise<Machine> {
  const preset = findPreset(nameOrFile);
  if (preset) return preset;
  try {
    return parseMachine(await readFile(nameOrFile, "utf8"), nameOrFile);
  } catch (cause) {
    if (cause instanceof IommuError) throw cause;
    const presets = PRESETS.map(({ name }) => name);
    // Without a folder or an extension it was hardly meant to be a file.
    if (/^[\w-]+$/.test(nameOrFile)) throw new UnknownNameError("machine", "presets", nameOrFile, presets);
    const why = `${(cause as Error).message}; the presets are ${presets.join(", ")}`;
    throw new IommuError("invalid", `use machine "${nameOrFile}"`, undefined, why);
  }
}
