/** A machine of the user's own, from a JSON file that schema.ts describes. */
import type { IotlbGeometry } from "../access/simulator.js";
import { EVERY_SIZE } from "../cache/cache.js";
import { sharedSizes } from "../cache/geometry.js";
import { firstIssue } from "../document-issue.js";
import { IommuError } from "../engine/errors.js";
import { defaultLevels, type FormatDescription, findFormat } from "../engine/formats.js";
import type { Machine } from "./machine.js";
import { COMMON_STRUCTURES } from "./presets.js";
import { machineSchema, stageOf } from "./schema.js";

/** Throws `invalid`, naming `file`, the field and what was expected. */
export function parseMachine(text: string, file: string, formats: readonly FormatDescription[]): Machine {
  const fault = (why: string): IommuError => new IommuError("invalid", `read the machine of ${file}`, undefined, why);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw fault((cause as SyntaxError).message.replaceAll(/\s+/g, " "));
  }
  const parsed = machineSchema.safeParse(json);
  if (!parsed.success) {
    const { path, reason } = firstIssue(machineSchema, parsed.error);
    throw fault(path === "" ? reason : `${path}: ${reason}`);
  }
  const { caches, levels, ...machine } = parsed.data;
  const format = findFormat(formats, machine.format);
  const { minLevels, maxLevels } = format;
  if (levels !== undefined && (levels < minLevels || levels > maxLevels)) {
    throw fault(`levels: expected ${minLevels} to ${maxLevels}, which ${format.name} has`);
  }
  const stage = stageOf(format.name);
  if (machine.stage !== stage) throw fault(`stage: expected ${stage}, as ${format.name} is`);
  const iotlb = caches.iotlb.map(({ pageSizes, ...geometry }): IotlbGeometry => {
    return pageSizes === undefined ? geometry : { ...geometry, pageSizes: bitmap(pageSizes) };
  });
  const shared = sharedSizes(iotlb.map(({ pageSizes }) => pageSizes ?? EVERY_SIZE));
  if (shared !== null) throw fault(`caches.iotlb[${shared}]: it takes a size of page that one before it takes`);
  const depth = levels ?? defaultLevels(format);
  const name = `${stage}Stage` as const;
  const above = Object.keys(caches[name] ?? {}).find((level) => Number(level) > depth);
  if (above !== undefined) throw fault(`caches.${name}.${above}: the tables have ${depth} levels`);
  const common = Object.entries(COMMON_STRUCTURES).filter(([level]) => Number(level) <= depth);
  const structures = { [name]: Object.fromEntries(common) };
  return { title: machine.name, ...machine, levels: depth, caches: { ...structures, ...caches, iotlb } };
}

function bitmap(sizes: readonly number[]): bigint {
  return sizes.reduce((bits, size) => bits | BigInt(size), 0n);
}
